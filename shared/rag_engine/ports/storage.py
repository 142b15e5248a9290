"""What the engine needs from a store. `rag_engine.testing` holds every adapter to these words.

Rules that hold for all methods: batches in and out; order is kept; what is missing is `None`;
nothing depends on the order of past writes. Arrays are numpy: ids `int64`, scores `float64`,
vectors `float32` of length 1 (or all zero), in an array of shape `(n, dimensions)`.

Any method may raise `StoreUnavailable`, `StoreFull` or `StoreCorrupt`; what else it raises is said
where it stands.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from rag_engine.core.edits import ActiveEdit, Edit
from rag_engine.core.keys import Key
from rag_engine.core.listing import BY_ID, Order
from rag_engine.core.models import (
    Chunk,
    Document,
    Entity,
    Extraction,
    Relation,
    Submission,
    Usage,
    Version,
)
from rag_engine.ports.listed import (
    AssertionEvidence,
    DocumentPage,
    EntityPage,
    MentionEvidence,
    RelationPage,
)
from rag_engine.ports.queue import JobQueue, Lease

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from rag_engine.core.bm25 import Statistics
    from rag_engine.core.filters import Filter
    from rag_engine.core.ids import ChunkId, EntityId
    from rag_engine.ports.idempotency import IdempotencyRecords

Ids = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]

T = TypeVar("T")

NodeKind = Literal["chunk", "entity"]

MAX_NEIGHBOURS = 64
"""Edges a node shows at most: the same cut on every store (weight descending, then id)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """Found nodes, best first; ties in the order of their ids.

    Attributes:
        ids: Shape `(n,)`.
        scores: Shape `(n,)`; cosine for dense search, BM25 for text search.
    """

    ids: Ids
    scores: Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjacency:
    """The mention edges of `n` nodes, as compressed sparse rows.

    Attributes:
        offsets: Shape `(n + 1,)`: row `i` is `neighbours[offsets[i]:offsets[i + 1]]`.
        neighbours: Ids of the other kind, by weight descending, then id; at most
            `MAX_NEIGHBOURS` a row.
        weights: Shape of `neighbours`: the mentions' weights in thousandths.
        degrees: Shape `(n,)`: visible edges of each node before the cut; 0 for an unknown node.
    """

    offsets: Ids
    neighbours: Ids
    weights: Ids
    degrees: Ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What a workspace holds, counting what is visible only.

    Attributes:
        fields: The metadata fields of its documents and how many documents have a value in each.
        model: Name of the embedding model its vectors were made by, or `None` while it shows no
            document.
    """

    documents: int
    chunks: int
    entities: int
    relations: int
    mentions: int
    assertions: int
    fields: Mapping[str, int]
    model: str | None


class Reader(Protocol):
    """One consistent view of a workspace: it shows no write that began after it was opened.

    `filter` narrows what a method may see: nothing of a document that does not match it is
    returned, counted or weighed. Only `statistics` is always the whole workspace's.
    """

    @property
    def counter(self) -> int:
        """The workspace's write counter in this view; equal counters mean equal content."""
        ...

    @property
    def exact(self) -> bool:
        """Whether dense search looks at every visible node, as it does up to a size that is set."""
        ...

    async def documents(self, ids: Sequence[str]) -> list[Document | None]:
        """Documents by id."""
        ...

    async def list_documents(
        self,
        *,
        order: Order = BY_ID,
        after: str | None = None,
        limit: int = 100,
        filter: Filter | None = None,
    ) -> DocumentPage:
        """Documents in an order, ids and names by code point.

        Args:
            order: What comes first.
            after: Begin after this place, a cursor as `order.cursor` makes it; no document needs to
                stand there.
            limit: How many at most, at least 1.
            filter: What may be seen.

        Raises:
            InvalidCursor: `after` is no place in that order.
        """
        ...

    async def chunks(self, ids: Sequence[ChunkId]) -> list[Chunk | None]:
        """Visible chunks by id."""
        ...

    async def document_chunks(self, document_id: str) -> list[Chunk]:
        """The chunks of a document's current version by ordinal; empty for an unknown document."""
        ...

    async def entities(
        self, ids: Sequence[EntityId], *, filter: Filter | None = None
    ) -> list[Entity | None]:
        """Entities as the visible evidence makes them; `None` where there is none.

        An empty description or type says nothing: it is neither counted nor shown.
        """
        ...

    async def list_entities(
        self, *, after: str | None = None, limit: int = 100, filter: Filter | None = None
    ) -> EntityPage:
        """Entities by mentions descending, then id, beginning after the page that ended at `after`.

        What has changed since that page was read makes no difference to any other entity. A page
        costs what it shows; the first one that is read under a filter costs what that leaves
        visible. `limit` is at least 1.

        Raises:
            InvalidCursor: `after` is not the `next` of a page of entities.
        """
        ...

    async def relations(
        self, ids: Sequence[EntityId], *, limit: int = 50, filter: Filter | None = None
    ) -> list[list[Relation]]:
        """The `limit` strongest relations of each entity, by weight descending, then the other's id.

        None for an unknown entity.

        Empty keywords and descriptions are left out; the selections are in the order of hash.
        """
        ...

    async def relations_between(
        self, pairs: Sequence[tuple[EntityId, EntityId]], *, filter: Filter | None = None
    ) -> list[Relation | None]:
        """What joins the two of each pair, as its first one has it; `None` where nothing does."""
        ...

    async def list_relations(
        self, *, after: str | None = None, limit: int = 100, filter: Filter | None = None
    ) -> RelationPage:
        """Relations by weight descending, then the lower id of the two, then the other one.

        It goes on after the page that ended at `after` as `list_entities` does. `limit` is at
        least 1.

        Raises:
            InvalidCursor: `after` is not the `next` of a page of relations.
        """
        ...

    async def assertions(
        self, one: EntityId, other: EntityId, *, limit: int = 50, filter: Filter | None = None
    ) -> list[AssertionEvidence]:
        """What joins two entities, whichever way it points: the assertions with their chunks.

        By weight descending, then chunk id, then the id of the entity they start from.
        """
        ...

    async def evidence(
        self, id: EntityId, *, limit: int = 50, filter: Filter | None = None
    ) -> list[MentionEvidence]:
        """Mentions of an entity, by weight descending, then chunk id."""
        ...

    async def extractions(self, ids: Sequence[ChunkId]) -> list[Extraction | None]:
        """All the evidence found in visible chunks, in its canonical form, sorted by entity keys.

        As it was found, whatever edits make of it. A visible chunk without evidence has an empty
        `Extraction`, an unknown chunk `None`.
        """
        ...

    async def edits(self) -> list[ActiveEdit]:
        """The edits in force, by the time they were made, then by id."""
        ...

    async def canonical(self, keys: Sequence[str]) -> list[str]:
        """The entity keys that stand for `keys`: the same, or where their aliases lead."""
        ...

    async def search_dense(
        self, kind: NodeKind, queries: Vectors, k: int, *, filter: Filter | None = None
    ) -> list[Hits]:
        """The `k` visible nodes nearest to each query by cosine, by an exact scan if `exact`.

        Chunks have the vector of their text, entities that of their key; an entity whose vector
        was never written is not found. Scores are dot products, computed in float32, of the query
        and the stored values, which were rounded to float16 and not made length 1 again.

        Args:
            kind: Of the nodes to be found.
            queries: Shape `(q, dimensions)`.
            k: How many for each query; 0 finds nothing.
            filter: What may be seen.

        Raises:
            ModelMismatch: The queries have another number of dimensions than the store's vectors.
        """
        ...

    async def search_text(
        self, tokens: Sequence[str], k: int, *, filter: Filter | None = None
    ) -> Hits:
        """The `k` best visible chunks by BM25 over `core.tokens`, scored by `core.bm25`.

        Every token counts; a chunk that holds none of them is never found. Tokens that stand in
        many chunks make that slow: leave out what `core.bm25.informative` leaves out.
        """
        ...

    async def statistics(self, tokens: Sequence[str]) -> Statistics:
        """Word statistics of the whole workspace for these tokens.

        The average length is 0 while there is no chunk.
        """
        ...

    async def adjacency(
        self, kind: NodeKind, ids: Ids, *, filter: Filter | None = None
    ) -> Adjacency:
        """The mention edges of nodes of one kind: from chunks to entities or back.

        Args:
            kind: Of the nodes given; their neighbours are of the other kind.
            ids: Any, repeated ones too; row `i` belongs to `ids[i]`.
            filter: What may be seen.
        """
        ...

    async def vectors(self, kind: NodeKind, ids: Ids) -> Vectors:
        """Stored vectors, rounded to float16, shape `(n, dimensions)`.

        Zeros for a node that is unknown or has none.
        """
        ...

    async def stats(self) -> Stats:
        """What the workspace holds."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """All that a store holds of one visible document.

    Attributes:
        submission: As which its current version was accepted.
        chunks: By ordinal.
        vectors: Of the chunks, shape `(len(chunks), dimensions)`, rounded to float16.
        extractions: Of each chunk, as it was found; see `Reader.extractions`.
    """

    document: Document
    submission: Submission
    chunks: tuple[Chunk, ...]
    vectors: Vectors
    extractions: tuple[Extraction, ...]


class Contents(Protocol):
    """A workspace as of one moment, for who copies all of it.

    Unlike a `Reader` it holds nothing in memory but what it returned last and a few bytes for each
    document, however large the workspace is, and it may be read for hours.
    """

    @property
    def documents(self) -> int:
        """How many documents `read` returns."""
        ...

    def read(self) -> AsyncGenerator[Content, None]:
        """Every visible document, in the order of their ids (by code point)."""
        ...

    async def edits(self) -> list[ActiveEdit]:
        """The edits in force, by the time they were made, then by id."""
        ...

    async def names(self, keys: Sequence[str]) -> list[Vectors | None]:
        """Vectors of entity keys, shape `(dimensions,)`, rounded to float16.

        `None` for a key that has none, because edits hide it or it was deleted since.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkEvidence:
    """All that one chunk brings into the store.

    A store keeps the extraction in the form that `core.evidence.canonical` gives it.

    Attributes:
        chunk: The chunk itself.
        vector: Shape `(dimensions,)`, float32, of length 1 (or all zero).
        lexemes: What the lexical index holds for it: tokens of `core.tokens`, joined by spaces.
        extraction: Its mentions and assertions.
    """

    chunk: Chunk
    vector: Vectors
    lexemes: str
    extraction: Extraction = field(default_factory=Extraction)


