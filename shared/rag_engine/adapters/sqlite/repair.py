"""Repair of one workspace's file: what is derived is made again, what is damaged is dropped."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from rag_engine.adapters.sqlite.filters import stored
from rag_engine.adapters.sqlite.queries import SQL
from rag_engine.adapters.sqlite.rows import chunk_of, id_list
from rag_engine.adapters.sqlite.verify import UPKEEP, document_at, documents_in_order, packed
from rag_engine.core.filters import fields_of, values_of
from rag_engine.core.ids import entity_id
from rag_engine.core.names import entity_key
from rag_engine.core.vectors import canonical
from rag_engine.ports.inspection import Damage, Filling, Hollow, Remedy

_CHUNKS: Final = ("lexemes", "passage vectors")
_KEYS: Final = {"entity vectors": "hollow_entities", "edit vectors": "hollow_edits"}
_GRAPH: Final = (
    "references",
    "passages",
    "evidence",
    "entity ids",
    "entity counts",
    "entity values",
    "relation counts",
    "relation values",
)
_WORDS: Final = ("references", "passages", "lexemes", "word index", "word counts")


def hollows(connection: sqlite3.Connection, damages: Sequence[Damage]) -> list[Hollow]:
    """What is to be filled: chunks with their text, entities and what edits are about with their key."""
    chunks = {one.place for one in damages if one.check in _CHUNKS}
    found = []
    for row, title in connection.execute(
        UPKEEP["hollow_chunks"], (id_list(sorted(chunks, key=str)),)
    ):
        sql = f"{SQL['chunk_columns']} {UPKEEP['chunk_by_row']}"
        chunk = chunk_of(connection.execute(sql, (row,)).fetchone())
        found.append(Hollow(place=row, chunk=chunk, title=title))
    for check, query in _KEYS.items():
        listed = id_list(sorted((one.place for one in damages if one.check == check), key=str))
        for place, key in connection.execute(UPKEEP[query], (listed,)):
            found.append(Hollow(place=place, key=key))
    return found


class Repair:
    """One repair, within a write transaction."""

    def __init__(self, connection: sqlite3.Connection, damages: Sequence[Damage]) -> None:
        self._connection = connection
        self._damages = damages
        self._checks = {one.check for one in damages}

    def run(self, fillings: Sequence[tuple[Hollow, Filling]]) -> None:
        """Do all of it."""
        if "pages" in self._checks:
            self._connection.execute("REINDEX")
        self._drop_what_is_damaged()
        self._fill(fillings)
        self._restore_entities()
        self._connection.execute(UPKEEP["answer_with_newest"])
        self._statements("remove_strays")
        again = {one.document_id for one in self._damages if one.remedy is Remedy.INGEST}
        self._connection.execute(UPKEEP["ask_for_again"], (id_list(sorted(filter(None, again))),))
        self._rebuild()
        self._seal(fillings)
        self._tell_everybody()

    def _drop_what_is_damaged(self) -> None:
        dropped = id_list([one.place for one in self._damages if one.check == "passages"])
        self._connection.execute(UPKEEP["drop_chunks"], (dropped,))
        emptied = id_list([one.place for one in self._damages if one.check == "evidence"])
        for query in ("drop_mentions", "drop_assertions"):
            self._connection.execute(UPKEEP[query], (emptied,))

    def _fill(self, fillings: Sequence[tuple[Hollow, Filling]]) -> None:
        execute = self._connection.execute
        wanted = {(one.check, one.place) for one in self._damages}
        for hollow, filling in fillings:
            vector = canonical(filling.vector).astype("<f2").tobytes()
            # Passages and names are numbered apart: one number may stand for one of each.
            if hollow.chunk is None:
                if ("entity vectors", hollow.place) in wanted:
                    execute(UPKEEP["put_entity_vector"], (hollow.place, vector))
                if ("edit vectors", hollow.place) in wanted:
                    execute(UPKEEP["put_edit_vector"], (hollow.key, vector))
                continue
            if ("lexemes", hollow.place) in wanted:
                execute(UPKEEP["put_lexemes"], (hollow.place, filling.lexemes))
            if ("passage vectors", hollow.place) in wanted:
                execute(UPKEEP["put_chunk_vector"], (hollow.place, vector))

    def _restore_entities(self) -> None:
        """Entities whose row is lost or damaged, from the names that mention them."""
        for row, name in self._connection.execute(UPKEEP["lost_entities"]).fetchall():
            if name is not None:
                key = entity_key(name)
                self._connection.execute(UPKEEP["put_entity"], (row, entity_id(key), key))

    def _rebuild(self) -> None:
        if self._checks & {*_GRAPH}:
            self._statements("rebuild_graph")
        if self._checks & {*_WORDS}:
            self._statements("rebuild_words")
        self._statements("rebuild_held_in_memory")
        self._pack()
        if self._checks & {"references", "answering versions", "fields", "field counts"}:
            self._rebuild_fields()
        self._statements("rebuild_totals")

    def _pack(self) -> None:
        chunks = [row for row, *_ in self._connection.execute(UPKEEP["packed_mentions"])]
        rows = ((packed(self._connection, chunk), chunk) for chunk in chunks)
        self._connection.executemany(UPKEEP["set_packed"], rows)

    def _rebuild_fields(self) -> None:
        self._statements("remove_all_fields")
        for row in list(documents_in_order(self._connection)):
            fields = fields_of(document_at(self._connection, row))
            for name in fields:
                values = [(name, *stored(one), row) for one in values_of(fields, name)]
                self._connection.executemany(SQL["add_field_value"], values)
                if values:
                    self._connection.execute(SQL["count_field"], (name, 1))

    def _seal(self, fillings: Sequence[tuple[Hollow, Filling]]) -> None:
        """Checksums of what was made anew; those of what was not touched stay as they are."""
        execute = self._connection.execute
        filled = [one.place for one, _ in fillings if one.chunk is not None]
        emptied = [one.place for one in self._damages if one.check == "evidence"]
        for (row,) in execute(
            UPKEEP["unsealed_chunks"], (id_list([*filled, *emptied]),)
        ).fetchall():
            execute(SQL["seal_chunk"], (row,))
            execute(SQL["seal_evidence"], (row,))
        named = [one.place for one, _ in fillings if one.chunk is None]
        for (row,) in execute(UPKEEP["unsealed_entities"], (id_list(named),)).fetchall():
            execute(SQL["seal_entity"], (row,))
        keys = [one.key for one, _ in fillings if one.key]
        for (edit,) in execute(UPKEEP["unsealed_edits"], (id_list(keys),)).fetchall():
            execute(SQL["seal_edit"], (edit,))

    def _tell_everybody(self) -> None:
        """Let every process read everything anew: what it holds may be what was damaged."""
        self._connection.execute(SQL["add_meta"], ("counter", 1))
        [(counter,)] = self._connection.execute(SQL["meta"], ("counter",)).fetchall()
        self._connection.execute(SQL["set_meta"], ("removed_from", counter))

    def _statements(self, name: str) -> None:
        # `executescript` would commit the transaction that this runs in.
        for statement in UPKEEP[name].split(";\n"):
            self._connection.execute(statement)
