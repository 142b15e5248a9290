"""What the simulation sees of a store: every version with its lease, between any two steps.

The ports do not tell who holds a lease, so these eyes look at the rows themselves.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag_engine.core.models import VersionStatus

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rag_engine.adapters.memory.tables import Tables, VersionRow

Key = tuple[str, int]
"""A document's id and the number of its version."""

WANTED = (VersionStatus.PENDING, VersionStatus.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A version as the store has it.

    Attributes:
        until: When a pending one may be claimed or the lease of a running one ends, else `None`.
        staged: Its staged chunks.
        visible: Whether it is its document's current version.
    """

    id: str
    number: int
    content: str
    fingerprint: str
    requested_at: float
    status: VersionStatus = VersionStatus.PENDING
    attempt: int = 0
    epoch: int = 0
    until: float | None = None
    error: str | None = None
    staged: int = 0
    visible: bool = False


Rows = dict[Key, Row]


class MemoryEyes:
    """Looks into the tables of the reference store."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._seen: tuple[dict[object, object], ...] = ()

    def changed(self) -> bool:
        """Whether anything may have been written since this was asked last."""
        tables = self._tables
        parts = (
            tables.versions,
            tables.leases,
            tables.documents,
            tables.evidence,
            tables.edits,
        )
        now = tuple(map(dict, parts))
        before, self._seen = self._seen, now
        return not before or not all(map(_is_same, before, now))

    def look(self) -> Rows:
        """Every version there is."""
        return {key: self._row(key, row) for key, row in self._tables.versions.items()}

    def damage(self) -> list[str]:
        """What is wrong with the files, of which there are none."""
        return []

    def close(self) -> None:
        """Nothing to close."""

    def _row(self, key: Key, row: VersionRow) -> Row:
        version = row.version
        document = self._tables.documents.get(version.document_id)
        visible = document is not None and document.version == version.number
        until = {
            VersionStatus.PENDING: row.available_at,
            VersionStatus.RUNNING: self._tables.leases.get(row.epoch),
        }.get(version.status)
        return Row(
            id=version.document_id,
            number=version.number,
            content=version.submission.content_hash,
            fingerprint=version.submission.fingerprint,
            requested_at=version.requested_at,
            status=version.status,
            attempt=version.attempt,
            epoch=row.epoch,
            until=until,
            error=version.error,
            staged=0 if visible else len(self._tables.evidence.get(key, ())),
            visible=visible,
        )


def _is_same(one: Mapping[object, object], other: Mapping[object, object]) -> bool:
    return one.keys() == other.keys() and all(value is other[key] for key, value in one.items())


class SqliteEyes:
    """Looks into a workspace's file over a connection of its own."""

    _ROWS = """
        SELECT d.id, v.number, v.content_hash, v.fingerprint, v.requested_at, v.status, v.attempt,
               v.epoch, v.claimable_at, v.error,
               (SELECT count(*) FROM staged_chunk AS s WHERE s.version = v.row),
               v.row IS d.current
        FROM version AS v JOIN document AS d ON d.row = v.document
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        [(self._version,)] = self._connection.execute("PRAGMA data_version").fetchall()

    def changed(self) -> bool:
        """Whether a transaction was committed since this was asked last."""
        [(version,)] = self._connection.execute("PRAGMA data_version").fetchall()
        before, self._version = self._version, version
        return bool(before != version)

    def look(self) -> Rows:
        """Every version there is."""
        rows = self._connection.execute(self._ROWS).fetchall()
        return {(row[0], row[1]): _row(row) for row in rows}

    def damage(self) -> list[str]:
        """What SQLite finds wrong with the file."""
        found = [str(row) for row in self._connection.execute("PRAGMA foreign_key_check")]
        with closing(self._connection.execute("PRAGMA integrity_check")) as checked:
            return found + [line for (line,) in checked if line != "ok"]

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def _row(row: tuple[object, ...]) -> Row:
    status = VersionStatus(str(row[5]))
    names = "id number content fingerprint requested_at".split()
    more = dict(zip(names, row, strict=False))
    return Row(
        **more,  # type: ignore[arg-type]
        status=status,
        attempt=row[6],
        epoch=row[7],
        until=row[8] if status in WANTED else None,
        error=row[9],
        staged=row[10],
        visible=bool(row[11]),
    )
