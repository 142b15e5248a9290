"""What goes over the wire, as JSON: names that stay, times in ISO 8601, nothing internal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from rag_engine.core.models import Document, Entity, Metadata, MetadataValue, Version
from rag_engine.retrieval.answer import Answer
from rag_engine.retrieval.context import Passage, Reference
from rag_engine.retrieval.neighbourhood import EgoNetwork, Neighbourhood
from rag_engine.retrieval.relations import Joined, Place

LONGEST_QUESTION: Final = 20_000
"""In characters; what is longer is a document."""

Scalar = bool | int | float | str
MetadataBody = Annotated[
    dict[str, Scalar | list[Scalar]],
    Field(description="What filters select by: a value or a list of values a field."),
]

ChunkIdBody = Annotated[
    str, Field(description="Id of the passage: a number that is too long for JSON's.")
]


class Body(BaseModel):
    """What a request or a response holds, and nothing else."""

    model_config = ConfigDict(extra="forbid")


Shown = TypeVar("Shown", bound=Body)


def shown(kind: type[Shown], record: object) -> Shown:
    """A record whose fields have the names of a body's, as that."""
    return kind.model_validate(record, from_attributes=True)


def moment(seconds: float | None) -> datetime | None:
    """A time as JSON has it."""
    return None if seconds is None else datetime.fromtimestamp(round(seconds), UTC)


def metadata_of(body: dict[str, Scalar | list[Scalar]]) -> Metadata:
    """Metadata as the engine has it."""
    return {key: _held(value) for key, value in body.items()}


def _held(value: Scalar | list[Scalar]) -> MetadataValue:
    return tuple(value) if isinstance(value, list) else value


def _listed(value: MetadataValue) -> Scalar | list[Scalar]:
    return list(value) if isinstance(value, tuple) else value


class IngestionUsage(Body):
    """What it has cost to bring a version where it stands."""

    seconds: dict[str, float] = Field(
        description="Spent in each stage of ingestion, in all attempts as far as they were recorded."
    )
    tokens: int = Field(description="Embedded, as the embedding model counts them.")


class VersionBody(Body):
    """A version of a document, which is also the job that indexes it."""

    document_id: str
    version: int
    source: str
    status: Literal["pending", "running", "indexed", "failed", "cancelled", "superseded"]
    stage: str | None = Field(description="The last stage of ingestion that was finished.")
    attempt: int
    error: str | None
    error_code: str | None
    warnings: list[str]
    chunks: int
    size: int
    retry_at: datetime | None
    requested_at: datetime | None
    finished_at: datetime | None
    usage: IngestionUsage

    @classmethod
    def of(cls, version: Version) -> VersionBody:
        """A version as JSON."""
        return cls(
            document_id=version.document_id,
            version=version.number,
            source=version.submission.source,
            status=version.status.value,
            stage=version.stage.value if version.stage else None,
            attempt=version.attempt,
            error=version.error,
            error_code=version.error_code,
            warnings=list(version.warnings),
            chunks=version.chunks,
            size=version.submission.size,
            retry_at=moment(version.retry_at),
            requested_at=moment(version.requested_at),
            finished_at=moment(version.finished_at),
            usage=IngestionUsage(
                seconds={one.value: round(s, 6) for one, s in version.usage.seconds.items()},
                tokens=version.usage.tokens,
            ),
        )


class DocumentBody(Body):
    """A document as questions see it: the version that answers."""

    id: str
    source: str
    root: str | None
    title: str | None
    media_type: str
    metadata: MetadataBody
    version: int
    size: int
    chunks: int
    created_at: datetime | None
    updated_at: datetime | None

    @classmethod
    def of(cls, document: Document) -> DocumentBody:
        """A document as JSON."""
        return cls(
            id=document.id,
            source=document.source,
            root=document.root,
            title=document.title,
            media_type=document.media_type,
            metadata={key: _listed(value) for key, value in document.metadata.items()},
            version=document.version,
            size=document.size,
            chunks=document.chunks,
            created_at=moment(document.created_at),
            updated_at=moment(document.updated_at),
        )


class DocumentState(Body):
    """A document: what answers, and the newest version that was asked for."""

    id: str
    answering: DocumentBody | None = Field(description="`null` until a version is indexed.")
    newest: VersionBody


class DocumentPage(Body):
    """A page of documents."""

    documents: list[DocumentBody]
    next: str | None = Field(description="Pass it as `after` for the next page.")


class VersionList(Body):
    """A page of newest versions."""

    versions: list[VersionBody]
    next: str | None = Field(description="Pass it as `after` for the next page.")


