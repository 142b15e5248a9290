"""The worker: claims versions, keeps their leases alive, and sees each to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from rag_engine.core.jobs import MAX_ATTEMPTS, Decision, decide
from rag_engine.core.models import Version
from rag_engine.errors import (
    DocumentUnreadable,
    LeaseLost,
    ModelOverloaded,
    RagEngineError,
    StoreCorrupt,
    StoreFull,
    WorldError,
)
from rag_engine.ingest.pipeline import Pipeline, Progress
from rag_engine.ports.storage import Job, Workspace
from rag_engine.telemetry import events

logger = logging.getLogger(__name__)

LEASE_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 1.0

Ended = Callable[[Version], None]
"""Told of each version that came to its end here: indexed, failed, or put off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Who wants to hear what a worker does."""

    progress: Progress = field(default=lambda version, stage: None)
    ended: Ended = field(default=lambda version: None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Works on one workspace's queue, on several versions at a time.

    Attributes:
        name: Who holds the leases.
        concurrency: Versions at a time; parsing one overlaps with embedding another.
    """

    pipeline: Pipeline
    name: str
    concurrency: int = 4
    lease_seconds: float = LEASE_SECONDS

    async def drain(self, workspace: Workspace, watch: Watch | None = None) -> int:
        """Work until nothing is pending, waiting for versions that are put off.

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

    async def _lane(self, workspace: Workspace, lane: int, watch: Watch) -> int:
        attempts = 0
        while True:
            job = await self._claim(workspace, lane)
            if job is None:
                pause = await workspace.queue.seconds_to_next()
                if pause is None:
                    return attempts
                await asyncio.sleep(min(max(pause, 0.01), _POLL_SECONDS))
                continue
            attempts += 1
            await self._attend(workspace, job, watch)

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
        heart = asyncio.create_task(self._beat(workspace, job))
        try:
            if job.version.attempt > MAX_ATTEMPTS:
                raise DocumentUnreadable(
                    f"{job.version.submission.source!r} was begun {MAX_ATTEMPTS} times and never came "
                    "to an end: it may bring the process down. Look into the log, then add it again."
                )
            version = await self.pipeline.run(workspace, job, watch.progress)
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
        except RagEngineError as error:
            watch.ended(await self._settle(workspace, job, error))
        except Exception as error:
            # A defect in a parser or in here must not end the worker: the version fails, and says so.
            logger.exception("internal error", extra=events.version(events.FAILED, job.version))
            watch.ended(await self._settle(workspace, job, error))
        else:
            logger.info("indexed", extra=events.version(events.INDEXED, version))
            watch.ended(version)
        finally:
            heart.cancel()

    async def _settle(self, workspace: Workspace, job: Job, error: Exception) -> Version:
        """Record a failed attempt: put off, or given up."""
        decision = _decision(job.version, error)
        logger.warning(decision.reason, extra=events.version(events.FAILED, job.version))
        try:
            return await workspace.queue.fail(
                job.lease, decision.reason, retry_in=decision.retry_in
            )
        except LeaseLost:
            newest = await workspace.queue.version(job.version.document_id, job.version.number)
            return newest or job.version

    async def _put_back(self, workspace: Workspace, job: Job) -> None:
        with suppress(LeaseLost):
            await workspace.queue.release(job.lease)

    async def _beat(self, workspace: Workspace, job: Job) -> None:
        while True:
            await asyncio.sleep(self.lease_seconds / 3)
            try:
                await workspace.queue.heartbeat(job.lease, self.lease_seconds)
            except LeaseLost:
                return
            except RagEngineError as error:
                # The lease may outlive a short outage; the next write tells.
                logger.warning(str(error), extra=events.version(events.HEARTBEAT, job.version))


def _decision(version: Version, error: Exception) -> Decision:
    if isinstance(error, RagEngineError):
        retry_after = error.retry_after if isinstance(error, ModelOverloaded) else None
        return decide(
            str(error),
            attempt=version.attempt,
            retryable=error.retryable,
            retry_after=retry_after,
        )
    reason = (
        f"{version.submission.source!r} met an internal error ({type(error).__name__}: {error}). "
        "Please report it with the document, if you may share it."
    )
    return Decision(retry_in=None, reason=reason)
