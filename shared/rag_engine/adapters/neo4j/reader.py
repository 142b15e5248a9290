"""One consistent view of a workspace: what is visible in memory, and its texts by row.

The rows of a state are never changed once they were shown, so reading them at any later time gives
what they were. Aggregates do change: they are read as they are now, and where a later write touched
them, worked out from the evidence of the view instead.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np

from rag_engine.adapters.neo4j.connection import Connection, Row
from rag_engine.adapters.neo4j.distant import Distant
from rag_engine.adapters.neo4j.errors import kept_no_more
from rag_engine.adapters.neo4j.filters import Matches
from rag_engine.adapters.neo4j.orders import Orders, page_of
from rag_engine.adapters.neo4j.records import (
    chunk_of,
    document_of,
    entity_of,
    extraction_of,
    seen_of,
)
from rag_engine.adapters.neo4j.resident import Resident
from rag_engine.adapters.neo4j.strongest import Ends, strongest_page, weights_of, with_ends
from rag_engine.core.bm25 import Statistics
from rag_engine.core.edits import ActiveEdit, Edits
from rag_engine.core.evidence import SELECTED, majority, relation_of, selected
from rag_engine.core.filters import Filter
from rag_engine.core.ids import ChunkId, EntityId, entity_id
from rag_engine.core.kept import SEEN, Lookup
from rag_engine.core.listing import BY_ID, Order
from rag_engine.core.models import Assertion, Chunk, Document, Entity, Extraction, Mention, Relation
from rag_engine.core.names import entity_key
from rag_engine.core.ranked import Pair, RankedPairs
from rag_engine.core.vectors import Mask, best
from rag_engine.errors import ModelMismatch
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

_AT_A_TIME: Final = 2_000
"""Chunks whose evidence one statement reads where that of many is added up."""


class Neo4jReader:
    """A `Reader` of one resident state.

    Args:
        connection: To the database.
        workspace: Number of the workspace.
        resident: The state.
        matches: What the process knows of filters.
        orders: And of orders.
    """

    def __init__(
        self,
        connection: Connection,
        workspace: int,
        resident: Resident,
        matches: Matches,
        orders: Orders,
    ) -> None:
        self._connection = connection
        self._workspace = workspace
        self._resident = resident
        self._matches = matches
        self._orders = orders
        self._distant = Distant(self._rows, resident)
        self._documents_by_id = Lookup(self._find_documents, most=SEEN)
        self._chunks_by_id = Lookup(self._find_chunks, most=SEEN)

    @property
    def counter(self) -> int:
        """The write counter of this view."""
        return self._resident.state.counter

    @property
    def exact(self) -> bool:
        """See `Reader.exact`."""
        return self._resident.exact

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
        known = self._resident.documents
        places = await self._orders.places(order, self.counter, known, self._to_order)
        if filter is not None:
            matching = set((await self._matching(filter)).tolist())
            places = [one for one in places if known[one[1]] in matching]
        chosen = page_of(places, order, after, limit)
        found = await self._documents([known[id] for _, id in chosen[:limit]])
        return DocumentPage(
            documents=tuple(found[id] for _, id in chosen[:limit]),
            next=order.cursor(chosen[limit - 1]) if len(chosen) > limit else None,
        )

    async def _to_order(self, since: int) -> list[Row]:
        return await self._rows("versions_to_order", since=since)

    async def chunks(self, ids: Sequence[ChunkId]) -> list[Chunk | None]:
        """See `Reader.chunks`."""
        return await self._chunks_by_id.of(ids)

    async def document_chunks(self, document_id: str) -> list[Chunk]:
        """See `Reader.document_chunks`."""
        version = self._resident.documents.get(document_id)
        if version is None:
            return []
        mine = (self._resident.chunk_versions == version) & self._resident.chunks.alive
        found = await self._chunks(self._resident.rows_of(np.flatnonzero(mine)))
        return sorted(found.values(), key=lambda chunk: chunk.ordinal)

    async def entities(
        self, ids: Sequence[EntityId], *, filter: Filter | None = None
    ) -> list[Entity | None]:
        """See `Reader.entities`."""
        table = self._resident.entities
        visible = await self._visible("entity", filter)
        rows = table.rows(np.array(ids, dtype=np.int64))
        wanted = table.ids[[row for row in np.unique(rows) if row >= 0 and visible[row]]].tolist()
        found: dict[int, Entity] = {}
        if filter is None and wanted:
            found = await self._aggregates(wanted)
        late = [EntityId(id) for id in wanted if id not in found]
        found |= await self._entities_from_evidence(late, await self._visible("chunk", filter))
        return [found.get(id) for id in ids]

    async def list_entities(
        self, *, after: str | None = None, limit: int = 100, filter: Filter | None = None
    ) -> EntityPage:
        """See `Reader.list_entities`."""
        visible = await self._visible("chunk", filter)
        ranked = await asyncio.to_thread(self._resident.ranked, repr(filter), visible)
        ids, end = ranked.page(after, limit)
        found = await self.entities([EntityId(id) for id in ids], filter=filter)
        return EntityPage(entities=tuple(one for one in found if one is not None), next=end)

    async def relations(
        self, ids: Sequence[EntityId], *, limit: int = 50, filter: Filter | None = None
    ) -> list[list[Relation]]:
        """See `Reader.relations`."""
        wanted = list(dict.fromkeys(ids))
        found = await self._relations_now(wanted, limit) if filter is None else {}
        late = [id for id in wanted if id not in found]
        found |= await self._relations_from_evidence(late, limit, filter)
        return [found[id] for id in ids]

    async def relations_between(
        self, pairs: Sequence[tuple[EntityId, EntityId]], *, filter: Filter | None = None
    ) -> list[Relation | None]:
        """See `Reader.relations_between`."""
        wanted = list(dict.fromkeys(pairs))
        found = await self._between_now(wanted) if filter is None else {}
        late = [pair for pair in wanted if pair not in found]
        found |= await self._between_from_evidence(late, filter)
        return [found[pair] for pair in pairs]

    async def list_relations(
        self, *, after: str | None = None, limit: int = 100, filter: Filter | None = None
    ) -> RelationPage:
        """See `Reader.list_relations`."""
        if filter is None:
            page, end = await strongest_page(
                self._rows, self.counter, after, limit, self._weights_from_evidence
            )
        else:
            page, end = (await self._ranked_pairs(filter)).page(after, limit)
        pairs = [(EntityId(low), EntityId(high)) for low, high, _ in page]
        found = await self.relations_between(pairs, filter=filter)
        return RelationPage(relations=tuple(one for one in found if one is not None), next=end)

    async def assertions(
        self, one: EntityId, other: EntityId, *, limit: int = 50, filter: Filter | None = None
    ) -> list[AssertionEvidence]:
        """See `Reader.assertions`."""
        visible = await self._visible("chunk", filter)
        found = (await self._assertions_between([(one, other)], visible))[one, other]
        found.sort(key=lambda x: (-x.assertion.weight, x.chunk_id, _id(x.assertion.source)))
        return found[:limit]

    async def evidence(
        self, id: EntityId, *, limit: int = 50, filter: Filter | None = None
    ) -> list[MentionEvidence]:
        """See `Reader.evidence`."""
        visible = await self._visible("chunk", filter)
        positions = self._resident.mentioning(id, visible)[:limit]
        seen = await self._seen(self._resident.rows_of(positions))
        chunks = self._resident.chunks.ids[positions].tolist()
        return [
            MentionEvidence(chunk_id=ChunkId(chunk), mention=_mention(one, id))
            for chunk, one in zip(chunks, seen, strict=True)
        ]

    async def extractions(self, ids: Sequence[ChunkId]) -> list[Extraction | None]:
        """See `Reader.extractions`."""
        positions = self._resident.chunks.rows(np.array(ids, dtype=np.int64))
        known = np.unique(positions[positions >= 0])
        rows = await self._by_row("chunk_evidence", self._resident.rows_of(known), _row)
        chunks = self._resident.chunks.ids[known].tolist()
        found = {
            chunk: extraction_of(row["extraction"]) for chunk, row in zip(chunks, rows, strict=True)
        }
        return [found.get(id) for id in ids]

    async def edits(self) -> list[ActiveEdit]:
        """See `Reader.edits`."""
        return list(self._resident.edits)

    async def canonical(self, keys: Sequence[str]) -> list[str]:
        """See `Reader.canonical`."""
        edits = Edits.of(one.edit for one in self._resident.edits)
        return [edits.canonical(key) for key in keys]

    async def search_dense(
        self, kind: NodeKind, queries: Vectors, k: int, *, filter: Filter | None = None
    ) -> list[Hits]:
        """See `Reader.search_dense`."""
        dimensions = self._resident.dimensions
        if queries.shape[1] != dimensions:
            raise ModelMismatch(
                f"The query has {queries.shape[1]} dimensions, the workspace's vectors have "
                f"{dimensions}. Ask with the model that made them."
            )
        visible = await self._visible(kind, filter)
        if self.exact:
            table = self._resident.table(kind)
            found = await asyncio.to_thread(table.search, queries, k, visible)
        else:
            found = await self._distant.search(kind, queries, k, visible)
        return [Hits(ids=ids, scores=scores) for ids, scores in found]

    async def search_text(
        self, tokens: Sequence[str], k: int, *, filter: Filter | None = None
    ) -> Hits:
        """See `Reader.search_text`."""
        visible = await self._visible("chunk", filter)
        return await asyncio.to_thread(self._search_text, tokens, k, visible)

    def _search_text(self, tokens: Sequence[str], k: int, visible: Mask) -> Hits:
        postings, chunks = self._resident.postings, self._resident.chunks
        total = postings.scores(tokens, postings.statistics(tokens, chunks.alive))
        found = np.flatnonzero((total > 0) & visible)
        ids, scores = best(chunks.ids[found], total[found], k)
        return Hits(ids=ids, scores=scores)

    async def statistics(self, tokens: Sequence[str]) -> Statistics:
        """See `Reader.statistics`."""
        alive = self._resident.chunks.alive
        return await asyncio.to_thread(self._resident.postings.statistics, tokens, alive)

    async def adjacency(
        self, kind: NodeKind, ids: Ids, *, filter: Filter | None = None
    ) -> Adjacency:
        """See `Reader.adjacency`."""
        resident = self._resident
        visible = await self._visible("chunk", filter)
        rows = resident.table(kind).rows(ids)
        if kind == "chunk":
            found = resident.graph.of_chunks(rows, visible, MAX_NEIGHBOURS)
            others = resident.entities.ids
        else:
            chunks = resident.chunks.ids
            found = resident.graph.of_entities(rows, visible, chunks, MAX_NEIGHBOURS)
            others = chunks
        offsets, neighbours, weights, degrees = found
        return Adjacency(
            offsets=offsets,
            neighbours=others[neighbours],
            weights=weights.astype(np.int64),
            degrees=degrees,
        )

    async def vectors(self, kind: NodeKind, ids: Ids) -> Vectors:
        """See `Reader.vectors`."""
        if self.exact:
            return self._resident.table(kind).vectors(ids)
        return await self._distant.vectors(kind, ids)

    async def stats(self) -> Stats:
        """See `Reader.stats`."""
        resident = self._resident
        alive = resident.chunks.alive
        mentions = np.diff(resident.graph.forward.offsets)
        fields = Counter(name for names in resident.fields.values() for name in names)
        model = await self._model() if resident.documents else None
        return Stats(
            documents=len(resident.documents),
            chunks=int(np.count_nonzero(alive)),
            entities=int(np.count_nonzero(resident.entities.alive)),
            relations=resident.state.relations,
            mentions=int(mentions[alive].sum()),
            assertions=int(resident.chunk_assertions[alive].sum()),
            fields={name: fields[name] for name in sorted(fields)},
            model=model,
        )

    async def _model(self) -> str:
        rows = await self._rows("model")
        if not rows:
            raise self._connection.gone(self._workspace)
        return str(rows[0]["model"])

    # What is visible under a filter

    async def _matching(self, filter_: Filter) -> Ids:
        """Rows of the visible versions that match, ascending."""

        async def ask(leaves: Sequence[Mapping[str, Any]]) -> list[Row]:
            return await self._rows("matching_versions", leaves=leaves)

        versions = self._resident.versions
        return await self._matches.matching(filter_, self.counter, versions, ask)

    async def _visible(self, kind: NodeKind, filter_: Filter | None) -> Mask:
        if filter_ is None:
            return self._resident.table(kind).alive
        # As text, in which `True`, `1` and `1.0` differ.
        name = repr(filter_)
        if (kind, name) in self._resident.masks:
            return self._resident.masks[kind, name]
        return self._resident.visible(kind, name, await self._matching(filter_))

    # Records by row

    async def _by_row(
        self, query: str, rows: Sequence[int], row_of: Callable[[Row], int]
    ) -> list[Row]:
        """What a statement returns for each of some rows, in their order.

        Raises:
            StoreUnavailable: The view is so old that some are not kept any more.
        """
        if not rows:
            return []
        listed = await self._rows(query, rows=rows)
        found = {row_of(one): one for one in listed}
        if len(found) < len(set(rows)):
            raise kept_no_more()
        return [found[row] for row in rows]

    async def _find_documents(self, ids: list[str]) -> dict[str, Document]:
        known = self._resident.documents
        return await self._documents([known[id] for id in ids if id in known])

    async def _find_chunks(self, ids: list[ChunkId]) -> dict[ChunkId, Chunk]:
        positions = self._resident.chunks.rows(np.array(ids, dtype=np.int64))
        return await self._chunks(self._resident.rows_of(np.unique(positions[positions >= 0])))

    async def _documents(self, rows: Sequence[int]) -> dict[str, Document]:
        found = await self._by_row("version_records", rows, lambda one: one["version"]["row"])
        documents = [document_of(one["version"]) for one in found]
        return {document.id: document for document in documents}

    async def _chunks(self, rows: Sequence[int]) -> dict[ChunkId, Chunk]:
        found = await self._by_row("chunk_records", rows, lambda one: one["chunk"]["row"])
        chunks = [chunk_of(one["chunk"]) for one in found]
        return {chunk.id: chunk for chunk in chunks}

    async def _seen(self, rows: Sequence[int]) -> list[Extraction]:
        return [seen_of(one) for one in await self._by_row("chunk_evidence", rows, _row)]

    # Aggregates: as they are now, or from the evidence of the view

    async def _aggregates(self, ids: Sequence[int]) -> dict[int, Entity]:
        """Entities as the database has them, without those that were touched since."""

        rows = await self._rows("entities", ids=ids, selected=SELECTED)
        same = await self._untouched(row["id"] for row in rows)
        return {row["id"]: entity_of(row) for row in rows if row["id"] in same}

    async def _untouched(self, ids: Iterable[int]) -> set[int]:
        """Those entities that no write after this view has touched, up to now."""
        rows = await self._rows("changes_of_entities", ids=sorted(set(ids)))
        return {row["id"] for row in rows if row["changed"] <= self.counter}

    async def _relations_now(
        self, ids: Sequence[EntityId], limit: int
    ) -> dict[EntityId, list[Relation]]:
        """Relations as the database has them, of those of whom nothing was touched since."""
        rows = await self._rows("relations", ids=ids, limit=limit, selected=SELECTED)
        grouped: dict[EntityId, list[Relation]] = {id: [] for id in ids}
        for row in rows:
            grouped[EntityId(row["source"])].append(_relation(row))
        same = await self._untouched([*ids, *(row["target"] for row in rows)])
        return {
            id: found
            for id, found in grouped.items()
            if id in same and all(one.target in same for one in found)
        }

    async def _entities_from_evidence(
        self, ids: Sequence[EntityId], visible: Mask
    ) -> dict[int, Entity]:
        seen = await self._seen_around(ids, visible)
        return {
            id: _entity_of(id, [_mention(one, id) for one in found])
            for id, found in seen.items()
            if found
        }

    async def _seen_around(
        self, ids: Sequence[EntityId], visible: Mask
    ) -> dict[EntityId, list[Extraction]]:
        """The evidence of the visible chunks that mention each entity."""
        places = {id: self._resident.mentioning(id, visible) for id in ids}
        if not places:
            return {}
        every = np.unique(np.concatenate(list(places.values())))
        rows = self._resident.rows_of(every)
        seen = dict(zip(every.tolist(), await self._seen(rows), strict=True))
        return {id: [seen[place] for place in found.tolist()] for id, found in places.items()}

    async def _relations_from_evidence(
        self, ids: Sequence[EntityId], limit: int, filter_: Filter | None
    ) -> dict[EntityId, list[Relation]]:
        if not ids:
            return {}
        seen = await self._seen_around(ids, await self._visible("chunk", filter_))
        grouped = {id: _between(id, found) for id, found in seen.items()}
        strongest = {
            id: sorted((-sum(a.weight for a in found), other) for other, found in others.items())
            for id, others in grouped.items()
        }
        chosen = [other for found in strongest.values() for _, other in found[:limit]]
        entities = {one.id: one for one in await self.entities(chosen, filter=filter_) if one}
        return {
            id: [
                relation_of(id, entities[other], grouped[id][other])
                for _, other in strongest[id][:limit]
            ]
            for id in ids
        }

    async def _between_now(
        self, pairs: Sequence[tuple[EntityId, EntityId]]
    ) -> dict[tuple[EntityId, EntityId], Relation | None]:
        """What joins pairs as the database has it, if neither end was touched since."""
        rows = await self._rows("relations_between", pairs=[*map(list, pairs)], selected=SELECTED)
        found = {(row["source"], row["target"]): row for row in rows}
        same = await self._untouched(id for pair in pairs for id in pair)
        return {
            pair: _relation(found[pair]) if pair in found else None
            for pair in pairs
            if same.issuperset(pair)
        }

    async def _between_from_evidence(
        self, pairs: Sequence[tuple[EntityId, EntityId]], filter_: Filter | None
    ) -> dict[tuple[EntityId, EntityId], Relation | None]:
        if not pairs:
            return {}
        found = await self._assertions_between(pairs, await self._visible("chunk", filter_))
        targets = [target for (_, target), assertions in found.items() if assertions]
        entities = {one.id: one for one in await self.entities(targets, filter=filter_) if one}
        return {
            (source, target): (
                relation_of(source, entities[target], (one.assertion for one in assertions))
                if assertions
                else None
            )
            for (source, target), assertions in found.items()
        }

    async def _assertions_between(
        self, pairs: Collection[tuple[EntityId, EntityId]], visible: Mask
    ) -> dict[tuple[EntityId, EntityId], list[AssertionEvidence]]:
        """What joins pairs in the visible chunks that mention both."""
        mentioning = {
            id: np.sort(self._resident.mentioning(id, visible)) for id in {*chain(*pairs)}
        }
        places = {
            pair: np.intersect1d(mentioning[pair[0]], mentioning[pair[1]], assume_unique=True)
            for pair in pairs
        }
        every = np.unique(np.concatenate(list(places.values())))
        seen = await self._seen(self._resident.rows_of(every))
        found = dict(zip(every.tolist(), with_ends(seen), strict=True))
        chunks = self._resident.chunks.ids
        return {
            pair: [
                AssertionEvidence(chunk_id=ChunkId(int(chunks[place])), assertion=assertion)
                for place in shared.tolist()
                for ends, assertion in found[place]
                if ends == (min(pair), max(pair))
            ]
            for pair, shared in places.items()
        }

    async def _weights_from_evidence(self, pairs: Collection[Ends]) -> list[Pair]:
        found = await self._assertions_between(pairs, await self._visible("chunk", None))
        return [
            (*pair, sum(one.assertion.weight for one in assertions))
            for pair, assertions in found.items()
            if assertions
        ]

    async def _ranked_pairs(self, filter_: Filter) -> RankedPairs:
        """The pairs that a filter leaves visible, by all the evidence there is for them."""
        name = repr(filter_)
        known = self._resident.pair_rankings.get(name)
        if known is None:
            weights = Counter[Ends]()
            joining = await self._visible("chunk", filter_) & (self._resident.chunk_assertions > 0)
            rows = self._resident.rows_of(np.flatnonzero(joining))
            for at in range(0, len(rows), _AT_A_TIME):
                weights.update(weights_of(await self._seen(rows[at : at + _AT_A_TIME])))
            known = RankedPairs.of([(*ends, weight) for ends, weight in weights.items()])
            self._resident.keep_pairs(name, known)
        return known

    async def _rows(self, query: str, **parameters: Any) -> list[Row]:
        return await self._connection.run(query, workspace=self._workspace, **parameters)


def _row(one: Mapping[str, Any]) -> int:
    return int(one["row"])


def _id(name: str) -> EntityId:
    return entity_id(entity_key(name))


def _mention(seen: Extraction, id: EntityId) -> Mention:
    """The mention of an entity in the evidence of a chunk that has one."""
    return next(one for one in seen.mentions if _id(one.name) == id)


def _relation(row: Row) -> Relation:
    return Relation(
        source=EntityId(row["source"]),
        target=EntityId(row["target"]),
        target_name=row["name"],
        assertions=row["assertions"],
        weight=row["weight"],
        keywords=tuple(row["keywords"]),
        descriptions=tuple(row["descriptions"]),
    )


def _between(id: EntityId, seen: Iterable[Extraction]) -> dict[EntityId, list[Assertion]]:
    """What joins an entity to others, by these."""
    found: dict[EntityId, list[Assertion]] = defaultdict(list)
    for assertion in (assertion for one in seen for assertion in one.assertions):
        ends = {_id(assertion.source), _id(assertion.target)}
        if id in ends:
            [other] = ends - {id}
            found[other].append(assertion)
    return found


def _entity_of(id: EntityId, mentions: Sequence[Mention]) -> Entity:
    return Entity(
        id=id,
        key=entity_key(mentions[0].name),
        name=majority(Counter(one.name for one in mentions).items()),
        type=majority(Counter(one.type for one in mentions if one.type).items()),
        mentions=len(mentions),
        descriptions=selected(one.description for one in mentions),
    )