class Store(Protocol):
    """One workspace's documents and what was derived from them."""

    def snapshot(self) -> AbstractAsyncContextManager[Reader]:
        """Open a consistent view; close it by leaving the context."""
        ...

    async def look(self, work: Callable[[Reader], Coroutine[Any, Any, T]]) -> T:
        """Open a consistent view, do work of many steps in it where reading costs least, close it.

        Args:
            work: Reads from the view that it is given, awaits nothing else, and does nothing but
                return what it finds. It may run on another thread, where no event loop runs, and
                in another process if it can be pickled.
        """
        ...

    def contents(self) -> AbstractAsyncContextManager[Contents]:
        """Open a view of everything, to copy it; close it by leaving the context."""
        ...

    async def stage(self, lease: Lease, evidence: Sequence[ChunkEvidence]) -> list[str]:
        """Write part of a version, invisibly. Staging the same chunks again changes nothing.

        The chunks belong to the version of the lease. Nothing is written when an error is raised.

        Returns:
            The entity keys mentioned so far by this version that have no vector yet, sorted: none
            was staged for this version, and none was visible when it first mentioned the key.

        Raises:
            LeaseLost: The lease is no longer held.
            ModelMismatch: The vectors have another number of dimensions than the store's.
        """
        ...

    async def stage_names(self, lease: Lease, keys: Sequence[str], vectors: Vectors) -> None:
        """Write the vectors of entity keys, shape `(len(keys), dimensions)`.

        They are staged as the evidence is, for this version alone, and go with it. A key that the
        version has not mentioned yet is passed over.

        Raises:
            LeaseLost: The lease is no longer held.
            ModelMismatch: The vectors have another number of dimensions than the store's.
        """
        ...

    async def finish(self, lease: Lease, *, usage: Usage | None = None) -> Version:
        """Make a staged version the document's current one, whole, in one transaction.

        The old version's evidence goes, the counters follow, the lease ends. The version is
        indexed, its last stage is `write`, it has no error and knows its number of chunks. The
        document's title is the submission's, else the parser's; media type and parsed hash are
        empty where no checkpoint recorded them. Older versions of the document are forgotten.
        Without `usage`, that of the last checkpoint stays.

        Raises:
            InvalidRequest: A key that `stage` returned has been given no vector, and is not known
                from another document by now. Nothing is changed.
            LeaseLost: The lease is no longer held, or a newer version was requested.
        """
        ...

    async def delete(self, document_ids: Sequence[str]) -> int:
        """Delete documents with all their versions, pending ones too.

        Nothing of them remains: no version is known, leases are lost, and a document of that id
        begins at version 1 again.

        Returns:
            How many there were, visible or not; unknown ids are passed over.
        """
        ...

    async def edit(self, edit: Edit, vectors: Vectors) -> bool:
        """Put an edit into force: at once, and for all evidence that comes later.

        What readers see of each chunk is `core.edits.Edits.applied` to its evidence from then on.

        Args:
            edit: An alias or a suppression.
            vectors: Of `edit.keys`, shape `(len(edit.keys), dimensions)`.

        Returns:
            Whether it is new; the same edit again changes nothing.

        Raises:
            InvalidRequest: A name is empty, both are one, aliases would go round in a circle, or
                what is to be hidden is an alias.
            Conflict: The name already is an alias of another one, or hidden.
            ModelMismatch: The vectors have another number of dimensions than the store's.
        """
        ...

    async def undo(self, edit_id: str) -> bool:
        """Take an edit back, as if it had never been made; return whether it was in force."""
        ...

    async def aclose(self) -> None:
        """Finish what is being written and let go of the database."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """An opened workspace: its store and its queue."""

    name: str
    store: Store
    queue: JobQueue


class Control(Protocol):
    """Which workspaces there are, and which keys let programs in."""

    @property
    def idempotency(self) -> IdempotencyRecords:
        """What requests that may be sent twice were answered."""
        ...

    async def workspaces(self) -> list[str]:
        """Names of all workspaces, sorted."""
        ...

    async def open(self, name: str, *, create: bool = False) -> Workspace:
        """Open a workspace; opening it again returns the same one.

        Raises:
            NotFound: There is none of that name and `create` is false.
            InvalidRequest: The name is not 1 to 64 letters, digits, `-`, `_` or `.`.
            ModelMismatch: Its vectors were made by another model than the configured one. A
                workspace that holds none takes any.
            StoreTooNew: It was written by a release that this one cannot read.
        """
        ...

    async def delete(self, name: str) -> bool:
        """Delete a workspace with all it holds; return whether there was one.

        It is gone at one moment: who is killed meanwhile leaves it whole, or gone, and what is left
        of it then goes with the next deletion, creation or chore. Who has it open, in whatever
        process, is told by `NotFound`, or by `StoreUnavailable` or `LeaseLost`, and by `NotFound`
        when it is opened again; a reader may go on with what it saw. One that is made under its name
        later is another one. Keys that are bound to it stay.

        Raises:
            StoreUnavailable: Another process has it open, where the system lets no open file go.
        """
        ...

    async def referenced(self, hashes: Sequence[str]) -> set[str]:
        """Those of these blobs that some version of some workspace names, as original or as text.

        Raises:
            StoreCorrupt: A workspace is missing or cannot be read, so that nobody can tell.
        """
        ...

    async def waiting(self) -> dict[str, float]:
        """Workspaces with work for a worker, sorted: seconds until it may be claimed, 0 for now.

        Pending versions are work, and those that `JobQueue.release_stalled` would put back. Cheap
        enough to ask every second, however many workspaces there are.
        """
        ...

    async def due(self, chore: str, seconds: float) -> bool:
        """Whether nobody has begun a chore within so many seconds; if so, it counts as begun now.

        Of several who ask at once, one is told so. Where there is no workspace, nothing is due.
        """
        ...

    async def keys(self) -> list[Key]:
        """All keys, by the time they were made, then by id."""
        ...

    async def add_key(self, key: Key) -> None:
        """Keep a key. When this returns, that is durable; the ids of keys are never the same."""
        ...

    async def remove_key(self, id: str) -> bool:
        """Forget a key; return whether there was one."""
        ...

    async def aclose(self) -> None:
        """Close every workspace that was opened. What they hold stays; no worker is left here."""
        ...
