"""Edits by hand: which are in force, and what putting one into force changes in the visible tables.

The tables hold what readers see. An edit changes the chunks that mention what it is about, and no
others; their evidence as it was found is kept beside them, from which undoing brings it back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rag_engine.adapters.sqlite.functions import checksum, damaged
from rag_engine.adapters.sqlite.ledger import Ledger
from rag_engine.adapters.sqlite.queries import SQL
from rag_engine.adapters.sqlite.rows import Row, id_list
from rag_engine.core.edits import ActiveEdit, Alias, Edit, Edits, Suppression
from rag_engine.core.ids import entity_id

Select = Callable[[str, str], Iterable[Any]]
"""Runs one statement with one parameter, on whichever connection."""


def active_edit_of(row: Row) -> ActiveEdit:
    """Columns kind, name, other, made_at."""
    kind, name, other, made_at = row
    edit: Edit = Suppression(name=name, other=other)
    if kind == "alias":
        edit = Alias(source=name, target=other)
    return ActiveEdit(edit=edit, made_at=made_at)


def edits_about(keys: Iterable[str], select: Select) -> Edits:
    """The edits in force that have to do with some keys, or with what stands for them."""
    found: list[Edit] = []
    seen, new = set[str](), set(keys)
    while new:
        edits = [active_edit_of(row).edit for row in select(SQL["edits_of_keys"], id_list([*new]))]
        found += edits
        seen |= new
        new = {edit.keys[1] for edit in edits if isinstance(edit, Alias)} - seen
    return Edits.of(found)


def selecting(connection: sqlite3.Connection) -> Select:
    """Run statements on a connection."""
    return lambda sql, parameter: connection.execute(sql, (parameter,)).fetchall()


def known_vectors(connection: sqlite3.Connection, keys: Iterable[str]) -> dict[str, bytes]:
    """Vectors of those keys that some edit is about, whose bytes are those that were written."""
    found = {}
    for key, vector, written in connection.execute(SQL["edit_vectors"], (id_list([*keys]),)):
        if written not in (None, checksum(vector)):
            raise damaged(f"the vector of {key!r}, which an edit is about, is not what was written")
        found[key] = vector
    return found


class Editor:
    """Puts edits into force and takes them back, within one write transaction."""

    def __init__(self, connection: sqlite3.Connection, ledger: Ledger) -> None:
        self._connection = connection
        self._ledger = ledger

    def put(self, edit: Edit, vectors: Sequence[bytes], now: float) -> None:
        """Put an edit into force that was checked and is not in force yet.

        Args:
            edit: The edit.
            vectors: Of its keys, little-endian float16.
            now: When that is, in seconds since the epoch.
        """
        kind = "alias" if isinstance(edit, Alias) else "suppression"
        name, other = (*edit.names, None)[:2]
        key, other_key = edit.keys[0], None if other is None else edit.keys[1]
        chunks = self._chunks(edit, [entity_id(key)])
        self._connection.execute(SQL["add_edit"], (edit.id, kind, name, other, key, other_key, now))
        self._connection.executemany(
            SQL["add_edit_vector"],
            [(key, edit.id, vector) for key, vector in zip(edit.keys, vectors, strict=True)],
        )
        self._connection.execute(SQL["seal_edit"], (edit.id,))
        self._look_again(chunks, known_vectors(self._connection, self._keys_of(edit)))

    def take_back(self, edit: Edit) -> None:
        """Take an edit out of force."""
        chunks = self._chunks(edit, [])
        names = known_vectors(self._connection, self._keys_of(edit))
        for query in ("remove_edit_checksums", "remove_edit_vectors"):
            self._connection.execute(SQL[query], (edit.id,))
        self._connection.execute(SQL["remove_edit"], (edit.id,))
        self._look_again(chunks, names)

    def _chunks(self, edit: Edit, entities: Sequence[int]) -> list[Any]:
        """Row and id of the chunks that mention what an edit is about, seen or not."""
        aliases = self._connection.execute(SQL["aliases_to"], (edit.keys[0],)).fetchall()
        keys = id_list([key for (key,) in aliases])
        found = self._connection.execute(SQL["chunks_of_keys"], (id_list(entities), keys))
        return found.fetchall()

    def _keys_of(self, edit: Edit) -> set[str]:
        """The keys of an edit, and those that stand for them."""
        around = edits_about(edit.keys, selecting(self._connection))
        return {*edit.keys, *map(around.canonical, edit.keys)}

    def _look_again(self, chunks: Sequence[Any], names: Mapping[str, bytes]) -> None:
        self._ledger.reform(
            chunks, lambda keys: edits_about(keys, selecting(self._connection)), names
        )