class TextBody(Body):
    """A document given as text."""

    text: str = Field(min_length=1, description="Markdown or plain text.")
    id: str | None = Field(default=None, description="Without one, it is the name.")
    name: str = Field(
        default="note.md", description="What people recognise it by, ending as a file name does."
    )
    title: str | None = None
    metadata: MetadataBody = {}


class Deleted(Body):
    """How many there were."""

    deleted: int


class ReferenceBody(Body):
    """Where a passage comes from: what `[number]` in an answer stands for."""

    number: int
    document_id: str
    document: str
    source: str
    version: int
    pages: tuple[int, int] | None
    headings: list[str]
    start: int = Field(description="First character of the passage in the document's text.")
    end: int = Field(description="The character after its last.")
    score: float

    @classmethod
    def of(cls, reference: Reference) -> ReferenceBody:
        """A reference as JSON."""
        return cls(
            number=reference.number,
            document_id=reference.document_id,
            document=reference.document_name,
            source=reference.source,
            version=reference.version,
            pages=reference.pages,
            headings=list(reference.heading_path),
            start=reference.start,
            end=reference.end,
            score=reference.score,
        )


class PassageBody(ReferenceBody):
    """A passage with its text."""

    text: str
    tokens: int

    @classmethod
    def of_passage(cls, passage: Passage) -> PassageBody:
        """A passage as JSON."""
        reference = ReferenceBody.of(passage.reference)
        return cls(**reference.model_dump(), text=passage.text, tokens=passage.tokens)


class TurnBody(Body):
    """A turn of the conversation before the question."""

    role: Literal["user", "assistant"]
    content: str


class QuestionBody(Body):
    """What is asked, and of what."""

    question: str = Field(max_length=LONGEST_QUESTION)
    mode: str = Field(default="graph", description="`graph`, `fusion` or `naive`.")
    filter: dict[str, Any] | None = Field(
        default=None,
        description="Only documents that match: "
        '`{"and": [{"eq": {"author": "Dickens"}}, {"gte": {"year": 1843}}]}`.',
    )
    top_k: int | None = Field(default=None, ge=1, le=200, description="Passages at most.")
    tokens: int | None = Field(default=None, ge=1, le=200_000, description="Text at most.")
    history: list[TurnBody] = Field(default=[], max_length=100)


class UsageBody(Body):
    """Tokens that a language model counted."""

    prompt_tokens: int
    completion_tokens: int


class AnswerBody(Body):
    """An answer, what it rests on, and what produced it."""

    answer: str
    references: list[ReferenceBody] = Field(description="The passages that it cites.")
    context: list[ReferenceBody] = Field(description="All passages that it could have cited.")
    mode: str
    extractive: bool = Field(description="Whether it quotes documents instead of a model's words.")
    model: str | None
    usage: UsageBody | None
    citations_removed: int
    warnings: list[str]
    timings: dict[str, float] = Field(description="Seconds by step.")

    @classmethod
    def of(cls, answer: Answer) -> AnswerBody:
        """An answer as JSON."""
        return cls(
            answer=answer.text,
            references=[ReferenceBody.of(one) for one in answer.references],
            context=[ReferenceBody.of(one) for one in answer.context],
            mode=answer.mode,
            extractive=answer.extractive,
            model=answer.model,
            usage=shown(UsageBody, answer.usage) if answer.usage else None,
            citations_removed=answer.citations_removed,
            warnings=list(answer.warnings),
            timings=answer.timings,
        )


class FoundBody(Body):
    """The passages that an answer would rest on, best first."""

    passages: list[PassageBody]
    left_out: int = Field(description="Passages that were found and did not fit.")
    warnings: list[str]
    timings: dict[str, float]


class SightingBody(Body):
    """A sentence that mentions a name, and where it stands."""

    name: str
    text: str
    chunk_id: ChunkIdBody
    document_id: str
    document: str
    source: str
    pages: tuple[int, int] | None
    headings: list[str]
    start: int
    end: int
    weight: float


class RelationBody(Body):
    """What joins an entity to another one."""

    name: str
    passages: int
    weight: float
    keywords: list[str]
    descriptions: list[str]


