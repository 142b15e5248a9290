"""Writing: evidence is staged under its version, and `finish` makes it the visible one."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from rag_engine.adapters.memory.contents import MemoryContents
from rag_engine.adapters.memory.reader import MemoryReader
from rag_engine.core.edits import ActiveEdit
from rag_engine.core.evidence import canonical as canonical_extraction
from rag_engine.core.models import Document, Stage, VersionStatus
from rag_engine.core.names import entity_key
from rag_engine.core.vectors import canonical
from rag_engine.errors import InvalidRequest, ModelMismatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence

    from rag_engine.adapters.memory.tables import Tables, VersionKey
    from rag_engine.core.edits import Edit
    from rag_engine.core.models import Usage, Version
    from rag_engine.ports.queue import Lease
    from rag_engine.ports.storage import ChunkEvidence, Contents, Reader, Vectors

T = TypeVar("T")


class MemoryStore:
    """One workspace's documents; see `rag_engine.ports.storage.Store`."""

    def __init__(
        self, tables: Tables, *, clock: Callable[[], float], model: str, dimensions: int
    ) -> None:
        self._held = tables
        self._clock = clock
        self._model = model
        self._dimensions = dimensions

    @property
    def _tables(self) -> Tables:
        return self._held.there()

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Reader]:
        yield MemoryReader(self._tables.copy())

    async def look(self, work: Callable[[Reader], Coroutine[Any, Any, T]]) -> T:
        """See `Store.look`."""
        async with self.snapshot() as reader:
            return await work(reader)

    @asynccontextmanager
    async def contents(self) -> AsyncIterator[Contents]:
        yield MemoryContents(self._tables.copy())

    async def stage(self, lease: Lease, evidence: Sequence[ChunkEvidence]) -> list[str]:
        self._tables.held(lease, self._clock())
        self._check(*(one.vector for one in evidence))
        self._tables.adopt(self._model, self._dimensions)
        key = (lease.document_id, lease.version)
        staged = {one.chunk.id: _stored(one) for one in evidence}
        self._tables.evidence[key] = {**self._tables.evidence.get(key, {}), **staged}
        names = dict(self._tables.staged_names.get(key, {}))
        for one in staged.values():
            for mention in one.extraction.mentions:
                name = entity_key(mention.name)
                names.setdefault(name, self._tables.names.get(name))
        self._tables.staged_names[key] = names
        return sorted(name for name, vector in names.items() if vector is None)

    async def stage_names(self, lease: Lease, keys: Sequence[str], vectors: Vectors) -> None:
        self._tables.held(lease, self._clock())
        self._check(*vectors)
        key = (lease.document_id, lease.version)
        names = dict(self._tables.staged_names.get(key, {}))
        for name, vector in zip(keys, vectors, strict=True):
            if name in names:
                names[name] = _rounded(vector)
        self._tables.staged_names[key] = names

    async def finish(self, lease: Lease, *, usage: Usage | None = None) -> Version:
        now = self._clock()
        row = self._tables.held(lease, now)
        key = (lease.document_id, lease.version)
        chunks = self._tables.evidence.setdefault(key, {})
        self._show_names(key)
        indexed = replace(
            row.version,
            stage=Stage.WRITE,
            error=None,
            error_code=None,
            chunks=len(chunks),
            usage=row.version.usage if usage is None else usage,
        )
        row = replace(row, version=indexed)
        version = self._tables.end(row, VersionStatus.INDEXED, now)
        before = self._tables.documents.get(lease.document_id)
        self._tables.documents[lease.document_id] = _document(version, before, now)
        older = [one for one in self._tables.versions if one[0] == key[0] and one[1] < key[1]]
        for one in older:
            del self._tables.versions[one]
        self._tables.drop(older)
        self._tables.counter += 1
        return version

    def _show_names(self, key: VersionKey) -> None:
        staged = self._tables.staged_names.get(key, {})
        new = self._tables.mentioned(key) - self._tables.names.keys()
        known = {**staged, **self._tables.vectors_of_edits()}
        vectors = {name: vector for name in new if (vector := known[name]) is not None}
        if vectors.keys() != new:
            raise InvalidRequest(
                f"These names have no vector: {sorted(new - vectors.keys())}. "
                "Give `stage_names` all that `stage` returned."
            )
        self._tables.names |= vectors
        self._tables.staged_names.pop(key, None)

    async def delete(self, document_ids: Sequence[str]) -> int:
        gone = {id for id, _ in self._tables.versions} & set(document_ids)
        keys = [key for key in self._tables.versions if key[0] in gone]
        for key in keys:
            del self._tables.versions[key]
        visible = gone & self._tables.documents.keys()
        for id in visible:
            del self._tables.documents[id]
        self._tables.drop(keys)
        self._tables.counter += bool(visible)
        return len(gone)

    async def edit(self, edit: Edit, vectors: Vectors) -> bool:
        self._check(*vectors)
        if edit.id in self._tables.edits:
            return False
        self._tables.in_force().check(edit)
        self._tables.edits[edit.id] = ActiveEdit(edit=edit, made_at=self._clock())
        rounded = {key: _rounded(one) for key, one in zip(edit.keys, vectors, strict=True)}
        self._tables.edit_vectors[edit.id] = rounded
        # Not only of this one's keys: it may lead to a name that another edit is about.
        self._look_again(self._tables.vectors_of_edits())
        return True

    async def undo(self, edit_id: str) -> bool:
        if edit_id not in self._tables.edits:
            return False
        vectors = self._tables.vectors_of_edits()
        del self._tables.edits[edit_id], self._tables.edit_vectors[edit_id]
        self._look_again(vectors)
        return True

    def _look_again(self, vectors: Mapping[str, Vectors]) -> None:
        """Keep the vectors of what is visible now; `vectors` are of what may have come to light."""
        known = {**vectors, **self._tables.names}
        self._tables.names = {key: known[key] for key in self._tables.visible()}
        self._tables.counter += 1

    async def aclose(self) -> None:
        """Nothing to do: there is no database to let go of."""

    def _check(self, *vectors: Vectors) -> None:
        for vector in vectors:
            if vector.shape != (self._dimensions,):
                raise ModelMismatch(
                    f"A vector of shape {vector.shape} came in, this store holds "
                    f"{self._dimensions} dimensions. Embed with {self._model!r}."
                )


def _stored(evidence: ChunkEvidence) -> ChunkEvidence:
    extraction = canonical_extraction(evidence.extraction)
    return replace(evidence, vector=_rounded(evidence.vector), extraction=extraction)


def _rounded(vector: Vectors) -> Vectors:
    return canonical(vector).astype(np.float32)


def _document(version: Version, before: Document | None, now: float) -> Document:
    submission = version.submission
    return Document(
        id=submission.document_id,
        source=submission.source,
        root=submission.root,
        title=submission.title or version.title,
        media_type=version.media_type or "",
        metadata=submission.metadata,
        version=version.number,
        content_hash=submission.content_hash,
        parsed_hash=version.parsed_hash or "",
        size=submission.size,
        chunks=version.chunks,
        created_at=before.created_at if before else now,
        updated_at=now,
    )
