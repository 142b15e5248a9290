"""Filling a workspace from an archive."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

import numpy as np

from rag_engine.archive.files import to_its_end, whole
from rag_engine.archive.layout import (
    Manifest,
    Part,
    Passage,
    Progress,
    Record,
    rejected,
    with_vectors,
)
from rag_engine.archive.opened import Archive, opened_archive
from rag_engine.core.ids import chunk_id
from rag_engine.core.models import UNFINISHED, Chunk, Stage, Submission, VersionStatus
from rag_engine.engine import Engine
from rag_engine.errors import Conflict, InvalidRequest, LeaseLost, ModelMismatch
from rag_engine.ingest.embed import embed_names, texts_of
from rag_engine.ingest.write import gather
from rag_engine.ports.queue import Job
from rag_engine.ports.storage import Vectors, Workspace

_LEASE_SECONDS: Final = 600.0
_BATCH: Final = 256
"""Chunks staged in one transaction."""


class MadeWith(Protocol):
    """What says which model made its vectors."""

    @property
    def model(self) -> str:
        """Its name."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of its vectors."""
        ...


Outcome = Literal["written", "kept", "unfinished"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import came to.

    Attributes:
        written: Documents that were written.
        kept: Documents that were there already, and stay as they are.
        unfinished: Documents that another process works on, or that wait to be tried again.
        contradicted: Aliases that the workspace's own contradict; they are left out.
        waiting: Documents that were waiting when they were exported, and wait here now.
    """

    written: int = 0
    kept: int = 0
    unfinished: int = 0
    contradicted: int = 0
    waiting: int = 0


async def check_archive(path: Path, progress: Progress) -> Manifest:
    """Read an archive from end to end, and write nothing.

    Raises:
        ArchiveRejected: It is not whole and safe.
        DocumentUnreadable: The file cannot be read.
    """
    async with opened_archive(path) as archive:
        await _check(archive, path, progress)
        return archive.manifest


async def import_workspace(
    engine: Engine, workspace: str, path: Path, progress: Progress, *, checked: bool = False
) -> Imported:
    """Fill a workspace from an archive; what it holds already stays.

    Args:
        engine: Of the place.
        workspace: It is created when it is not there.
        path: The archive.
        progress: Told how far it is.
        checked: That `check_archive` has just read it.

    Raises:
        ArchiveRejected: The file is not a whole, safe archive. Nothing was written.
        ModelMismatch: Its vectors were made by another model. Nothing was written.
    """
    async with opened_archive(path) as archive:
        check_model(engine, path, archive.manifest)
        if not checked:
            await _check(archive, path, progress)
        opened = await engine.control.open(workspace, create=True)
        return await _Importer(engine, opened, archive).run(progress)


def check_model(engine: Engine, path: Path, made_with: MadeWith) -> None:
    """Refuse vectors of another model than the engine's.

    Raises:
        ModelMismatch: They are in the archive or the backup at `path`.
    """
    embedder = engine.pipeline.embedder
    if (made_with.model, made_with.dimensions) != (embedder.name, embedder.dimensions):
        raise ModelMismatch(
            f"The vectors in {str(path)!r} were made by {made_with.model!r}, not by "
            f"{embedder.name!r}. Set RAG_EMBEDDING_MODEL to that model and try again."
        )


async def _check(archive: Archive, path: Path, progress: Progress) -> None:
    total = archive.manifest.documents
    await asyncio.to_thread(archive.edits)
    wishes = await asyncio.to_thread(archive.wishes)
    await whole(archive.check_blobs, {wish.submission.content_hash for wish in wishes})
    done = 0
    for number in range(archive.manifest.parts):
        part, _ = await whole(archive.part, number)
        await whole(archive.check_blobs, {hash for one in part.documents for hash in one.blobs})
        done += len(part.documents)
        progress("checking", min(done, total), total)
    if done != total:
        raise rejected(path, f"it holds {done} documents, not the {total} it should")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """A document to be written.

    Attributes:
        vectors: Of its chunks.
        names: Vectors of names that its part brings.
    """

    record: Record
    vectors: Vectors
    names: Mapping[str, Vectors]


class _Importer:
    def __init__(self, engine: Engine, workspace: Workspace, archive: Archive) -> None:
        self._engine = engine
        self._workspace = workspace
        self._archive = archive
        self._counts = Counter[str]()

    async def run(self, progress: Progress) -> Imported:
        for edit in await asyncio.to_thread(self._archive.edits):
            try:
                await self._engine.edit(edit, self._workspace.name)
            except (Conflict, InvalidRequest):  # what was edited here in another way stays
                self._counts["contradicted"] += 1
        done, total = 0, self._archive.manifest.documents
        for number in range(self._archive.manifest.parts):
            part, vectors = await whole(self._archive.part, number)
            # One part after the other: names of an earlier one must be there.
            async with aclosing(self._outcomes(_tasks(part, vectors))) as outcomes:
                async for outcome in outcomes:
                    self._counts[outcome] += 1
                    done += 1
                    progress("importing", done, total)
        await self._wish()
        return Imported(**self._counts)

    async def _outcomes(self, tasks: Iterator[_Task]) -> AsyncGenerator[Outcome, None]:
        """Import documents, some at a time."""
        every, running = list[asyncio.Task[Outcome]](), set[asyncio.Task[Outcome]]()
        try:
            for task in tasks:
                every.append(asyncio.create_task(self._import(task)))
                running.add(every[-1])
                if len(running) >= self._engine.concurrency:
                    done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    for one in done:
                        yield one.result()
            for one in list(running):
                yield await one
        finally:
            for one in running:
                one.cancel()
            # The store must not be closed before they have given back what they hold.
            await asyncio.gather(*every, return_exceptions=True)

    async def _import(self, task: _Task) -> Outcome:
        record = task.record
        if await self._is_there(record.submission):
            return "kept"
        # Until rows name both blobs they could be collected.
        async with self._engine.blobs.keeping():
            await self._put_blobs(record.blobs)
            return await self._accept(task)

    async def _accept(self, task: _Task) -> Outcome:
        queue, record = self._workspace.queue, task.record
        version = await queue.accept(record.submission, first=record.document.version)
        if version.status is VersionStatus.INDEXED:
            return "kept"
        job = await queue.claim("import", _LEASE_SECONDS, document_id=record.document.id)
        if job is None:
            return "unfinished"
        try:
            if job.version.submission != record.submission:  # a newer wish came in between
                await queue.release(job.lease)
                return "unfinished"
            await self._write(job, task)
        except BaseException:
            # Not left leased: a repeated import, or a worker, goes on with it at once.
            with suppress(LeaseLost):
                await to_its_end(queue.release(job.lease))
            raise
        return "written"

    async def _is_there(self, submission: Submission) -> bool:
        """Whether the workspace has the document already, whichever version of it.

        What an interrupted import left unfinished is not there yet.
        """
        newest = await self._workspace.queue.version(submission.document_id)
        if newest is None:
            return False
        if newest.status in UNFINISHED:
            return newest.submission != submission
        if newest.status is VersionStatus.INDEXED:
            return True
        async with self._workspace.store.snapshot() as reader:
            [document] = await reader.documents([submission.document_id])
        return document is not None

    async def _write(self, job: Job, task: _Task) -> None:
        store, pipeline = self._workspace.store, self._engine.pipeline
        document = task.record.document
        chunks = [_chunk_of(passage, job) for passage in task.record.chunks]
        missing: list[str] = []
        for start in range(0, len(chunks), _BATCH):
            batch = slice(start, start + _BATCH)
            texts = texts_of(chunks[batch], document.title, pipeline.size)
            extractions = task.record.extractions[batch]
            evidence = await asyncio.to_thread(
                gather, chunks[batch], texts, extractions, task.vectors[batch]
            )
            missing = await store.stage(job.lease, evidence)
        if missing:
            await store.stage_names(job.lease, missing, await self._names(missing, task.names))
        await self._workspace.queue.checkpoint(
            job.lease,
            Stage.PARSE,
            media_type=document.media_type,
            title=document.title,
            parsed_hash=document.parsed_hash,
        )
        await store.finish(job.lease)

    async def _names(self, keys: list[str], known: Mapping[str, Vectors]) -> Vectors:
        unknown = [key for key in keys if key not in known]
        embedded = dict(
            zip(unknown, await embed_names(unknown, self._engine.pipeline.embedder), strict=True)
        )
        return np.stack([known[key] if key in known else embedded[key] for key in keys])

    async def _put_blobs(self, hashes: list[str]) -> None:
        for hash in hashes:
            with self._archive.blob(hash) as blob:
                await to_its_end(self._engine.blobs.put(blob))

    async def _wish(self) -> None:
        """Ask for what waited, unless something else is there by now."""
        for wish in await asyncio.to_thread(self._archive.wishes):
            submission = wish.submission
            newest = await self._workspace.queue.version(submission.document_id)
            if (newest.submission if newest else None) != wish.replaces:
                continue
            async with self._engine.blobs.keeping():
                await self._put_blobs([submission.content_hash])
                await self._workspace.queue.accept(submission)
            self._counts["waiting"] += 1


def _tasks(part: Part, vectors: Vectors) -> Iterator[_Task]:
    chunks = sum(len(record.chunks) for record in part.documents)
    names = dict(zip(part.names, vectors[chunks:], strict=True))
    for record, own in with_vectors(part, vectors):
        yield _Task(record=record, vectors=own, names=names)


def _chunk_of(passage: Passage, job: Job) -> Chunk:
    id, version = job.lease.document_id, job.lease.version
    return Chunk(
        id=chunk_id(id, version, passage.ordinal),
        document_id=id,
        version=version,
        ordinal=passage.ordinal,
        text=passage.text,
        start=passage.start,
        end=passage.end,
        tokens=passage.tokens,
        pages=passage.pages,
        heading_path=passage.heading_path,
    )
