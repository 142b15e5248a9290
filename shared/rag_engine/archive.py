"""A workspace as one portable file: documents, evidence, vectors and originals.

A ZIP file that any store can be filled from without a model:

    manifest.json              format, embedding model, counts
    blobs/<sha-256>            originals and parsed texts
    documents/<number>.json    a document, its chunks and their evidence
    documents/<number>.npy     float16: its chunks' vectors, then those of names not seen before

An import checks the whole table of contents before it writes anything, and goes through the queue
and the store like any ingestion: it can be repeated, and a document that is there already is left.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import numpy as np

from rag_engine.core.evidence import entity_ids
from rag_engine.core.ids import EntityId, chunk_id
from rag_engine.core.models import (
    Assertion,
    Chunk,
    Document,
    Extraction,
    Mention,
    Metadata,
    Stage,
    Submission,
    VersionStatus,
)
from rag_engine.core.names import entity_key
from rag_engine.engine import Engine
from rag_engine.errors import ArchiveRejected, DocumentUnreadable, ModelMismatch, StoreUnavailable
from rag_engine.ingest.embed import embed_names, texts_of
from rag_engine.ingest.write import gather
from rag_engine.ports.storage import Job, Reader, Vectors, Workspace

FORMAT: Final = "rag-engine-archive"
VERSION: Final = 1
MAX_BYTES: Final = 1 << 40
"""Unpacked size above which an archive is refused."""

_PAGE: Final = 100
_LEASE_SECONDS: Final = 600.0
_ENTRY: Final = re.compile(r"manifest\.json|blobs/[0-9a-f]{64}|documents/[0-9]{8}\.(?:json|npy)")

_KINDS: Final = ("json", "npy")

Record = TypeVar("Record", Document, Submission)

Progress = Callable[[int, int], None]
"""Told how many documents are done, and of how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an archive says of itself."""

    format: str
    version: int
    model: str
    dimensions: int
    documents: int


async def export_workspace(engine: Engine, workspace: str, path: Path, progress: Progress) -> int:
    """Write a workspace, as of one moment, to a file that is not there yet.

    Returns:
        How many documents it holds.

    Raises:
        NotFound: There is no such workspace.
        StoreUnavailable: The file cannot be written.
    """
    opened = await engine.control.open(workspace)
    part = path.with_name(f"{path.name}.part")
    try:
        async with _zip_file(part, "w") as file, opened.store.snapshot() as reader:
            count = await _Exporter(engine, opened, reader, file, progress).run()
        await asyncio.to_thread(os.replace, part, path)
    except OSError as error:
        raise StoreUnavailable(
            f"The archive {str(path)!r} cannot be written ({error.strerror}). "
            "Check the folder and the free space, or choose another place."
        ) from error
    finally:
        await asyncio.to_thread(part.unlink, missing_ok=True)
    return count


@asynccontextmanager
async def _zip_file(path: Path, mode: Literal["r", "w"]) -> AsyncIterator[zipfile.ZipFile]:
    file = await asyncio.to_thread(zipfile.ZipFile, path, mode, zipfile.ZIP_DEFLATED)
    try:
        yield file
    finally:
        await asyncio.to_thread(file.close)


class _Exporter:
    def __init__(
        self,
        engine: Engine,
        workspace: Workspace,
        reader: Reader,
        file: zipfile.ZipFile,
        progress: Progress,
    ) -> None:
        self._engine = engine
        self._workspace = workspace
        self._reader = reader
        self._file = file
        self._progress = progress
        self._blobs: set[str] = set()
        self._names: set[str] = set()

    async def run(self) -> int:
        stats = await self._reader.stats()
        embedder = self._engine.pipeline.embedder
        manifest = Manifest(
            format=FORMAT,
            version=VERSION,
            model=stats.model or embedder.name,
            dimensions=embedder.dimensions,
            documents=stats.documents,
        )
        await self._write("manifest.json", _json(asdict(manifest)))
        number, after = 0, None
        while True:
            page = await self._reader.list_documents(after=after, limit=_PAGE)
            for document in page.documents:
                await self._export(number, document)
                number += 1
                self._progress(number, stats.documents)
            after = page.next
            if after is None:
                return number

    async def _export(self, number: int, document: Document) -> None:
        for hash in (document.content_hash, document.parsed_hash):
            if hash and hash not in self._blobs:
                await self._write(f"blobs/{hash}", await self._engine.blobs.read(hash))
                self._blobs.add(hash)
        chunks = await self._reader.document_chunks(document.id)
        ids = [chunk.id for chunk in chunks]
        extractions = [one or Extraction() for one in await self._reader.extractions(ids)]
        names = self._new_names(extractions)
        vectors = await self._reader.vectors("chunk", np.array(ids, dtype=np.int64))
        named = await self._reader.vectors("entity", np.array(list(names.values()), dtype=np.int64))
        record = {
            "document": asdict(document),
            "submission": asdict(await self._submission(document)),
            "chunks": [_chunk_record(chunk) for chunk in chunks],
            "extractions": [asdict(extraction) for extraction in extractions],
            "names": list(names),
        }
        buffer = io.BytesIO()
        np.save(buffer, np.concatenate((vectors, named)).astype("<f2"), allow_pickle=False)
        await self._write(f"documents/{number:08d}.json", _json(record))
        await self._write(f"documents/{number:08d}.npy", buffer.getvalue())

    async def _submission(self, document: Document) -> Submission:
        """What was submitted, so that submitting it again after an import changes nothing."""
        version = await self._workspace.queue.version(document.id, document.version)
        if version is not None:
            return version.submission
        return Submission(  # a newer version came since the snapshot
            document_id=document.id,
            source=document.source,
            content_hash=document.content_hash,
            size=document.size,
            root=document.root,
            title=document.title,
            metadata=document.metadata,
        )

    def _new_names(self, extractions: Sequence[Extraction]) -> dict[str, EntityId]:
        """Keys that no document before this one mentions, with their ids."""
        found = {
            entity_key(mention.name): id
            for extraction in extractions
            for mention, id in zip(extraction.mentions, entity_ids(extraction), strict=True)
        }
        new = {key: id for key, id in found.items() if key not in self._names}
        self._names.update(new)
        return new

    async def _write(self, name: str, content: bytes) -> None:
        await asyncio.to_thread(self._file.writestr, name, content)


async def import_workspace(engine: Engine, workspace: str, path: Path, progress: Progress) -> int:
    """Fill a workspace from an archive; what it holds already stays.

    Returns:
        How many documents were written: those that were there already are not counted.

    Raises:
        ArchiveRejected: The file is not a whole, safe archive. Nothing was written.
        ModelMismatch: Its vectors were made by another model. Nothing was written.
    """
    try:
        async with _zip_file(path, "r") as file:
            manifest = await asyncio.to_thread(_check, file, path)
            embedder = engine.pipeline.embedder
            if (manifest.model, manifest.dimensions) != (embedder.name, embedder.dimensions):
                raise ModelMismatch(
                    f"The vectors in {str(path)!r} were made by {manifest.model!r}, not by "
                    f"{embedder.name!r}. Set RAG_EMBEDDING_MODEL to that model and try again."
                )
            opened = await engine.control.open(workspace, create=True)
            return await _Importer(engine, opened, file, path).run(manifest, progress)
    except OSError as error:
        raise DocumentUnreadable(
            f"The archive {str(path)!r} cannot be read ({error.strerror}). "
            "Check the path and its permissions."
        ) from error
    except zipfile.BadZipFile as error:
        raise _rejected(path, f"it is no whole ZIP file: {error}") from error


def _check(file: zipfile.ZipFile, path: Path) -> Manifest:
    """Check everything about an archive that can be checked without reading it whole."""
    names = file.namelist()
    if odd := [name for name in names if not _ENTRY.fullmatch(name)]:
        raise _rejected(path, f"it has an entry {odd[0]!r} that does not belong there")
    if len(set(names)) != len(names):
        raise _rejected(path, "it has an entry twice")
    size = sum(entry.file_size for entry in file.infolist())
    if size > MAX_BYTES:
        raise _rejected(path, f"it unpacks to {size:,} bytes, more than {MAX_BYTES:,}")
    if "manifest.json" not in names:
        raise _rejected(path, "it has no manifest")
    try:
        manifest = Manifest(**json.loads(file.read("manifest.json")))
    except (TypeError, ValueError) as error:
        raise _rejected(path, f"its manifest cannot be read: {error}") from error
    if manifest.format != FORMAT or manifest.version != VERSION:
        raise _rejected(path, f"it is {manifest.format!r} version {manifest.version!r}")
    wanted = {f"documents/{n:08d}.{kind}" for n in range(manifest.documents) for kind in _KINDS}
    if wanted != {name for name in names if name.startswith("documents/")}:
        raise _rejected(path, f"it does not hold the {manifest.documents} documents it should")
    return manifest


class _Importer:
    def __init__(
        self, engine: Engine, workspace: Workspace, file: zipfile.ZipFile, path: Path
    ) -> None:
        self._engine = engine
        self._workspace = workspace
        self._file = file
        self._path = path

    async def run(self, manifest: Manifest, progress: Progress) -> int:
        written = 0
        for number in range(manifest.documents):
            written += await self._import(number)
            progress(number + 1, manifest.documents)
        return written

    async def _import(self, number: int) -> bool:
        record = json.loads(await self._read(f"documents/{number:08d}.json"))
        content = await self._read(f"documents/{number:08d}.npy")
        try:
            vectors = np.load(io.BytesIO(content), allow_pickle=False).astype(np.float32)
            document = _tupled(Document(**record["document"]))
            submission = _tupled(Submission(**record["submission"]))
            extractions = [_extraction_of(one) for one in record["extractions"]]
            names = dict(zip(record["names"], vectors[len(extractions) :], strict=True))
        except (KeyError, TypeError, ValueError) as error:
            raise _rejected(self._path, f"document {number} cannot be read: {error}") from error
        await self._put_blobs(document)
        version = await self._workspace.queue.accept(submission)
        if version.status is VersionStatus.INDEXED:
            return False
        job = await self._workspace.queue.claim("import", _LEASE_SECONDS, document_id=document.id)
        if job is None:
            return False  # a worker took it, and ingests it from its original
        chunks = [_chunk_of(one, job) for one in record["chunks"]]
        await self._write(job, document, chunks, extractions, vectors[: len(chunks)], names)
        return True

    async def _write(
        self,
        job: Job,
        document: Document,
        chunks: Sequence[Chunk],
        extractions: Sequence[Extraction],
        vectors: Vectors,
        names: Mapping[str, Vectors],
    ) -> None:
        store, pipeline = self._workspace.store, self._engine.pipeline
        texts = texts_of(chunks, document.title, pipeline.size)
        evidence = gather(chunks, texts, extractions, vectors)
        missing = await store.stage(job.lease, evidence)
        unknown = [key for key in missing if key not in names]
        embedded = dict(zip(unknown, await embed_names(unknown, pipeline.embedder), strict=True))
        if missing:
            known = [names[key] if key in names else embedded[key] for key in missing]
            await store.stage_names(job.lease, missing, np.stack(known))
        await self._workspace.queue.checkpoint(
            job.lease,
            Stage.PARSE,
            media_type=document.media_type,
            title=document.title,
            parsed_hash=document.parsed_hash,
        )
        await store.finish(job.lease)

    async def _put_blobs(self, document: Document) -> None:
        for hash in dict.fromkeys((document.content_hash, document.parsed_hash)):
            stored, _ = await self._engine.blobs.put(await self._read(f"blobs/{hash}"))
            if stored != hash:
                raise _rejected(self._path, f"the bytes of blob {hash!r} are not its own")

    async def _read(self, name: str) -> bytes:
        try:
            return await asyncio.to_thread(self._file.read, name)
        except KeyError as error:
            raise _rejected(self._path, f"it lacks {name!r}") from error


def _rejected(path: Path, reason: str) -> ArchiveRejected:
    return ArchiveRejected(
        f"{str(path)!r} is not a usable archive: {reason}. Export the workspace again with: "
        "rag-engine export FILE"
    )


def _json(record: object) -> bytes:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()


def _chunk_record(chunk: Chunk) -> dict[str, Any]:
    record = asdict(chunk)
    for derived in ("id", "document_id", "version"):
        del record[derived]
    return record


def _chunk_of(record: Mapping[str, Any], job: Job) -> Chunk:
    id, version = job.lease.document_id, job.lease.version
    pages = record["pages"]
    return Chunk(
        **{
            **record,
            "id": chunk_id(id, version, record["ordinal"]),
            "document_id": id,
            "version": version,
            "pages": (pages[0], pages[1]) if pages else None,
            "heading_path": tuple(record["heading_path"]),
        }
    )


def _tupled(record: Record) -> Record:
    """A record with the lists in its metadata made tuples again."""
    metadata: Metadata = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in record.metadata.items()
    }
    return replace(record, metadata=metadata)


def _extraction_of(record: Mapping[str, Any]) -> Extraction:
    return Extraction(
        mentions=tuple(Mention(**one) for one in record["mentions"]),
        assertions=tuple(Assertion(**one) for one in record["assertions"]),
    )
