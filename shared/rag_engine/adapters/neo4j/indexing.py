"""Keeping Neo4j's own indexes up with what is visible, a moment after each write.

A commit brings Neo4j's vector and full-text indexes up to date before it is answered, and merges
their segments when it is their turn: several times what all else in a write costs. No answer of a
workspace that is held in memory needs them, so a write only marks the chunks it showed or hid, and
they get or lose their `embedding` and the label of the indexes in transactions of their own.
`distant.py` reads what is still marked along with what the index gives.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

from rag_engine.adapters.neo4j.connection import Connection, Row
from rag_engine.adapters.neo4j.records import embedding_of
from rag_engine.errors import RagEngineError
from rag_engine.telemetry import events

logger = logging.getLogger(__name__)

_PAUSE: Final = 5.0
"""Seconds in which writes come together before their chunks are indexed. Writes that meet it are slower
by half, so it should be few that do."""

_BATCH: Final = 50
"""Chunks of one transaction, which keeps those who replace them waiting."""

_LEAVE_SECONDS: Final = 2.0
"""Nobody who ends a process waits longer; what is left the next writer does."""


class Indexing:
    """What is left to be indexed of one workspace, by whichever process marked it.

    Args:
        connection: To the database.
        workspace: Number of the workspace.
    """

    def __init__(self, connection: Connection, workspace: int) -> None:
        self._connection = connection
        self._workspace = workspace
        self._marked = False
        self._working: asyncio.Task[None] | None = None

    def marked(self) -> None:
        """A write has marked chunks: index them in a moment, while others go on."""
        self._marked = True
        self.begin()

    def begin(self) -> None:
        """Index in a moment what others left, if they did."""
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())

    async def aclose(self) -> None:
        """Index what this process marked, as far as there is time for it."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait([self._working])
        if self._marked:
            await self.settle(within=_LEAVE_SECONDS)

    async def settle(self, *, within: float | None = None) -> None:
        """Index all that is marked now. That it fails is no reason for a write to fail.

        Args:
            within: Seconds after which no other batch is begun.
        """
        marked, self._marked = self._marked, False
        try:
            await self._index(within)
        except RagEngineError as error:
            logger.warning(str(error), extra={"action": events.INDEXES_BEHIND})
        except asyncio.CancelledError:
            self._marked = marked
            raise

    async def _index(self, within: float | None) -> None:
        last = time.monotonic() + (within or float("inf"))
        run = self._connection.run
        where: dict[str, Any] = {"workspace": self._workspace, "within": within}
        while time.monotonic() < last:
            marked = await run("marked_chunks", limit=_BATCH, **where)
            if marked:
                chunks = [{"row": one["row"], "embedding": _embedding(one)} for one in marked]
                await run("index_chunks", write=True, chunks=chunks, **where)
            if len(marked) < _BATCH:
                return

    async def _work(self) -> None:
        while True:
            await asyncio.sleep(_PAUSE)
            await self.settle()
            if not self._marked:
                return


def _embedding(chunk: Row) -> list[float] | None:
    """Of a chunk that is visible."""
    return None if chunk["vector"] is None else embedding_of(chunk["vector"])
