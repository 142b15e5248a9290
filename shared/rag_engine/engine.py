"""The engine: documents in, cited answers out. The first file to read.

A document goes in by `submit`: its bytes become a blob, then a pending version becomes a row, and
from then on it cannot be lost. A worker (`work`) claims the version and takes it through the
stages of `ingest/`; it becomes visible whole. A question goes through the steps of `retrieval/` on
one snapshot of the store, and comes back as an answer with citations.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from rag_engine.core.edits import (
    FACT_PREFIX,
    FACT_SOURCE,
    Edit,
    Edits,
    Fact,
    is_fact,
    pack_fact,
    without_facts,
)
from rag_engine.core.filters import Filter, check_fields
from rag_engine.core.listing import BY_ID, Order
from rag_engine.core.models import (
    DEFAULT_WORKSPACE,
    UNFINISHED,
    Document,
    Metadata,
    MetadataValue,
    ParsedDocument,
    Submission,
    Version,
    VersionStatus,
)
from rag_engine.core.submissions import check_fact, check_names, check_submission
from rag_engine.errors import BlobMissing, Conflict, InvalidRequest, NotFound
from rag_engine.ingest.accept import check_free
from rag_engine.ingest.changes import Changes, changes
from rag_engine.ingest.collect import collect, collect_now_and_then
from rag_engine.ingest.embed import embed_names
from rag_engine.ingest.heartbeat import Heart, ThreadHeart
from rag_engine.ingest.parse import recall
from rag_engine.ingest.pipeline import Pipeline
from rag_engine.ingest.worker import LEASE_SECONDS, Watch, Worker
from rag_engine.ports.blobs import Blobs
from rag_engine.ports.listed import DocumentPage, EntityPage
from rag_engine.ports.models import ChatModel, Message
from rag_engine.ports.storage import Control, Reader, Stats, Workspace
from rag_engine.retrieval.answer import Answer, AnswerEvent, answer
from rag_engine.retrieval.context import Budget, Context, assemble
from rag_engine.retrieval.entities import entity_page
from rag_engine.retrieval.neighbourhood import (
    EgoNetwork,
    Neighbourhood,
    ego_network,
    neighbourhood,
)
from rag_engine.retrieval.relations import Connection, JoinedPage, connection, relation_page
from rag_engine.retrieval.retrieve import Asked, ask, retrieve
from rag_engine.telemetry import metrics

_WAIT_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, and of what.

    Attributes:
        mode: How to retrieve: one of `retrieval.plan.MODES`.
        filter: Only documents that match it are seen.
        history: Turns of the conversation before the question.
        budget: How much text the answer may rest on; `None` for the engine's own.
    """

    text: str
    workspace: str = DEFAULT_WORKSPACE
    mode: str = "graph"
    filter: Filter | None = None
    history: Sequence[Message] = ()
    budget: Budget | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What retrieval found for a question.

    Attributes:
        context: The passages, numbered.
        warnings: What a reader should know, in sentences.
        timings: Seconds by step.
    """

    context: Context
    warnings: tuple[str, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Everything RAG Engine does, over any store and any models. `wiring.py` builds one.

    Attributes:
        control: The workspaces.
        blobs: Originals and parsed texts.
        pipeline: The stages of ingestion with the models they use.
        chat: The model that writes answers, or `None`: then they quote the documents.
        budget: How much text an answer rests on when a question does not say.
        worker_name: Who holds the leases of this process.
        concurrency: Documents ingested at a time.
        lease_seconds: How long what this process works on is left to it when nothing is heard of it.
        heart: Keeps the leases of this process alive.
        closers: What to close at the end, in order.
    """

    control: Control
    blobs: Blobs
    pipeline: Pipeline
    chat: ChatModel | None = None
    budget: Budget = field(default_factory=Budget)
    worker_name: str = "worker"
    concurrency: int = 4
    lease_seconds: float = LEASE_SECONDS
    heart: Heart = field(default_factory=ThreadHeart)
    closers: tuple[Callable[[], object], ...] = ()

    # ------------------------------------------------------------------ documents in

    async def submit(
        self,
        content: bytes | Path | BinaryIO,
        *,
        document_id: str,
        source: str,
        workspace: str = DEFAULT_WORKSPACE,
        root: str | None = None,
        title: str | None = None,
        metadata: Metadata | None = None,
        replace: bool = True,
    ) -> Version:
        """Accept a document, or a new version of it. When this returns, it cannot be lost.

        The same content under the same id changes nothing; the version there is comes back.

        Args:
            content: The bytes, or a file that is copied; an open one is read from where it stands.
            document_id: The document's id; one that is known gets a new version.
            source: What a person recognises it by: a path relative to `root`, a file name.
            workspace: Where it goes; it is created when it is not there.
            root: The folder that `sync` keeps in step, or `None`.
            title: A title that outranks the one found in the document.
            metadata: What filters select by.
            replace: Whether another document may have that id already.

        Raises:
            InvalidRequest: The id or a metadata value cannot be stored, or the id is a fact's.
            Conflict: Another document has that id, and it is not to be replaced.
            DocumentUnreadable: The file cannot be read.
            StoreFull: The disk is full; nothing that was stored is lost.
        """
        check_submission(document_id, source, root, title, metadata or {})
        if is_fact(document_id):
            raise InvalidRequest(
                f"{document_id!r} cannot be the id of a document: ids of facts written by hand "
                f"begin with {FACT_PREFIX!r}. Choose another."
            )
        opened = await self.control.open(workspace, create=True)
        async with (
            self.blobs.keeping()
        ):  # a day may pass in between: a laptop sleeps, a clock is set
            content_hash, size = await self.blobs.put(content)
            if not replace:
                await check_free(opened, document_id, content_hash)
            return await opened.queue.accept(
                Submission(
                    document_id=document_id,
                    source=source,
                    content_hash=content_hash,
                    size=size,
                    root=root,
                    title=title,
                    metadata=metadata or {},
                    fingerprint=self.pipeline.fingerprint,
                )
            )

    async def amend(
        self,
        document_id: str,
        workspace: str = DEFAULT_WORKSPACE,
        *,
        title: str | None = None,
        metadata: Mapping[str, MetadataValue | None] | None = None,
    ) -> Version:
        """Accept a new version of a document with the same bytes under other words.

        Args:
            document_id: The document's id.
            workspace: Where it is.
            title: A title for it; `None` leaves the one there is, "" the one found in its text.
            metadata: Fields that change; `None` takes one away, and what is not named stays.

        Raises:
            NotFound: There is no document of that id.
            InvalidRequest: A value cannot be stored, or the document is a fact.
        """
        submission = (await self._newest(document_id, workspace)).submission
        fields = {**submission.metadata, **(metadata or {})}
        known = {name: value for name, value in fields.items() if value is not None}
        title = submission.title if title is None else title or None
        if is_fact(document_id):
            raise InvalidRequest(f"{document_id!r} is a fact. Undo it, and add another one.")
        check_submission(document_id, submission.source, submission.root, title, known)
        wish = replace(
            submission, title=title, metadata=known, fingerprint=self.pipeline.fingerprint
        )
        return await (await self.control.open(workspace)).queue.accept(wish)

    async def work(self, workspace: str = DEFAULT_WORKSPACE, watch: Watch | None = None) -> int:
        """Ingest whatever is pending, and return how many attempts that took."""
        opened = await self.control.open(workspace, create=True)
        attempts = await self.worker.drain(opened, watch)
        await self.tidy()
        return attempts

    @property
    def worker(self) -> Worker:
        """What takes versions from a queue and sees each to its end."""
        return Worker(
            pipeline=self.pipeline,
            name=self.worker_name,
            heart=self.heart,
            concurrency=self.concurrency,
            lease_seconds=self.lease_seconds,
        )

    async def outcome(self, version: Version, workspace: str = DEFAULT_WORKSPACE) -> Version:
        """Wait until a version has come to its end, whichever process works on it."""
        opened = await self.control.open(workspace)
        while True:
            now = await opened.queue.version(version.document_id, version.number)
            if now is None or now.status is VersionStatus.SUPERSEDED:
                return replace(version, status=VersionStatus.SUPERSEDED)
            if now.status not in UNFINISHED:
                return now
            await asyncio.sleep(_WAIT_SECONDS)

    async def cancel(self, document_id: str, workspace: str = DEFAULT_WORKSPACE) -> Version:
        """Cancel a document's version that waits or is being worked on, wherever that is.

        An older version goes on answering. Whoever works on it lets go of it within about a second.

        Raises:
            NotFound: There is no document of that id.
            Conflict: Its newest version has come to its end already.
        """
        queue = (await self.control.open(workspace)).queue
        cancelled = await queue.cancel(document_id)
        if cancelled is None:
            newest = await self._newest(document_id, workspace)
            raise Conflict(
                f"{newest.submission.source!r} is {newest.status} already, so there is nothing to "
                "cancel. See: rag-engine documents list"
            )
        return cancelled

    async def retry(self, document_id: str, workspace: str = DEFAULT_WORKSPACE) -> Version:
        """Submit once more what failed or was cancelled, with the original that was kept.

        Raises:
            NotFound: There is no document of that id.
            Conflict: Its newest version neither failed nor was cancelled.
            BlobMissing: The original is gone.
        """
        newest = await self._newest(document_id, workspace)
        submission = newest.submission
        if newest.status not in (VersionStatus.FAILED, VersionStatus.CANCELLED):
            raise Conflict(
                f"{submission.source!r} is {newest.status}: only what failed or was cancelled is "
                "tried again. To read a file anew, change it, or delete the document first."
            )
        try:
            async with self.blobs.local(submission.content_hash):
                pass
        except BlobMissing as error:
            raise BlobMissing(
                f"The original of {submission.source!r} is gone. Add the file once more with: "
                "rag-engine ingest FILE"
            ) from error
        wish = replace(submission, fingerprint=self.pipeline.fingerprint)
        return await (await self.control.open(workspace)).queue.accept(wish)

    async def _newest(self, document_id: str, workspace: str) -> Version:
        version = await (await self.control.open(workspace)).queue.version(document_id)
        if version is None:
            raise NotFound(
                f"There is no document {document_id!r} in workspace {workspace!r}. "
                "List those there are with: rag-engine documents list"
            )
        return version

    async def delete(self, document_ids: Sequence[str], workspace: str = DEFAULT_WORKSPACE) -> int:
        """Delete documents with all that was derived from them; return how many there were."""
        return await (await self.control.open(workspace)).store.delete(document_ids)

    async def collect(self) -> int:
        """Delete blobs that nobody names and nobody stored for a day. See `ingest.collect`."""
        return await collect(self.control, self.blobs)

    async def tidy(self) -> None:
        """Collect at most once an hour. `work` does it; who works in another way calls it too."""
        await collect_now_and_then(self.control, self.blobs)

    # ------------------------------------------------------------------ answers out

    async def search(self, question: Question) -> Found:
        """Find the passages that an answer would rest on.

        Raises:
            InvalidRequest: An unknown mode, an empty question, or a filter over an unknown field.
            NotFound: There is no such workspace.
        """
        if not question.text.strip():
            raise InvalidRequest("The question is empty. Ask something.")
        began = time.perf_counter()
        opened = await self.control.open(question.workspace)
        budget = question.budget or self.budget
        asked = await ask(question.text, embedder=self.pipeline.embedder, mode=question.mode)
        look = partial(_look, asked=asked, budget=budget, filter=question.filter)
        context, warnings = await opened.store.look(look)
        timings = {"search": time.perf_counter() - began}
        metrics.QUESTIONS.labels(question.mode, "search").observe(timings["search"])
        return Found(context=context, warnings=warnings, timings=timings)

    async def stream(self, question: Question) -> AsyncGenerator[AnswerEvent, None]:
        """Answer a question piece by piece: text, then one `Answer` that the pieces make up.

        Raises:
            ModelUnavailable: The language model cannot be reached: an error, never an empty answer.
        """
        found = await self.search(question)
        events = answer(
            question.text,
            found.context,
            chat=self.chat,
            embedder=self.pipeline.embedder,
            mode=question.mode,
            history=question.history,
        )
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Answer):
                    seconds = event.timings["answer"]
                    metrics.QUESTIONS.labels(question.mode, "answer").observe(seconds)
                    yield replace(
                        event,
                        warnings=(*found.warnings, *event.warnings),
                        timings=found.timings | event.timings,
                    )
                else:
                    yield event

    async def query(self, question: Question) -> Answer:
        """Answer a question. See `stream`."""
        async with aclosing(self.stream(question)) as events:
            *_, last = [event async for event in events if isinstance(event, Answer)]
        return last

    # ------------------------------------------------------------------ looking around

    async def documents(
        self,
        workspace: str = DEFAULT_WORKSPACE,
        *,
        order: Order = BY_ID,
        after: str | None = None,
        limit: int = 100,
        filter: Filter | None = None,
    ) -> DocumentPage:
        """A page of documents in an order. See `Reader.list_documents`."""
        async with (await self.control.open(workspace)).store.snapshot() as reader:
            seen = await _checked(reader, filter)
            return await reader.list_documents(order=order, after=after, limit=limit, filter=seen)

    async def document(self, id: str, workspace: str = DEFAULT_WORKSPACE) -> Document:
        """One document.

        Raises:
            NotFound: There is none of that id.
        """
        async with (await self.control.open(workspace)).store.snapshot() as reader:
            [found] = await reader.documents([id])
        if found is None:
            raise NotFound(
                f"There is no document {id!r} in workspace {workspace!r}. "
                "List those there are with: rag-engine documents list"
            )
        return found

    async def original(self, document: Document) -> bytes:
        """The bytes that were submitted.

        Raises:
            BlobMissing: They are no longer there, or no longer the same.
        """
        return await self.blobs.read(document.content_hash)

    async def parsed(self, document: Document) -> ParsedDocument:
        """The text of a document, whose characters all spans count."""
        return await recall(document.parsed_hash, self.blobs)

    async def graph(
        self, name: str, workspace: str = DEFAULT_WORKSPACE, *, filter: Filter | None = None
    ) -> Neighbourhood:
        """What surrounds a name in the graph.

        Raises:
            NotFound: No visible passage mentions it; the message names those that come close.
        """
        async with (await self.control.open(workspace)).store.snapshot() as reader:
            seen = await _checked(reader, filter)
            return await neighbourhood(reader, name, embedder=self.pipeline.embedder, filter=seen)

    async def ego_network(
        self,
        name: str,
        workspace: str = DEFAULT_WORKSPACE,
        *,
        limit: int = 24,
        filter: Filter | None = None,
    ) -> EgoNetwork:
        """An entity with its `limit` strongest neighbours, and what joins any two of them.

        Raises:
            NotFound: No visible passage mentions it; the message names those that come close.
        """
        async with (await self.control.open(workspace)).store.snapshot() as reader:
            seen, embedder = await _checked(reader, filter), self.pipeline.embedder
            return await ego_network(reader, name, embedder=embedder, filter=seen, limit=limit)

    async def entities(
        self,
        workspace: str = DEFAULT_WORKSPACE,
        *,
        search: str | None = None,
        after: str | None = None,
        limit: int = 100,
        filter: Filter | None = None,
    ) -> EntityPage:
        """A page of the graph's entities, or those a name may mean. See `retrieval.entities`."""
        async with (await self.control.open(workspace)).store.snapshot() as reader:
            seen, embedder = await _checked(reader, filter), self.pipeline.embedder
            return await entity_page(reader, embedder, search, after, limit=limit, filter=seen)

    async def relations(
        self,
        workspace: str = DEFAULT_WORKSPACE,
        *,
        search: str | None = None,
        after: str | None = None,
        limit: int = 100,
        filter: Filter | None = None,
    ) -> JoinedPage:
        """A page of what joins the graph's entities. See `retrieval.relations`."""
        async with (await self.control.open(workspace)).store.snapshot() as reader:
            seen, embedder = await _checked(reader, filter), self.pipeline.embedder
            return await relation_page(reader, embedder, search, after, limit=limit, filter=seen)

    async def relation(
        self,
        name: str,
        other: str,
        workspace: str = DEFAULT_WORKSPACE,
        *,
        limit: int = 50,
        filter: Filter | None = None,
    ) -> Connection:
        """What joins two names, and the places that say so. See `retrieval.relations`."""
        async with (await self.control.open(workspace)).store.snapshot() as reader:
            seen, embedder = await _checked(reader, filter), self.pipeline.embedder
            return await connection(reader, embedder, name, other, limit=limit, filter=seen)

    # ------------------------------------------------------------------ the graph, by hand

    async def edit(self, edit: Edit, workspace: str = DEFAULT_WORKSPACE) -> bool:
        """Put an alias or a suppression into force, for what is there and for what will come.

        It may come before the first document: the workspace is created when it is not there.

        Returns:
            Whether it is new.

        Raises:
            InvalidRequest: A name is empty, both are one, aliases would go round in a circle, or
                what is to be hidden is an alias.
            Conflict: The name already is an alias of another one, or hidden.
        """
        check_names(edit)
        Edits().check(edit)  # before a workspace is made for it
        opened = await self.control.open(workspace, create=True)
        vectors = await embed_names(edit.keys, self.pipeline.embedder)
        return await opened.store.edit(edit, vectors)

    async def add_fact(self, fact: Fact, workspace: str = DEFAULT_WORKSPACE) -> Version:
        """Accept something a person knows, as a document of its own. See `submit`.

        It is found and cited as any passage is, but not under a filter that does not name it.
        """
        check_fact(fact)
        opened = await self.control.open(workspace, create=True)
        async with self.blobs.keeping():
            content_hash, size = await self.blobs.put(pack_fact(fact))
            return await opened.queue.accept(
                Submission(
                    document_id=fact.document_id,
                    source=FACT_SOURCE,
                    content_hash=content_hash,
                    size=size,
                    fingerprint=self.pipeline.fingerprint,
                )
            )

    async def edits(self, workspace: str = DEFAULT_WORKSPACE) -> Changes:
        """All that was changed by hand and not undone."""
        return await changes((await self.control.open(workspace)).store, self.blobs)

    async def undo(self, id: str, workspace: str = DEFAULT_WORKSPACE) -> None:
        """Take back an edit or a fact, as if it had never been made.

        Raises:
            NotFound: Nothing of that id is in force.
        """
        store = (await self.control.open(workspace)).store
        if not await store.undo(id) and not await store.delete([FACT_PREFIX + id]):
            raise NotFound(
                f"Nothing of id {id!r} is in force in workspace {workspace!r}. "
                "List what is with: rag-engine graph edits"
            )

    # ------------------------------------------------------------------ and the rest

    async def stats(self, workspace: str = DEFAULT_WORKSPACE) -> Stats:
        """What a workspace holds."""
        async with (await self.control.open(workspace)).store.snapshot() as reader:
            return await reader.stats()

    async def delete_workspace(self, name: str) -> None:
        """Delete a workspace with all it holds; originals that no other one has go within a day.

        Raises:
            NotFound: There is none of that name.
        """
        if not await self.control.delete(name):
            raise NotFound(f"There is no workspace {name!r}. See: rag-engine workspaces list")

    async def workspace(self, name: str = DEFAULT_WORKSPACE) -> Workspace:
        """The store and the queue of a workspace, for what the engine has no method for."""
        return await self.control.open(name)

    async def aclose(self) -> None:
        """Finish what is being written and let go of everything."""
        async with AsyncExitStack() as stack:
            for close in reversed(self.closers):
                stack.push_async_callback(_close, close)
            await self.heart.aclose()
            await self.control.aclose()


async def _look(
    reader: Reader, *, asked: Asked, budget: Budget, filter: Filter | None
) -> tuple[Context, tuple[str, ...]]:
    """What an answer rests on, and what its reader should know. It can be pickled (`Store.look`)."""
    seen = await _checked(reader, filter)
    found = await retrieve(reader, asked, k=2 * budget.passages, filter=seen)
    return assemble(found.chunks, budget=budget), found.warnings


async def _checked(reader: Reader, filter: Filter | None) -> Filter | None:
    """A filter over known fields, outside which facts written by hand stay unless it names them."""
    if filter is None:
        return None
    check_fields(filter, (await reader.stats()).fields)
    return without_facts(filter)


async def _close(close: Callable[[], object]) -> None:
    closing = close()
    if asyncio.iscoroutine(closing):
        await closing
