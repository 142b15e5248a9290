"""However many workspaces a process serves, few of them are open at a time, and nobody notices."""

from __future__ import annotations

import asyncio
import resource
import threading
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

import places
from rag_engine.adapters.sqlite import handles
from rag_engine.ports.storage import Control, Workspace
from rag_engine.testing.drafts import Draft, Passage, ingest
from rag_engine.testing.observation import differences, observed

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="open files are counted in /proc"
)

MANY = 30
MOST = 3


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a few files may be open that nobody uses."""
    monkeypatch.setattr(handles, "_MOST", MOST)


def open_files(folder: Path) -> set[str]:
    """The workspaces' files that this process has open."""
    found = set[str]()
    for one in Path("/proc/self/fd").iterdir():
        try:
            target = one.readlink()
        except FileNotFoundError:  # that of the listing itself
            continue
        if target.parent == folder / "workspaces":
            found.add(target.name.partition(".")[0])
    return found


def saying(id: str, text: str) -> Draft:
    return Draft(id=id, passages=(Passage(text=text),))


async def filled(control: Control, count: int) -> list[Workspace]:
    found = []
    for number in range(count):
        workspace = await control.open(f"w{number}", create=True)
        await ingest(workspace, saying("ada", f"Ada kept {number} bees."))
        found.append(workspace)
    return found


def writers() -> set[threading.Thread]:
    return {one for one in threading.enumerate() if "sqlite-writer" in one.name}


@pytest.mark.usefixtures("few")
async def test_many_workspaces_are_served_by_few_open_files(tmp_path: Path) -> None:
    others = writers()  # a test that was given up may leave some behind
    place = places.place("sqlite", tmp_path)
    control = place()
    workspaces = await filled(control, MANY)
    assert len(open_files(tmp_path / "data")) <= MOST
    assert len(writers() - others) <= MOST
    # Whoever has had one since the beginning goes on with it.
    fresh = place()
    for number in (0, MANY - 1):
        expected = await observed(await fresh.open(f"w{number}"))
        assert differences(expected, await observed(workspaces[number])) == []
    assert await workspaces[0].store.delete(["ada"]) == 1
    assert await control.open("w0") is workspaces[0]
    assert len(open_files(tmp_path / "data")) <= 2 * MOST
    await fresh.aclose()
    await control.aclose()
    assert open_files(tmp_path / "data") == set()
    assert writers() <= others


@pytest.mark.usefixtures("few")
async def test_what_is_in_use_stays_open(tmp_path: Path) -> None:
    control = places.place("sqlite", tmp_path)()
    workspaces = await filled(control, 3 * MOST)
    async with AsyncExitStack() as stack:
        held = [
            await stack.enter_async_context(one.store.snapshot()) for one in workspaces[: 2 * MOST]
        ]
        for one in workspaces[2 * MOST :]:
            await one.store.delete(["ada"])
        assert {f"{number:04d}" for number in range(1, 2 * MOST + 1)} <= open_files(
            tmp_path / "data"
        )
        assert [len((await reader.list_documents()).documents) for reader in held] == [1] * 2 * MOST
    await workspaces[-1].store.delete(["nobody"])
    await workspaces[0].store.delete(["nobody"])
    assert len(open_files(tmp_path / "data")) <= MOST
    await control.aclose()


@pytest.mark.usefixtures("few")
async def test_memory_is_let_go_of_too(tmp_path: Path) -> None:
    control = places.place("sqlite", tmp_path)()
    workspaces = await filled(control, MOST + 1)
    for one in workspaces:
        await observed(one)
    assert [len(one.store._residents._states) > 0 for one in workspaces] == [False] + [True] * MOST  # type: ignore[attr-defined]
    await control.aclose()


async def test_they_may_rest_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handles, "_MOST", 1)
    control = places.place("sqlite", tmp_path)()
    workspaces = await filled(control, 6)

    async def look_and_write(workspace: Workspace, number: int) -> int:
        await ingest(workspace, saying(f"d{number}", f"Document {number}."))
        async with workspace.store.snapshot() as reader:
            return len((await reader.list_documents()).documents)

    for turn in range(4):
        found = await asyncio.gather(*(look_and_write(one, turn) for one in workspaces))
        assert found == [turn + 2] * 6
    await control.aclose()
    assert open_files(tmp_path / "data") == set()


@pytest.mark.parametrize(
    ("limit", "most"), [(64, 4), (128, 8), (1024, 32), (resource.RLIM_INFINITY, 32)]
)
def test_a_low_limit_of_open_files_leaves_fewer_open(
    monkeypatch: pytest.MonkeyPatch, limit: int, most: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    assert handles._allowed() == most
