"""A workspace as one portable file: documents, evidence, vectors and originals.

A ZIP file that any store can be filled from without a model:

    manifest.json              format, embedding model, counts
    blobs/<sha-256>            originals and parsed texts
    documents/<number>.json    a document, its chunks and their evidence
    documents/<number>.npy     float16: its chunks' vectors, then those of names not seen before
    edits.json                 aliases and suppressions in force

An import checks the whole table of contents before it writes anything, and each document's record
before it writes anything of that document. It goes through the queue and the store like any
ingestion: it can be repeated, and a document that is there already is left.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, ParamSpec, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from rag_engine.core.edits import Edit
from rag_engine.core.evidence import canonical, entity_ids
from rag_engine.core.ids import EntityId, chunk_id
from rag_engine.core.models import (
    Chunk,
    Document,
    Extraction,
    Stage,
    Submission,
    VersionStatus,
)
from rag_engine.core.names import entity_key
from rag_engine.core.submissions import check_submission
from rag_engine.engine import Engine
from rag_engine.errors import (
    ArchiveRejected,
    Conflict,
    DocumentUnreadable,
    InvalidRequest,
    LeaseLost,
    ModelMismatch,
    StoreUnavailable,
)
from rag_engine.ingest.embed import embed_names, texts_of
from rag_engine.ingest.write import gather
from rag_engine.ports.queue import Job
from rag_engine.ports.storage import Reader, Vectors, Workspace

FORMAT: Final = "rag-engine-archive"
VERSION: Final = 1
MAX_BYTES: Final = 1 << 40
"""Unpacked size above which an archive is refused."""

_PAGE: Final = 100
_LEASE_SECONDS: Final = 600.0
_ENTRY: Final = re.compile(
    r"manifest\.json|edits\.json|blobs/[0-9a-f]{64}|documents/[0-9]{8}\.(?:json|npy)"
)
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_KINDS: Final = ("json", "npy")
_UNFINISHED: Final = (VersionStatus.PENDING, VersionStatus.RUNNING)
_DAMAGED: Final = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What `zipfile` raises where an entry is cut, changed, encrypted or packed in another way."""

T = TypeVar("T")
P = ParamSpec("P")

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import came to.

    Attributes:
        written: Documents that were written.
        kept: Documents that were there already, and stay as they are.
        unfinished: Documents that another process works on, or that wait to be tried again.
        contradicted: Aliases that the workspace's own contradict; they are left out.
    """

    written: int = 0
    kept: int = 0
    unfinished: int = 0
    contradicted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Passage:
    """A chunk without what follows from the version it belongs to."""

    ordinal: int
    text: str
    start: int
    end: int
    tokens: int
    pages: tuple[int, int] | None
    heading_path: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """`documents/<number>.json`."""

    document: Document
    submission: Submission
    chunks: tuple[_Passage, ...]
    extractions: tuple[Extraction, ...]
    names: tuple[str, ...]


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
        # What the snapshot names must not be collected before it is written.
        async with (
            engine.blobs.keeping(),
            _zip_file(part, "w") as file,
            opened.store.snapshot() as reader,
        ):
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
    file = await _whole(zipfile.ZipFile, path, mode, zipfile.ZIP_DEFLATED)
    try:
        yield file
    finally:
        await _whole(file.close)


async def _whole(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run something in a thread; when cancelled, wait for its end: a thread cannot be stopped.

    Whatever comes next (closing the file, deleting it) would meet it in the middle of a write.
    """
    running = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        if not running.cancelled():
            running.exception()  # seen; that somebody wants to stop outranks it
        raise


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
        edits = [asdict(one.edit) for one in await self._reader.edits()]
        await self._write("edits.json", _json(edits))
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
        await _whole(self._file.writestr, name, content)


