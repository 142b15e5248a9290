"""Numbered migrations: what a file needs to get from one schema to the next.

A release reads the schema of the release after it (which only expanded it) and refuses anything
newer. Each migration is one transaction together with the row that records it.
"""

from __future__ import annotations

import re
import sqlite3
import time
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from rag_engine.adapters.sqlite.functions import add_checksum
from rag_engine.errors import StoreTooNew

_FILE: Final = re.compile(r"^(\d{4})_(\w+)\.sql$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step of the schema."""

    number: int
    name: str
    sql: str


def _migrations() -> tuple[Migration, ...]:
    found = []
    for file in files(__package__).iterdir():
        if match := _FILE.match(file.name):
            number, name = int(match[1]), match[2]
            found.append(Migration(number=number, name=name, sql=file.read_text("utf-8")))
    return tuple(sorted(found, key=lambda one: one.number))


MIGRATIONS: Final = _migrations()
LATEST: Final = MIGRATIONS[-1].number


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a file to the latest schema, inside the caller's write transaction.

    Raises:
        StoreTooNew: Two or more releases ahead of this one.
    """
    there = applied(connection)
    add_checksum(connection)
    if there > LATEST + 1:
        raise StoreTooNew(
            f"{str(path)!r} was written by a later release (schema {there}; this one reads up to "
            f"{LATEST + 1}). Upgrade with: pip install --upgrade rag-engine-server"
        )
    for migration in MIGRATIONS:
        if migration.number > there:
            for statement in _statements(migration.sql):
                connection.execute(statement)
            connection.execute(
                "INSERT INTO migration (number, name, applied_at) VALUES (?, ?, ?)",
                (migration.number, migration.name, time.time()),
            )


def applied(connection: sqlite3.Connection) -> int:
    """The number of the last migration a file has seen; 0 for an empty file."""
    has_table = connection.execute(
        "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'migration'"
    ).fetchone()
    if not has_table:
        return 0
    return int(connection.execute("SELECT max(number) FROM migration").fetchone()[0] or 0)


def _statements(sql: str) -> list[str]:
    # `executescript` would commit the transaction that this runs in.
    found, pending = [], ""
    for line in sql.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            found.append(pending)
            pending = ""
    return found
