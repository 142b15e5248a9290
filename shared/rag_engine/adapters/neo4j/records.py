"""Properties of nodes to records of the domain, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from rag_engine.core.edits import ActiveEdit, Alias, Edit, Suppression
from rag_engine.core.filters import comparable, fields_of, values_of
from rag_engine.core.ids import ChunkId, EntityId, entity_id
from rag_engine.core.models import (
    Assertion,
    Chunk,
    Document,
    Entity,
    Extraction,
    Mention,
    Metadata,
    Scalar,
    Stage,
    Submission,
    Usage,
    Version,
    VersionStatus,
)
from rag_engine.core.names import entity_key
from rag_engine.core.vectors import canonical
from rag_engine.ports.storage import ChunkEvidence, Vectors

Properties = Mapping[str, Any]

EDGE: Final = np.dtype([("entity", "<i8"), ("weight", "<i4")])
"""A mention as a chunk's property `mentions` holds it."""

_ORDINALS: Final = 21
"""Bits of a chunk's row that count within its version or edit: two million chunks."""
_EDITED: Final = 1 << 41
"""Added to the write counter in the rows of chunks that an edit makes anew."""


def chunk_row(version: int, ordinal: int) -> int:
    """The row of a chunk that a version brings: never used again, like the version's own.

    Args:
        version: The version's row, which is the epoch of the lease under which it is made.
        ordinal: The chunk's place in it.
    """
    return version << _ORDINALS | ordinal


def edited_row(counter: int, place: int) -> int:
    """The row of a chunk that the edit at `counter` makes in place of another."""
    return (_EDITED + counter) << _ORDINALS | place


def pack(value: object) -> str:
    """JSON with one form for each value, so that equal values are equal texts."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def metadata_of(text: str) -> Metadata:
    """Metadata from JSON; lists become tuples."""
    loaded: Mapping[str, Any] = json.loads(text)
    return {k: tuple(v) if isinstance(v, list) else v for k, v in loaded.items()}


def submission_properties(submission: Submission) -> dict[str, Any]:
    """What a version's node keeps of a submission; equal ones for what asks for the same."""
    return {
        "source": submission.source,
        "root": submission.root,
        "submitted_title": submission.title,
        "metadata": pack(dict(submission.metadata)),
        "content_hash": submission.content_hash,
        "size": submission.size,
        "fingerprint": submission.fingerprint,
    }


def version_of(node: Properties) -> Version:
    """A `Version` node."""
    status, error = VersionStatus(node["status"]), node.get("error")
    submission = Submission(
        document_id=node["document_id"],
        source=node["source"],
        root=node.get("root"),
        title=node.get("submitted_title"),
        metadata=metadata_of(node["metadata"]),
        content_hash=node["content_hash"],
        size=node["size"],
        fingerprint=node["fingerprint"],
    )
    stage = node.get("stage")
    return Version(
        submission=submission,
        number=node["number"],
        status=status,
        stage=Stage(stage) if stage else None,
        attempt=node["attempt"],
        error=error,
        error_code=node.get("error_code"),
        retry_at=node["claimable_at"] if error and status is VersionStatus.PENDING else None,
        media_type=node.get("media_type"),
        title=node.get("title"),
        parsed_hash=node.get("parsed_hash"),
        warnings=tuple(node["warnings"]),
        chunks=node["chunks"],
        requested_at=node["requested_at"],
        finished_at=node.get("finished_at"),
        usage=_usage_of(node),
    )


def usage_properties(usage: Usage | None) -> dict[str, Any]:
    """What a version's node keeps of what it has cost."""
    if usage is None:
        return {}
    return {"spent_seconds": pack(dict(usage.seconds)), "spent_tokens": usage.tokens}


def _usage_of(node: Properties) -> Usage:
    seconds = json.loads(node.get("spent_seconds", "{}"))
    return Usage(
        seconds={Stage(one): spent for one, spent in seconds.items()},
        tokens=node.get("spent_tokens", 0),
    )


def document_of(node: Properties) -> Document:
    """A `VersionRecord` node: a version that is or was visible."""
    return Document(
        id=node["document_id"],
        source=node["source"],
        root=node.get("root"),
        title=node.get("submitted_title") or node.get("title"),
        media_type=node.get("media_type") or "",
        metadata=metadata_of(node["metadata"]),
        version=node["number"],
        content_hash=node["content_hash"],
        parsed_hash=node.get("parsed_hash") or "",
        size=node["size"],
        chunks=node["chunks"],
        created_at=node["created_at"],
        updated_at=node["finished_at"],
    )


def entity_of(row: Mapping[str, Any]) -> Entity:
    """An entity as all evidence makes it."""
    return Entity(
        id=EntityId(row["id"]),
        key=row["key"],
        name=row["name"],
        type=row["type"],
        mentions=row["mentions"],
        descriptions=tuple(row["descriptions"]),
    )


