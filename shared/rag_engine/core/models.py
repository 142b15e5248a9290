"""The records of the domain. Evidence is the truth; the graph is derived from it.

A document has versions, and a version is also the job that indexes it. A version has chunks; a
chunk has mentions (evidence for entities) and assertions (evidence for relations). Entities and
relations are what the evidence of the current versions adds up to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from rag_engine.core.ids import ChunkId, EntityId

Scalar = str | int | float | bool
MetadataValue = Scalar | tuple[Scalar, ...]
Metadata = Mapping[str, MetadataValue]

DEFAULT_WORKSPACE = "default"


class VersionStatus(StrEnum):
    """Where a version stands. `indexed`, `failed`, `cancelled` and `superseded` are final."""

    PENDING = "pending"  # accepted and durable, waiting for a worker
    RUNNING = "running"  # a worker holds its lease
    INDEXED = "indexed"  # visible, or it was until a newer one took its place
    FAILED = "failed"  # given up, with a reason; the version before it still answers
    CANCELLED = "cancelled"  # stopped by request; the version before it still answers
    SUPERSEDED = "superseded"  # a newer version or a delete made it pointless


UNFINISHED: Final = (VersionStatus.PENDING, VersionStatus.RUNNING)
"""Where versions stand that somebody still has to bring to their end; the others are final."""


class Stage(StrEnum):
    """The steps of ingestion, in order."""

    PARSE = "parse"
    CHUNK = "chunk"
    EXTRACT = "extract"
    EMBED = "embed"
    WRITE = "write"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What a caller hands in to become a version of a document.

    Attributes:
        document_id: The document's id; a document of that id gets a new version.
        source: What a person recognises it by: a path relative to `root`, a file name, a URL.
        content_hash: Key of the original bytes in the blob store.
        size: Length of the original in bytes.
        root: The folder that `sync` keeps in step, or `None`. `sync` touches only its own root.
        title: A title that outranks the one found by the parser.
        metadata: What filters select by.
        fingerprint: Hash of everything but the bytes that shapes the result (parser, chunker,
            extractor and their settings): the same bytes under other settings are another version.
    """

    document_id: str
    source: str
    content_hash: str
    size: int
    root: str | None = None
    title: str | None = None
    metadata: Metadata = field(default_factory=dict)
    fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What it has cost to bring a version where it stands.

    Attributes:
        seconds: Spent in each stage, in all attempts as far as they were recorded.
        tokens: Embedded, passage by passage, as the embedding model counts them.
    """

    seconds: Mapping[Stage, float] = field(default_factory=dict)
    tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        """What both have cost together."""
        stages = [one for one in Stage if one in self.seconds or one in other.seconds]
        return Usage(
            seconds={one: self.seconds.get(one, 0) + other.seconds.get(one, 0) for one in stages},
            tokens=self.tokens + other.tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of a document, which is also the job that indexes it.

    Attributes:
        number: Counts from 1 within the document.
        stage: The last stage that was finished, or `None`.
        attempt: How often a worker has begun it, not counting attempts that were interrupted by
            request.
        error: Why its last failed attempt failed, in a sentence that ends with the remedy.
        error_code: The kind of that failure: a class name in `rag_engine.errors`, or
            `InternalError`.
        retry_at: When a pending version that failed before may be claimed again, in seconds since
            the epoch; `None` for any other.
        parsed_hash: Key of the parsed document in the blob store, once there is one.
        chunks: Number of chunks, once known.
        requested_at: Seconds since the epoch.
        finished_at: Seconds since the epoch, once final.
        usage: What it has cost so far, which two versions that are equal need not share.
    """

    submission: Submission
    number: int
    status: VersionStatus
    stage: Stage | None = None
    attempt: int = 0
    error: str | None = None
    error_code: str | None = None
    retry_at: float | None = None
    media_type: str | None = None
    title: str | None = None
    parsed_hash: str | None = None
    warnings: tuple[str, ...] = ()
    chunks: int = 0
    requested_at: float = 0.0
    finished_at: float | None = None
    usage: Usage = field(default_factory=Usage, compare=False)

    @property
    def document_id(self) -> str:
        """The document this is a version of."""
        return self.submission.document_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document as readers see it: its current version and nothing of any other.

    Attributes:
        version: Number of the current version.
        created_at: When its first version became visible, in seconds since the epoch.
        updated_at: When the current version became visible.
    """

    id: str
    source: str
    root: str | None
    title: str | None
    media_type: str
    metadata: Metadata
    version: int
    content_hash: str
    parsed_hash: str
    size: int
    chunks: int
    created_at: float
    updated_at: float

    @property
    def name(self) -> str:
        """What to call it in a citation: its title, else its source."""
        return self.title or self.source


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """A heading of a parsed document: it begins at character `offset`, at depth `level` from 1."""

    offset: int
    level: int
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PageStart:
    """Page (slide, sheet) `number` begins at character `offset`."""

    offset: int
    number: int


class TextKind(StrEnum):
    """How a parsed text is built, which decides where it may be cut."""

    PROSE = "prose"  # headings, paragraphs, sentences
    CODE = "code"  # blank lines and definitions
    TABLE = "table"  # one record a line, the first line is the header


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedDocument:
    """What a parser found: one text, and where its pages and headings begin.

    Attributes:
        text: The whole text; every span in the system counts characters of it.
        pages: In order of offset; empty where the format has no pages.
        headings: In order of offset.
        warnings: What was lost, in sentences for the user.
    """

    text: str
    media_type: str
    title: str | None = None
    kind: TextKind = TextKind.PROSE
    pages: tuple[PageStart, ...] = ()
    headings: tuple[Heading, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A passage of one version: `document_text[start:end] == text`.

    Attributes:
        ordinal: Its place in the version, from 0.
        tokens: Its length in tokens of the embedder.
        pages: First and last page it touches, or `None` where the format has no pages.
        heading_path: The headings it stands under, outermost first.
    """

    id: ChunkId
    document_id: str
    version: int
    ordinal: int
    text: str
    start: int
    end: int
    tokens: int
    pages: tuple[int, int] | None = None
    heading_path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """Evidence for an entity, found in one chunk. At most one for each entity and chunk.

    Attributes:
        name: As written, or the name that an alias puts in its place; the entity's key is derived
            from it.
        type: What kind of thing it is, in lower case, or "" where the extractor does not say.
        description: What the chunk says of it, or "".
        weight: How much the chunk is about it, in thousandths (1000 = mentioned).
        written: As written, where `name` is another one; else "".
    """

    name: str
    type: str = ""
    description: str = ""
    weight: int = 1000
    written: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """Evidence for a relation, found in one chunk. At most one for each ordered pair and chunk.

    Attributes:
        source: Name of the entity it starts from; the chunk also has a mention of it.
        target: Name of the entity it goes to; the chunk also has a mention of it.
        keywords: What joins them, in a few words, or "".
        description: What the chunk says of it, or "".
        weight: Its strength in thousandths.
    """

    source: str
    target: str
    keywords: str = ""
    description: str = ""
    weight: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """All the evidence found in one chunk."""

    mentions: tuple[Mention, ...] = ()
    assertions: tuple[Assertion, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """What the visible evidence for one key adds up to.

    Attributes:
        name: The spelling most often mentioned; ties go to the smaller string.
        type: The type most often given; ties go to the smaller string.
        mentions: Number of chunks that mention it.
        descriptions: The first 8 distinct descriptions by hash.
    """

    id: EntityId
    key: str
    name: str
    type: str
    mentions: int
    descriptions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """What the visible evidence for one pair of entities adds up to, whichever way it points.

    Attributes:
        source: The entity that was asked about.
        target: The other one.
        assertions: Number of assertions between them.
        weight: Their weights added up, in thousandths.
        keywords: The first 8 distinct keywords by hash.
        descriptions: The first 8 distinct descriptions by hash.
    """

    source: EntityId
    target: EntityId
    target_name: str
    assertions: int
    weight: int
    keywords: tuple[str, ...] = ()
    descriptions: tuple[str, ...] = ()
