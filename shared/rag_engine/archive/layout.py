"""What stands in an archive: the names of its entries, and the records in them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import TypeAdapter, ValidationError

from rag_engine.core.models import Chunk, Document, Extraction, Submission
from rag_engine.core.submissions import check_submission
from rag_engine.errors import ArchiveRejected, InvalidRequest
from rag_engine.ports.storage import Vectors

FORMAT: Final = "rag-engine-archive"
VERSION: Final = 1

MANIFEST: Final = "manifest.json"
EDITS: Final = "edits.json"
WAITING: Final = "waiting.json"
ENTRY: Final = re.compile(
    r"(?:manifest|edits|waiting)\.json|blobs/[0-9a-f]{64}|documents/[0-9]{6}\.(?:json|f16)"
)
KINDS: Final = ("json", "f16")

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_LARGEST: Final = (1 << 31) - 1
"""No size, place or weight is larger; every store can count so far."""

Progress = Callable[[str, int, int], object]
"""Told what is being done, how many documents of it are done, and of how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an archive says of itself.

    Attributes:
        parts: Into how many numbered entries its documents are divided.
    """

    format: str
    version: int
    model: str
    dimensions: int
    documents: int
    parts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A chunk without what follows from the version it belongs to."""

    ordinal: int
    text: str
    start: int
    end: int
    tokens: int
    pages: tuple[int, int] | None
    heading_path: tuple[str, ...]

    @classmethod
    def of(cls, chunk: Chunk) -> Passage:
        """What a chunk is, whichever version it belongs to."""
        return cls(**{one.name: getattr(chunk, one.name) for one in fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One document with its evidence."""

    document: Document
    submission: Submission
    chunks: tuple[Passage, ...]
    extractions: tuple[Extraction, ...]

    @property
    def blobs(self) -> list[str]:
        """Hashes of its original and of its text, if it has one."""
        return [
            *dict.fromkeys(filter(None, (self.document.content_hash, self.document.parsed_hash)))
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """`documents/<number>.json`.

    Attributes:
        names: Keys of entities whose vectors no part before this one has.
    """

    documents: tuple[Record, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A version that was accepted and not ingested yet.

    Attributes:
        replaces: As which the version that answers meanwhile was accepted, if there is one.
    """

    submission: Submission
    replaces: Submission | None


def part_name(number: int, kind: str) -> str:
    """The entry of a part."""
    return f"documents/{number:06d}.{kind}"


def packed(record: object) -> bytes:
    """A record as JSON."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()


def manifest_of(content: bytes) -> Manifest:
    """A manifest that this release can read.

    Raises:
        ValueError: It is none.
    """
    manifest: Manifest = _validated(Manifest, content)
    if manifest.format != FORMAT or manifest.version != VERSION:
        raise ValueError(f"it is {manifest.format!r} version {manifest.version!r}")
    if min(manifest.documents, manifest.parts, manifest.dimensions - 1) < 0:
        raise ValueError("it counts less than nothing")
    return manifest


def wishes_of(content: bytes) -> tuple[Wish, ...]:
    """What waits.

    Raises:
        ValueError: It is damaged.
    """
    wishes: tuple[Wish, ...] = _validated(tuple[Wish, ...], content)
    for wish in wishes:
        _check(wish.submission)
    return wishes


def part_of(content: bytes, values: bytes, dimensions: int) -> tuple[Part, Vectors]:
    """A part and its vectors, shape `(chunks + names, dimensions)`.

    Raises:
        ValueError: They are damaged, or do not belong together.
    """
    part: Part = _validated(Part, content)
    for record in part.documents:
        _check_record(record)
    if not all(part.names):
        raise ValueError("it has a vector of nothing")
    rows = sum(len(record.chunks) for record in part.documents) + len(part.names)
    if len(values) != 2 * rows * dimensions:
        raise ValueError(f"its vectors are {len(values)} bytes, not {2 * rows * dimensions}")
    vectors = np.frombuffer(values, dtype="<f2").reshape(rows, dimensions).astype(np.float32)
    if not np.isfinite(vectors).all():
        raise ValueError("a vector in it is not finite")
    return part, vectors


def with_vectors(part: Part, vectors: Vectors) -> Iterator[tuple[Record, Vectors]]:
    """Each document of a part with the vectors of its chunks; those of names come after them all."""
    start = 0
    for record in part.documents:
        end = start + len(record.chunks)
        yield record, vectors[start:end]
        start = end


def _check_record(record: Record) -> None:
    submission, document = record.submission, record.document
    _check(submission)
    if (submission.document_id, submission.content_hash) != (document.id, document.content_hash):
        raise ValueError(f"{document.id!r} is a document and the submission of another one")
    if document.parsed_hash and not _HASH.fullmatch(document.parsed_hash):
        raise ValueError(f"{document.parsed_hash!r} is no SHA-256")
    if [one.ordinal for one in record.chunks] != list(range(len(record.extractions))):
        raise ValueError(f"the chunks of {document.id!r} are not those whose evidence it holds")
    numbers = [document.size, document.version]
    for one in record.chunks:
        numbers += [one.start, one.end, one.tokens, *(one.pages or ())]
    for extraction in record.extractions:
        numbers += [mention.weight for mention in extraction.mentions]
        numbers += [assertion.weight for assertion in extraction.assertions]
    if not 0 <= min(numbers) <= max(numbers) <= _LARGEST:
        raise ValueError(f"{document.id!r} counts less than nothing, or too much")


def _check(submission: Submission) -> None:
    if not _HASH.fullmatch(submission.content_hash):
        raise ValueError(f"{submission.content_hash!r} is no SHA-256")
    try:
        check_submission(
            submission.document_id,
            submission.source,
            submission.root,
            submission.title,
            submission.metadata,
        )
    except InvalidRequest as error:
        raise ValueError(str(error)) from error


def _validated(kind: Any, content: bytes) -> Any:
    try:
        return TypeAdapter(kind).validate_json(content, strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, found["loc"]))
        raise ValueError(f"{place}: {found['msg']}" if place else found["msg"]) from error


def rejected(path: Path, reason: str) -> ArchiveRejected:
    """What to raise for a file that is no archive, or a damaged one."""
    return ArchiveRejected(
        f"{str(path)!r} is not a usable archive: {reason}. Export the workspace again with: "
        "rag-engine export FILE"
    )
