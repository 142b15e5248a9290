"""The worker: leases that outlive a busy event loop, and work that stops when nobody wants it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from engines import small_engine
from rag_engine import Engine, Stage, Version, VersionStatus, Watch
from rag_engine.adapters.sqlite import SqliteControl
from rag_engine.core.models import ParsedDocument
from rag_engine.errors import LeaseLost, StoreUnavailable
from rag_engine.ingest import heartbeat
from rag_engine.ingest.heartbeat import Heart, TaskHeart, ThreadHeart, keep
from rag_engine.ports.queue import Job, JobQueue, Lease

LEASE = 0.6
BLOCKED = 1.5
TEXT = b"# Ada\n\nAda Brand kept bees in Whitby."


class BlockingParser:
    """A parser that brings the event loop to a halt for longer than a lease lasts."""

    fingerprint = "blocking"

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    async def parse(self, path: Path, name: str) -> ParsedDocument:
        self.begun.set()
        await self.go_on.wait()
        # Called by the loop itself: the guard against blocking calls watches what our code calls.
        asyncio.get_running_loop().call_soon(time.sleep, BLOCKED)
        await asyncio.sleep(0.01)
        return ParsedDocument(text=TEXT.decode(), media_type="text/markdown", title=name)


async def steal(queue: JobQueue, over: threading.Event) -> list[Job]:
    """Another worker, which claims what it can until it is over."""
    taken = []
    while not over.is_set():
        if job := await queue.claim("thief", 60):
            taken.append(job)
        await asyncio.sleep(0.05)
    return taken


async def blocked(folder: Path, heart: Heart) -> tuple[Version, list[Job]]:
    """Work with an event loop that is blocked, while somebody in another thread claims."""
    parser = BlockingParser()
    engine = replace(await small_engine(folder, parser=parser), heart=heart)
    try:
        await engine.submit(TEXT, document_id="ada", source="ada.md")
        workspace, over = await engine.workspace(), threading.Event()
        worker = replace(engine.worker, lease_seconds=LEASE)
        working = asyncio.create_task(worker.attempt(workspace))
        await parser.begun.wait()
        stealing = asyncio.create_task(
            asyncio.to_thread(lambda: asyncio.run(steal(workspace.queue, over)))
        )
        parser.go_on.set()
        await working
        version = await workspace.queue.version("ada")
        over.set()
        assert version is not None
        return version, await stealing
    finally:
        await engine.aclose()


async def test_a_blocked_event_loop_loses_no_lease(tmp_path: Path) -> None:
    version, taken = await blocked(tmp_path, ThreadHeart())
    assert taken == []
    assert (version.status, version.attempt) == (VersionStatus.INDEXED, 1)


async def test_on_the_same_event_loop_it_would_be_lost(tmp_path: Path) -> None:
    """What the heartbeat thread is for; were this to pass without one, the test above says nothing."""
    version, taken = await blocked(tmp_path, TaskHeart())
    assert [job.version.attempt for job in taken] == [2]
    assert version.status is VersionStatus.RUNNING


class Steps:
    """Parser, extractor and embedder in one, each of which can be made to wait for ever."""

    def __init__(self, engine: Engine, stuck: str) -> None:
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self._stuck = stuck
        self._real = engine.pipeline

    @property
    def pipeline(self):  # type: ignore[no-untyped-def]
        real = self._real
        return replace(
            real,
            parser=_Slow(real.parser, "parse", self),
            extractor=_Slow(real.extractor, "extract", self),
            embedder=_Slow(real.embedder, "embed", self),
        )

    async def step(self, name: str, work: Callable[[], Awaitable[object]]) -> object:
        if name != self._stuck:
            return await work()
        self.begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            self.ended.set()
        return None


class _Slow:
    def __init__(self, real: object, method: str, steps: Steps) -> None:
        self._real = real
        self._method = method
        self._steps = steps

    def __getattr__(self, name: str) -> object:
        found = getattr(self._real, name)
        if name != self._method:
            return found

        async def call(*given: object, **more: object) -> object:
            return await self._steps.step(name, partial(found, *given, **more))

        return call


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = await small_engine(tmp_path)
    yield engine
    await engine.aclose()


async def cancel(engine: Engine) -> None:
    await (await engine.workspace()).queue.cancel("ada")


async def replace_it(engine: Engine) -> None:
    await engine.submit(b"Another text.", document_id="ada", source="ada.md")


async def delete(engine: Engine) -> None:
    await engine.delete(["ada"])


@pytest.mark.parametrize("stuck", ["parse", "extract", "embed"])
@pytest.mark.parametrize(
    ("give_up", "heard"),
    [(cancel, ["cancelled"]), (replace_it, ["superseded"]), (delete, [])],
    ids=["cancel", "replace", "delete"],
)
async def test_what_nobody_wants_any_more_is_stopped_within_seconds(
    engine: Engine,
    stuck: str,
    give_up: Callable[[Engine], Awaitable[None]],
    heard: list[str],
) -> None:
    steps = Steps(engine, stuck)
    await engine.submit(TEXT, document_id="ada", source="ada.md")
    worker = replace(engine.worker, pipeline=steps.pipeline)
    ends: list[str] = []
    watch = Watch(ended=lambda version: ends.append(version.status))
    working = asyncio.create_task(worker.attempt(await engine.workspace(), watch))
    await steps.begun.wait()
    await give_up(engine)
    async with asyncio.timeout(2.5):
        assert await working
    assert steps.ended.is_set()
    assert ends == heard


@pytest.mark.parametrize("stage", list(Stage))
async def test_a_cancel_at_any_stage_leaves_the_old_version_answering(
    engine: Engine, stage: Stage
) -> None:
    await engine.submit(TEXT, document_id="ada", source="ada.md")
    await engine.work()
    await engine.submit(b"Ada moved to Leeds.", document_id="ada", source="ada.md")
    queue = (await engine.workspace()).queue
    cancelling: list[asyncio.Task[Version | None]] = []

    def cancel_then(version: Version, begun: Stage) -> None:
        if begun is stage:
            cancelling.append(asyncio.create_task(queue.cancel(version.document_id)))

    assert await engine.work(watch=Watch(progress=cancel_then)) == 1
    [done] = await asyncio.gather(*cancelling)
    newest = await queue.version("ada")
    assert newest is not None
    if done is None:  # the write was quicker
        assert (stage, newest.status) == (Stage.WRITE, VersionStatus.INDEXED)
    else:
        assert newest.status is VersionStatus.CANCELLED
        assert (await engine.document("ada")).version == 1
        assert await queue.version("ada", 1) is not None


class RecordingQueue:
    """The two methods of a queue that a heart calls, and what it called."""

    def __init__(self, *, away: int = 0) -> None:
        self.calls: list[str] = []
        self._away = away

    async def heartbeat(self, lease: Lease, seconds: float) -> None:
        self.calls.append("beat")
        if self._away:
            self._away -= 1
            raise StoreUnavailable("The store is away. Wait.")
        if self.calls.count("beat") > 3:
            raise LeaseLost("gone")

    async def version(self, document_id: str, number: int | None = None) -> None:
        self.calls.append("look")


async def test_an_outage_does_not_stop_the_beats(caplog: pytest.LogCaptureFixture) -> None:
    queue = RecordingQueue(away=2)
    async with asyncio.timeout(5):
        await keep(queue, Lease(document_id="a", version=1, epoch=1), 0.03)  # type: ignore[arg-type]
    assert queue.calls.count("beat") == 4
    assert caplog.text.count("The store is away") == 2


async def test_a_look_that_waits_makes_no_beat_late(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads may have to wait for other readers of the process, longer than a lease lasts."""
    monkeypatch.setattr(heartbeat, "LOOK_SECONDS", LEASE / 10)
    await engine.submit(TEXT, document_id="ada", source="ada.md")
    queue = (await engine.workspace()).queue
    job = await queue.claim("busy", LEASE)
    assert job is not None
    assert isinstance(engine.control, SqliteControl)
    readers = engine.control._executor
    free = threading.Event()
    heart = ThreadHeart()
    try:
        async with heart.beating(queue, job.lease, LEASE) as lost:
            busy = [readers.submit(free.wait) for _ in range(readers._max_workers)]
            await asyncio.sleep(2.5 * LEASE)
            assert not lost.done()
            assert await queue.claim("thief", LEASE) is None
            free.set()
            assert all(one.result() for one in busy)
    finally:
        free.set()
        await heart.aclose()


async def test_a_defect_of_the_heart_is_seen(engine: Engine) -> None:
    class Broken(RecordingQueue):
        async def heartbeat(self, lease: Lease, seconds: float) -> None:
            raise ValueError("broken")

    for heart in (ThreadHeart(), TaskHeart()):
        async with heart.beating(
            Broken(), Lease(document_id="a", version=1, epoch=1), 0.03  # type: ignore[arg-type]
        ) as lost:
            with pytest.raises(ValueError, match="broken"):
                await asyncio.wait_for(lost, 5)
        await heart.aclose()


async def test_a_heart_can_be_closed_at_any_time() -> None:
    heart = ThreadHeart()
    await heart.aclose()
    queue = RecordingQueue()
    async with heart.beating(queue, Lease(document_id="a", version=1, epoch=1), 60):  # type: ignore[arg-type]
        pass
    await heart.aclose()
    await heart.aclose()
