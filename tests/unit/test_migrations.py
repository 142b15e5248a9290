"""The migrations lead to the schema, and to nothing else."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from rag_engine.adapters import sqlite as package
from rag_engine.adapters.sqlite import SqliteControl
from rag_engine.adapters.sqlite.migrations import LATEST, MIGRATIONS, migrate
from rag_engine.adapters.sqlite.queries import SQL
from rag_engine.adapters.sqlite.verify import UPKEEP
from rag_engine.core.edits import Suppression
from rag_engine.errors import StoreTooNew
from rag_engine.testing.drafts import DIMENSIONS, MODEL, ingest, lattice
from rag_engine.testing.store_contract import A, B


def _schema(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    rows = connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
    return {(name, " ".join(sql.split())) for name, sql in rows}


def test_the_migrations_make_the_schema_file() -> None:
    with closing(sqlite3.connect(":memory:")) as made, closing(sqlite3.connect(":memory:")) as full:
        migrate(made, Path("made"))
        full.executescript(files(package).joinpath("schema.sql").read_text("utf-8"))
        assert _schema(made) == _schema(full)


def test_migrations_are_numbered_without_gaps_and_run_once() -> None:
    assert [one.number for one in MIGRATIONS] == list(range(1, LATEST + 1))
    with closing(sqlite3.connect(":memory:")) as connection:
        migrate(connection, Path("one"))
        migrate(connection, Path("one"))
        assert connection.execute("SELECT count(*) FROM migration").fetchone() == (LATEST,)


async def test_a_schema_two_releases_ahead_is_refused_and_one_ahead_is_read(
    tmp_path: Path,
) -> None:
    control = SqliteControl(tmp_path, model="m", dimensions=4)
    await control.open("default", create=True)
    await control.aclose()
    for number, refused in ((LATEST + 1, False), (LATEST + 2, True)):
        with closing(sqlite3.connect(tmp_path / "workspaces" / "0001.sqlite")) as connection:
            connection.execute("INSERT INTO migration VALUES (?, 'later', 0)", (number,))
            connection.commit()
        control = SqliteControl(tmp_path, model="m", dimensions=4)
        if refused:
            with pytest.raises(StoreTooNew, match=r"0001\.sqlite.*[Uu]pgrade"):
                await control.open("default")
        else:
            await control.open("default")
        await control.aclose()


async def test_a_file_of_before_is_given_the_checksums_it_would_have_been_written_with(
    tmp_path: Path,
) -> None:
    control = SqliteControl(tmp_path, model=MODEL, dimensions=DIMENSIONS)
    workspace = await control.open("default", create=True)
    await ingest(workspace, A, B)
    await workspace.store.edit(Suppression(name="Ada"), np.stack([lattice("ada")]))
    await control.aclose()
    path = tmp_path / "workspaces" / "0001.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        before = _checksums(connection)
        for table in ("chunk_checksum", "entity_checksum", "edit_checksum"):
            connection.execute(f"DROP TABLE {table}")
        for (index,) in _later_indexes(connection):
            connection.execute(f"DROP INDEX {index}")
        connection.execute("ALTER TABLE version DROP COLUMN usage")
        connection.execute("DELETE FROM migration WHERE number > 3")
    control = SqliteControl(tmp_path, model=MODEL, dimensions=DIMENSIONS)
    await control.open("default")
    await control.aclose()
    with closing(sqlite3.connect(path)) as connection:
        assert _checksums(connection) == before
        assert all(before)


def _later_indexes(connection: sqlite3.Connection) -> list[tuple[str]]:
    """Indexes that came with the migrations after those of the checksums."""
    made = "".join(one.sql for one in MIGRATIONS if one.number > 5)
    rows = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'index'").fetchall()
    return [(name,) for (name,) in rows if f"INDEX {name} " in made]


def _checksums(connection: sqlite3.Connection) -> list[list[tuple[int | str, ...]]]:
    queries = (
        "SELECT * FROM chunk_checksum ORDER BY 1",
        "SELECT * FROM entity_checksum ORDER BY 1",
        "SELECT * FROM edit_checksum ORDER BY 1, 2",
    )
    return [connection.execute(one).fetchall() for one in queries]


def test_every_statement_is_used_and_every_used_one_is_there() -> None:
    folder = Path(str(files(package)))
    code = "\n".join(path.read_text("utf-8") for path in folder.rglob("*.py"))
    quoted = {f"{mark}{name}{mark}": name for name in (*SQL, *UPKEEP) for mark in "\"'"}
    used = {name for text, name in quoted.items() if text in code}
    assert sorted({*SQL, *UPKEEP} - used) == []
    named = re.findall(r"""\b(?:SQL|UPKEEP)\[["'](\w+)["']\]""", code)
    assert sorted({*named} - {*SQL, *UPKEEP}) == []
