"""The worker: claims versions, keeps their leases alive, and sees each to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from rag_engine.core.jobs import MAX_ATTEMPTS, decide
from rag_engine.core.models import UNFINISHED, Version
from rag_engine.errors import (
    DocumentUnreadable,
    LeaseLost,
    RagEngineError,
    StoreCorrupt,
    StoreFull,
    WorldError,
)
from rag_engine.ingest.heartbeat import Heart
from rag_engine.ingest.pipeline import Pipeline
from rag_engine.ingest.stopwatch import Progress
from rag_engine.ports.queue import Job
from rag_engine.ports.storage import Workspace
from rag_engine.telemetry import events, metrics

logger = logging.getLogger(__name__)

LEASE_SECONDS: Final = 60.0
"""Longer than a heartbeat may wait while another process writes (30 s on SQLite): whoever is alive
keeps its leases. A killed worker's need not run out, they are given back as soon as it is missed."""

_POLL_SECONDS: Final = 1.0

Ended = Callable[[Version], None]
"""Told of each version that came to its end while it was worked on here: indexed, failed, put off,
cancelled, superseded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Who wants to hear what a worker does, and for how long it is to go on.

    Attributes:
        progress: A stage of a version begins.
        ended: A version came to its end, or is put off.
        enough: Asked before each claim of `Worker.drain`: whether nothing more is wanted.
    """

    progress: Progress = field(default=lambda version, stage: None)
    ended: Ended = field(default=lambda version: None)
    enough: Callable[[], bool] = field(default=lambda: False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Works on one workspace's queue, on several versions at a time.

    Attributes:
        name: Who holds the leases.
        heart: Keeps them alive.
        concurrency: Versions at a time; parsing one overlaps with embedding another.
    """

    pipeline: Pipeline
    name: str
    heart: Heart
    concurrency: int = 4
    lease_seconds: float = LEASE_SECONDS

    async def drain(self, workspace: Workspace, watch: Watch | None = None) -> int:
        """Work until nothing is pending or wanted, waiting for versions that are put off.

        When it is cancelled, the versions it holds go back to the queue at once.

        Returns:
            How many attempts were made.
        """
        lanes = [
            asyncio.create_task(self._lane(workspace, lane, watch or Watch()))
            for lane in range(self.concurrency)
        ]
        try:
            return sum(await asyncio.gather(*lanes))
        finally:
            # `gather` ends with the first lane that fails or is cancelled; the others still hold
            # versions, and the store must not be closed before they have put them back.
            for lane in lanes:
                if not lane.cancelling():  # once more would end the putting back
                    lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)

    async def attempt(
        self, workspace: Workspace, watch: Watch | None = None, *, lane: int = 0
    ) -> bool:
        """Claim a version and see the attempt to its end; false when there was none to claim.

        When it is cancelled, the version goes back to the queue at once.

        Args:
            workspace: Whose queue.
            watch: Who wants to hear of it.
            lane: Tells apart what one worker does at the same time.
        """
        job = await self._claim(workspace, lane)
        if job is None and await workspace.queue.release_stalled():
            job = await self._claim(workspace, lane)
        if job is None:
            return False
        await self._attend(workspace, job, watch or Watch())
        return True

    async def _lane(self, workspace: Workspace, lane: int, watch: Watch) -> int:
        attempts = 0
        while not watch.enough():
            if await self.attempt(workspace, watch, lane=lane):
                attempts += 1
                continue
            pause = await workspace.queue.seconds_to_next()
            if pause is None:
                return attempts
            await asyncio.sleep(min(max(pause, 0.01), _POLL_SECONDS))
        return attempts

    async def _claim(self, workspace: Workspace, lane: int) -> Job | None:
        claiming = asyncio.ensure_future(
            workspace.queue.claim(f"{self.name}/{lane}", self.lease_seconds)
        )
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            # The claim may be committed by now: what nobody works on must not wait for its lease.
            if job := await claiming:
                await self._put_back(workspace, job)
            raise

    async def _attend(self, workspace: Workspace, job: Job, watch: Watch) -> None:
        """One attempt at one version, from claim to outcome."""
        try:
            version = await self._work(workspace, job, watch)
        except asyncio.CancelledError:
            await asyncio.shield(self._put_back(workspace, job))
            raise
        except (StoreFull, StoreCorrupt):
            # Not the document's fault, and the next one would meet the same: stop, lose nothing.
            with suppress(WorldError):
                await self._put_back(workspace, job)
            raise
        except LeaseLost as error:
            logger.info(str(error), extra=events.version(events.LEASE_LOST, job.version))
            await self._tell(workspace, job, watch)
        except RagEngineError as error:
            _ended(watch, await self._settle(workspace, job, error))
        except Exception as error:
            # A defect in a parser or in here must not end the worker: the version fails, and says so.
            logger.exception("internal error", extra=events.version(events.FAILED, job.version))
            _ended(watch, await self._settle(workspace, job, error))
        else:
            logger.info("indexed", extra=events.version(events.INDEXED, version))
            _ended(watch, version)

    async def _work(self, workspace: Workspace, job: Job, watch: Watch) -> Version:
        """Take a version through the pipeline, for as long as the lease is held."""
        if job.version.attempt > MAX_ATTEMPTS:
            raise DocumentUnreadable(
                f"{job.version.submission.source!r} was begun {MAX_ATTEMPTS} times and never came "
                "to an end: it may bring the process down. Look into the log, then add it again."
            )
        async with self.heart.beating(workspace.queue, job.lease, self.lease_seconds) as lost:
            return await _while_held(lost, self.pipeline.run(workspace, job, watch.progress))

    async def _tell(self, workspace: Workspace, job: Job, watch: Watch) -> None:
        """Say what became of a version whose lease was lost, unless another worker goes on with it.

        It may even be indexed: the lease ends with that, and a heartbeat may be the first to see.
        """
        now = await workspace.queue.version(job.lease.document_id, job.lease.version)
        if now is not None and now.status not in UNFINISHED:
            _ended(watch, now)

    async def _settle(self, workspace: Workspace, job: Job, error: Exception) -> Version:
        """Record a failed attempt: put off, or given up."""
        source, attempt = job.version.submission.source, job.version.attempt
        decision = decide(error, source=source, attempt=attempt)
        logger.warning(decision.reason, extra=events.version(events.FAILED, job.version))
        try:
            return await workspace.queue.fail(job.lease, decision)
        except LeaseLost:
            newest = await workspace.queue.version(job.version.document_id, job.version.number)
            return newest or job.version

    async def _put_back(self, workspace: Workspace, job: Job) -> None:
        with suppress(LeaseLost):
            await workspace.queue.release(job.lease)


def _ended(watch: Watch, version: Version) -> None:
    metrics.ATTEMPTS.labels(version.status).inc()
    watch.ended(version)


async def _while_held(lost: asyncio.Future[None], work: Coroutine[Any, Any, Version]) -> Version:
    """Do some work, and stop it at once when the lease is lost.

    Raises:
        LeaseLost: It was lost before the work was done.
    """
    working = asyncio.create_task(work)
    both: set[asyncio.Future[Any]] = {working, lost}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        lost.result()
        raise LeaseLost("Nobody wants this version now, or another worker has it. It is let go of.")
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
