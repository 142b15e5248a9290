"""What people change in the graph by hand, and what evidence looks like under these changes.

Evidence is never rewritten. What readers see of a chunk is `Edits.applied` to what was found in it:
a function of the evidence and of the set of edits in force, whatever the order in which they came.
So an edit survives re-ingestion, and undoing it leaves what was there before.

Facts written by hand are no edits in this sense: each is a document of its own (`Fact`), whose
evidence is given instead of extracted, and goes with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from rag_engine.core.evidence import pair_of, strongest
from rag_engine.core.filters import And, Filter, In, Leaf, Not, leaves
from rag_engine.core.ids import text_hash
from rag_engine.core.models import Assertion, Extraction, Mention, ParsedDocument
from rag_engine.core.names import entity_key
from rag_engine.errors import Conflict, InvalidRequest, StoreCorrupt

FACT_MEDIA_TYPE: Final = "application/vnd.rag-engine.fact"
FACT_SOURCE: Final = "manual"
FACT_PREFIX: Final = f"{FACT_SOURCE}:"
"""Ids of documents that are facts begin with it, and no others."""

ONLY_FACTS: Final = In("$media_type", (FACT_MEDIA_TYPE,))
"""The filter that lets facts through, and nothing else."""

_SUBJECT: Final = 2000  # the passage of a fact is about the entity it describes
_ID_LENGTH: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """Whatever names `source` names `target`.

    Attributes:
        source: A name, as written.
        target: The name that takes its place.
    """

    source: str
    target: str

    @property
    def id(self) -> str:
        """A function of what is joined, so that the same edit twice is one."""
        return _id("alias", entity_key(self.source), entity_key(self.target))

    @property
    def names(self) -> tuple[str, ...]:
        """The names that it is about, as written."""
        return self.source, self.target

    @property
    def keys(self) -> tuple[str, ...]:
        """The entity keys that it may bring to light, now or when it is undone."""
        return tuple(map(entity_key, self.names))


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression:
    """An entity that nobody wants to see; with `other`, only what joins it to that one.

    Attributes:
        name: A name, as written.
        other: Another one, or `None`.
    """

    name: str
    other: str | None = None

    @property
    def id(self) -> str:
        """A function of what is suppressed, so that the same edit twice is one."""
        return _id("suppression", *sorted(self.keys))

    @property
    def names(self) -> tuple[str, ...]:
        """The names that it is about, as written."""
        return (self.name,) if self.other is None else (self.name, self.other)

    @property
    def keys(self) -> tuple[str, ...]:
        """The entity keys that it is about."""
        return tuple(map(entity_key, self.names))


Edit = Alias | Suppression


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveEdit:
    """An edit in force.

    Attributes:
        made_at: Seconds since the epoch.
    """

    edit: Edit
    made_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Edits:
    """The edits in force, as far as some evidence is concerned.

    Attributes:
        aliases: By the key of their source, the name that takes its place. Without cycles.
        suppressed: Keys of entities.
        parted: Pairs of keys, the smaller first, that nothing joins.
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    suppressed: frozenset[str] = frozenset()
    parted: frozenset[tuple[str, str]] = frozenset()

    def __post_init__(self) -> None:
        for start in self.aliases:
            key, steps = start, 0
            while key in self.aliases:
                key, steps = entity_key(self.aliases[key]), steps + 1
                if steps > len(self.aliases):
                    raise StoreCorrupt(
                        f"The alias {start!r} leads round in a circle, which no edit can have made. "
                        "Look what else is damaged: rag-engine doctor --verify"
                    )

    @classmethod
    def of(cls, edits: Iterable[Edit]) -> Edits:
        """Take these edits together.

        Raises:
            StoreCorrupt: Aliases go round in a circle.
        """
        given = list(edits)
        pairs = [one.keys for one in given if isinstance(one, Suppression)]
        return cls(
            aliases={entity_key(one.source): one.target for one in given if isinstance(one, Alias)},
            suppressed=frozenset(keys[0] for keys in pairs if len(keys) == 1),
            parted=frozenset(pair_of(*keys) for keys in pairs if len(keys) == 2),
        )

    def canonical(self, key: str) -> str:
        """The key that stands for a key."""
        while key in self.aliases:
            key = entity_key(self.aliases[key])
        return key

    def check(self, edit: Edit) -> None:
        """Refuse an edit that makes no sense beside these.

        Raises:
            InvalidRequest: A name is empty, both are one, aliases would go round in a circle, or
                what is to be hidden is an alias.
            Conflict: The name already is an alias of another one, or hidden.
        """
        for name in edit.names:
            if not entity_key(name):
                raise InvalidRequest(f"{name!r} names nothing. Give a name that can be seen.")
        if len(set(edit.keys)) < len(edit.keys):
            raise InvalidRequest(
                f"{edit.names[0]!r} and {edit.names[1]!r} are no two names. Case and spacing make "
                "no difference."
            )
        if isinstance(edit, Suppression):
            for key in edit.keys:
                if key in self.aliases:
                    raise InvalidRequest(
                        f"{key!r} is an alias of {self.aliases[key]!r}, and nothing is seen under "
                        f"it. Hide {self.aliases[key]!r}, or undo the alias: "
                        f"rag-engine graph undo {self.alias(key).id}"
                    )
            return
        source, target = edit.keys
        if source in self.aliases and entity_key(self.aliases[source]) != target:
            raise Conflict(
                f"{edit.source!r} already is an alias of {self.aliases[source]!r}. "
                f"Undo that first: rag-engine graph undo {self.alias(source).id}"
            )
        if source in self.suppressed or any(source in pair for pair in self.parted):
            raise Conflict(
                f"{edit.source!r} is hidden, or what joins it to another; as an alias it would be "
                "seen again. Undo that first, see: rag-engine graph edits"
            )
        if self.canonical(target) == source:
            raise InvalidRequest(
                f"{edit.target!r} already is an alias of {edit.source!r}, so that {edit.source!r} "
                "would stand for itself. Undo the other one first, see: rag-engine graph edits"
            )

    def alias(self, key: str) -> Alias:
        """The alias whose source has a key."""
        return Alias(source=key, target=self.aliases[key])

    def changed(self, extraction: Extraction) -> set[str]:
        """The keys in an extraction whose evidence is seen in another way, or not at all."""
        keys = {entity_key(mention.name) for mention in extraction.mentions}
        found = {key for key in keys if key in self.aliases or key in self.suppressed}
        for one in extraction.assertions:
            ends = entity_key(one.source), entity_key(one.target)
            if pair_of(*map(self.canonical, ends)) in self.parted:
                found.update(ends)
        return found

    def applied(self, extraction: Extraction) -> Extraction:
        """What readers see of an extraction; both are in canonical form.

        A chunk that mentions an entity by two names mentions it once: the heavier counts.
        """
        mentions = [self._renamed(one) for one in extraction.mentions]
        assertions = [
            replace(one, source=self._name(one.source), target=self._name(one.target))
            for one in extraction.assertions
        ]
        return strongest(
            (one for one in mentions if entity_key(one.name) not in self.suppressed),
            (one for one in assertions if not self._is_parted(one)),
        )

    def _name(self, name: str) -> str:
        key = entity_key(name)
        while key in self.aliases:
            name = self.aliases[key]
            key = entity_key(name)
        return name

    def _renamed(self, mention: Mention) -> Mention:
        name = self._name(mention.name)
        return (
            mention if name == mention.name else replace(mention, name=name, written=mention.name)
        )

    def _is_parted(self, assertion: Assertion) -> bool:
        pair = pair_of(entity_key(assertion.source), entity_key(assertion.target))
        return pair in self.parted


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something a person knows: of an entity, or of what joins two.

    Attributes:
        name: Of the entity.
        type: What kind of thing it is, or "".
        description: What there is to say of it, or of how it is joined to `target`.
        target: The entity it is joined to, or `None`.
        keywords: What joins them, in a few words.
    """

    name: str
    type: str = ""
    description: str = ""
    target: str | None = None
    keywords: str = ""

    @property
    def id(self) -> str:
        """A function of the whole fact, so that the same fact twice is one."""
        return _id("fact", pack_fact(self).decode())

    @property
    def document_id(self) -> str:
        """The id of the document it is."""
        return FACT_PREFIX + self.id

    @property
    def text(self) -> str:
        """The fact in words: what is embedded, searched and cited."""
        if self.target is None:
            head = f"{self.name} ({self.type})" if self.type else self.name
        else:
            head = f"{self.name} – {self.keywords or 'joined to'} – {self.target}"
        return f"{head}: {self.description}" if self.description else head

    @property
    def extraction(self) -> Extraction:
        """The evidence it is."""
        if self.target is None:
            about = Mention(
                name=self.name, type=self.type, description=self.description, weight=_SUBJECT
            )
            return Extraction(mentions=(about,))
        joined = Assertion(
            source=self.name,
            target=self.target,
            keywords=self.keywords,
            description=self.description,
        )
        ends = (
            Mention(name=self.name, type=self.type, weight=_SUBJECT),
            Mention(name=self.target, weight=_SUBJECT),
        )
        return Extraction(mentions=ends, assertions=(joined,))

    @property
    def parsed(self) -> ParsedDocument:
        """The document it is, as a parser would have found it."""
        return ParsedDocument(text=self.text, media_type=FACT_MEDIA_TYPE)


def pack_fact(fact: Fact) -> bytes:
    """A fact as JSON, in one form for equal facts."""
    return json.dumps(asdict(fact), ensure_ascii=False, sort_keys=True).encode()


def unpack_fact(content: bytes) -> Fact:
    """A fact from its JSON."""
    record: dict[str, Any] = json.loads(content)
    return Fact(**record)


def is_fact(document_id: str) -> bool:
    """Whether a document is a fact written by hand."""
    return document_id.startswith(FACT_PREFIX)


def without_facts(filter_: Filter) -> Filter:
    """A filter as questions mean it: facts stay outside unless it names them.

    It names them where it asks for their id, their source or their media type.
    """
    if any(_names_facts(leaf) for leaf in leaves(filter_)):
        return filter_
    return And((filter_, Not(ONLY_FACTS)))


def _names_facts(leaf: Leaf) -> bool:
    if not isinstance(leaf, In):
        return False
    names: dict[str, Callable[[str], bool]] = {
        "$id": is_fact,
        "$source": FACT_SOURCE.__eq__,
        "$media_type": FACT_MEDIA_TYPE.__eq__,
    }
    test = names.get(leaf.field)
    return test is not None and any(isinstance(one, str) and test(one) for one in leaf.values)


def _id(kind: str, *parts: str) -> str:
    return text_hash("\x1f".join((kind, *parts)))[:_ID_LENGTH]