def field_properties(document: Document) -> dict[str, Any]:
    """What filters compare, by kind and field, and the names of the metadata fields that count."""
    fields = fields_of(document)
    found: dict[str, Any] = {}
    for field in fields:
        for value in values_of(fields, field):
            found.setdefault(f"{kind_of(value)}:{field}", []).append(value)
    found["fields"] = sorted(name for name in document.metadata if values_of(fields, name))
    return found


def kind_of(value: Scalar) -> str:
    """The kind of a value; the two of numbers apart, for a property's list holds one of them."""
    kind, _ = comparable(value)
    return ("real" if isinstance(value, float) else "whole") if kind == "number" else kind


def chunk_of(node: Properties) -> Chunk:
    """A `ChunkRecord` node."""
    pages = node.get("pages")
    return Chunk(
        id=ChunkId(node["id"]),
        document_id=node["document_id"],
        version=node["number"],
        ordinal=node["ordinal"],
        text=node["text"],
        start=node["start"],
        end=node["end"],
        tokens=node["tokens"],
        pages=(pages[0], pages[1]) if pages else None,
        heading_path=tuple(node["heading_path"]),
    )


def chunk_properties(evidence: ChunkEvidence, extraction: Extraction) -> dict[str, Any]:
    """What a `ChunkRecord` node holds as soon as it is staged.

    Args:
        evidence: The chunk, its vector and its lexemes.
        extraction: Its evidence in canonical form.
    """
    chunk, vector = evidence.chunk, canonical(evidence.vector)
    return {
        "id": chunk.id,
        "document_id": chunk.document_id,
        "number": chunk.version,
        "ordinal": chunk.ordinal,
        "text": chunk.text,
        "start": chunk.start,
        "end": chunk.end,
        "tokens": chunk.tokens,
        "pages": list(chunk.pages) if chunk.pages else None,
        "heading_path": list(chunk.heading_path),
        "lexemes": evidence.lexemes,
        "extraction": pack_extraction(extraction),
        "vector": vector.astype("<f2").tobytes(),
    }


def pack_vector(vector: Vectors) -> bytes:
    """A vector as little-endian float16."""
    return canonical(vector).astype("<f2").tobytes()


def embedding_of(packed: bytes) -> list[float]:
    """A packed vector as Neo4j's own index takes it."""
    found: list[float] = np.frombuffer(packed, dtype="<f2").astype(np.float64).tolist()
    return found


def pack_mentions(visible: Extraction) -> bytes:
    """The mentions of a chunk as processes hold them: by weight descending, then id."""
    edges = [(entity_id(entity_key(one.name)), one.weight) for one in visible.mentions]
    edges.sort(key=lambda edge: (-edge[1], edge[0]))
    return np.array(edges, dtype=EDGE).tobytes()


def pack_extraction(extraction: Extraction) -> str:
    """An extraction as JSON."""
    mentions = [[m.name, m.type, m.description, m.weight, m.written] for m in extraction.mentions]
    assertions = [
        [a.source, a.target, a.keywords, a.description, a.weight] for a in extraction.assertions
    ]
    return pack([mentions, assertions])


def extraction_of(text: str) -> Extraction:
    """An extraction from its JSON."""
    mentions, assertions = json.loads(text)
    return Extraction(
        mentions=tuple(
            Mention(name=name, type=type_, description=description, weight=weight, written=written)
            for name, type_, description, weight, written in mentions
        ),
        assertions=tuple(
            Assertion(
                source=one[0], target=one[1], keywords=one[2], description=one[3], weight=one[4]
            )
            for one in assertions
        ),
    )


def seen_of(node: Properties) -> Extraction:
    """What readers see of a chunk, given its `seen` and its `extraction`."""
    return extraction_of(node["seen"] or node["extraction"])


def edit_properties(edit: Edit, vectors: Sequence[bytes]) -> dict[str, Any]:
    """What an `Edit` node holds.

    Args:
        edit: The edit.
        vectors: Of its keys.
    """
    name, other = (*edit.names, None)[:2]
    return {
        "id": edit.id,
        "kind": "alias" if isinstance(edit, Alias) else "suppression",
        "name": name,
        "other": other,
        "vectors": b"".join(vectors),
    }


def edit_of(node: Properties) -> ActiveEdit:
    """An `Edit` node."""
    name, other = node["name"], node.get("other")
    edit: Edit = Suppression(name=name, other=other)
    if node["kind"] == "alias":
        edit = Alias(source=name, target=node["other"])
    return ActiveEdit(edit=edit, made_at=node["made_at"])


def edit_vectors(node: Properties) -> dict[str, bytes]:
    """The vectors that an `Edit` node keeps of its keys."""
    keys = edit_of(node).edit.keys
    joined: bytes = node["vectors"]
    width = len(joined) // len(keys)
    return {key: joined[width * n : width * (n + 1)] for n, key in enumerate(keys)}


def ids_of(values: Sequence[int]) -> list[EntityId]:
    """Ids as a list that the driver takes."""
    return [EntityId(int(one)) for one in values]
