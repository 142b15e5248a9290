"""Processes that look at workspaces beside this one: as right as here, whatever becomes of them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import places
from rag_engine.adapters.sqlite import SqliteControl
from rag_engine.adapters.sqlite.connection import READ_SECONDS
from rag_engine.errors import InvalidRequest
from rag_engine.testing.drafts import DIMENSIONS, MODEL, ingest
from rag_engine.testing.store_contract import A, B

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rag_engine.ports.storage import Reader, Workspace

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
SOON = 30.0
"""Seconds in which a process has started and answered, on a busy machine."""

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")


@pytest.fixture
async def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteControl]:
    # Where the other process finds this module, whose functions it is sent.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    control = SqliteControl(
        tmp_path, model=MODEL, dimensions=DIMENSIONS, clock=places.Clock(), search_processes=1
    )
    yield control
    await control.aclose()


@pytest.fixture
async def workspace(control: SqliteControl) -> Workspace:
    workspace = await control.open("w", create=True)
    await ingest(workspace, A)
    return workspace


async def documents_by(reader: Reader) -> tuple[int, list[str]]:
    """Which process looks, and what it sees."""
    page = await reader.list_documents()
    return os.getpid(), [one.id for one in page.documents]


async def slow(_: Reader, *, seconds: float, begun: Path) -> int:
    begun.touch()
    time.sleep(seconds)  # noqa: ASYNC251  # it has no event loop
    return os.getpid()


async def endless(reader: Reader, *, begun: Path) -> None:
    begun.touch()
    reader._view.rows(ENDLESS)  # type: ignore[attr-defined]


async def refuse(_: Reader) -> None:
    raise InvalidRequest("No.")


async def fail(_: Reader) -> None:
    raise ZeroDivisionError


async def _searcher(workspace: Workspace, *, other_than: int = 0) -> int:
    """The process that looks when two do; it is waited for."""
    until = time.monotonic() + SOON
    while time.monotonic() < until:
        looks = (workspace.store.look(documents_by) for _ in range(3))
        for process, _ in await asyncio.gather(*looks):
            if process not in (os.getpid(), other_than):
                return process
        await asyncio.sleep(0.05)
    raise AssertionError("No process was started.")


async def _looks_in(process: int, workspace: Workspace) -> list[str]:
    found, documents = await workspace.store.look(documents_by)
    assert found == process
    return documents


def _gone(process: int) -> bool:
    try:
        return " Z " in Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return True


async def _becomes(what: partial[bool]) -> bool:
    until = time.monotonic() + SOON
    while not what() and time.monotonic() < until:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    return what()


async def test_who_asks_alone_is_answered_here(workspace: Workspace) -> None:
    for _ in range(5):
        assert await workspace.store.look(documents_by) == (os.getpid(), ["a"])


async def test_without_others_there_is_one_process(tmp_path: Path) -> None:
    control = SqliteControl(tmp_path, model=MODEL, dimensions=DIMENSIONS, clock=places.Clock())
    workspace = await control.open("w", create=True)
    looks = (workspace.store.look(documents_by) for _ in range(8))
    assert await asyncio.gather(*looks) == [(os.getpid(), [])] * 8
    await control.aclose()


async def test_another_process_sees_what_was_just_written(workspace: Workspace) -> None:
    process = await _searcher(workspace)
    assert await _looks_in(process, workspace) == ["a"]
    await ingest(workspace, B)
    assert await _looks_in(process, workspace) == ["a", "b"]


async def test_errors_are_those_that_are_raised_here(workspace: Workspace) -> None:
    await _searcher(workspace)
    with pytest.raises(InvalidRequest, match=r"^No\.$"):
        await workspace.store.look(refuse)
    with pytest.raises(ZeroDivisionError) as caught:
        await workspace.store.look(fail)
    assert caught.traceback[-1].name == "fail"  # where it was, which no other process could say


async def test_what_cannot_be_pickled_is_done_here(workspace: Workspace) -> None:
    await _searcher(workspace)

    async def local(_: Reader) -> int:
        return os.getpid()

    assert await workspace.store.look(local) == os.getpid()


async def test_what_a_killed_process_had_in_hand_is_done_here(
    workspace: Workspace, tmp_path: Path
) -> None:
    process, begun = await _searcher(workspace), tmp_path / "begun"
    asking = asyncio.create_task(
        workspace.store.look(partial(slow, seconds=0.5, begun=begun))  # type: ignore[arg-type]
    )
    assert await _becomes(partial(begun.exists))
    os.kill(process, signal.SIGKILL)
    assert await asking == os.getpid()
    assert await _searcher(workspace, other_than=process) != process


async def test_a_stopped_process_does_not_hold_up_those_who_come_later(
    workspace: Workspace,
) -> None:
    process = await _searcher(workspace)
    os.kill(process, signal.SIGSTOP)
    looks = [asyncio.create_task(workspace.store.look(documents_by)) for _ in range(40)]
    done, waiting = await asyncio.wait(looks, timeout=2.0)
    assert [one.result() for one in done] == [(os.getpid(), ["a"])] * len(done)
    for _ in range(5):
        assert await workspace.store.look(documents_by) == (os.getpid(), ["a"])
    os.kill(process, signal.SIGCONT)
    assert [await one for one in waiting] == [(process, ["a"])] * len(waiting)


async def test_what_nobody_waits_for_is_not_begun(workspace: Workspace, tmp_path: Path) -> None:
    process, first, second = await _searcher(workspace), tmp_path / "first", tmp_path / "second"
    one = asyncio.create_task(
        workspace.store.look(partial(slow, seconds=0.5, begun=first))  # type: ignore[arg-type]
    )
    assert await _becomes(partial(first.exists))
    other = asyncio.create_task(
        workspace.store.look(partial(slow, seconds=0.0, begun=second))  # type: ignore[arg-type]
    )
    await asyncio.sleep(0.1)
    other.cancel()
    assert await one == process
    assert await _looks_in(process, workspace) == ["a"]  # after the other, had that been done
    assert not second.exists()


async def test_what_nobody_waits_for_any_more_is_stopped(
    workspace: Workspace, tmp_path: Path
) -> None:
    process, begun = await _searcher(workspace), tmp_path / "begun"
    asking = asyncio.create_task(workspace.store.look(partial(endless, begun=begun)))
    assert await _becomes(partial(begun.exists))
    asking.cancel()
    async with asyncio.timeout(READ_SECONDS / 2):
        assert await _looks_in(process, workspace) == ["a"]


async def test_a_deleted_workspace_is_held_open_nowhere(
    control: SqliteControl, workspace: Workspace
) -> None:
    process = await _searcher(workspace)

    def is_closed() -> bool:
        links = [str(one.readlink()) for one in Path(f"/proc/{process}/fd").iterdir()]
        return not any("0001.sqlite" in link for link in links)

    assert not is_closed()
    assert await control.delete("w")
    assert await _becomes(partial(is_closed))


async def test_it_ends_with_who_started_it(control: SqliteControl, workspace: Workspace) -> None:
    process = await _searcher(workspace)
    await control.aclose()
    assert _gone(process)
