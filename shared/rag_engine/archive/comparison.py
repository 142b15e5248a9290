"""Whether a workspace holds what an archive holds."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rag_engine.archive.files import whole
from rag_engine.archive.layout import Passage, Progress, Record, with_vectors
from rag_engine.archive.opened import Archive, opened_archive
from rag_engine.core.evidence import canonical
from rag_engine.core.vectors import canonical as canonical_vectors
from rag_engine.engine import Engine
from rag_engine.errors import StoreCorrupt
from rag_engine.ports.storage import Content, Vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What a workspace holds of an archive.

    Attributes:
        equal: Documents that are the same, with all their evidence and vectors.
        newer: Documents that were replaced since.
        chunks: Of the equal ones.
    """

    equal: int
    newer: int
    chunks: int


async def compare(engine: Engine, workspace: str, path: Path, progress: Progress) -> Compared:
    """See that a workspace holds all the documents of an archive; it may hold more by now.

    Raises:
        StoreCorrupt: A document is missing, or is another one.
        ArchiveRejected: The archive cannot be read.
    """
    equal = newer = chunks = 0
    opened = await engine.control.open(workspace)
    async with (
        opened_archive(path) as archive,
        opened.store.contents() as contents,
        aclosing(contents.read()) as found,
        aclosing(_records(archive)) as records,
    ):
        async for record, vectors in records:
            content = await _content(found, record.document.id)
            if content is None or content.document.version < record.document.version:
                raise _different(workspace, record, "is missing")
            if content.document.version > record.document.version:
                newer += 1
            elif not await whole(_equal, content, record, vectors):
                raise _different(workspace, record, "is not what was imported")
            else:
                equal, chunks = equal + 1, chunks + len(record.chunks)
            progress("comparing", equal + newer, archive.manifest.documents)
    return Compared(equal=equal, newer=newer, chunks=chunks)


async def _records(archive: Archive) -> AsyncGenerator[tuple[Record, Vectors], None]:
    for number in range(archive.manifest.parts):
        part, vectors = await whole(archive.part, number)
        for one in with_vectors(part, vectors):
            yield one


async def _content(found: AsyncIterator[Content], id: str) -> Content | None:
    """The document of an id. Both come in the order of ids; what only the workspace has is passed."""
    async for content in found:
        if content.document.id == id:
            return content
        if content.document.id > id:
            return None
    return None


def _equal(content: Content, record: Record, vectors: Vectors) -> bool:
    one, other = content.document, record.document
    return (
        content.submission == record.submission
        and (one.title, one.media_type, one.parsed_hash)
        == (other.title, other.media_type, other.parsed_hash)
        and tuple(map(Passage.of, content.chunks)) == record.chunks
        and list(content.extractions) == [canonical(one) for one in record.extractions]
        and np.array_equal(content.vectors, canonical_vectors(vectors).astype(np.float32))
    )


def _different(workspace: str, record: Record, what: str) -> StoreCorrupt:
    return StoreCorrupt(
        f"{record.document.id!r} in workspace {workspace!r} {what}. Restore again with --force; if "
        "that does not help, check the disk and the database."
    )
