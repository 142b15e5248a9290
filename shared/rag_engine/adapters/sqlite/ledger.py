"""Adding a version's evidence to the visible tables, and taking it away: exact inverses.

Every statement touches rows of the version's own evidence and the counters they add up to, never
the history of an entity: the cost is that of the version alone.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rag_engine.adapters.sqlite.queries import SQL
from rag_engine.adapters.sqlite.rows import (
    assertion_of,
    extraction_of,
    id_list,
    mention_of,
    pack,
    pack_extraction,
)
from rag_engine.core.edits import Edits
from rag_engine.core.evidence import Tally, canonical
from rag_engine.core.ids import entity_id, text_hash
from rag_engine.core.models import Chunk, Extraction
from rag_engine.core.names import entity_key
from rag_engine.errors import InvalidRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedChunk:
    """A chunk with its evidence, as it was staged; `vector` is little-endian float16."""

    chunk: Chunk
    lexemes: str
    extraction: Extraction
    vector: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reformed:
    """A visible chunk whose evidence is seen in another way from now on.

    Attributes:
        row: Its database row.
        found: Its evidence as it was found.
        before: What was seen of it.
        after: What is seen of it now.
    """

    row: int
    found: Extraction
    before: Extraction
    after: Extraction


def _packed(visible: Extraction, entities: Mapping[str, int]) -> bytes:
    """The mentions of a chunk as `chunk_vector` holds them."""
    mentions = [(entities[entity_key(m.name)], m) for m in visible.mentions]
    ranked = sorted(
        mentions, key=lambda pair: (-pair[1].weight, entity_id(entity_key(pair[1].name)))
    )
    return b"".join(struct.pack("<ii", entity, m.weight) for entity, m in ranked)


def _beyond(one: Extraction, other: Extraction) -> Extraction:
    """What one extraction has and the other has not."""
    return Extraction(
        mentions=tuple(m for m in one.mentions if m not in other.mentions),
        assertions=tuple(a for a in one.assertions if a not in other.assertions),
    )


class Ledger:
    """The visible tables, within one write transaction."""

    def __init__(self, connection: sqlite3.Connection, counter: int) -> None:
        self._connection = connection
        self._counter = counter

    def add(
        self,
        document: int,
        staged: Sequence[StagedChunk],
        edits: Edits,
        names: Mapping[str, bytes],
    ) -> None:
        """Make a version's evidence visible.

        Args:
            document: Database row of the document.
            staged: Its chunks in order.
            edits: Those that have to do with its evidence.
            names: Vectors of the entity keys that are seen, as far as they are known.
        """
        tally = Tally()
        seen = [edits.applied(one.extraction) for one in staged]
        for one, visible in zip(staged, seen, strict=True):
            tally.add(visible, one.lexemes)
        entities = self._entity_rows(tally, names)
        first = self._next_row("chunk")
        for row, (one, visible) in enumerate(zip(staged, seen, strict=True), first):
            self._add_chunk(row, document, one, _packed(visible, entities))
            self._add_evidence(row, visible, entities)
            self._keep(row, one.extraction, visible, edits)
        self._count(tally, entities, 1)

    def reform(
        self,
        chunks: Sequence[Any],
        edits_about: Callable[[set[str]], Edits],
        names: Mapping[str, bytes],
    ) -> None:
        """See the evidence of visible chunks as edits let it be seen now.

        Args:
            chunks: Row and id of each.
            edits_about: Finds the edits that have to do with some keys.
            names: Vectors of the entity keys that come to light.
        """
        rows = self._evidence([(row, id, "") for row, id in chunks])
        # The database keeps no order within a chunk.
        before = [(row, canonical(seen)) for row, _, seen in rows]
        kept = self._connection.execute(SQL["edited_chunks"], (id_list([id for _, id in chunks]),))
        found = {id: extraction_of(text) for id, text in kept}
        raw = [found.get(id, seen) for (_, id), (_, seen) in zip(chunks, before, strict=True)]
        edits = edits_about({entity_key(m.name) for one in raw for m in one.mentions})
        reformed = [
            _Reformed(row=row, found=one, before=seen, after=after)
            for one, (row, seen) in zip(raw, before, strict=True)
            if (after := edits.applied(one)) != seen
        ]
        self._reform(reformed, edits, names)

    def _reform(
        self, reformed: Sequence[_Reformed], edits: Edits, names: Mapping[str, bytes]
    ) -> None:
        added, removed, seen = Tally(), Tally(), Tally()
        for one in reformed:
            added.add(_beyond(one.after, one.before), "")
            removed.add(_beyond(one.before, one.after), "")
            seen.add(one.after, "")
        new = self._entity_rows(added, names)
        entities = self._rows_of(seen) | self._rows_of(removed) | new
        self._forget_evidence([(one.row,) for one in reformed])
        for one in reformed:
            self._add_evidence(one.row, one.after, entities)
            self._keep(one.row, one.found, one.after, edits)
            packed = _packed(one.after, entities)
            self._connection.execute(SQL["set_mentions_in_memory"], (packed, one.row))
        self._log_removed("mentions", [one.row for one in reformed])
        # First add, then remove, as when a version is replaced; the chunks cancel out.
        self._count(added, entities, 1)
        self._count(removed, entities, -1)

    def shown(self, document: int) -> list[Any]:
        """What `remove` takes away: row, id and lexemes of each visible chunk of a document."""
        return self._connection.execute(SQL["document_lexemes"], (document,)).fetchall()

    def remove(self, found: Sequence[Any]) -> None:
        """Take away the evidence of chunks that `shown` found."""
        rows = [(row,) for row, _, _ in found]
        tally = Tally()
        for row, lexemes, extraction in self._evidence(found):
            tally.add(extraction, lexemes)
            self._connection.execute(SQL["unindex_lexemes"], (row, lexemes))
        entities = self._rows_of(tally)
        self._forget_evidence(rows)
        for query in (
            "remove_lexemes",
            "remove_chunk_vector",
            "remove_chunk_checksum",
            "remove_chunk",
        ):
            self._connection.executemany(SQL[query], rows)
        self._log_removed("chunk", [row for (row,) in rows])
        self._count(tally, entities, -1)

    def _forget_evidence(self, rows: Sequence[tuple[int]]) -> None:
        for query in (
            "remove_mentions",
            "remove_assertions",
            "remove_edited_chunk",
            "remove_edited_keys",
        ):
            self._connection.executemany(SQL[query], rows)

    def _evidence(self, found: Sequence[Any]) -> list[tuple[int, str, Extraction]]:
        """Row, lexemes and extraction of chunks given by row, id and lexemes."""
        mentions: dict[int, list[Any]] = {id: [] for _, id, _ in found}
        assertions: dict[int, list[Any]] = {id: [] for _, id, _ in found}
        listed = id_list(list(mentions))
        for id, *row in self._connection.execute(SQL["mentions_of_chunks"], (listed,)):
            mentions[id].append(mention_of(row))
        for id, *row in self._connection.execute(SQL["assertions_of_chunks"], (listed,)):
            assertions[id].append(assertion_of(row))
        return [
            (
                row,
                lexemes,
                Extraction(mentions=tuple(mentions[id]), assertions=tuple(assertions[id])),
            )
            for row, id, lexemes in found
        ]

    def _next_row(self, table: str) -> int:
        found = self._connection.execute(SQL["last_row"], (table,)).fetchone()
        return (found[0] if found else 0) + 1

    def _rows_of(self, tally: Tally) -> dict[str, int]:
        ids = id_list([entity_id(key) for key in tally.entities])
        return dict(self._connection.execute(SQL["entity_rows"], (ids,)).fetchall())

    def _entity_rows(self, tally: Tally, names: Mapping[str, bytes]) -> dict[str, int]:
        """Database rows of all entities of a tally, adding those that are new."""
        rows = self._rows_of(tally)
        new = sorted(tally.entities.keys() - rows.keys())
        if missing := [key for key in new if not names.get(key)]:
            raise InvalidRequest(
                f"The names {missing!r} were staged without vectors. Write them with `stage_names`."
            )
        for row, key in enumerate(new, self._next_row("entity")):
            self._connection.execute(SQL["add_entity"], (row, entity_id(key), key))
            self._connection.execute(SQL["add_entity_vector"], (row, entity_id(key), names[key]))
            self._connection.execute(SQL["seal_entity"], (row,))
            rows[key] = row
        self._add_total("entities", len(new))
        return rows

    def _add_chunk(self, row: int, document: int, one: StagedChunk, mentions: bytes) -> None:
        execute, chunk = self._connection.execute, one.chunk
        first, last = chunk.pages or (None, None)
        execute(
            SQL["add_chunk"],
            (row, chunk.id, document, chunk.ordinal, chunk.text, chunk.start, chunk.end)
            + (chunk.tokens, first, last, pack(list(chunk.heading_path))),
        )
        execute(SQL["add_lexemes"], (row, one.lexemes))
        execute(SQL["index_lexemes"], (row, one.lexemes))
        execute(
            SQL["add_chunk_vector"],
            (row, chunk.id, document, len(one.lexemes.split()), one.vector, mentions),
        )
        execute(SQL["seal_chunk"], (row,))

    def _add_evidence(self, row: int, visible: Extraction, entities: Mapping[str, int]) -> None:
        self._connection.executemany(
            SQL["add_mention"],
            [
                (row, entities[entity_key(m.name)])
                + (m.name, m.type, m.description, m.weight, m.written)
                for m in visible.mentions
            ],
        )
        self._connection.executemany(
            SQL["add_assertion"],
            [
                (row, entities[entity_key(a.source)], entities[entity_key(a.target)])
                + (a.source, a.target, a.keywords, a.description, a.weight)
                for a in visible.assertions
            ],
        )
        self._connection.execute(SQL["seal_evidence"], (row,))

    def _keep(self, row: int, found: Extraction, visible: Extraction, edits: Edits) -> None:
        """Keep what was found in a chunk, where edits let something else be seen."""
        if found == visible:
            return
        self._connection.execute(SQL["add_edited_chunk"], (row, pack_extraction(found)))
        keys = edits.changed(found)
        self._connection.executemany(SQL["add_edited_key"], [(key, row) for key in sorted(keys)])

    def _count(self, tally: Tally, entities: Mapping[str, int], sign: int) -> None:
        """Add a tally to all counters, or subtract it."""
        self._add_total("chunks", sign * tally.chunks)
        self._add_total("length", sign * tally.length)
        self._add_total("mentions", sign * tally.mentions)
        self._add_total("assertions", sign * tally.assertions)
        self._count_terms(tally, sign)
        self._count_relations(tally, entities, sign)
        self._count_entities(tally, entities, sign)

    def _count_terms(self, tally: Tally, sign: int) -> None:
        terms = sorted(tally.frequency.items())
        self._connection.executemany(SQL["count_term"], [(t, sign * n) for t, n in terms])
        if sign < 0:
            self._connection.executemany(SQL["remove_uncounted_term"], [(t,) for t, _ in terms])

    def _count_entities(self, tally: Tally, entities: Mapping[str, int], sign: int) -> None:
        counts, values = [], []
        for key, entity in tally.entities.items():
            row = entities[key]
            counts.append((sign * entity.mentions, row))
            for kind, counter in (
                ("name", entity.names),
                ("type", entity.types),
                ("description", entity.descriptions),
            ):
                values += [(row, kind, text_hash(v), v, sign * n) for v, n in counter.items()]
        self._connection.executemany(SQL["count_mentions"], counts)
        self._connection.executemany(SQL["count_entity_value"], values)
        if sign < 0:
            uncounted = [(row, kind, hash) for row, kind, hash, _, _ in values]
            self._connection.executemany(SQL["remove_uncounted_entity_value"], uncounted)
            self._remove_unmentioned(list(entities.values()))

    def _remove_unmentioned(self, rows: Sequence[int]) -> None:
        listed = id_list(rows)
        gone = self._connection.execute(SQL["unmentioned_entities"], (listed,)).fetchall()
        self._connection.executemany(SQL["remove_entity"], gone)
        self._connection.executemany(SQL["remove_entity_vector"], gone)
        self._connection.executemany(SQL["remove_entity_checksum"], gone)
        self._log_removed("entity", [row for (row,) in gone])
        self._add_total("entities", -len(gone))

    def _count_relations(self, tally: Tally, entities: Mapping[str, int], sign: int) -> None:
        pairs, values = [], []
        for keys, relation in tally.relations.items():
            low, high = sorted(entities[key] for key in keys)
            amount = (sign * relation.assertions, sign * relation.weight)
            pairs += [(low, high, *amount), (high, low, *amount)]
            for kind, counter in (
                ("keywords", relation.keywords),
                ("description", relation.descriptions),
            ):
                values += [(low, high, kind, text_hash(v), v, sign * n) for v, n in counter.items()]
        before = self._relations(pairs)
        self._connection.executemany(SQL["count_relation"], pairs)
        self._connection.executemany(SQL["count_relation_value"], values)
        if sign < 0:
            ends = [pair[:2] for pair in pairs]
            self._connection.executemany(SQL["remove_uncounted_relation"], ends)
            uncounted = [value[:4] for value in values]
            self._connection.executemany(SQL["remove_uncounted_relation_value"], uncounted)
        self._add_total("relations", (self._relations(pairs) - before) // 2)

    def _relations(self, pairs: Sequence[tuple[int, int, int, int]]) -> int:
        execute = self._connection.execute
        return sum(execute(SQL["has_relation"], pair[:2]).fetchone() is not None for pair in pairs)

    def _add_total(self, name: str, amount: int) -> None:
        if amount:
            self._connection.execute(SQL["add_meta"], (name, amount))

    def _log_removed(self, kind: str, rows: Sequence[int]) -> None:
        self._connection.executemany(
            SQL["log_removed"], [(self._counter, kind, row) for row in rows]
        )
