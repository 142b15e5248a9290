"""Surroundings that change under a running process: folders, handles, clocks, names, permissions."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import shutil
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engines import put, small_engine
from rag_engine import Question, VersionStatus
from rag_engine.adapters.sqlite import SqliteControl
from rag_engine.archive import export_workspace, import_workspace
from rag_engine.core.models import ParsedDocument
from rag_engine.errors import StoreUnavailable
from rag_engine.testing.interception import intercepted
from rag_engine.testing.observation import differences, observed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from rag_engine.engine import Engine

TEXT = "Clara Weiss met Anton Berg at the mill on the Elder Brook."
OTHER = "Ada Holm bought the mill of Anton Berg at the station."
HOURS = 5 * 3600.0
QUESTION = Question(text="Who met Anton Berg?")


class PlainParser:
    """Every document is text; parsing is not what is tested here."""

    fingerprint = "plain"

    async def parse(self, path: Path, name: str) -> ParsedDocument:
        """See `Parser`."""
        text = await asyncio.to_thread(path.read_text, "utf-8")
        return ParsedDocument(text=text, media_type="text/plain")


async def opened(folder: Path) -> Engine:
    return await small_engine(folder, parser=PlainParser())


async def test_a_folder_that_vanishes(tmp_path: Path) -> None:
    data, away = tmp_path / "data", tmp_path / "away"
    engine = await opened(data)
    await put(engine, "a", TEXT)
    data.rename(away)
    for what in (
        engine.submit(b"new", document_id="b", source="b.txt"),
        engine.delete(["a"]),
        engine.search(QUESTION),
        engine.documents(),
    ):
        with pytest.raises(StoreUnavailable, match=r"data.*was moved or deleted.*Put it back"):
            await what
    shutil.rmtree(data, ignore_errors=True)
    away.rename(data)
    assert (await engine.search(QUESTION)).context.passages
    await put(engine, "b", OTHER)
    await engine.aclose()
    again = await opened(data)
    assert (await again.stats()).documents == 2
    await again.aclose()


async def test_a_folder_that_is_replaced_by_another(tmp_path: Path) -> None:
    """As when a backup is restored under a running process: nothing of the two is mixed."""
    data, backup = tmp_path / "data", tmp_path / "backup"
    for folder, text in ((data, TEXT), (backup, OTHER)):
        engine = await opened(folder)
        await put(engine, "a", text)
        await engine.aclose()
    engine = await opened(data)
    assert (await engine.search(QUESTION)).context.passages[0].text == TEXT
    shutil.rmtree(data)
    backup.rename(data)
    for work in (engine.search(QUESTION), engine.delete(["a"]), engine.stats(), engine.work()):
        with pytest.raises(StoreUnavailable, match=r"was replaced.*start the process again"):
            await work
    await engine.aclose()
    engine = await opened(data)
    assert (await engine.search(QUESTION)).context.passages[0].text == OTHER
    await engine.aclose()


@contextmanager
def handles(free: int) -> Iterator[None]:
    """Only so many more files can be opened, however many are open with whatever numbers."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = [os.open(os.devnull, os.O_RDONLY) for _ in range(free + 1)]
    for one in lowest:
        os.close(one)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest[-1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_too_many_open_files(tmp_path: Path) -> None:
    engine = await opened(tmp_path / "data")
    await put(engine, "a", TEXT)
    await engine.search(QUESTION)  # what numpy imports when first used
    accepted, refused = [], []
    for free in range(12):
        id = f"b{free}"
        with handles(free):
            try:
                await engine.submit(OTHER.encode(), document_id=id, source=f"{id}.txt")
                accepted.append(id)
                await (await opened(tmp_path / "data")).stats()
            except StoreUnavailable as error:
                refused.append(str(error))
            assert (await engine.search(QUESTION)).context.passages  # it has what it needs
    assert all(re.search("Too many open files.*ulimit -n", one) for one in refused), refused
    assert 0 < len(accepted) < 12
    await engine.work()
    for id in accepted:
        version = await (await engine.workspace()).queue.version(id)
        assert version
        assert version.status is VersionStatus.INDEXED
    await put(engine, "c", OTHER)
    await engine.aclose()


class Jumping:
    """A clock that jumps before a call, and the interceptor that lets it."""

    def __init__(self, call: str, seconds: float) -> None:
        self._call: str | None = call
        self._seconds = seconds
        self._now = 1_000_000.0
        self.jumped = asyncio.Event()

    def time(self) -> float:
        self._now += 0.001
        return self._now

    @asynccontextmanager
    async def around(self, call: str) -> AsyncIterator[None]:
        """See `Interceptor`."""
        if call == self._call:
            self._call = None
            self._now += self._seconds
            self.jumped.set()
            await asyncio.sleep(0.3)  # for the other worker to see it
        yield

    @contextmanager
    def around_blocking(self, call: str) -> Iterator[None]:
        """See `Interceptor`."""
        yield


@pytest.mark.parametrize("seconds", [HOURS, -HOURS])
@pytest.mark.parametrize("call", ["queue.claim", "queue.checkpoint", "store.stage", "store.finish"])
async def test_a_clock_that_jumps(tmp_path: Path, call: str, seconds: float) -> None:
    """A worker may lose what it holds to another one; nothing is lost, and nothing counts twice."""
    clock = Jumping(call, seconds)
    engines = [await jumping(tmp_path / "data", clock) for _ in range(2)]
    for number in range(3):
        text = f"{TEXT} {number}".encode()
        await engines[0].submit(text, document_id=f"{number}", source=f"{number}.txt")

    async def work_beside() -> None:
        await clock.jumped.wait()
        await engines[1].work()

    async with asyncio.timeout(20):
        await asyncio.gather(engines[0].work(), work_beside())
        for number in range(3):
            version = await (await engines[0].workspace()).queue.version(f"{number}")
            assert version
            ended = await engines[0].outcome(version)
            assert (ended.status, ended.error) == (VersionStatus.INDEXED, None)
    twin = await opened(tmp_path / "twin")
    for number in range(3):
        text = f"{TEXT} {number}".encode()
        await twin.submit(text, document_id=f"{number}", source=f"{number}.txt")
    await twin.work()
    expected = await observed(await twin.workspace())
    for engine in (*engines, twin):
        found = await observed(await engine.workspace())
        assert differences(expected, found, tolerance=1e-6) == []
        await engine.aclose()


async def jumping(folder: Path, clock: Jumping) -> Engine:
    engine = await opened(folder)
    embedder = engine.pipeline.embedder
    control = SqliteControl(
        folder, model=embedder.name, dimensions=embedder.dimensions, clock=clock.time
    )
    return replace(engine, control=intercepted("control", control, clock), concurrency=1)


async def test_a_clock_that_is_set_back_puts_nothing_off(tmp_path: Path) -> None:
    clock = Jumping("queue.seconds_to_next", -HOURS)
    engine = await jumping(tmp_path / "data", clock)
    for id in ("a", "b"):
        await engine.submit(TEXT.encode(), document_id=id, source=f"{id}.txt")
    queue = (await engine.workspace()).queue
    job = await queue.claim("worker", 60.0)
    assert job
    await queue.release(job.lease)
    await queue.seconds_to_next()  # before this the clock jumps
    assert clock.jumped.is_set()
    async with asyncio.timeout(5):
        assert await engine.work() == 2
    await engine.aclose()


@pytest.mark.parametrize(
    "name", ["with spaces and %20", "Büro für Öl & Mühle", "мельница", "水車小屋", "what? #1; ok"]
)
async def test_names_of_folders(tmp_path: Path, name: str) -> None:
    engine = await opened(tmp_path / name / "data")
    await put(engine, "a", TEXT)
    archive = tmp_path / name / f"{name}.zip"
    await export_workspace(engine, "default", archive, lambda *_: None)
    await import_workspace(engine, "copy", archive, lambda *_: None)
    assert (await engine.search(replace(QUESTION, workspace="copy"))).context.passages
    await engine.aclose()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    again = await opened(tmp_path / name / "data")
    assert (await again.search(QUESTION)).context.passages
    await again.aclose()


@pytest.mark.parametrize("mask", [0o077, 0o027, 0o022])
async def test_the_umask_says_who_may_read(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        engine = await opened(tmp_path / "data")
        await put(engine, "a", TEXT)
        version = await engine.submit(OTHER.encode(), document_id="b", source="b.txt")
        assert version
        paths = list((tmp_path / "data").rglob("*"))
        await engine.aclose()
    finally:
        os.umask(before)
    modes = {
        path.relative_to(tmp_path): path.stat().st_mode & 0o777
        for path in (tmp_path / "data", *paths)
        if path.exists() and path.parent.name != "workers"  # locks, of this user alone
    }
    assert {path.suffix for path in modes} >= {".sqlite", ""}
    for path, mode in modes.items():
        widest = 0o777 if (tmp_path / path).is_dir() else 0o666
        # SQLite makes its files for the owner and whoever else may read, never for writing.
        wanted = widest & ~mask
        assert mode & ~wanted == 0, (path, oct(mode))
        assert mode & 0o444 == wanted & 0o444, (path, oct(mode))
