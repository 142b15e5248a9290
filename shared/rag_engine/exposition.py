"""What `/metrics` shows: what a process counts and measures of itself, and what the store holds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from rag_engine.engine import Engine
from rag_engine.errors import RagEngineError
from rag_engine.ports.queue import Census
from rag_engine.telemetry import metrics

logger = logging.getLogger(__name__)

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

_FRESH_SECONDS: Final = 15.0
_PATIENCE_SECONDS: Final = 5.0
_UNKNOWN: Final = float("nan")


class Exposition:
    """All metrics of a process, for Prometheus.

    What all workspaces hold is counted again when that is some seconds old. However often and by
    however many it is asked, the store is asked by one at a time.

    Args:
        engine: Whose store it is.
        release: Of this program.
    """

    def __init__(self, engine: Engine, release: str) -> None:
        self._engine = engine
        self._counted_at = float("-inf")
        self._alone = asyncio.Lock()
        metrics.BUILD.labels(release).set(1)

    async def text(self) -> bytes:
        """As Prometheus reads it."""
        await self._count()
        # In a thread, since it reads files of /proc.
        return await asyncio.to_thread(generate_latest, metrics.REGISTRY)

    async def _count(self) -> None:
        async with self._alone:
            if time.monotonic() - self._counted_at < _FRESH_SECONDS:
                return
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    _show(await self._counted())
            except (RagEngineError, TimeoutError) as error:
                logger.warning("What the store holds is not known: %s", error or "no answer")
                _show(None)
            else:
                self._counted_at = time.monotonic()

    async def _counted(self) -> list[Census]:
        found = []
        for name in await self._engine.control.workspaces():
            try:
                found.append(await (await self._engine.workspace(name)).queue.census())
            except RagEngineError as error:  # the others are told all the same
                logger.warning("Workspace %r is not counted: %s", name, error)
        return found


def _show(found: list[Census] | None) -> None:
    def total(of: Callable[[Census], int]) -> float:
        return _UNKNOWN if found is None else sum(map(of, found))

    metrics.STORE_UP.set(found is not None)
    metrics.WORKSPACES.set(total(lambda one: 1))
    metrics.QUEUE.labels("pending").set(total(lambda one: one.pending))
    metrics.QUEUE.labels("running").set(total(lambda one: one.running))
    ages = (_UNKNOWN,) if found is None else (one.oldest_seconds for one in found)
    metrics.QUEUE_AGE.set(max(ages, default=0.0))
    metrics.HELD.labels("documents").set(total(lambda one: one.indexed))
    metrics.HELD.labels("chunks").set(total(lambda one: one.chunks))
