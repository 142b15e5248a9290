"""Work on the queues of all workspaces, for as long as somebody wants it done."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from rag_engine.core.models import Version, VersionStatus
from rag_engine.engine import Engine
from rag_engine.errors import BlobMissing, RagEngineError
from rag_engine.ingest.worker import Watch

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.5
"""Between two looks for work: what a document waits at most before a free worker claims it."""

_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
_PATIENCE: Final = 16.0
_TIDY_SECONDS: Final = 60.0


@dataclass(slots=True, kw_only=True)
class WorkerPool:
    """Claims versions of whichever workspaces have some, a few at a time, each workspace in turn.

    What is wrong with one workspace does not keep the others waiting: it is left aside for a while
    that grows from a second to a minute, and said in the log.

    Attributes:
        engine: Whose workspaces.
        concurrency: Versions at a time.
        only: The one workspace to work on, or `None` for all, those to come included.
        until_idle: Whether to end when nothing waits any more, instead of waiting for more. Then
            what is wrong with a workspace is raised: at once, or after some attempts if it may pass.
        grace_seconds: How long versions that are being worked on may go on after `stop`; those that
            are not done by then go back to their queues.
        ended: Told of each version that came to its end here, and of its workspace.
    """

    engine: Engine
    concurrency: int = 4
    only: str | None = None
    until_idle: bool = False
    grace_seconds: float = 0.0
    ended: Callable[[str, Version], None] = lambda workspace, version: None
    _turns: deque[str] = field(default_factory=deque, init=False)
    _aside: dict[str, _Aside] = field(default_factory=dict, init=False)
    _busy: int = field(default=0, init=False)
    _work: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    async def run(self) -> None:
        """Work until `stop` is called or, with `until_idle`, until nothing waits.

        When it is cancelled, the versions it holds go back to their queues at once.

        Raises:
            RagEngineError: With `until_idle`, what kept a workspace from being worked on.
        """
        tasks = [asyncio.create_task(self._look()), asyncio.create_task(self._tidy())]
        tasks += [asyncio.create_task(self._lane(lane)) for lane in range(self.concurrency)]
        stopping = asyncio.create_task(self._stopping.wait())
        working = asyncio.gather(*tasks)
        both: set[asyncio.Future[Any]] = {working, stopping}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                await asyncio.wait({working}, timeout=self.grace_seconds)
            if working.done():
                working.result()
        finally:
            stopping.cancel()
            for task in tasks:
                if not task.cancelling():  # once more would end the putting back
                    task.cancel()
            await asyncio.gather(*tasks, working, return_exceptions=True)

    def stop(self) -> None:
        """Claim nothing more, and end `run` when what is being worked on is done or put back."""
        self._stopping.set()
        self._work.set()

    async def _look(self) -> None:
        """Find out again and again which workspaces have work."""
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            was_idle = not self._busy and not self._turns
            try:
                waits = await self._waits()
            except RagEngineError as error:
                if self.until_idle and (not error.retryable or pause > _PATIENCE):
                    raise
                logger.warning("%s (looking again in %.0f s)", error, pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            pause = _FIRST_PAUSE
            self._take_turns([name for name, wait in waits.items() if wait <= 0])
            if self.until_idle and was_idle and not waits and not self._busy:
                self.stop()
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _tidy(self) -> None:
        """Collect what nobody needs, beside the work; the engine knows when it is time."""
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_TIDY_SECONDS):
                    await self._stopping.wait()
            await self.engine.tidy()

    async def _waits(self) -> dict[str, float]:
        waits = await self.engine.control.waiting()
        return {name: wait for name, wait in waits.items() if self.only in (None, name)}

    def _take_turns(self, names: list[str]) -> None:
        now = asyncio.get_running_loop().time()
        for name in names:
            aside = self._aside.get(name)
            if name not in self._turns and (aside is None or aside.until <= now):
                self._turns.append(name)
        if self._turns:
            self._work.set()

    async def _lane(self, lane: int) -> None:
        while not self._stopping.is_set():
            if not self._turns:
                self._work.clear()
                await self._work.wait()
                continue
            name = self._turns[0]
            self._turns.rotate(-1)
            self._busy += 1
            try:
                await self._attempt(name, lane)
            finally:
                self._busy -= 1

    async def _attempt(self, name: str, lane: int) -> None:
        """Work on one version of a workspace; without any, it has no turn until the next look."""
        missing: list[BlobMissing] = []

        def ended(version: Version) -> None:
            self.ended(name, version)
            if _has_no_original_here(version):
                missing.append(BlobMissing(version.error))

        try:
            workspace = await self.engine.workspace(name)
            found = await self.engine.worker.attempt(workspace, Watch(ended=ended), lane=lane)
        except RagEngineError as error:
            self._put_aside(name, error)
            return
        if missing and not self.until_idle:
            self._put_aside(name, missing[0])
            return
        self._aside.pop(name, None)
        if not found:
            self._skip(name)

    def _put_aside(self, name: str, error: RagEngineError) -> None:
        before = self._aside.get(name)
        pause = min(2 * before.pause, _LONGEST_PAUSE) if before else _FIRST_PAUSE
        if self.until_idle and (not error.retryable or pause > _PATIENCE):
            raise error
        logger.warning("%s (workspace %r is left aside for %.0f s)", error, name, pause)
        until = asyncio.get_running_loop().time() + pause
        self._aside[name] = _Aside(until=until, pause=pause)
        self._skip(name)

    def _skip(self, name: str) -> None:
        if name in self._turns:
            self._turns.remove(name)


def _has_no_original_here(version: Version) -> bool:
    """Whether a version was put off for want of its original, which another machine may have.

    Who cannot reach the shared folder fails faster than others work: it must not take all there is.
    """
    return version.status is VersionStatus.PENDING and version.error_code == BlobMissing.__name__


@dataclass(frozen=True, slots=True, kw_only=True)
class _Aside:
    """A workspace that cannot be worked on now: until when, and how long this pause is."""

    until: float
    pause: float
