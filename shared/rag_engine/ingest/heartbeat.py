"""Keeping a lease alive while its version is worked on, and noticing when it is lost.

A worker's event loop may be busy for longer than a lease lasts: a parser, a model or a debugger can
block it. So heartbeats run in a thread with an event loop of its own (`ThreadHeart`). Who steps
through time itself, as a deterministic simulation does, lets them run on its own loop (`TaskHeart`).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

from rag_engine.core.models import VersionStatus
from rag_engine.errors import LeaseLost, RagEngineError
from rag_engine.ports.queue import JobQueue, Lease
from rag_engine.telemetry import events

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
"""Between two looks at whether a version is still wanted.

A look reads one row. Beats are writes, each made durable, so there are only as many as a lease
needs, and a version that was cancelled, replaced or deleted is let go of within a second all the
same."""

_BEATS: Final = 3
"""Beats in the time of a lease: two may fail before it runs out."""


class Heart(Protocol):
    """Keeps leases alive."""

    def beating(
        self, queue: JobQueue, lease: Lease, seconds: float
    ) -> AbstractAsyncContextManager[asyncio.Future[None]]:
        """Extend a lease again and again, to `seconds` from then, for the time of the context.

        Returns:
            A future that is done once the lease is lost: stop working. It has an exception if the
            heart stopped by a defect.
        """
        ...

    async def aclose(self) -> None:
        """Stop beating. No context may be open, and none is opened afterwards."""
        ...


class TaskHeart:
    """Beats in tasks of the event loop that does the work."""

    @asynccontextmanager
    async def beating(
        self, queue: JobQueue, lease: Lease, seconds: float
    ) -> AsyncIterator[asyncio.Future[None]]:
        """See `Heart.beating`."""
        lost = asyncio.create_task(keep(queue, lease, seconds))
        try:
            yield lost
        finally:
            lost.cancel()

    async def aclose(self) -> None:
        """See `Heart.aclose`: there is nothing to stop."""


class ThreadHeart:
    """Beats in one thread of its own, which is started when it is first needed."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @asynccontextmanager
    async def beating(
        self, queue: JobQueue, lease: Lease, seconds: float
    ) -> AsyncIterator[asyncio.Future[None]]:
        """See `Heart.beating`."""
        beats = asyncio.run_coroutine_threadsafe(keep(queue, lease, seconds), self._started())
        lost = asyncio.wrap_future(beats)
        try:
            yield lost
        finally:
            lost.cancel()

    async def aclose(self) -> None:
        """See `Heart.aclose`."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            await asyncio.to_thread(self._thread.join)
            self._loop = self._thread = None

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=_live, args=(self._loop,), name="heartbeats", daemon=True
            )
            self._thread.start()
        return self._loop


def _live(loop: asyncio.AbstractEventLoop) -> None:
    # A runner cancels what is left when the loop is stopped, and closes it.
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.get_loop().run_forever()


async def keep(queue: JobQueue, lease: Lease, seconds: float) -> None:
    """Extend a lease again and again; return when it is lost."""
    loop = asyncio.get_running_loop()
    beat = seconds / _BEATS
    due = loop.time() + beat
    while True:
        await asyncio.sleep(min(beat, LOOK_SECONDS))
        try:
            if loop.time() >= due:
                await queue.heartbeat(lease, seconds)
                due = loop.time() + beat
            elif not await _wanted(queue, lease, due - loop.time()):
                return
        except LeaseLost:
            return
        except RagEngineError as error:
            # The lease may outlive a short outage; the next beat tells.
            extra = {"action": events.HEARTBEAT, "document": lease.document_id}
            logger.warning(str(error), extra=extra)


async def _wanted(queue: JobQueue, lease: Lease, seconds: float) -> bool:
    """Whether nobody cancelled, replaced or deleted the version, as far as can be told in time.

    A look waits for its turn among those who read. It is not waited for beyond `seconds`, nor for
    the end of one that is given up, or the beat that is due would be late.
    """
    looking = asyncio.ensure_future(queue.version(lease.document_id, lease.version))
    try:
        done, _ = await asyncio.wait({looking}, timeout=seconds)
    finally:
        looking.cancel()
    if not done:
        return True
    version = looking.result()
    return version is not None and version.status is VersionStatus.RUNNING