async def import_workspace(
    engine: Engine, workspace: str, path: Path, progress: Progress
) -> Imported:
    """Fill a workspace from an archive; what it holds already stays.

    Raises:
        ArchiveRejected: The file is not a whole, safe archive. Nothing was written if its table of
            contents or its manifest is at fault. If a document is, those before it were written
            and stay, and importing a whole archive goes on from there.
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
        manifest = TypeAdapter(Manifest).validate_json(
            _content(file, "manifest.json", path), strict=True
        )
    except ValidationError as error:
        raise _rejected(path, f"its manifest cannot be read: {_first(error)}") from error
    if manifest.format != FORMAT or manifest.version != VERSION:
        raise _rejected(path, f"it is {manifest.format!r} version {manifest.version!r}")
    if not 0 <= manifest.documents <= len(names):
        raise _rejected(path, f"it cannot hold {manifest.documents} documents")
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

    async def run(self, manifest: Manifest, progress: Progress) -> Imported:
        counts = Counter[str]()
        for edit in await self._edits():
            try:
                await self._engine.edit(edit, self._workspace.name)
            except (Conflict, InvalidRequest):  # what was edited here in another way stays
                counts["contradicted"] += 1
        for number in range(manifest.documents):
            counts[await self._import(number)] += 1
            progress(number + 1, manifest.documents)
        return Imported(**counts)

    async def _edits(self) -> tuple[Edit, ...]:
        if "edits.json" not in self._file.namelist():
            return ()
        try:
            return TypeAdapter(tuple[Edit, ...]).validate_json(await self._read("edits.json"))
        except ValidationError as error:
            raise _rejected(self._path, f"its edits cannot be read: {_first(error)}") from error

    async def _import(self, number: int) -> Literal["written", "kept", "unfinished"]:
        record, vectors = await self._record(f"documents/{number:08d}")
        document = record.document
        if await self._is_there(record.submission):
            return "kept"
        # Until rows name both blobs they could be collected.
        async with self._engine.blobs.keeping():
            await self._put_blobs(document)
            return await self._accept(record, vectors)

    async def _accept(
        self, record: _Record, vectors: Vectors
    ) -> Literal["written", "kept", "unfinished"]:
        queue = self._workspace.queue
        version = await queue.accept(record.submission)
        if version.status is VersionStatus.INDEXED:
            return "kept"
        job = await queue.claim("import", _LEASE_SECONDS, document_id=record.document.id)
        if job is None:
            return "unfinished"
        try:
            if job.version.submission != record.submission:  # a newer wish came in between
                await queue.release(job.lease)
                return "unfinished"
            await self._write(job, record, vectors)
        except BaseException:
            # Not left leased: a repeated import, or a worker, goes on with it at once.
            with suppress(LeaseLost):
                await asyncio.shield(queue.release(job.lease))
            raise
        return "written"

    async def _is_there(self, submission: Submission) -> bool:
        """Whether the workspace has the document already, whichever version of it.

        What an interrupted import left unfinished is not there yet.
        """
        newest = await self._workspace.queue.version(submission.document_id)
        if newest is not None and newest.status in _UNFINISHED:
            return newest.submission != submission
        async with self._workspace.store.snapshot() as reader:
            [document] = await reader.documents([submission.document_id])
        return document is not None

    async def _record(self, name: str) -> tuple[_Record, Vectors]:
        """A document's record and vectors, found to be whole before anything of it is written."""
        text, content = await self._read(f"{name}.json"), await self._read(f"{name}.npy")
        dimensions = self._engine.pipeline.embedder.dimensions
        try:
            return await asyncio.to_thread(_parsed, text, content, dimensions)
        except ValidationError as error:
            raise _rejected(self._path, f"{name!r} cannot be read: {_first(error)}") from error
        except (ValueError, EOFError, KeyError, InvalidRequest) as error:
            raise _rejected(self._path, f"{name!r} cannot be read: {error}") from error

    async def _write(self, job: Job, record: _Record, vectors: Vectors) -> None:
        store, pipeline = self._workspace.store, self._engine.pipeline
        document = record.document
        chunks = [_chunk_of(passage, job) for passage in record.chunks]
        names = dict(zip(record.names, vectors[len(chunks) :], strict=True))
        texts = texts_of(chunks, document.title, pipeline.size)
        evidence = gather(chunks, texts, record.extractions, vectors[: len(chunks)])
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
        for hash in filter(None, dict.fromkeys((document.content_hash, document.parsed_hash))):
            stored, _ = await self._engine.blobs.put(await self._read(f"blobs/{hash}"))
            if stored != hash:
                raise _rejected(self._path, f"the bytes of blob {hash!r} are not its own")

    async def _read(self, name: str) -> bytes:
        return await asyncio.to_thread(_content, self._file, name, self._path)


def _content(file: zipfile.ZipFile, name: str, path: Path) -> bytes:
    try:
        return file.read(name)
    except KeyError as error:
        raise _rejected(path, f"it lacks {name!r}") from error
    except _DAMAGED as error:
        raise _rejected(path, f"{name!r} cannot be read: {error}") from error


def _parsed(text: bytes, content: bytes, dimensions: int) -> tuple[_Record, Vectors]:
    """A document as its two entries tell it.

    Raises:
        ValueError: They are damaged, or what they say does not fit together. The same goes for
            `EOFError`, `KeyError` and `InvalidRequest`.
    """
    record = TypeAdapter(_Record).validate_json(text, strict=True)
    submission, document = record.submission, record.document
    check_submission(
        submission.document_id,
        submission.source,
        submission.root,
        submission.title,
        submission.metadata,
    )
    if submission.document_id != document.id or submission.content_hash != document.content_hash:
        raise ValueError("it is a document and the submission of another one")
    for hash in (document.content_hash, document.parsed_hash or document.content_hash):
        if not _HASH.fullmatch(hash):
            raise ValueError(f"{hash!r} is no SHA-256")
    if [one.ordinal for one in record.chunks] != list(range(len(record.extractions))):
        raise ValueError("its chunks are not those whose evidence it holds")
    for extraction in record.extractions:
        canonical(extraction)
    vectors = np.load(io.BytesIO(content), allow_pickle=False)
    wanted = (len(record.chunks) + len(record.names), dimensions)
    if vectors.shape != wanted or vectors.dtype.kind != "f":
        raise ValueError(f"its vectors are {vectors.shape}, not {wanted}")
    return record, vectors.astype(np.float32)


def _first(error: ValidationError) -> str:
    """The first of the mistakes that were found, in a line."""
    found = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, found["loc"]))
    return f"{place}: {found['msg']}" if place else found["msg"]


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


def _chunk_of(passage: _Passage, job: Job) -> Chunk:
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