class NeighbourhoodBody(Body):
    """An entity with what surrounds it, strongest first."""

    name: str
    key: str
    type: str | None
    aliases: list[str]
    mentions: int
    descriptions: list[str]
    sightings: list[SightingBody]
    relations: list[RelationBody]

    @classmethod
    def of(cls, found: Neighbourhood) -> NeighbourhoodBody:
        """A neighbourhood as JSON."""
        return cls(
            name=found.entity.name,
            key=found.entity.key,
            type=found.entity.type or None,
            aliases=list(found.aliases),
            mentions=found.entity.mentions,
            descriptions=list(found.entity.descriptions),
            sightings=[
                SightingBody(
                    name=one.name,
                    text=one.text,
                    chunk_id=str(one.chunk.id),
                    document_id=one.document.id,
                    document=one.document.name,
                    source=one.document.source,
                    pages=one.chunk.pages,
                    headings=list(one.chunk.heading_path),
                    start=one.chunk.start,
                    end=one.chunk.end,
                    weight=one.weight / 1000,
                )
                for one in found.sightings
            ],
            relations=[
                RelationBody(
                    name=one.target_name,
                    passages=one.assertions,
                    weight=one.weight / 1000,
                    keywords=list(one.keywords),
                    descriptions=list(one.descriptions),
                )
                for one in found.relations
            ],
        )


class NodeBody(Body):
    """An entity in a picture, or at the end of a relation."""

    key: str
    name: str
    type: str | None
    mentions: int

    @classmethod
    def of(cls, one: Entity) -> NodeBody:
        """An entity as JSON."""
        return cls(key=one.key, name=one.name, type=one.type or None, mentions=one.mentions)


class EdgeBody(Body):
    """What joins two entities in a picture."""

    source: str = Field(description="The key of one.")
    target: str = Field(description="The key of the other.")
    passages: int
    weight: float


class NetworkBody(Body):
    """An entity and those around it."""

    entities: list[NodeBody] = Field(description="The one in the middle first.")
    relations: list[EdgeBody]

    @classmethod
    def of(cls, network: EgoNetwork) -> NetworkBody:
        """A network as JSON."""
        keys = {one.id: one.key for one in network.entities}
        return cls(
            entities=[NodeBody.of(one) for one in network.entities],
            relations=[
                EdgeBody(
                    source=keys[one.source],
                    target=keys[one.target],
                    passages=one.assertions,
                    weight=one.weight / 1000,
                )
                for one in network.relations
            ],
        )


class JoinedBody(Body):
    """Two entities and what joins them, whichever way it points."""

    source: NodeBody
    target: NodeBody
    assertions: int = Field(description="How often passages say so.")
    weight: float
    keywords: list[str]
    descriptions: list[str]

    @classmethod
    def of(cls, joined: Joined) -> JoinedBody:
        """Two entities and what joins them as JSON."""
        relation = joined.relation
        return cls(
            source=NodeBody.of(joined.source),
            target=NodeBody.of(joined.target),
            assertions=relation.assertions,
            weight=relation.weight / 1000,
            keywords=list(relation.keywords),
            descriptions=list(relation.descriptions),
        )


class PlaceBody(Body):
    """A passage that joins two entities, and what it says of it."""

    name: str = Field(description="Of the entity from which it points.")
    other: str = Field(description="Of the entity to which it points.")
    text: str = Field(description="A sentence that names them.")
    keywords: str
    description: str
    chunk_id: ChunkIdBody
    document_id: str
    document: str
    source: str
    pages: tuple[int, int] | None
    headings: list[str]
    start: int
    end: int
    weight: float

    @classmethod
    def of(cls, place: Place) -> PlaceBody:
        """A place as JSON."""
        return cls(
            name=place.name,
            other=place.other,
            text=place.text,
            keywords=place.keywords,
            description=place.description,
            chunk_id=str(place.chunk.id),
            document_id=place.document.id,
            document=place.document.name,
            source=place.document.source,
            pages=place.chunk.pages,
            headings=list(place.chunk.heading_path),
            start=place.chunk.start,
            end=place.chunk.end,
            weight=place.weight / 1000,
        )


class ConnectionBody(Body):
    """What joins two entities, with places that say so, strongest first."""

    relation: JoinedBody
    places: list[PlaceBody]


class Refusal(Body):
    """A file that was not accepted."""

    name: str
    problem: dict[str, Any]


class Accepted(Body):
    """What was accepted of an upload, and what was not."""

    versions: list[VersionBody]
    refused: list[Refusal]


class PatchBody(Body):
    """What changes of a document; what is not named stays."""

    title: str | None = None
    metadata: dict[str, Scalar | list[Scalar] | None] = {}

    def changes(self) -> dict[str, MetadataValue | None]:
        """The fields that change; `None` goes."""
        return {
            key: None if value is None else _held(value) for key, value in self.metadata.items()
        }


class StatsBody(Body):
    """What a workspace holds, counting what is visible only."""

    documents: int
    chunks: int
    entities: int
    relations: int
    mentions: int
    assertions: int
    fields: dict[str, int] = Field(description="How many documents have a value in each field.")
    model: str | None = Field(description="The embedding model that made its vectors.")
