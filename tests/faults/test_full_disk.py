"""The disk fills up at any write: named, nothing lost, nothing half-visible, and then it goes on."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from disks import Disk, disk
from engines import small_engine
from rag_engine import Alias, Question, VersionStatus
from rag_engine.core.models import ParsedDocument
from rag_engine.errors import StoreFull
from rag_engine.testing.interception import intercepted
from rag_engine.testing.observation import Observed, differences, observed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from rag_engine.engine import Engine

OLD = "Clara Weiss met Anton Berg at the mill on the Elder Brook."
NEW = "Clara Weiss sold the mill on the Elder Brook to Ada Holm."
SUBMITTING = ("blobs.put", "queue.accept")
WORKING = (
    "queue.claim",
    "blobs.put",  # the text that was found
    "queue.checkpoint",
    "store.stage",
    "store.stage_names",
    "store.finish",
)


class PlainParser:
    """Every document is text; parsing is not what is tested here."""

    fingerprint = "plain"

    async def parse(self, path: Path, name: str) -> ParsedDocument:
        """See `Parser`."""
        return ParsedDocument(text=NEW if name == "new" else OLD, media_type="text/plain")


class Filling:
    """An interceptor that fills the disk before a call, when it is armed."""

    def __init__(self, medium: Disk, data: Path) -> None:
        self._medium = medium
        self._data = data
        self.call: str | None = None

    @asynccontextmanager
    async def around(self, call: str) -> AsyncIterator[None]:
        """See `Interceptor`."""
        if call == self.call:
            self.call = None
            await asyncio.to_thread(fill, self._medium, self._data)
        yield

    @contextmanager
    def around_blocking(self, call: str) -> Iterator[None]:
        """See `Interceptor`."""
        yield


def fill(medium: Disk, data: Path) -> None:
    """Fill the disk so that the next write needs space: the log must not have room to reuse."""
    for path in (data / "workspaces").glob("*.sqlite"):
        with closing(sqlite3.connect(path)) as connection:
            [(busy, *_)] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            assert not busy
    medium.fill()


@pytest.fixture
def medium(tmp_path: Path) -> Iterator[Disk]:
    with disk(tmp_path / "medium", 20) as one:
        yield one


@pytest.fixture
async def filling(medium: Disk) -> Filling:
    return Filling(medium, medium.folder / "data")


@pytest.fixture
async def engine(medium: Disk, filling: Filling) -> AsyncIterator[Engine]:
    one = await small_engine(medium.folder / "data", parser=PlainParser())
    blobs = intercepted("blobs", one.blobs, filling)
    yield replace(
        one,
        blobs=blobs,
        pipeline=replace(one.pipeline, blobs=blobs),
        control=intercepted("control", one.control, filling),
        concurrency=1,
    )
    medium.free()
    await one.aclose()


async def see(engine: Engine) -> Observed:
    """Everything that is visible, by way of questions too."""
    found = await engine.search(Question(text="Who met Anton Berg at the mill?"))
    assert found.context.passages
    assert (await engine.documents()).documents
    return await observed(await engine.workspace())


async def submit(engine: Engine, id: str, source: str) -> None:
    await engine.submit(f"{id} {source}".encode(), document_id=id, source=source)


@pytest.mark.parametrize("call", SUBMITTING)
async def test_while_submitting(engine: Engine, filling: Filling, medium: Disk, call: str) -> None:
    await submit(engine, "a", "old")
    await engine.work()
    before = await see(engine)
    filling.call = call
    with pytest.raises(StoreFull, match=r"medium.*is full.*Free some space"):
        await submit(engine, "a", "new")
    assert await see(engine) == before
    assert not list(medium.folder.rglob(".put-*"))
    with pytest.raises(StoreFull):
        await engine.delete(["a"])
    assert await see(engine) == before
    medium.free()
    assert await engine.work() == 0  # nothing was accepted
    assert await see(engine) == before
    await submit(engine, "a", "new")
    assert await engine.work() == 1
    assert await see(engine) != before


@pytest.mark.parametrize("call", WORKING)
async def test_while_working(
    engine: Engine, filling: Filling, medium: Disk, tmp_path: Path, call: str
) -> None:
    await submit(engine, "a", "old")
    await engine.work()
    before = await see(engine)
    await submit(engine, "a", "new")
    await submit(engine, "b", "new")
    filling.call = call
    with pytest.raises(StoreFull, match=r"medium.*is full.*Free some space"):
        await engine.work()
    assert await see(engine) == before
    with pytest.raises(StoreFull):
        await engine.work()  # it stays full
    assert await see(engine) == before
    medium.free()
    await engine.work()
    versions = await (await engine.workspace()).queue.versions()
    assert {one.document_id: one.status for one in versions} == dict.fromkeys(
        ("a", "b"), VersionStatus.INDEXED
    )
    assert await differing(engine, tmp_path) == []


async def differing(engine: Engine, tmp_path: Path) -> list[str]:
    """Where a store that never was on a full disk, and was given the same, differs."""
    twin = await small_engine(tmp_path / "twin", parser=PlainParser())
    await submit(twin, "a", "old")
    await twin.work()
    await submit(twin, "a", "new")
    await submit(twin, "b", "new")
    await twin.work()
    expected, found = await see(twin), await see(engine)
    await twin.aclose()
    return differences(expected, found, tolerance=1e-6)


async def test_while_the_log_is_written_back(
    engine: Engine, medium: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database cannot grow, the log has room: what is committed is committed."""
    monkeypatch.setattr("rag_engine.adapters.sqlite.connection._LONG_LOG", 1)
    await submit(engine, "a", "old")
    await engine.work()
    await submit(engine, "a", "new")
    await submit(engine, "b", "new")
    medium.fill(leaving=300_000)
    monkeypatch.setattr("rag_engine.adapters.sqlite.connection._SHORTEN_SECONDS", 0.0)
    try:
        await engine.work()
    except StoreFull:
        medium.free()
        await engine.work()
    assert await differing(engine, tmp_path) == []


async def test_edits_and_deletes_say_what_to_do_and_change_nothing(
    engine: Engine, filling: Filling, medium: Disk
) -> None:
    await submit(engine, "a", "old")
    await engine.work()
    before = await see(engine)
    for call, change in (
        ("store.edit", lambda: engine.edit(Alias(source="Clara Weiss", target="Anton Berg"))),
        ("store.delete", lambda: engine.delete(["a"])),
    ):
        filling.call = call
        with pytest.raises(StoreFull, match="Free some space"):
            await change()
        assert await see(engine) == before
        medium.free()
    assert await engine.delete(["a"]) == 1


async def test_until_it_is_full_and_again(engine: Engine, medium: Disk) -> None:
    """Documents until there is no room: each that was accepted is there in the end."""
    await submit(engine, "a", "old")
    await engine.work()
    medium.fill(leaving=1_500_000)
    accepted = ["a"]
    with pytest.raises(StoreFull):
        await take_in(engine, accepted)
    await see(engine)
    medium.free()
    await engine.work()
    versions = await (await engine.workspace()).queue.versions(limit=200)
    assert {one.document_id for one in versions} >= set(accepted)
    assert {one.status for one in versions} == {VersionStatus.INDEXED}
    assert (await engine.stats()).documents == len(versions)


async def take_in(engine: Engine, accepted: list[str]) -> None:
    for number in range(100):
        id = f"more {number}"
        await engine.submit(id.encode() * 5_000, document_id=id, source=id)
        accepted.append(id)
        await engine.work()
