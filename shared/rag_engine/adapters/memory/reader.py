"""Reading: every answer is worked out anew from the visible evidence."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from rag_engine.core import bm25
from rag_engine.core.bm25 import Statistics
from rag_engine.core.filters import fields_of, matches, values_of
from rag_engine.core.ids import EntityId, entity_id, text_hash
from rag_engine.core.listing import BY_ID, Order
from rag_engine.core.models import Entity, Extraction, Relation
from rag_engine.core.names import entity_key
from rag_engine.core.ranked import pack_place, place_of
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
    Stats,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rag_engine.adapters.memory.tables import Tables
    from rag_engine.core.edits import ActiveEdit
    from rag_engine.core.filters import Filter
    from rag_engine.core.ids import ChunkId
    from rag_engine.core.models import Assertion, Chunk, Document
    from rag_engine.ports.storage import ChunkEvidence, Ids, NodeKind, Vectors

_SELECTED = 8


class MemoryReader:
    """One view of a workspace; see `rag_engine.ports.storage.Reader`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._edits = tables.in_force()
        self._found = {
            id: evidence
            for document in tables.documents.values()
            for id, evidence in tables.evidence[document.id, document.version].items()
        }
        self._visible = {
            id: replace(one, extraction=self._edits.applied(one.extraction))
            for id, one in self._found.items()
        }

    @property
    def counter(self) -> int:
        return self._tables.counter

    @property
    def exact(self) -> bool:
        """See `Reader.exact`."""
        return True

    async def documents(self, ids: Sequence[str]) -> list[Document | None]:
        return [self._tables.documents.get(id) for id in ids]

    async def list_documents(
        self,
        *,
        order: Order = BY_ID,
        after: str | None = None,
        limit: int = 100,
        filter: Filter | None = None,
    ) -> DocumentPage:
        places = {order.place(self._tables.documents[id]) for id in self._matching(filter)}
        if after is not None:
            first = order.parsed(after)
            places = {one for one in places if (one < first if order.descending else one > first)}
        chosen = sorted(places, reverse=order.descending)[:limit]
        return DocumentPage(
            documents=tuple(self._tables.documents[id] for _, id in chosen),
            next=order.cursor(chosen[-1]) if len(places) > len(chosen) else None,
        )

    async def chunks(self, ids: Sequence[ChunkId]) -> list[Chunk | None]:
        found = [self._visible.get(id) for id in ids]
        return [one.chunk if one else None for one in found]

    async def document_chunks(self, document_id: str) -> list[Chunk]:
        chunks = [evidence.chunk for evidence in self._visible.values()]
        mine = [chunk for chunk in chunks if chunk.document_id == document_id]
        return sorted(mine, key=lambda chunk: chunk.ordinal)

    async def entities(
        self, ids: Sequence[EntityId], *, filter: Filter | None = None
    ) -> list[Entity | None]:
        mentions = self._mentions(filter)
        return [_entity(mentions[id]) if id in mentions else None for id in ids]

    async def list_entities(
        self, *, after: str | None = None, limit: int = 100, filter: Filter | None = None
    ) -> EntityPage:
        entities = [_entity(found) for found in self._mentions(filter).values()]
        entities.sort(key=lambda one: (-one.mentions, one.id))
        if after is not None:
            mentions, id = place_of(after, 1)
            entities = [one for one in entities if (-one.mentions, one.id) > (-mentions, id)]
        page = tuple(entities[:limit])
        more = len(entities) > len(page)
        last = pack_place(page[-1].mentions, page[-1].id) if more else None
        return EntityPage(entities=page, next=last)

    async def relations(
        self, ids: Sequence[EntityId], *, limit: int = 50, filter: Filter | None = None
    ) -> list[list[Relation]]:
        joined, mentions = self._joined(filter), self._mentions(filter)
        return [_relations(id, joined, mentions)[:limit] for id in ids]

    async def relations_between(
        self, pairs: Sequence[tuple[EntityId, EntityId]], *, filter: Filter | None = None
    ) -> list[Relation | None]:
        joined, mentions = self._joined(filter), self._mentions(filter)
        return [
            (
                _relation(one, _entity(mentions[other]), joined[frozenset((one, other))])
                if frozenset((one, other)) in joined
                else None
            )
            for one, other in pairs
        ]

    async def list_relations(
        self, *, after: str | None = None, limit: int = 100, filter: Filter | None = None
    ) -> RelationPage:
        mentions = self._mentions(filter)
        relations = [
            _relation(min(ends), _entity(mentions[max(ends)]), assertions)
            for ends, assertions in self._joined(filter).items()
        ]
        relations.sort(key=_place)
        if after is not None:
            weight, low, high = place_of(after, 2)
            relations = [one for one in relations if _place(one) > (-weight, low, high)]
        page = tuple(relations[:limit])
        more = len(relations) > len(page)
        last = pack_place(page[-1].weight, page[-1].source, page[-1].target) if more else None
        return RelationPage(relations=page, next=last)

    async def assertions(
        self, one: EntityId, other: EntityId, *, limit: int = 50, filter: Filter | None = None
    ) -> list[AssertionEvidence]:
        found = [
            AssertionEvidence(chunk_id=evidence.chunk.id, assertion=assertion)
            for evidence in self._passing(filter)
            for assertion in evidence.extraction.assertions
            if _ends(assertion) == {one, other}
        ]
        found.sort(key=lambda x: (-x.assertion.weight, x.chunk_id, _id(x.assertion.source)))
        return found[:limit]

    async def evidence(
        self, id: EntityId, *, limit: int = 50, filter: Filter | None = None
    ) -> list[MentionEvidence]:
        found = self._mentions(filter).get(id, [])
        return sorted(found, key=lambda one: (-one.mention.weight, one.chunk_id))[:limit]

    async def extractions(self, ids: Sequence[ChunkId]) -> list[Extraction | None]:
        found = [self._found.get(id) for id in ids]
        return [one.extraction if one else None for one in found]

    async def edits(self) -> list[ActiveEdit]:
        edits = self._tables.edits.values()
        return sorted(edits, key=lambda one: (one.made_at, one.edit.id))

    async def canonical(self, keys: Sequence[str]) -> list[str]:
        return [self._edits.canonical(key) for key in keys]

    async def search_dense(
        self, kind: NodeKind, queries: Vectors, k: int, *, filter: Filter | None = None
    ) -> list[Hits]:
        if queries.shape[1] != self._tables.dimensions:
            raise ModelMismatch(
                f"The question's vector has {queries.shape[1]} dimensions, the stored ones have "
                f"{self._tables.dimensions}. Embed the question with {self._tables.model!r}."
            )
        nodes = self._vectors(kind, filter)
        return [
            _best({id: float(np.dot(vector, query)) for id, vector in nodes.items()}, k)
            for query in queries
        ]

    async def search_text(
        self, tokens: Sequence[str], k: int, *, filter: Filter | None = None
    ) -> Hits:
        passing = self._passing(filter)
        statistics = await self.statistics(tokens)
        scores = bm25.score(tokens, [evidence.lexemes for evidence in passing], statistics)
        found = {
            int(evidence.chunk.id): float(score)
            for evidence, score in zip(passing, scores, strict=True)
            if score > 0
        }
        return _best(found, k)

    async def statistics(self, tokens: Sequence[str]) -> Statistics:
        words = [evidence.lexemes.split() for evidence in self._visible.values()]
        return Statistics(
            documents=len(words),
            average_length=sum(map(len, words)) / len(words) if words else 0.0,
            frequency={token: sum(token in text for text in words) for token in tokens},
        )

    async def adjacency(
        self, kind: NodeKind, ids: Ids, *, filter: Filter | None = None
    ) -> Adjacency:
        edges: dict[int, list[tuple[int, int]]] = {}
        for entity, mentions in self._mentions(filter).items():
            for found in mentions:
                ends = (entity, found.chunk_id)
                here, there = ends if kind == "entity" else reversed(ends)
                edges.setdefault(here, []).append((-found.mention.weight, there))
        rows = [sorted(edges.get(id, [])) for id in ids.tolist()]
        cut = [row[:MAX_NEIGHBOURS] for row in rows]
        return Adjacency(
            offsets=np.cumsum([0, *map(len, cut)], dtype=np.int64),
            neighbours=_ids(there for row in cut for _, there in row),
            weights=_ids(-negated for row in cut for negated, _ in row),
            degrees=_ids(map(len, rows)),
        )

    async def vectors(self, kind: NodeKind, ids: Ids) -> Vectors:
        nodes = self._vectors(kind, None)
        found = np.zeros((len(ids), self._tables.dimensions), dtype=np.float32)
        for row, id in enumerate(ids.tolist()):
            if id in nodes:
                found[row] = nodes[id]
        return found

    async def stats(self) -> Stats:
        documents = self._tables.documents.values()
        evidence = self._passing(None)
        mentions = self._mentions(None)
        assertions = [one for found in evidence for one in found.extraction.assertions]
        fields = Counter(
            name for one in documents for name in one.metadata if values_of(one.metadata, name)
        )
        return Stats(
            documents=len(documents),
            chunks=len(evidence),
            entities=len(mentions),
            relations=len({_ends(assertion) for assertion in assertions}),
            mentions=sum(map(len, mentions.values())),
            assertions=len(assertions),
            fields=dict(fields),
            model=self._tables.model if documents else None,
        )

    def _matching(self, filter: Filter | None) -> set[str]:
        documents = self._tables.documents.values()
        return {d.id for d in documents if filter is None or matches(filter, fields_of(d))}

    def _passing(self, filter: Filter | None) -> list[ChunkEvidence]:
        matching = self._matching(filter)
        return [one for one in self._visible.values() if one.chunk.document_id in matching]

    def _mentions(self, filter: Filter | None) -> dict[EntityId, list[MentionEvidence]]:
        found: dict[EntityId, list[MentionEvidence]] = {}
        for evidence in self._passing(filter):
            for mention in evidence.extraction.mentions:
                one = MentionEvidence(chunk_id=evidence.chunk.id, mention=mention)
                found.setdefault(_id(mention.name), []).append(one)
        return found

    def _joined(self, filter: Filter | None) -> dict[frozenset[EntityId], list[Assertion]]:
        found: dict[frozenset[EntityId], list[Assertion]] = {}
        for evidence in self._passing(filter):
            for assertion in evidence.extraction.assertions:
                found.setdefault(_ends(assertion), []).append(assertion)
        return found

    def _vectors(self, kind: NodeKind, filter: Filter | None) -> Mapping[int, Vectors]:
        if kind == "chunk":
            return {one.chunk.id: one.vector for one in self._passing(filter)}
        names = {entity_id(key): vector for key, vector in self._tables.names.items()}
        return {id: names[id] for id in self._mentions(filter)}


