"""A workspace whose file is broken begins anew: with the wishes that can still be read from it.

Originals lie outside the file. Whatever version of a document can be read from it, by whichever
way SQLite still finds rows, is enough to ingest that document again.

The new file is made beside the old one, with all wishes in it, and takes its place when it is whole:
whoever is interrupted finds the old one and begins again, or the new one and goes on.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rag_engine.adapters.sqlite.connection import connect, translated
from rag_engine.adapters.sqlite.migrations import migrate
from rag_engine.adapters.sqlite.queries import SQL
from rag_engine.adapters.sqlite.queue import columns_of
from rag_engine.adapters.sqlite.rows import version_of
from rag_engine.adapters.sqlite.verify import UPKEEP, open_for_upkeep
from rag_engine.core.models import UNFINISHED, Version, VersionStatus
from rag_engine.errors import StoreUnavailable
from rag_engine.ports.inspection import Damage, Remedy

_WANTED: Final = (*UNFINISHED, VersionStatus.INDEXED)
_LAST: Final = 1 << 32  # rows beyond it nobody has written
_PATIENCE: Final = 1.0  # whoever has a file open keeps it open
_MADE_WITH: Final = ("model", "dimensions", "normaliser", "tokeniser")


@dataclass(slots=True, kw_only=True)
class Rest:
    """What can still be read of a broken file.

    Attributes:
        versions: The newest version of each document that answered or waited, by its id.
        lost: How many rows of versions could not be read.
        meta: What the index was made with, as far as it can be read.
    """

    versions: dict[str, Version] = field(default_factory=dict)
    lost: int = 0
    meta: dict[str, Any] = field(default_factory=dict)


def salvage(path: Path, name: str, fingerprint: str) -> list[Damage]:
    """Set a file aside and put one in its place in which all its documents wait.

    Where nothing can be read, the file stays: an empty workspace would answer as if all were well.

    Args:
        path: Of the file.
        name: Of the workspace.
        fingerprint: Of the pipeline that will ingest the documents.

    Returns:
        What could not be read of it.

    Raises:
        StoreUnavailable: Somebody has the file open, and would go on writing the one set aside.
    """
    _have_it_alone(path)
    rest = readable(path)
    if not rest.versions:
        return []
    new = path.with_name(f"{path.name}.new")
    for left in new.parent.glob(f"{new.name}*"):  # by one who was interrupted
        left.unlink()
    with translated(new):
        _make(new, name, fingerprint, rest)
    set_aside(path)
    _remove_log(path)
    new.replace(path)
    _flush(path.parent)
    if not rest.lost:
        return []
    return [
        Damage(
            check="salvage",
            message=f"Up to {rest.lost:,} rows of documents could not be read from the broken file. Their "
            "documents are not in the new one: ingest them again, or restore a backup.",
            remedy=Remedy.NONE,
        )
    ]


def readable(path: Path) -> Rest:
    """Read a broken file row by row, so that a broken page costs only what stands on it."""
    rest = Rest()
    found: list[Version] = []
    try:
        with closing(open_for_upkeep(path)) as connection:
            with suppress(sqlite3.DatabaseError):
                meta = dict(connection.execute(SQL["all_meta"]).fetchall())
                rest.meta = {key: meta[key] for key in _MADE_WITH if key in meta}
            rows, certain = _rows(connection)
            for row in rows:
                try:
                    one = connection.execute(
                        f"{SQL['version_columns']} {UPKEEP['version_by_row']}", (row,)
                    ).fetchone()
                    if one is not None:
                        found.append(version_of(one))
                    rest.lost += one is None and certain
                except (sqlite3.DatabaseError, ValueError, TypeError):
                    rest.lost += 1  # what stands there is lost; the next row may be whole
    except sqlite3.DatabaseError:
        pass  # nothing more can be read
    for version in sorted(found, key=lambda one: one.number):
        if version.status in _WANTED:
            rest.versions[version.document_id] = version
    return rest


def _rows(connection: sqlite3.Connection) -> tuple[Sequence[int], bool]:
    """Row numbers of versions, by the table if it can be read, else by counting.

    Returns:
        The numbers, and whether each is known to be there.
    """
    try:
        return [row for (row,) in connection.execute(UPKEEP["version_rows"])], True
    except sqlite3.DatabaseError:
        pass
    try:
        last = connection.execute(SQL["last_row"], ("version",)).fetchone()
    except sqlite3.DatabaseError:
        last = None
    return range(1, min(last[0] if last else 10_000, _LAST) + 1), False


def _have_it_alone(path: Path) -> None:
    """See that nobody has a file open, and put into it what stands in its log."""
    try:
        with closing(connect(path, alone=True, seconds=_PATIENCE)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StoreUnavailable(
                f"{str(path)!r} is broken, and another process has it open: it would go on writing "
                "the file that is set aside. Stop workers, `sync --watch` and servers, then repair "
                "again with: rag-engine doctor --repair"
            ) from error
        # Nobody can open it: that is why we are here.


def _make(path: Path, name: str, fingerprint: str, rest: Rest) -> None:
    with closing(connect(path, create=True)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        migrate(connection, path)
        # `salvaged`: documents wait for the model that made the lost vectors, and for no other.
        meta = {**rest.meta, "name": name, "counter": 0, "salvaged": int("model" in rest.meta)}
        for item in meta.items():
            connection.execute(SQL["set_meta"], item)
        for version in rest.versions.values():
            connection.execute(SQL["add_document"], (version.document_id,))
            [document, _] = connection.execute(
                SQL["document_row"], (version.document_id,)
            ).fetchone()
            *columns, _ = columns_of(version.submission)
            values = (document, version.number, *columns, fingerprint, version.requested_at)
            connection.execute(SQL["add_version"], values)
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def set_aside(path: Path) -> None:
    """Give a file and its log a second name, under which they stay when another takes their place."""
    aside = path.with_name(f"{path.name}.damaged")
    for number in range(2, 1000):
        if not aside.exists() or aside.samefile(path):
            break
        aside = path.with_name(f"{path.name}.{number}.damaged")
    for ending in ("", "-wal"):
        source, target = (one.with_name(one.name + ending) for one in (path, aside))
        if not source.exists() or (target.exists() and target.samefile(source)):
            continue
        target.unlink(missing_ok=True)
        try:
            os.link(source, target)
        except OSError:  # this file system has no links
            shutil.copyfile(source, target)
    _flush(path.parent)


def remove(path: Path) -> None:
    """Remove a file that was set aside from its place."""
    _remove_log(path)
    path.unlink()
    _flush(path.parent)


def _remove_log(path: Path) -> None:
    """What stands in it is in the file, or in none that can be opened."""
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def _flush(folder: Path) -> None:
    """Make names in a folder durable, where a folder can be opened."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
