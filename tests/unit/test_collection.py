"""Unused blobs go after a day, and a blob that somebody is about to name never does."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from engines import put, small_engine
from rag_engine import Engine
from rag_engine.adapters.blobs import FolderBlobs
from rag_engine.archive import export_workspace, import_workspace
from rag_engine.core.edits import Fact
from rag_engine.errors import BlobMissing, StoreCorrupt

DAY = 24 * 3600
TEXT = "# The lighthouse\n\nThe lighthouse of Farne was built by Ada Brand in 1843."


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = await small_engine(tmp_path)
    yield engine
    await engine.aclose()


def age(folder: Path, seconds: float = DAY + 1) -> None:
    """Let every blob look as if it had been stored so long ago."""
    then = time.time() - seconds
    for path in (folder / "blobs").glob("*/*"):
        os.utime(path, (then, then))


async def test_what_no_version_names_goes_after_a_day(engine: Engine, tmp_path: Path) -> None:
    await put(engine, "farne", TEXT)
    await put(engine, "bees", "# Bees\n\nAda Brand kept bees in Whitby.", workspace="other")
    everything = await engine.blobs.hashes()
    await engine.delete(["farne"])
    assert await engine.collect() == 0
    age(tmp_path)
    assert await engine.collect() == 2  # the original and its text
    kept = await engine.blobs.hashes()
    assert len(kept) == len(everything) - 2
    [bees] = (await engine.documents("other")).documents
    assert sorted([bees.content_hash, bees.parsed_hash]) == kept
    assert await engine.collect() == 0


async def test_a_version_that_waits_keeps_its_original(engine: Engine, tmp_path: Path) -> None:
    version = await engine.submit(TEXT.encode(), document_id="farne", source="farne.md")
    age(tmp_path)
    assert await engine.collect() == 0
    await engine.work()
    assert (await engine.outcome(version)).error is None


async def test_what_a_dead_process_left_half_stored_goes_too(
    engine: Engine, tmp_path: Path
) -> None:
    await put(engine, "farne", TEXT)
    left, fresh = tmp_path / "blobs" / ".put-left", tmp_path / "blobs" / ".put-fresh"
    for path in (left, fresh):
        path.write_bytes(b"half")
    os.utime(left, (time.time() - DAY - 1,) * 2)
    await engine.collect()
    assert (left.exists(), fresh.exists()) == (False, True)


async def test_work_collects_once_an_hour(engine: Engine, tmp_path: Path) -> None:
    await put(engine, "farne", TEXT)
    await engine.delete(["farne"])
    age(tmp_path)
    await engine.work()
    assert len(await engine.blobs.hashes()) == 2
    fresh = await small_engine(tmp_path)
    fresh.control._clock = lambda: time.time() + 3601  # type: ignore[attr-defined]
    await fresh.work()
    await fresh.aclose()
    assert await engine.blobs.hashes() == []


class Interrupted:
    """Blobs or a control that does something once, right after a method was called."""

    def __init__(self, inner: object, method: str, then: Callable[[], object]) -> None:
        self._inner, self._method, self._then = inner, method, then

    def __getattr__(self, name: str) -> object:
        method = getattr(self._inner, name)
        if name != self._method:
            return method

        async def call(*args: object, **kwargs: object) -> object:
            result = await method(*args, **kwargs)
            await self._then()  # type: ignore[misc]
            return result

        return call


@pytest.mark.parametrize("moment", ["hashes", "referenced"])
@pytest.mark.parametrize("named", [True, False])
async def test_storing_it_again_while_the_collector_looks_saves_it(
    engine: Engine, tmp_path: Path, moment: str, named: bool
) -> None:
    """Put, the collector looks, the row: in every order the submitted bytes stay."""
    await put(engine, "farne", TEXT)
    await engine.delete(["farne"])
    age(tmp_path)

    async def submit() -> None:
        if named:
            await engine.submit(TEXT.encode(), document_id="again", source="again.md")
        else:  # the row comes when the collector is done
            await engine.blobs.put(TEXT.encode())

    part = "blobs" if moment == "hashes" else "control"
    wrapped = Interrupted(getattr(engine, part), moment, submit)
    collecting = replace(engine, **{part: wrapped})  # type: ignore[arg-type]
    assert await collecting.collect() == 1  # the text: only the original was stored again
    version = await engine.submit(TEXT.encode(), document_id="again", source="again.md")
    await engine.work()
    assert (await engine.outcome(version)).error is None


@pytest.mark.parametrize("submitted", ["a document", "a fact"])
async def test_a_day_between_the_bytes_and_the_row_that_names_them_costs_nothing(
    engine: Engine, tmp_path: Path, submitted: str
) -> None:
    """A laptop sleeps, and the first thing another process does in the morning is to collect."""
    await put(engine, "bees", "# Bees\n\nAda Brand kept bees in Whitby.")

    async def sleep_and_collect() -> None:
        await asyncio.to_thread(age, tmp_path)
        await engine.collect()

    storing = replace(engine, blobs=Interrupted(engine.blobs, "put", sleep_and_collect))
    if submitted == "a document":
        version = await storing.submit(TEXT.encode(), document_id="farne", source="farne.md")
    else:
        version = await storing.add_fact(Fact(name="Ada Brand", description="Keeps bees."))
    await engine.work()
    assert (await engine.outcome(version)).error is None


async def test_a_day_between_the_text_and_the_checkpoint_that_names_it_costs_nothing(
    engine: Engine, tmp_path: Path
) -> None:
    async def sleep_and_collect() -> None:
        await asyncio.to_thread(age, tmp_path)
        await engine.collect()

    await engine.submit(TEXT.encode(), document_id="farne", source="farne.md")
    blobs = Interrupted(engine.blobs, "put", sleep_and_collect)
    await replace(engine, pipeline=replace(engine.pipeline, blobs=blobs)).work()
    assert (await engine.parsed(await engine.document("farne"))).text == TEXT


async def test_storing_it_again_between_the_last_look_and_the_deletion_waits(
    tmp_path: Path,
) -> None:
    storing: list[threading.Thread] = []

    class Slow(FolderBlobs):
        def _is_old(self, path: Path, seconds: float) -> bool:
            old = super()._is_old(path, seconds)
            thread = threading.Thread(target=asyncio.run, args=(stored(),))
            thread.start()
            storing.append(thread)
            time.sleep(0.3)
            return old

    async def stored() -> None:
        await FolderBlobs(tmp_path).put(b"bytes")

    hash, _ = await FolderBlobs(tmp_path).put(b"bytes")
    assert await Slow(tmp_path, lambda: time.time() + DAY).delete([hash], older_than=DAY) == 1
    await asyncio.to_thread(storing[0].join)
    assert await FolderBlobs(tmp_path).read(hash) == b"bytes"


async def test_a_collector_that_never_rests_loses_nothing_that_was_just_stored(
    tmp_path: Path,
) -> None:
    content = b"the same bytes, again and again"
    hash, _ = await FolderBlobs(tmp_path).put(content)
    path = tmp_path / hash[:2] / hash
    done = asyncio.Event()

    async def store() -> None:
        blobs = FolderBlobs(tmp_path)
        for _ in range(100):
            with suppress(FileNotFoundError):
                await asyncio.to_thread(os.utime, path, (0, 0))
            await blobs.put(content)
            assert await blobs.read(hash) == content
        done.set()

    async def collect() -> None:
        blobs = FolderBlobs(tmp_path)
        while not done.is_set():
            await blobs.delete([hash], older_than=DAY)

    await asyncio.gather(store(), collect(), collect())


async def test_an_export_keeps_what_it_has_yet_to_write(engine: Engine, tmp_path: Path) -> None:
    for number in range(3):
        await put(engine, f"d{number}", f"{TEXT} It has {number} lamps.")
    age(tmp_path)
    collected = []

    class Reading:
        def __getattr__(self, name: str) -> object:
            return getattr(engine.blobs, name)

        @asynccontextmanager
        async def local(self, hash: str) -> AsyncIterator[Path]:
            if not collected:
                await engine.delete(["d1", "d2"])
                collected.append(await engine.collect())
            async with engine.blobs.local(hash) as path:
                yield path

        def keeping(self) -> AbstractAsyncContextManager[None]:
            return engine.blobs.keeping()

    exporting = replace(engine, blobs=Reading())  # type: ignore[arg-type]
    done = await export_workspace(exporting, "default", tmp_path / "out.zip", _silent)
    assert done.documents == 3
    assert collected == [0]
    assert await engine.collect() == 4


async def test_an_import_keeps_what_it_has_yet_to_name(engine: Engine, tmp_path: Path) -> None:
    await put(engine, "farne", TEXT)
    await export_workspace(engine, "default", tmp_path / "out.zip", _silent)
    await engine.delete(["farne"])
    age(tmp_path)
    assert await engine.collect() == 2
    collected = []

    class Storing:
        def __getattr__(self, name: str) -> object:
            return getattr(engine.blobs, name)

        async def put(self, content: Path) -> tuple[str, int]:
            stored = await engine.blobs.put(content)
            await asyncio.to_thread(age, tmp_path)
            collected.append(await engine.collect())
            return stored

    importing = replace(engine, blobs=Storing())  # type: ignore[arg-type]
    done = await import_workspace(importing, "default", tmp_path / "out.zip", _silent)
    assert (done.written, collected) == (1, [0, 0])
    assert await engine.original(await engine.document("farne")) == TEXT.encode()


def _silent(doing: str, done: int, total: int) -> None:
    assert done <= total, doing


@pytest.mark.parametrize("how", ["missing", "empty", "garbage", "unlisted", "lost"])
async def test_nothing_is_collected_while_nobody_can_tell_what_is_named(
    tmp_path: Path, how: str
) -> None:
    engine = await small_engine(tmp_path)
    await put(engine, "farne", TEXT, workspace="mine")
    await put(engine, "bees", "# Bees\n\nAda Brand kept bees.", workspace="other")
    await engine.aclose()
    age(tmp_path)
    path = tmp_path / "workspaces" / "0001.sqlite"
    match how:
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "garbage":
            path.write_bytes(b"no database" * 1000)
        case "unlisted":
            with closing(sqlite3.connect(tmp_path / "control.sqlite")) as listing, listing:
                listing.execute("DELETE FROM workspace WHERE number = 1")
        case "lost":
            (tmp_path / "control.sqlite").unlink()
    engine = await small_engine(tmp_path)
    if how == "unlisted":
        assert await engine.collect() == 0
    else:
        with pytest.raises(StoreCorrupt, match=r"control\.sqlite|0001\.sqlite"):
            await engine.collect()
    assert len(await engine.blobs.hashes()) == 4
    await engine.aclose()


async def test_the_original_comes_back_byte_for_byte(engine: Engine) -> None:
    content = TEXT.encode() + b"\r\n\xef\xbb\xbf tail \n\n"
    version = await engine.submit(content, document_id="farne", source="farne.md")
    await engine.work()
    assert (await engine.outcome(version)).error is None
    document = await engine.document("farne")
    assert await engine.original(document) == content
    await engine.blobs.delete([document.content_hash])
    with pytest.raises(BlobMissing, match=document.content_hash):
        await engine.original(document)
