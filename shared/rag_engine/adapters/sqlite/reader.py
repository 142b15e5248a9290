"""One consistent view of a workspace's file."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import numpy as np

from rag_engine.adapters.sqlite.edits import active_edit_of, edits_about
from rag_engine.adapters.sqlite.evidence import found_in
from rag_engine.adapters.sqlite.filters import compile_filter
from rag_engine.adapters.sqlite.lexical import search_lexical
from rag_engine.adapters.sqlite.queries import SQL
from rag_engine.adapters.sqlite.resident import Resident, Residents, Rows
from rag_engine.adapters.sqlite.rows import (
    assertion_of,
    chunk_of,
    document_of,
    id_list,
    mention_of,
)
from rag_engine.adapters.sqlite.views import LOAD_SECONDS, View
from rag_engine.core.bm25 import Statistics
from rag_engine.core.edits import ActiveEdit
from rag_engine.core.evidence import SELECTED, majority, relation_of, selected
from rag_engine.core.filters import Filter
from rag_engine.core.ids import ChunkId, EntityId
from rag_engine.core.kept import SEEN, Lookup
from rag_engine.core.listing import BY_ID, Order, Sort
from rag_engine.core.models import Assertion, Chunk, Document, Entity, Extraction, Relation
from rag_engine.core.ranked import (
    Pair,
    Ranked,
    RankedPairs,
    pack_place,
    place_of,
)
from rag_engine.core.vectors import Mask
from rag_engine.errors import ModelMismatch, StoreUnavailable
from rag_engine.ports.listed import (
    AssertionEvidence,
    DocumentPage,
    EntityPage,
    MentionEvidence,
    RelationPage,
)
from rag_engine.ports.storage import (
    MAX_NEIGHBOURS,
    Adjacency,
    Hits,
    Ids,
    NodeKind,
    Stats,
    Vectors,
)

T = TypeVar("T")

_LISTED: Final = {
    Order(by=Sort.ID): "listed_by_id",
    Order(by=Sort.ID, descending=True): "listed_by_id_down",
    Order(by=Sort.TITLE): "listed_by_title",
    Order(by=Sort.TITLE, descending=True): "listed_by_title_down",
    Order(by=Sort.CREATED): "listed_by_created",
    Order(by=Sort.CREATED, descending=True): "listed_by_created_down",
    Order(by=Sort.UPDATED): "listed_by_updated",
    Order(by=Sort.UPDATED, descending=True): "listed_by_updated_down",
    Order(by=Sort.SIZE): "listed_by_size",
    Order(by=Sort.SIZE, descending=True): "listed_by_size_down",
}


def _first(order: Order) -> tuple[object, object]:
    """The place before all others."""
    if order.descending:
        return b"", b""  # which SQLite puts after every number and text
    return "" if order.by in (Sort.ID, Sort.TITLE) else -math.inf, ""


class Run(Protocol):
    """Runs work where it may block."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Run it; await what comes of it."""
        ...


