"""A workspace whose file is broken begins anew: with the wishes that can still be read from it.

Originals lie outside the file. Whatever version of a document can be read from it, by whichever
way SQLite still finds rows, is enough to ingest that document again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from rag_engine.adapters.sqlite.connection import connect, translated
from rag_engine.adapters.sqlite.migrations import migrate
from rag_engine.adapters.sqlite.queries import SQL
from rag_engine.adapters.sqlite.rows import version_of
from rag_engine.adapters.sqlite.verify import UPKEEP, open_for_upkeep
from rag_engine.core.models import Version, VersionStatus

_WANTED: Final = (VersionStatus.PENDING, VersionStatus.RUNNING, VersionStatus.INDEXED)
_LAST: Final = 1 << 32  # rows beyond it nobody has written


def salvage(path: Path, name: str) -> list[Version]:
    """Set a file aside and make an empty one in its place; return what could be read.

    Where nothing could, the file stays: an empty workspace would answer as if all were well.

    Returns:
        The newest version of each document that answered or waited.
    """
    found = {version.document_id: version for version in sorted(_readable(path), key=_number)}
    if not found:
        return []
    for one in sorted(path.parent.glob(f"{path.name}*")):
        if not one.name.endswith(".damaged"):
            one.replace(one.with_name(f"{one.name}.damaged"))
    with translated(path), closing(connect(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        migrate(connection, path)
        connection.execute(SQL["set_meta"], ("name", name))
        connection.execute(SQL["set_meta"], ("counter", 0))
        connection.execute("COMMIT")
    return list(found.values())


def _number(version: Version) -> int:
    return version.number


def _readable(path: Path) -> Iterator[Version]:
    """Versions, read row by row so that a broken page costs only what stands on it."""
    try:
        with closing(open_for_upkeep(path)) as connection:
            for row in _rows(connection):
                try:
                    found = connection.execute(
                        f"{SQL['version_columns']} {UPKEEP['version_by_row']}", (row,)
                    ).fetchone()
                    if found and (version := version_of(found)).status in _WANTED:
                        yield version
                except (sqlite3.DatabaseError, ValueError, TypeError):
                    continue  # what stands there is lost; the next row may be whole
    except sqlite3.DatabaseError:
        return  # nothing can be read at all


def _rows(connection: sqlite3.Connection) -> list[int]:
    """Row numbers of versions, by the table as far as it can be read, else by counting."""
    try:
        return [row for (row,) in connection.execute(UPKEEP["version_rows"])]
    except sqlite3.DatabaseError:
        pass
    try:
        last = connection.execute(SQL["last_row"], ("version",)).fetchone()
    except sqlite3.DatabaseError:
        last = None
    return list(range(1, min(last[0] if last else 10_000, _LAST) + 1))
