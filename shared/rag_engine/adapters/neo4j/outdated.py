"""Removing what went away some time ago, a batch at a time, after a write."""

from __future__ import annotations

import logging
import time
from typing import Final

from rag_engine.adapters.neo4j.connection import Connection, Transaction
from rag_engine.adapters.neo4j.leases import token
from rag_engine.errors import RagEngineError
from rag_engine.telemetry import events

logger = logging.getLogger(__name__)

_BATCH: Final = 2_000
_PAUSE: Final = 30.0
"""Seconds between two looks of one process."""


class Outdated:
    """What is gone from a workspace, and was kept for readers that began before.

    Args:
        connection: To the database.
        workspace: Number of the workspace.
        kept_seconds: How long it is kept.
    """

    def __init__(self, connection: Connection, workspace: int, kept_seconds: float) -> None:
        self._connection = connection
        self._workspace = workspace
        self._kept = kept_seconds
        self._next = time.monotonic() + min(_PAUSE, kept_seconds)

    async def remove_some(self) -> None:
        """Remove a batch, if it is time. That it fails is no reason for a write to fail."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + min(_PAUSE, self._kept)
        try:
            more = await self._connection.write(self._remove, workspace=self._workspace)
        except RagEngineError as error:
            logger.warning(str(error), extra={"action": events.OUTDATED_KEPT})
            return
        if more:
            self._next = 0.0

    async def _remove(self, transaction: Transaction) -> bool:
        kept = int(self._kept * 1000)
        rows = await transaction.rows("outdated", kept_milliseconds=kept, limit=_BATCH)
        if not rows:
            return False
        listed = {
            kind: [row["row"] for row in rows if row["kind"] == kind]
            for kind in ("chunk", "version", "edit")
        }
        await transaction.rows(
            "remove_outdated",
            token=token(),
            upto=max(row["at"] for row in rows),
            chunks=listed["chunk"],
            versions=listed["version"],
            edits=listed["edit"],
        )
        return len(rows) >= _BATCH