class SqliteReader:
    """A `Reader` over one read transaction and the vectors as of its write counter.

    Args:
        run: Runs what reads.
        view: The read transaction.
        residents: The vectors.
    """

    def __init__(self, run: Run, view: View, residents: Residents) -> None:
        self._thread = run
        self._view = view
        self._residents = residents
        self._counter = view.counter
        self._documents_by_id = Lookup(self._find_documents, most=SEEN)
        self._chunks_by_id = Lookup(self._find_chunks, most=SEEN)

    @property
    def counter(self) -> int:
        """The write counter of this view."""
        return self._counter

    @property
    def exact(self) -> bool:
        """See `Reader.exact`."""
        return True

    async def documents(self, ids: Sequence[str]) -> list[Document | None]:
        """See `Reader.documents`."""
        return await self._documents_by_id.of(ids)

    async def list_documents(
        self,
        *,
        order: Order = BY_ID,
        after: str | None = None,
        limit: int = 100,
        filter: Filter | None = None,
    ) -> DocumentPage:
        """See `Reader.list_documents`."""
        place = _first(order) if after is None else order.parsed(after)
        among = None
        if filter is not None:
            among = await self._run(lambda: id_list(self._documents(filter).tolist()))
        sql = f"{SQL['document_columns']} {SQL[_LISTED[order]]}"
        rows = await self._rows(sql, *place, among, limit + 1)
        documents = tuple(document_of(row) for row in rows[:limit])
        more = len(rows) > limit and bool(documents)
        return DocumentPage(
            documents=documents, next=order.cursor(order.place(documents[-1])) if more else None
        )

    async def chunks(self, ids: Sequence[ChunkId]) -> list[Chunk | None]:
        """See `Reader.chunks`."""
        return await self._chunks_by_id.of(ids)

    async def document_chunks(self, document_id: str) -> list[Chunk]:
        """See `Reader.document_chunks`."""
        sql = f"{SQL['chunk_columns']} {SQL['chunks_of_document']}"
        return [chunk_of(row) for row in await self._rows(sql, document_id)]

    async def entities(
        self, ids: Sequence[EntityId], *, filter: Filter | None = None
    ) -> list[Entity | None]:
        """See `Reader.entities`."""
        return await self._run(lambda: self._entities(ids, filter))

    async def list_entities(
        self, *, after: str | None = None, limit: int = 100, filter: Filter | None = None
    ) -> EntityPage:
        """See `Reader.list_entities`."""
        return await self._run(lambda: self._list_entities(after, limit, filter))

    async def relations(
        self, ids: Sequence[EntityId], *, limit: int = 50, filter: Filter | None = None
    ) -> list[list[Relation]]:
        """See `Reader.relations`."""
        if filter is None:
            return await self._run(lambda: [self._relations(id, limit) for id in ids])
        return await self._run(lambda: self._relations_among(ids, limit, filter))

    async def relations_between(
        self, pairs: Sequence[tuple[EntityId, EntityId]], *, filter: Filter | None = None
    ) -> list[Relation | None]:
        """See `Reader.relations_between`."""
        return await self._run(lambda: self._relations_between(pairs, filter))

    async def list_relations(
        self, *, after: str | None = None, limit: int = 100, filter: Filter | None = None
    ) -> RelationPage:
        """See `Reader.list_relations`."""
        return await self._run(lambda: self._list_relations(after, limit, filter))

    async def assertions(
        self, one: EntityId, other: EntityId, *, limit: int = 50, filter: Filter | None = None
    ) -> list[AssertionEvidence]:
        """See `Reader.assertions`."""
        rows = await self._run(lambda: self._assertions_between(one, other, filter, limit))
        return [
            AssertionEvidence(chunk_id=ChunkId(row[0]), assertion=assertion_of(row[2:]))
            for row in rows
        ]

    async def evidence(
        self, id: EntityId, *, limit: int = 50, filter: Filter | None = None
    ) -> list[MentionEvidence]:
        """See `Reader.evidence`."""
        if filter is None:
            rows = await self._rows(SQL["mentions_of_entity"], id, limit)
        else:
            matching = await self._run(lambda: id_list(self._documents(filter).tolist()))
            rows = await self._rows(SQL["mentions_of_entity_among"], id, matching, limit)
        return [
            MentionEvidence(chunk_id=ChunkId(row[0]), mention=mention_of(row[1:])) for row in rows
        ]

    async def extractions(self, ids: Sequence[ChunkId]) -> list[Extraction | None]:
        """See `Reader.extractions`."""
        return await self._run(lambda: self._extractions(ids))

    async def edits(self) -> list[ActiveEdit]:
        """See `Reader.edits`."""
        return [active_edit_of(row) for row in await self._rows(SQL["edits"])]

    async def canonical(self, keys: Sequence[str]) -> list[str]:
        """See `Reader.canonical`."""
        edits = await self._run(lambda: edits_about(keys, self._view.rows))
        return [edits.canonical(key) for key in keys]

    async def search_dense(
        self, kind: NodeKind, queries: Vectors, k: int, *, filter: Filter | None = None
    ) -> list[Hits]:
        """See `Reader.search_dense`."""
        return await self._run(lambda: self._search_dense(kind, queries, k, filter))

    async def search_text(
        self, tokens: Sequence[str], k: int, *, filter: Filter | None = None
    ) -> Hits:
        """See `Reader.search_text`."""
        return await self._run(lambda: self._search_text(tokens, k, filter))

    async def statistics(self, tokens: Sequence[str]) -> Statistics:
        """See `Reader.statistics`."""
        return await self._run(lambda: self._statistics(tokens))

    async def adjacency(
        self, kind: NodeKind, ids: Ids, *, filter: Filter | None = None
    ) -> Adjacency:
        """See `Reader.adjacency`."""
        return await self._run(lambda: self._adjacency(kind, ids, filter))

    async def vectors(self, kind: NodeKind, ids: Ids) -> Vectors:
        """See `Reader.vectors`."""
        return await self._run(lambda: self._table(kind).vectors(ids))

    async def stats(self) -> Stats:
        """See `Reader.stats`."""
        meta: dict[str, Any] = dict(await self._rows(SQL["all_meta"]))
        fields: dict[str, Any] = dict(await self._rows(SQL["fields"]))
        return Stats(
            documents=meta.get("documents", 0),
            chunks=meta.get("chunks", 0),
            entities=meta.get("entities", 0),
            relations=meta.get("relations", 0),
            mentions=meta.get("mentions", 0),
            assertions=meta.get("assertions", 0),
            fields={name: fields[name] for name in sorted(fields) if not name.startswith("$")},
            model=meta["model"] if meta.get("documents") else None,
        )

    async def _find_documents(self, ids: list[str]) -> dict[str, Document]:
        sql = f"{SQL['document_columns']} {SQL['documents_by_id']}"
        return {one.id: one for one in map(document_of, await self._rows(sql, id_list(ids)))}

    async def _find_chunks(self, ids: list[ChunkId]) -> dict[ChunkId, Chunk]:
        sql = f"{SQL['chunk_columns']} {SQL['chunks_by_id']}"
        return {one.id: one for one in map(chunk_of, await self._rows(sql, id_list(ids)))}

    # What follows runs on a reader thread.

    async def _run(self, work: Callable[[], T]) -> T:
        return await self._thread(partial(self._held, work))

    def _held(self, work: Callable[[], T]) -> T:
        with self._view.held(self._counter):
            return work()

    async def _rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        return await self._run(lambda: self._view.rows(sql, *parameters))

    def _resident(self) -> Resident:
        try:
            with self._view.exclusive(LOAD_SECONDS, for_all=True) as connection:
                return self._residents.at(connection, self._counter)
        except StoreUnavailable:  # what was read need not be of one moment
            self._residents.forget(self._counter)
            raise

    def _table(self, kind: NodeKind) -> Any:
        resident = self._resident()
        return resident.chunks if kind == "chunk" else resident.entities

    def _documents(self, filter_: Filter) -> Rows:
        """Database rows of the documents that match, ascending."""
        sql, parameters = compile_filter(filter_)
        rows: list[Any] = self._view.rows(sql, *parameters)
        return np.unique(np.array([row for (row,) in rows], dtype=np.int64))

    def _visible(self, resident: Resident, kind: NodeKind, filter_: Filter | None) -> Mask:
        if filter_ is None:
            return resident.chunks.alive if kind == "chunk" else resident.entities.alive
        # As text, in which `True`, `1` and `1.0` differ.
        name = repr(compile_filter(filter_))
        return resident.visible(kind, name, lambda: self._documents(filter_))

    def _search_dense(
        self, kind: NodeKind, queries: Vectors, k: int, filter_: Filter | None
    ) -> list[Hits]:
        resident = self._resident()
        table = resident.chunks if kind == "chunk" else resident.entities
        if queries.shape[1] != table.values.shape[1]:
            raise ModelMismatch(
                f"The query has {queries.shape[1]} dimensions, the workspace's vectors have "
                f"{table.values.shape[1]}. Ask with the model that made them."
            )
        found = table.search(queries, k, self._visible(resident, kind, filter_))
        return [Hits(ids=ids, scores=scores) for ids, scores in found]

    def _statistics(self, tokens: Sequence[str]) -> Statistics:
        totals: list[Any] = self._view.rows(SQL["all_meta"])
        meta = dict(totals)
        rows: list[Any] = self._view.rows(SQL["frequencies"], id_list(sorted(set(tokens))))
        chunks = int(meta.get("chunks", 0))
        return Statistics(
            documents=chunks,
            average_length=meta.get("length", 0) / chunks if chunks else 0.0,
            frequency={term: count for term, count in rows},
        )

    def _search_text(self, tokens: Sequence[str], k: int, filter_: Filter | None) -> Hits:
        resident = self._resident()
        return search_lexical(
            self._view,
            resident,
            self._visible(resident, "chunk", filter_),
            tokens,
            self._statistics(tokens),
            k,
        )

    def _adjacency(self, kind: NodeKind, ids: Ids, filter_: Filter | None) -> Adjacency:
        resident = self._resident()
        visible, graph = self._visible(resident, "chunk", filter_), resident.graph
        if kind == "chunk":
            rows = resident.chunks.rows(ids)
            offsets, targets, weights, degrees = graph.of_chunks(rows, visible, MAX_NEIGHBOURS)
            neighbours = resident.entities.ids[targets]
        else:
            rows = resident.entities.rows(ids)
            offsets, targets, weights, degrees = graph.of_entities(
                rows, visible, resident.chunks.ids, MAX_NEIGHBOURS
            )
            neighbours = resident.chunks.ids[targets]
        return Adjacency(
            offsets=offsets,
            neighbours=neighbours,
            weights=weights.astype(np.int64),
            degrees=degrees,
        )

    def _list_entities(self, after: str | None, limit: int, filter_: Filter | None) -> EntityPage:
        if filter_ is None:
            ids, end = self._page_of_all(after, limit)
        else:
            ids, end = self._ranked(self._resident(), filter_).page(after, limit)
        found = self._entities([EntityId(id) for id in ids], filter_)
        return EntityPage(entities=tuple(one for one in found if one is not None), next=end)

    def _page_of_all(self, after: str | None, limit: int) -> tuple[list[int], str | None]:
        """A page of all entities, by the index that is in their order: nothing is held for it."""
        if after is None:
            rows: list[Any] = self._view.rows(SQL["first_entities"], limit + 1)
        else:
            rows = self._view.rows(SQL["entities_after"], *place_of(after, 1), limit + 1)
        page = rows[:limit]
        end = pack_place(page[-1][1], page[-1][0]) if len(rows) > limit else None
        return [id for id, _ in page], end

    def _ranked(self, resident: Resident, filter_: Filter) -> Ranked:
        name = repr(compile_filter(filter_))
        return resident.ranked(name, self._visible(resident, "chunk", filter_))

    def _entities(self, ids: Sequence[EntityId], filter_: Filter | None) -> list[Entity | None]:
        found = (
            self._entities_among(ids, filter_)
            if filter_ is not None
            else self._entities_of_all(ids)
        )
        return [found.get(id) for id in ids]

    def _entities_of_all(self, ids: Sequence[EntityId]) -> dict[int, Entity]:
        rows: list[Any] = self._view.rows(SQL["entities"], id_list(ids))
        return {
            id: Entity(
                id=EntityId(id),
                key=key,
                name=self._value(SQL["entity_top_value"], row, "name"),
                type=self._value(SQL["entity_top_value"], row, "type"),
                mentions=mentions,
                descriptions=self._values(SQL["entity_descriptions"], row, SELECTED),
            )
            for id, row, key, mentions in rows
        }

    def _entities_among(self, ids: Sequence[EntityId], filter_: Filter) -> dict[int, Entity]:
        """Entities as the evidence of matching documents makes them."""
        matching, wanted = id_list(self._documents(filter_).tolist()), id_list(
            [*dict.fromkeys(ids)]
        )
        rows: list[Any] = self._view.rows(SQL["mentions_of_entities_among"], wanted, matching)
        grouped = defaultdict[tuple[int, str], list[Any]](list)
        for id, key, *mention in rows:
            grouped[id, key].append(mention)
        return {
            id: Entity(
                id=EntityId(id),
                key=key,
                name=majority(Counter(name for name, _, _ in mentions).items()),
                type=majority(Counter(kind for _, kind, _ in mentions if kind).items()),
                mentions=len(mentions),
                descriptions=selected(description for _, _, description in mentions),
            )
            for (id, key), mentions in grouped.items()
        }

    def _relations(self, id: EntityId, limit: int) -> list[Relation]:
        rows: list[Any] = self._view.rows(SQL["relations_of_entity"], id, limit)
        return [self._relation(id, row) for row in rows]

    def _relation(self, id: EntityId, row: Sequence[Any]) -> Relation:
        source, target, other, assertions, weight = row
        low, high = min(source, target), max(source, target)
        keywords, descriptions = (
            self._values(SQL["relation_values"], low, high, kind, SELECTED)
            for kind in ("keywords", "description")
        )
        return Relation(
            source=id,
            target=EntityId(other),
            target_name=self._value(SQL["entity_top_value"], target, "name"),
            assertions=assertions,
            weight=weight,
            keywords=keywords,
            descriptions=descriptions,
        )

    def _list_relations(
        self, after: str | None, limit: int, filter_: Filter | None
    ) -> RelationPage:
        pairs, end = self._ranked_pairs(filter_).page(after, limit)
        ends = [(EntityId(low), EntityId(high)) for low, high, _ in pairs]
        found = self._relations_between(ends, filter_)
        return RelationPage(relations=tuple(one for one in found if one is not None), next=end)

    def _ranked_pairs(self, filter_: Filter | None) -> RankedPairs:
        def joined() -> list[Pair]:
            if filter_ is None:
                rows: list[Any] = self._view.rows(SQL["all_relations"])
            else:
                matching = id_list(self._documents(filter_).tolist())
                rows = self._view.rows(SQL["relations_among"], matching)
            return rows

        name = "" if filter_ is None else repr(compile_filter(filter_))
        return self._resident().ranked_pairs(name, joined)

    def _relations_between(
        self, pairs: Sequence[tuple[EntityId, EntityId]], filter_: Filter | None
    ) -> list[Relation | None]:
        if filter_ is not None:
            return self._relations_between_among(pairs, filter_)
        found = [
            (one, self._view.rows(SQL["relation_between"], one, other)) for one, other in pairs
        ]
        return [self._relation(one, rows[0]) if rows else None for one, rows in found]

    def _relations_between_among(
        self, pairs: Sequence[tuple[EntityId, EntityId]], filter_: Filter
    ) -> list[Relation | None]:
        """Relations as the evidence of matching documents makes them."""
        listed, among = id_list(pairs), id_list(self._documents(filter_).tolist())
        rows: list[Any] = self._view.rows(SQL["assertions_of_pairs_among"], listed, among)
        grouped = defaultdict[int, list[Assertion]](list)
        for place, *row in rows:
            grouped[place].append(assertion_of(row))
        entities = self._entities_among([pairs[place][1] for place in grouped], filter_)
        return [
            (relation_of(one, entities[other], grouped[place]) if place in grouped else None)
            for place, (one, other) in enumerate(pairs)
        ]

    def _assertions_between(
        self, one: EntityId, other: EntityId, filter_: Filter | None, limit: int = -1
    ) -> list[Any]:
        among = None if filter_ is None else id_list(self._documents(filter_).tolist())
        return self._view.rows(SQL["assertions_between"], one, other, among, limit)

    def _relations_among(
        self, ids: Sequence[EntityId], limit: int, filter_: Filter
    ) -> list[list[Relation]]:
        """Relations as the evidence of matching documents makes them."""
        matching = id_list(self._documents(filter_).tolist())
        found = []
        for id in ids:
            rows: list[Any] = self._view.rows(SQL["assertions_of_entity_among"], id, matching)
            grouped = defaultdict[int, list[Any]](list)
            for other, *rest in rows:
                grouped[other].append(rest)
            weights = {other: sum(row[2] for row in group) for other, group in grouped.items()}
            strongest = sorted((-weight, other) for other, weight in weights.items())[:limit]
            found.append(
                [(EntityId(other), -weight, grouped[other]) for weight, other in strongest]
            )
        others = [other for one in found for other, _, _ in one]
        entities = self._entities_among(others, filter_)
        return [
            [
                Relation(
                    source=id,
                    target=other,
                    target_name=entities[other].name,
                    assertions=len(group),
                    weight=weight,
                    keywords=selected(row[0] for row in group),
                    descriptions=selected(row[1] for row in group),
                )
                for other, weight, group in one
            ]
            for id, one in zip(ids, found, strict=True)
        ]

    def _extractions(self, ids: Sequence[ChunkId]) -> list[Extraction | None]:
        there = self._table("chunk").rows(np.array(ids, dtype=np.int64)) >= 0
        known = [id for id, one in zip(ids, there.tolist(), strict=True) if one]
        found = dict(zip(known, found_in(self._view, known), strict=True))
        return [found.get(id) for id in ids]

    def _value(self, sql: str, *parameters: object) -> str:
        return next(iter(self._values(sql, *parameters)), "")

    def _values(self, sql: str, *parameters: object) -> tuple[str, ...]:
        return tuple(str(row[0]) for row in self._view.rows(sql, *parameters))
