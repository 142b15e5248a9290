"""What requests that may be sent twice were answered, in the file that lists the workspaces.

Rows carry the number of their workspace, which is never given again.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from rag_engine.adapters.sqlite.connection import connect, translated
from rag_engine.adapters.sqlite.deletion import is_deleted, make_idempotency
from rag_engine.adapters.sqlite.queries import SQL
from rag_engine.ports.idempotency import KEPT_SECONDS, IdempotencyRecord


class SqliteIdempotency:
    """See `IdempotencyRecords`.

    Args:
        listing: The file that lists the workspaces.
        path_of: The file of a workspace by its number.
        clock: Seconds since the epoch.
    """

    def __init__(
        self, listing: Path, path_of: Callable[[int], Path], clock: Callable[[], float]
    ) -> None:
        self._listing = listing
        self._path_of = path_of
        self._clock = clock

    async def reserve(self, workspace: str, key: str, fingerprint: str) -> IdempotencyRecord:
        """See `IdempotencyRecords.reserve`."""
        given = IdempotencyRecord(fingerprint=fingerprint)

        def row(now: float) -> tuple[object, ...]:
            return (fingerprint, now, KEPT_SECONDS)

        return await asyncio.to_thread(self._kept, SQL["reserve_key"], workspace, key, row, given)

    async def settle(
        self, workspace: str, key: str, record: IdempotencyRecord
    ) -> IdempotencyRecord:
        """See `IdempotencyRecords.settle`."""

        def row(now: float) -> tuple[object, ...]:
            return (record.fingerprint, record.answer, now)

        return await asyncio.to_thread(self._kept, SQL["settle_key"], workspace, key, row, record)

    async def release(self, workspace: str, key: str, fingerprint: str) -> None:
        """See `IdempotencyRecords.release`."""

        def release() -> None:
            with self._opened() as connection:
                if connection and (number := self._number(connection, workspace)):
                    connection.execute(SQL["release_key"], (number, key, fingerprint))

        await asyncio.to_thread(release)

    async def forget(self, *, older_than: float = KEPT_SECONDS) -> int:
        """See `IdempotencyRecords.forget`."""

        def forget() -> int:
            with self._opened() as connection:
                if connection is None:
                    return 0
                before = self._clock() - older_than
                return connection.execute(SQL["forget_old_keys"], (before,)).rowcount

        return await asyncio.to_thread(forget)

    def _kept(
        self,
        sql: str,
        workspace: str,
        key: str,
        row: Callable[[float], tuple[object, ...]],
        given: IdempotencyRecord,
    ) -> IdempotencyRecord:
        with self._opened() as connection:
            number = self._number(connection, workspace) if connection else None
            if connection is None or number is None:
                return given
            connection.execute("BEGIN IMMEDIATE")  # what stands there is read as it was written
            connection.execute(sql, (number, key, *row(self._clock())))
            fingerprint, answer = connection.execute(
                SQL["idempotency_record"], (number, key)
            ).fetchone()
            connection.execute("COMMIT")
        return IdempotencyRecord(fingerprint=fingerprint, answer=answer)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection | None]:
        """The list with its table of records; `None` where there is no list."""
        if not self._listing.exists():
            yield None
            return
        with translated(self._listing), closing(connect(self._listing)) as connection:
            connection.execute(SQL["make_workspaces"])
            make_idempotency(connection)
            yield connection

    def _number(self, connection: sqlite3.Connection, workspace: str) -> int | None:
        row = connection.execute(SQL["workspace"], (workspace,)).fetchone()
        return None if row is None or is_deleted(self._path_of(int(row[0]))) else int(row[0])
