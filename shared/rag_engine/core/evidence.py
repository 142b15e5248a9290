"""From evidence to aggregates: what the chunks of a version add to the graph, and take away again.

Aggregates are integer counters and bounded, order-free selections, so that adding a version and
removing it leaves exactly what was there before, in any order. A `Tally` is what one version is
worth; a store adds it when the version becomes visible and subtracts the same when it goes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from rag_engine.core.ids import EntityId, entity_id, text_hash
from rag_engine.core.models import Assertion, Entity, Extraction, Mention, Relation
from rag_engine.core.names import entity_key

SELECTED: Final = 8
"""How many distinct texts describe an entity or a relation: the first by hash."""


@dataclass(slots=True)
class EntityTally:
    """What a version adds to one entity."""

    mentions: int = 0
    names: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    descriptions: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class RelationTally:
    """What a version adds to one pair of entities."""

    assertions: int = 0
    weight: int = 0
    keywords: Counter[str] = field(default_factory=Counter)
    descriptions: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Tally:
    """What a version adds to its workspace.

    Attributes:
        entities: By key.
        relations: By the two keys, the smaller first.
        frequency: In how many of its chunks each lexeme stands.
        length: Lexemes in all its chunks together.
    """

    chunks: int = 0
    length: int = 0
    mentions: int = 0
    assertions: int = 0
    entities: dict[str, EntityTally] = field(default_factory=dict)
    relations: dict[tuple[str, str], RelationTally] = field(default_factory=dict)
    frequency: Counter[str] = field(default_factory=Counter)

    def add(self, extraction: Extraction, lexemes: str) -> None:
        """Count one more chunk, whose extraction is in canonical form."""
        words = lexemes.split()
        self.chunks += 1
        self.length += len(words)
        self.frequency.update(set(words))
        for mention in extraction.mentions:
            self._add_mention(mention)
        for assertion in extraction.assertions:
            self._add_assertion(assertion)

    def _add_mention(self, mention: Mention) -> None:
        entity = self.entities.setdefault(entity_key(mention.name), EntityTally())
        self.mentions += 1
        entity.mentions += 1
        entity.names[mention.name] += 1
        if mention.type:
            entity.types[mention.type] += 1
        if mention.description:
            entity.descriptions[mention.description] += 1

    def _add_assertion(self, assertion: Assertion) -> None:
        pair = pair_of(entity_key(assertion.source), entity_key(assertion.target))
        relation = self.relations.setdefault(pair, RelationTally())
        self.assertions += 1
        relation.assertions += 1
        relation.weight += assertion.weight
        if assertion.keywords:
            relation.keywords[assertion.keywords] += 1
        if assertion.description:
            relation.descriptions[assertion.description] += 1


def pair_of(one: str, other: str) -> tuple[str, str]:
    """A pair of keys, the smaller first: relations add up whichever way they were written."""
    return (one, other) if one <= other else (other, one)


def canonical(extraction: Extraction) -> Extraction:
    """An extraction as stores keep it, so that equal evidence is equal bytes. See `strongest`."""
    return strongest(extraction.mentions, extraction.assertions)


def strongest(mentions: Iterable[Mention], assertions: Iterable[Assertion]) -> Extraction:
    """One mention for each entity, one assertion for each ordered pair; sorted by key.

    The heaviest one; ties go to the smaller name, type and description. No assertion from an entity
    to itself or about an entity that is not mentioned, no nameless entity.
    """
    chosen: dict[str, Mention] = {}
    for mention in mentions:
        key = entity_key(mention.name)
        if key and (key not in chosen or _rank(mention) < _rank(chosen[key])):
            chosen[key] = mention
    joined: dict[tuple[str, str], Assertion] = {}
    for assertion in assertions:
        pair = entity_key(assertion.source), entity_key(assertion.target)
        if pair[0] == pair[1] or not chosen.keys() >= set(pair):
            continue
        if pair not in joined or _strength(assertion) < _strength(joined[pair]):
            joined[pair] = assertion
    return Extraction(
        mentions=tuple(chosen[key] for key in sorted(chosen)),
        assertions=tuple(joined[pair] for pair in sorted(joined)),
    )


def _rank(mention: Mention) -> tuple[int, str, str, str, str]:
    return -mention.weight, mention.name, mention.type, mention.description, mention.written


def _strength(assertion: Assertion) -> tuple[int, str, str, str, str]:
    return (
        -assertion.weight,
        assertion.keywords,
        assertion.description,
        assertion.source,
        assertion.target,
    )


def entity_ids(extraction: Extraction) -> list[EntityId]:
    """The ids of the entities a canonical extraction mentions, in its order."""
    return [entity_id(entity_key(mention.name)) for mention in extraction.mentions]


def relation_of(source: EntityId, target: Entity, assertions: Iterable[Assertion]) -> Relation:
    """What the assertions between two entities add up to, as the first one has it."""
    found = [*assertions]
    return Relation(
        source=source,
        target=target.id,
        target_name=target.name,
        assertions=len(found),
        weight=sum(one.weight for one in found),
        keywords=selected(one.keywords for one in found),
        descriptions=selected(one.description for one in found),
    )


def majority(counts: Iterable[tuple[str, int]]) -> str:
    """The value counted most; ties go to the smaller string; "" when there is none."""
    return min(counts, key=lambda pair: (-pair[1], pair[0]), default=("", 0))[0]


def selected(texts: Iterable[str]) -> tuple[str, ...]:
    """The first `SELECTED` distinct texts by hash, whatever order they come in."""
    chosen: Sequence[str] = sorted({text for text in texts if text}, key=text_hash)
    return tuple(chosen[:SELECTED])
