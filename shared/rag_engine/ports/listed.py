"""What a `Reader` lists: evidence with the chunks it is from, and pages with where they end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rag_engine.core.ids import ChunkId
    from rag_engine.core.models import Assertion, Document, Entity, Mention, Relation


@dataclass(frozen=True, slots=True, kw_only=True)
class MentionEvidence:
    """A mention and the chunk it was found in."""

    chunk_id: ChunkId
    mention: Mention


@dataclass(frozen=True, slots=True, kw_only=True)
class AssertionEvidence:
    """An assertion and the chunk it was found in."""

    chunk_id: ChunkId
    assertion: Assertion


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentPage:
    """A page of documents, and where the next one begins.

    Attributes:
        next: Pass it as `after` for the next page in the same order; `None` at the end.
    """

    documents: tuple[Document, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityPage:
    """A page of entities, and where the next one begins.

    Attributes:
        next: Pass it as `after` for the next page; `None` at the end.
    """

    entities: tuple[Entity, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationPage:
    """A page of relations, and where the next one begins.

    Attributes:
        relations: Each as that of its two entities has it whose id is lower.
        next: Pass it as `after` for the next page; `None` at the end.
    """

    relations: tuple[Relation, ...]
    next: str | None
