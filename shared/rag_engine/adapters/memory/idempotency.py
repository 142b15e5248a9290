"""What requests that may be sent twice were answered, in the tables of their workspaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag_engine.ports.idempotency import KEPT_SECONDS, IdempotencyRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rag_engine.adapters.memory.tables import Tables


class MemoryIdempotency:
    """See `rag_engine.ports.idempotency.IdempotencyRecords`.

    Args:
        tables: The workspaces.
        clock: Seconds since the epoch.
    """

    def __init__(self, tables: Mapping[str, Tables], clock: Callable[[], float]) -> None:
        self._tables = tables
        self._clock = clock

    async def reserve(self, workspace: str, key: str, fingerprint: str) -> IdempotencyRecord:
        record = IdempotencyRecord(fingerprint=fingerprint)
        if workspace not in self._tables:
            return record
        records, now = self._tables[workspace].idempotency, self._clock()
        known, since = records.get(key, (record, float("-inf")))
        if since > now - KEPT_SECONDS:
            return known
        records[key] = (record, now)
        return record

    async def settle(
        self, workspace: str, key: str, record: IdempotencyRecord
    ) -> IdempotencyRecord:
        if workspace not in self._tables:
            return record
        records = self._tables[workspace].idempotency
        known, since = records.get(key, (record, self._clock()))
        if known.fingerprint == record.fingerprint and known.answer is None:
            known = record
        records[key] = (known, since)
        return known

    async def release(self, workspace: str, key: str, fingerprint: str) -> None:
        if workspace in self._tables:
            records = self._tables[workspace].idempotency
            if key in records and records[key][0] == IdempotencyRecord(fingerprint=fingerprint):
                del records[key]

    async def forget(self, *, older_than: float = KEPT_SECONDS) -> int:
        before, count = self._clock() - older_than, 0
        for tables in self._tables.values():
            old = [key for key, (_, since) in tables.idempotency.items() if since <= before]
            for key in old:
                del tables.idempotency[key]
            count += len(old)
        return count
