"""What surrounds one name in the graph: where it is mentioned, and what it is joined to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rag_engine.core.edits import Alias
from rag_engine.core.ids import ChunkId, EntityId, entity_id
from rag_engine.core.names import entity_key
from rag_engine.core.sentences import sentence_spans
from rag_engine.core.tokens import fold
from rag_engine.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rag_engine.core.filters import Filter
    from rag_engine.core.models import Chunk, Document, Entity, Relation
    from rag_engine.ports.listed import MentionEvidence
    from rag_engine.ports.models import Embedder
    from rag_engine.ports.storage import Reader

SUGGESTIONS: Final = 5
_LONGEST_SENTENCE: Final = 400
_STRONGEST: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A sentence that mentions a name, and where it stands.

    Attributes:
        name: As it is written there.
        text: The sentence, cut where it is very long.
        chunk: The passage the sentence is from.
        document: The document the passage is from.
        weight: How much the passage is about it, in thousandths.
    """

    name: str
    text: str
    chunk: Chunk
    document: Document
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbourhood:
    """An entity with what surrounds it, strongest first.

    Attributes:
        aliases: Other names that stand for it, as people have joined them.
        sightings: Some of its mentions, at most one for each passage.
        relations: Its strongest relations.
    """

    entity: Entity
    aliases: tuple[str, ...]
    sightings: tuple[Sighting, ...]
    relations: tuple[Relation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EgoNetwork:
    """An entity, those it is most strongly joined to, and all that joins any two of them.

    Attributes:
        entities: The one in the middle first, then the others, strongest first.
        relations: Each pair once, as the earlier of the two has it.
    """

    entities: tuple[Entity, ...]
    relations: tuple[Relation, ...]


async def neighbourhood(
    reader: Reader,
    name: str,
    *,
    embedder: Embedder,
    filter: Filter | None = None,
    sightings: int = 5,
    relations: int = 15,
) -> Neighbourhood:
    """What surrounds the entity that `name` names, whatever its case and spacing.

    Raises:
        NotFound: No visible passage mentions it; the message names those that come close.
    """
    entity = await named(reader, name, embedder, filter)
    evidence = await reader.evidence(entity.id, limit=sightings, filter=filter)
    [joined] = await reader.relations([entity.id], limit=relations, filter=filter)
    return Neighbourhood(
        entity=entity,
        aliases=await _aliases(reader, entity.key),
        sightings=tuple(await _sightings(reader, evidence)),
        relations=tuple(joined),
    )


async def ego_network(
    reader: Reader,
    name: str,
    *,
    embedder: Embedder,
    filter: Filter | None = None,
    limit: int = 24,
) -> EgoNetwork:
    """What a picture of an entity's surroundings shows: `limit` neighbours at most.

    Between neighbours, relations are seen that are among the 50 strongest of one of the two.

    Raises:
        NotFound: No visible passage mentions it; the message names those that come close.
    """
    entity = await named(reader, name, embedder, filter)
    [joined] = await reader.relations([entity.id], limit=limit, filter=filter)
    found = await reader.entities([one.target for one in joined], filter=filter)
    entities = (entity, *(one for one in found if one))
    ids = {one.id for one in entities}
    relations = {frozenset((one.source, one.target)): one for one in joined if one.target in ids}
    neighbours = [one.id for one in entities[1:]]
    around = await reader.relations(neighbours, limit=_STRONGEST, filter=filter)
    for one in (one for found in around for one in found):
        if one.target in ids:
            relations.setdefault(frozenset((one.source, one.target)), one)
    return EgoNetwork(entities=entities, relations=tuple(relations.values()))


async def named(reader: Reader, name: str, embedder: Embedder, filter: Filter | None) -> Entity:
    """The entity that `name` names.

    Raises:
        NotFound: No visible passage mentions it; the message names those that come close.
    """
    [key] = await reader.canonical([entity_key(name)])
    [entity] = await reader.entities([entity_id(key)], filter=filter)
    if entity is None:
        raise NotFound(await _unknown(reader, name, key, embedder, filter))
    return entity


async def _aliases(reader: Reader, key: str) -> tuple[str, ...]:
    edits = [one.edit for one in await reader.edits()]
    aliases = [one for one in edits if isinstance(one, Alias)]
    led_to = await reader.canonical([one.keys[0] for one in aliases])
    return tuple(one.source for one, to in zip(aliases, led_to, strict=True) if to == key)


async def nearest_names(
    reader: Reader, key: str, *, embedder: Embedder, filter: Filter | None = None
) -> list[str]:
    """Names of entities that come closest to a key in meaning."""
    vectors = await embedder.embed([key], "query")
    [hits] = await reader.search_dense("entity", vectors, SUGGESTIONS, filter=filter)
    found = await reader.entities([EntityId(id) for id in hits.ids.tolist()], filter=filter)
    return [entity.name for entity in found if entity]


async def _unknown(
    reader: Reader, name: str, key: str, embedder: Embedder, filter: Filter | None
) -> str:
    for one in await reader.edits():
        if one.edit.keys == (key,):
            return f"{name!r} is hidden. Show it again with: rag-engine graph undo {one.edit.id}"
    fits = bool(key) and embedder.count_tokens([key])[0] <= embedder.max_tokens
    names = await nearest_names(reader, key, embedder=embedder, filter=filter) if fits else []
    if not names:
        return f"No passage mentions {name!r}, nor anything like it. Ask for another name."
    listed = ", ".join(repr(one) for one in names)
    return f"No passage mentions {name!r}. Did you mean one of: {listed}?"


async def _sightings(reader: Reader, evidence: Sequence[MentionEvidence]) -> list[Sighting]:
    chunks = await reader.chunks([ChunkId(one.chunk_id) for one in evidence])
    ids = list(dict.fromkeys(chunk.document_id for chunk in chunks if chunk))
    documents = dict(zip(ids, await reader.documents(ids), strict=True))
    found = []
    for one, chunk in zip(evidence, chunks, strict=True):
        document = documents[chunk.document_id] if chunk else None
        if chunk and document:
            found.append(
                Sighting(
                    name=one.mention.written or one.mention.name,
                    text=sentence_around(chunk.text, one.mention.written or one.mention.name),
                    chunk=chunk,
                    document=document,
                    weight=one.mention.weight,
                )
            )
    return found


def sentence_around(text: str, *names: str) -> str:
    """The first sentence that holds most of some names; else, for names broken by a line, the beginning."""
    wanted = [" ".join(fold(name).split()) for name in names]
    spans = sentence_spans(text)
    sentences = [" ".join(text[start:end].split()).lstrip("# ") for start, end in spans]
    held = [sum(one in folded for one in wanted) for folded in map(fold, sentences)]
    most = max(held, default=0)
    sentence = sentences[held.index(most)] if most else " ".join(text.split())
    if len(sentence) <= _LONGEST_SENTENCE:
        return sentence
    folded = fold(sentence)
    at = min((folded.find(one) for one in wanted if one in folded), default=0)
    begin = max(0, min(at - _LONGEST_SENTENCE // 2, len(sentence) - _LONGEST_SENTENCE))
    cut = sentence[begin : begin + _LONGEST_SENTENCE].strip()
    return f"{'…' if begin else ''}{cut}{'…' if begin + _LONGEST_SENTENCE < len(sentence) else ''}"
