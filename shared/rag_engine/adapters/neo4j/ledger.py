"""Adding evidence to the graph that people see, and taking it away: exact inverses.

Everything here belongs to one write transaction, in one order: lock the documents, read, lock every
touched entity in the order of their keys, write evidence and counters, and last lock the workspace
and advance its write counter. (An edit has locked the workspace before, as any write may change what
it is about; the server ends one of two writes that wait for each other.) Nobody sees the counter
before the commit, so counters become visible in their order, and whoever read one can read all that
was written up to it.

Every statement touches nodes of the write's own evidence and the counters they add up to, never the
history of an entity: the cost is that of the evidence alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rag_engine.adapters.neo4j.connection import Transaction
from rag_engine.adapters.neo4j.errors import Overtaken
from rag_engine.adapters.neo4j.leases import token
from rag_engine.adapters.neo4j.records import pack_extraction, pack_mentions
from rag_engine.adapters.neo4j.resident import State
from rag_engine.core.edits import Edits
from rag_engine.core.evidence import EntityTally, RelationTally, Tally
from rag_engine.core.ids import entity_id, text_hash
from rag_engine.core.models import Assertion, Extraction, Mention
from rag_engine.core.names import entity_key
from rag_engine.errors import InvalidRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Appearing:
    """A staged or copied chunk that becomes visible.

    Attributes:
        row: Of its record.
        document: Id of its document.
        found: Its evidence as it was found.
        visible: What readers see of it.
    """

    row: int
    document: str
    found: Extraction
    visible: Extraction


@dataclass(slots=True, kw_only=True)
class Change:
    """What one write does to the graph.

    Attributes:
        edits: Those in force afterwards.
        names: Vectors of entity keys that may come to light.
        appearing: Chunks that become visible.
        vanishing: Rows of chunks that stop being so.
        shown: Rows of versions that become visible.
        gone: Rows of versions that stop being so.
        added: Evidence that comes, counted.
        removed: Evidence that goes, counted.
    """

    edits: Edits = field(default_factory=Edits)
    names: Mapping[str, bytes | None] = field(default_factory=dict)
    appearing: list[Appearing] = field(default_factory=list)
    vanishing: list[int] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    added: Tally = field(default_factory=Tally)
    removed: Tally = field(default_factory=Tally)

    def appear(self, row: int, document: str, found: Extraction) -> None:
        """Let a chunk become visible."""
        visible = self.edits.applied(found)
        self.appearing.append(Appearing(row=row, document=document, found=found, visible=visible))
        self.added.add(visible, "")

    def vanish(self, row: int, visible: Extraction) -> None:
        """Let a chunk, of which that was seen, stop being visible."""
        self.vanishing.append(row)
        self.removed.add(visible, "")

    @property
    def keys(self) -> list[str]:
        """The entities it touches, in the order in which they are locked."""
        return sorted(self.added.entities.keys() | self.removed.entities.keys())


async def apply(
    transaction: Transaction, change: Change, state: State, *, edits: bool = False
) -> int:
    """Write a change; return the write counter it has.

    Args:
        transaction: The write transaction, which holds the documents' locks.
        change: What to write.
        state: Of the workspace when the change was worked out.
        edits: Whether it puts edits into force or out of it.

    Raises:
        InvalidRequest: An entity comes to light that has no vector.
        Overtaken: Other edits came into force meanwhile.
    """
    relations = await _write_evidence(transaction, change)
    touched = {
        "shown": [one.row for one in change.appearing],
        "gone": change.vanishing,
        "shown_versions": change.shown,
        "gone_versions": change.gone,
        "entities": [entity_id(key) for key in change.keys],
    }
    await transaction.rows("label", **touched)
    rows = await transaction.rows(
        "commit_write",
        token=token(),
        edited=state.edited,
        edits=edits,
        relations=relations,
        **touched,
    )
    if not rows:
        raise Overtaken
    return int(rows[0]["counter"])


async def _write_evidence(transaction: Transaction, change: Change) -> int:
    """Lock the entities, show and hide chunks, and count: how many more pairs are joined."""
    if not (change.keys or change.appearing or change.vanishing):
        return 0
    entities = [
        {"id": entity_id(key), "key": key, "vector": change.names.get(key)} for key in change.keys
    ]
    [row] = await transaction.rows(
        "write_evidence",
        locked=entities,
        token=token(),
        chunks=[_shown(one, change.edits) for one in change.appearing],
        vanishing=change.vanishing,
        **_counted(change),
    )
    if row["missing"]:
        raise InvalidRequest(
            f"The names {sorted(row['missing'])!r} were staged without vectors. "
            "Write them with `stage_names`."
        )
    return int(row["relations"])


def _shown(one: Appearing, edits: Edits) -> dict[str, Any]:
    """A chunk as `write_evidence` takes it."""
    visible, differs = one.visible, one.visible != one.found
    hidden = sorted(edits.changed(one.found)) if differs else []
    return {
        "row": one.row,
        "document": one.document,
        "properties": {
            "seen": pack_extraction(visible) if differs else None,
            "mentions": pack_mentions(visible),
            "assertions": len(visible.assertions),
            "asserts": [_in_words(each) for each in visible.assertions],
            "hidden": [entity_id(key) for key in hidden],
        },
        "mentions": [_mention(each) for each in visible.mentions],
    }


def _mention(one: Mention) -> dict[str, Any]:
    return {
        "entity": entity_id(entity_key(one.name)),
        "properties": {
            "name": one.name,
            "type": one.type,
            "description": one.description,
            "weight": one.weight,
            "written": one.written or one.name,
        },
    }


def _in_words(one: Assertion) -> str:
    """An assertion for people who look at a chunk."""
    told = ": ".join(part for part in (one.keywords, one.description) if part)
    return f"{one.source} → {one.target}" + (f" ({told})" if told else "")


def _counted(change: Change) -> dict[str, list[dict[str, Any]]]:
    """What comes and goes, as differences, the way `write_evidence` takes it."""
    mentions, pairs, values = Counter[str](), _Pairs(), _Values()
    for sign, tally in ((1, change.added), (-1, change.removed)):
        for key, entity in tally.entities.items():
            mentions[key] += sign * entity.mentions
            values.count_entity(key, entity, sign)
        for pair, relation in tally.relations.items():
            pairs.count(pair, relation, sign)
            values.count_relation(pair, relation, sign)
    return {
        "entities": [{"id": entity_id(key), "mentions": n} for key, n in mentions.items() if n],
        "values": values.changed(),
        "relations": pairs.changed(),
    }


class _Values:
    """Counted values, by whose they are and what they are, as differences."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], int] = defaultdict(int)

    def count_entity(self, key: str, entity: EntityTally, sign: int) -> None:
        owner = str(entity_id(key))
        self._count(owner, "name", entity.names, sign)
        self._count(owner, "type", entity.types, sign)
        self._count(owner, "description", entity.descriptions, sign)

    def count_relation(self, pair: tuple[str, str], relation: RelationTally, sign: int) -> None:
        owner = "-".join(str(entity_id(key)) for key in pair)
        self._count(owner, "keywords", relation.keywords, sign)
        self._count(owner, "description", relation.descriptions, sign)

    def _count(self, owner: str, kind: str, counts: Mapping[str, int], sign: int) -> None:
        for value, count in counts.items():
            self._counts[owner, kind, value] += sign * count

    def changed(self) -> list[dict[str, Any]]:
        return [
            {"owner": owner, "kind": kind, "hash": text_hash(value), "value": value, "count": n}
            for (owner, kind, value), n in sorted(self._counts.items())
            if n
        ]


class _Pairs:
    """Assertions and weights between pairs of keys, as differences."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])

    def count(self, pair: tuple[str, str], relation: RelationTally, sign: int) -> None:
        self._counts[pair][0] += sign * relation.assertions
        self._counts[pair][1] += sign * relation.weight

    def changed(self) -> list[dict[str, int]]:
        return [
            {"low": entity_id(low), "high": entity_id(high), "assertions": one[0], "weight": one[1]}
            for (low, high), one in sorted(self._counts.items())
            if any(one)
        ]