def _id(name: str) -> EntityId:
    return entity_id(entity_key(name))


def _ids(values: Iterable[int]) -> Ids:
    return np.fromiter(values, dtype=np.int64)


def _ends(assertion: Assertion) -> frozenset[EntityId]:
    return frozenset((_id(assertion.source), _id(assertion.target)))


def _entity(evidence: Sequence[MentionEvidence]) -> Entity:
    mentions = [one.mention for one in evidence]
    key = entity_key(mentions[0].name)
    return Entity(
        id=entity_id(key),
        key=key,
        name=_most_frequent(mention.name for mention in mentions),
        type=_most_frequent(mention.type for mention in mentions),
        mentions=len(mentions),
        descriptions=_select(mention.description for mention in mentions),
    )


def _relations(
    id: EntityId,
    joined: Mapping[frozenset[EntityId], Sequence[Assertion]],
    mentions: Mapping[EntityId, Sequence[MentionEvidence]],
) -> list[Relation]:
    relations = [
        _relation(id, _entity(mentions[other]), assertions)
        for ends, assertions in joined.items()
        if id in ends
        for other in ends - {id}
    ]
    return sorted(relations, key=lambda one: (-one.weight, one.target))


def _relation(source: EntityId, target: Entity, assertions: Sequence[Assertion]) -> Relation:
    return Relation(
        source=source,
        target=target.id,
        target_name=target.name,
        assertions=len(assertions),
        weight=sum(assertion.weight for assertion in assertions),
        keywords=_select(assertion.keywords for assertion in assertions),
        descriptions=_select(assertion.description for assertion in assertions),
    )


def _place(relation: Relation) -> tuple[int, int, int]:
    return -relation.weight, relation.source, relation.target


def _most_frequent(texts: Iterable[str]) -> str:
    counts = Counter(text for text in texts if text)
    return min(counts, key=lambda text: (-counts[text], text), default="")


def _select(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({text for text in texts if text}, key=text_hash)[:_SELECTED])


def _best(scores: Mapping[int, float], k: int) -> Hits:
    best = sorted(scores, key=lambda id: (-scores[id], id))[: max(k, 0)]
    return Hits(ids=_ids(best), scores=np.array([scores[id] for id in best], dtype=np.float64))
