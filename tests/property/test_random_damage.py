# ruff: noqa: S608 - the names of our tables
"""Damage to whatever is derived is found, and repaired to what was there, for any documents."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import places
from rag_engine.adapters.sqlite import SqliteInspector
from rag_engine.ports.inspection import Damage, Remedy
from rag_engine.testing import strategies
from rag_engine.testing.drafts import ingest, lattice
from rag_engine.testing.observation import differences, observed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rag_engine.core.edits import Edit
    from rag_engine.ports.inspection import Filling, Hollow, Inspector
    from rag_engine.testing.drafts import Draft

EXAMPLES = settings(max_examples=max(20, settings.default.max_examples // 10))


@dataclass(frozen=True)
class Derived:
    """A table that is derived, by which column its rows are found, and which can be changed."""

    table: str
    columns: tuple[str, ...]
    where: str = "1"
    deletable: bool = True


TOTALS = "'documents', 'chunks', 'length', 'mentions', 'assertions', 'entities', 'relations'"
DERIVED = (
    Derived("meta", ("value",), f"key IN ({TOTALS})"),
    Derived("entity", ("mentions", "id", "key")),
    Derived("entity_value", ("count", "value", "hash", "kind")),
    Derived("relation", ("assertions", "weight")),
    Derived("relation_value", ("count", "value", "hash")),
    Derived("term", ("chunks", "term")),
    Derived("field", ("documents", "name")),
    Derived("field_value", ("value", "field", "kind")),
    Derived("chunk_vector", ("mentions", "length", "id", "document"), deletable=False),
    Derived("entity_vector", ("id",), deletable=False),
    Derived("document", ("current",), deletable=False),
    Derived("lexical_data", ("block",), "id > 10"),
    Derived("lexical_docsize", ("sz",)),
)
BY_NAME = pytest.mark.parametrize("derived", DERIVED, ids=lambda one: one.table)


def changed(value: Any) -> Any:
    """Something else of the same type."""
    if isinstance(value, bytes):
        return bytes([value[0] ^ 0x10]) + value[1:] if value else b"\x01\x00\x00\x00" * 2
    return value + 1 if isinstance(value, int | float) else f"{value}x"


def damage(path: Path, derived: Derived, data: st.DataObject) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        # Page by page, not row by row: nothing of ours looks on.
        connection.execute("PRAGMA writable_schema=ON")
        columns = ", ".join(derived.columns)
        keys = [one[1] for one in connection.execute(f"PRAGMA table_info({derived.table})")]
        found = connection.execute(
            f"SELECT {', '.join(keys)} FROM {derived.table} WHERE {derived.where}"
        ).fetchall()
        assume(found)
        row = data.draw(st.sampled_from(range(len(found))), label=f"row of {columns}")
        where = " AND ".join(f"{key} IS ?" for key in keys)
        if derived.deletable and data.draw(st.booleans(), label="delete"):
            connection.execute(f"DELETE FROM {derived.table} WHERE {where}", found[row])
            return
        column = data.draw(st.sampled_from(derived.columns), label="column")
        new = changed(found[row][keys.index(column)])
        connection.execute(
            f"UPDATE OR IGNORE {derived.table} SET {column} = ? WHERE {where}", (new, *found[row])
        )
        assume(connection.total_changes)


async def damages(inspector: Inspector) -> list[Damage]:
    async with inspector.open("default") as inspection:
        return [one async for one in inspection.damages() if isinstance(one, Damage)]


async def fill(hollows: Sequence[Hollow]) -> list[Filling]:
    raise AssertionError(hollows)


@BY_NAME
@EXAMPLES
@given(
    corpus=strategies.corpora(max_size=3).filter(len),
    edits=st.lists(strategies.edits(), max_size=2),
    data=st.data(),
)
async def test_damage_to_what_is_derived_is_found_and_repaired_exactly(
    derived: Derived, corpus: list[Draft], edits: list[Edit], data: st.DataObject
) -> None:
    with places.folder() as folder:
        place = places.place("sqlite", folder)
        control = place()
        workspace = await control.open("default", create=True)
        await ingest(workspace, *corpus)
        for edit in edits:
            await put_edit(workspace, edit)
        before = await observed(workspace)
        await control.aclose()
        inspector = SqliteInspector(folder / "data")
        assert await damages(inspector) == []
        damage(folder / "data" / "workspaces" / "0001.sqlite", derived, data)
        found = await damages(inspector)
        assert found
        for _ in range(3):
            assert {one.remedy for one in found} == {Remedy.REBUILD}, found
            await inspector.repair("default", found, fill)
            found = await damages(inspector)
            if not found:
                break
        assert found == []
        control = place()
        assert differences(before, await observed(await control.open("default"))) == []
        await control.aclose()


async def put_edit(workspace: Any, edit: Edit) -> None:
    from rag_engine.errors import RagEngineError

    try:
        await workspace.store.edit(edit, np.stack([lattice(key) for key in edit.keys]))
    except RagEngineError:
        return  # refused, as a cycle of aliases is
