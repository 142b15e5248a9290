"""Numbered migrations: what a database needs to get from one schema to the next.

Every statement may be run again without harm, so that replicas that start at once do not have to
agree on who does it, and what one left undone when it was killed the next one does. A migration is
recorded when all of it is there.

Schemas expand, then contract, because replicas are replaced one by one: a release works with the
schema of the release after it and refuses anything newer. So migration N only adds; releases N-1
and N then write and read side by side. What it replaced is taken away by N+1 at the earliest, when
no release is left that needs it, in a migration whose name begins with `contracts_`, the number
of the migration that replaced it, and `_`. `tests/contract/test_neo4j_schema.py` holds that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from rag_engine.adapters.neo4j.connection import Connection
from rag_engine.errors import StoreTooNew

_FILE: Final = re.compile(r"^(\d{4})_(\w+)\.cypher$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step of the schema."""

    number: int
    name: str
    statements: tuple[str, ...]


def _migrations() -> tuple[Migration, ...]:
    found = []
    for file in files(__package__).iterdir():
        if match := _FILE.match(file.name):
            lines = file.read_text("utf-8").splitlines()
            text = "\n".join(line for line in lines if not line.startswith("//"))
            statements = tuple(one.strip() for one in text.split(";") if one.strip())
            found.append(Migration(number=int(match[1]), name=match[2], statements=statements))
    return tuple(sorted(found, key=lambda one: one.number))


MIGRATIONS: Final = _migrations()
LATEST: Final = MIGRATIONS[-1].number


async def migrate(connection: Connection) -> None:
    """Bring a database to the latest schema.

    Raises:
        StoreTooNew: Two or more releases ahead of this one.
    """
    there = await applied(connection)
    if there > LATEST + 1:
        raise StoreTooNew(
            f"The database at {connection.address.uri!r} was written by a later release (schema "
            f"{there}; this one works with up to {LATEST + 1}). Upgrade with: "
            "pip install --upgrade 'rag-engine-server[neo4j]'"
        )
    for migration in MIGRATIONS:
        if migration.number <= there:
            continue
        for statement in migration.statements:
            await connection.run(statement, write=True)
        await connection.run(
            "record_migration", write=True, number=migration.number, name=migration.name
        )


async def applied(connection: Connection) -> int:
    """The number of the last migration a database has seen; 0 for an empty one."""
    [row] = await connection.run("applied_migrations")
    return int(row["latest"] or 0)
