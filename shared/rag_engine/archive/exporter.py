"""Writing an archive."""

from __future__ import annotations

import asyncio
import shutil
import zipfile
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from rag_engine.archive.files import settle, unwritable, whole
from rag_engine.archive.layout import (
    EDITS,
    FORMAT,
    MANIFEST,
    VERSION,
    WAITING,
    Manifest,
    Passage,
    Progress,
    Wish,
    packed,
    part_name,
)
from rag_engine.core.ids import entity_id
from rag_engine.core.models import UNFINISHED, Submission
from rag_engine.core.names import entity_key
from rag_engine.engine import Engine
from rag_engine.ports.queue import JobQueue
from rag_engine.ports.storage import Content, Contents, Vectors

_CHUNKS: Final = 1_000
_DOCUMENTS: Final = 200
"""A part is written when it has so many chunks or documents."""

_ALL: Final = 1 << 31
_NEVER: Final = (1980, 1, 1, 0, 0, 0)
"""When entries were made: equal workspaces give equal entries."""


async def export_workspace(
    engine: Engine, workspace: str, path: Path, progress: Progress
) -> Manifest:
    """Write a workspace, as of one moment, to a file that is not there yet.

    When this returns, the file is whole and on the disk; before that there is none of that name.

    Raises:
        NotFound: There is no such workspace.
        BlobMissing: An original is gone.
        StoreFull: The disk is full.
        StoreUnavailable: The file cannot be written.
    """
    opened = await engine.control.open(workspace)
    part = path.with_name(f"{path.name}.part")
    try:
        # What the view names must not be collected before it is written.
        async with engine.blobs.keeping():
            wishes = await _waiting(
                opened.queue
            )  # first: what is ingested meanwhile is in the view
            async with _new_file(part) as file, opened.store.contents() as contents:
                manifest = await _Exporter(engine, contents, file, progress).run(wishes)
        await whole(settle, part, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        await asyncio.to_thread(part.unlink, missing_ok=True)
    return manifest


@asynccontextmanager
async def _new_file(path: Path) -> AsyncIterator[zipfile.ZipFile]:
    file = await whole(zipfile.ZipFile, path, "w", zipfile.ZIP_DEFLATED)
    try:
        yield file
    finally:
        await whole(file.close)


async def _waiting(queue: JobQueue) -> list[Submission]:
    # One read: a version that is claimed or given back between two would be in neither.
    versions = await queue.versions(limit=_ALL)
    found = {one.document_id: one.submission for one in versions if one.status in UNFINISHED}
    return [found[id] for id in sorted(found)]


class _Exporter:
    def __init__(
        self, engine: Engine, contents: Contents, file: zipfile.ZipFile, progress: Progress
    ) -> None:
        self._engine = engine
        self._contents = contents
        self._file = file
        self._progress = progress
        self._names = _Ids()
        self._part: list[Content] = []
        self._parts = 0

    async def run(self, waiting: Sequence[Submission]) -> Manifest:
        current: dict[str, Submission | None] = {one.document_id: None for one in waiting}
        total = self._contents.documents
        done = 0
        async with aclosing(self._contents.read()) as contents:
            async for content in contents:
                if content.document.id in current:
                    current[content.document.id] = content.submission
                await self._put_blobs(content.document.content_hash, content.document.parsed_hash)
                self._part.append(content)
                if len(self._part) == _DOCUMENTS or self._chunks >= _CHUNKS:
                    await self._write_part()
                done += 1
                self._progress("exporting", done, total)
        await self._write_part()
        await self._write_wishes(waiting, current)
        edits = [asdict(one.edit) for one in await self._contents.edits()]
        await self._write(EDITS, packed(edits))
        embedder = self._engine.pipeline.embedder
        manifest = Manifest(
            format=FORMAT,
            version=VERSION,
            model=embedder.name,
            dimensions=embedder.dimensions,
            documents=done,
            parts=self._parts,
        )
        await self._write(MANIFEST, packed(asdict(manifest)))
        return manifest

    @property
    def _chunks(self) -> int:
        return sum(len(content.chunks) for content in self._part)

    async def _write_part(self) -> None:
        if not self._part:
            return
        keys = self._new_names()
        found = await self._contents.names(keys)
        names = {key: one for key, one in zip(keys, found, strict=True) if one is not None}
        record = {"documents": [_record(one) for one in self._part], "names": list(names)}
        vectors = [*(one.vectors for one in self._part), *(one[None, :] for one in names.values())]
        number, self._parts, self._part = self._parts, self._parts + 1, []
        await self._write(part_name(number, "json"), await asyncio.to_thread(packed, record))
        await self._write(part_name(number, "f16"), _bytes(vectors), zipfile.ZIP_STORED)

    def _new_names(self) -> list[str]:
        """Keys that no part before this one mentions."""
        keys = {
            entity_key(mention.name)
            for content in self._part
            for extraction in content.extractions
            for mention in extraction.mentions
        }
        return [key for key in sorted(keys) if self._names.add(entity_id(key))]

    async def _write_wishes(
        self, waiting: Sequence[Submission], current: dict[str, Submission | None]
    ) -> None:
        wishes = []
        for submission in waiting:
            await self._put_blobs(submission.content_hash)
            replaces = current[submission.document_id]
            wishes.append(asdict(Wish(submission=submission, replaces=replaces)))
        await self._write(WAITING, packed(wishes))

    async def _put_blobs(self, *hashes: str) -> None:
        for hash in filter(None, hashes):
            name = f"blobs/{hash}"
            if name not in self._file.NameToInfo:
                async with self._engine.blobs.local(hash) as blob:
                    await whole(_copy, self._file, name, blob)

    async def _write(self, name: str, content: bytes, kind: int = zipfile.ZIP_DEFLATED) -> None:
        await whole(self._file.writestr, _entry(name), content, kind)


def _entry(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _NEVER)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return info


def _copy(file: zipfile.ZipFile, name: str, source: Path) -> None:
    info = _entry(name)
    info.file_size = source.stat().st_size  # by which it is decided how large an entry may get
    with source.open("rb") as content, file.open(info, "w") as entry:
        shutil.copyfileobj(content, entry, 1 << 20)


def _record(content: Content) -> dict[str, Any]:
    return {
        "document": asdict(content.document),
        "submission": asdict(content.submission),
        "chunks": [asdict(Passage.of(chunk)) for chunk in content.chunks],
        "extractions": [asdict(extraction) for extraction in content.extractions],
    }


def _bytes(vectors: Sequence[Vectors]) -> bytes:
    return np.concatenate(vectors).astype("<f2").tobytes()


class _Ids:
    """A set of ids that takes 8 bytes for each: those of every name come together here."""

    _LOOSE: Final = 10_000

    def __init__(self) -> None:
        self._sorted = np.zeros(0, dtype=np.int64)
        self._loose = set[int]()

    def add(self, id: int) -> bool:
        """Add an id, and say whether it is new."""
        place = int(np.searchsorted(self._sorted, id))
        if (place < len(self._sorted) and self._sorted[place] == id) or id in self._loose:
            return False
        self._loose.add(id)
        if len(self._loose) == self._LOOSE:
            loose = np.fromiter(self._loose, dtype=np.int64)
            self._sorted = np.union1d(self._sorted, loose)
            self._loose = set()
        return True
