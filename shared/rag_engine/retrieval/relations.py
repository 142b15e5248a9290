"""What joins entities: all of it in pages, and one relation with each place that says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rag_engine.core.edits import Suppression
from rag_engine.core.evidence import pair_of
from rag_engine.core.names import entity_key
from rag_engine.errors import InvalidRequest, NotFound
from rag_engine.retrieval.entities import search_entities
from rag_engine.retrieval.neighbourhood import named, sentence_around

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rag_engine.core.filters import Filter
    from rag_engine.core.ids import ChunkId
    from rag_engine.core.models import Chunk, Document, Entity, Relation
    from rag_engine.ports.listed import AssertionEvidence
    from rag_engine.ports.models import Embedder
    from rag_engine.ports.storage import Reader

_MEANT: Final = 20
"""So many entities that a name may mean are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """Two entities and what joins them, whichever way it points."""

    source: Entity
    target: Entity
    relation: Relation


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedPage:
    """A page of what joins entities.

    Attributes:
        next: Pass it as `after` for the next page; `None` at the end.
    """

    relations: tuple[Joined, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a passage joins two entities, and what it says of it.

    Attributes:
        name: Of the entity from which it points, as evidence has it.
        other: Of the one to which it points.
        text: The sentence that names both, else one that names one of them, cut where it is long.
        chunk: The passage.
        document: The document the passage is from.
        weight: In thousandths.
    """

    name: str
    other: str
    text: str
    keywords: str
    description: str
    chunk: Chunk
    document: Document
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """What joins two entities, with some of the places that say so, strongest first."""

    joined: Joined
    places: tuple[Place, ...]


async def relation_page(
    reader: Reader,
    embedder: Embedder,
    search: str | None,
    after: str | None,
    *,
    limit: int,
    filter: Filter | None,
) -> JoinedPage:
    """A page of the visible relations, strongest first; with `search` those of what it names.

    These are the relations of the entities that have it in their names, else of those that it may
    mean, in one page.

    Raises:
        InvalidRequest: `search` names nothing, or `after` was given too.
        InvalidCursor: `after` is none of ours.
    """
    if search is None:
        page = await reader.list_relations(after=after, limit=limit, filter=filter)
        found, end = page.relations, page.next
    elif after is not None:
        raise InvalidRequest("What is searched for comes in one page. Leave out `after`.")
    else:
        found, end = await _of_named(reader, embedder, search, limit, filter), None
    ids = [id for one in found for id in (one.source, one.target)]
    ends = {one.id: one for one in await reader.entities(ids, filter=filter) if one}
    return JoinedPage(
        relations=tuple(
            Joined(source=ends[one.source], target=ends[one.target], relation=one) for one in found
        ),
        next=end,
    )


async def _of_named(
    reader: Reader, embedder: Embedder, search: str, limit: int, filter: Filter | None
) -> tuple[Relation, ...]:
    meant = await search_entities(reader, search, embedder, limit=_MEANT, filter=filter)
    [same], key = await reader.canonical([entity_key(search)]), entity_key(search)
    fitting = [one for one in meant.entities if one.key == same or key in one.key]
    ids = [one.id for one in fitting or meant.entities]
    around = await reader.relations(ids, limit=limit, filter=filter)
    found: dict[tuple[int, ...], Relation] = {}
    for one in (one for joined in around for one in joined):
        pair = tuple(sorted((one.source, one.target)))
        found.setdefault((-one.weight, *pair), one)
    return tuple(found[place] for place in sorted(found)[:limit])


async def connection(
    reader: Reader,
    embedder: Embedder,
    name: str,
    other: str,
    *,
    limit: int,
    filter: Filter | None,
) -> Connection:
    """What joins the entities that two names name, with `limit` places at most.

    Raises:
        NotFound: No visible passage mentions one of them, or none joins the two.
        InvalidRequest: Both names name one entity.
    """
    source = await named(reader, name, embedder, filter)
    target = await named(reader, other, embedder, filter)
    if source.id == target.id:
        raise InvalidRequest(f"{name!r} and {other!r} name one entity. Give the names of two.")
    [relation] = await reader.relations_between([(source.id, target.id)], filter=filter)
    if relation is None:
        raise NotFound(await _unjoined(reader, source, target))
    found = await reader.assertions(source.id, target.id, limit=limit, filter=filter)
    return Connection(
        joined=Joined(source=source, target=target, relation=relation),
        places=tuple(await _places(reader, found)),
    )


async def _unjoined(reader: Reader, source: Entity, target: Entity) -> str:
    both = f"{source.name!r} to {target.name!r}"
    for one in await reader.edits():
        keys = await reader.canonical(one.edit.keys)
        parts = isinstance(one.edit, Suppression) and len(keys) == 2
        if parts and pair_of(*keys) == pair_of(source.key, target.key):
            return f"What joins {both} is hidden. Show it with: rag-engine graph undo {one.edit.id}"
    return f"No passage joins {both}. See what does: rag-engine graph show {source.name!r}"


async def _places(reader: Reader, evidence: Sequence[AssertionEvidence]) -> list[Place]:
    ids = [one.chunk_id for one in evidence]
    chunks = await reader.chunks(ids)
    ids_of_documents = list(dict.fromkeys(chunk.document_id for chunk in chunks if chunk))
    documents = dict(zip(ids_of_documents, await reader.documents(ids_of_documents), strict=True))
    written = await _written(reader, ids)
    found = []
    for one, chunk in zip(evidence, chunks, strict=True):
        document = documents[chunk.document_id] if chunk else None
        if chunk and document:
            said = one.assertion
            keys = entity_key(said.source), entity_key(said.target)
            names = [written.get((chunk.id, key), key) for key in keys]
            found.append(
                Place(
                    name=said.source,
                    other=said.target,
                    text=sentence_around(chunk.text, *names),
                    keywords=said.keywords,
                    description=said.description,
                    chunk=chunk,
                    document=document,
                    weight=said.weight,
                )
            )
    return found


async def _written(reader: Reader, ids: Sequence[ChunkId]) -> dict[tuple[ChunkId, str], str]:
    """How passages write the names of entities, by passage and by the key that stands for them."""
    found = [
        (id, mention.name)
        for id, one in zip(ids, await reader.extractions(ids), strict=True)
        for mention in (one.mentions if one else ())
    ]
    keys = await reader.canonical([entity_key(name) for _, name in found])
    return {(id, key): name for (id, name), key in zip(found, keys, strict=True)}
