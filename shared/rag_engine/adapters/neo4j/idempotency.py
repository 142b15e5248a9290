"""What requests that may be sent twice were answered, beside the nodes of their workspaces."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from rag_engine.adapters.neo4j.connection import Connection, Row
from rag_engine.adapters.neo4j.leases import Clock, token
from rag_engine.ports.idempotency import KEPT_SECONDS, IdempotencyRecord

_BATCH: Final = 1_000


class Neo4jIdempotency:
    """See `IdempotencyRecords`.

    Args:
        connection: To the database.
        namespace: Of the installation.
        clock: Seconds since the epoch; `None` for the database's.
        prepare: Makes sure of the schema.
    """

    def __init__(
        self,
        connection: Connection,
        namespace: str,
        clock: Clock,
        prepare: Callable[[], Awaitable[None]],
    ) -> None:
        self._connection = connection
        self._namespace = namespace
        self._clock = clock
        self._prepare = prepare

    async def reserve(self, workspace: str, key: str, fingerprint: str) -> IdempotencyRecord:
        """See `IdempotencyRecords.reserve`."""
        rows = await self._run(
            "reserve_key", name=workspace, key=key, fingerprint=fingerprint, seconds=KEPT_SECONDS
        )
        return _record(rows) or IdempotencyRecord(fingerprint=fingerprint)

    async def settle(
        self, workspace: str, key: str, record: IdempotencyRecord
    ) -> IdempotencyRecord:
        """See `IdempotencyRecords.settle`."""
        rows = await self._run(
            "settle_key",
            name=workspace,
            key=key,
            fingerprint=record.fingerprint,
            answer=record.answer,
        )
        return _record(rows) or record

    async def release(self, workspace: str, key: str, fingerprint: str) -> None:
        """See `IdempotencyRecords.release`."""
        await self._run("release_key", name=workspace, key=key, fingerprint=fingerprint)

    async def forget(self, *, older_than: float = KEPT_SECONDS) -> int:
        """See `IdempotencyRecords.forget`."""
        total = 0
        while True:
            [row] = await self._run("forget_old_keys", seconds=older_than, limit=_BATCH)
            total += int(row["forgotten"])
            if not row["forgotten"]:
                return total

    async def _run(self, query: str, **parameters: Any) -> list[Row]:
        await self._prepare()
        now = None if self._clock is None else self._clock()
        return await self._connection.run(
            query, write=True, namespace=self._namespace, now=now, token=token(), **parameters
        )


def _record(rows: list[Row]) -> IdempotencyRecord | None:
    return (
        IdempotencyRecord(fingerprint=rows[0]["fingerprint"], answer=rows[0]["answer"])
        if rows
        else None
    )
