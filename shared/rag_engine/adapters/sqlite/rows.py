"""Rows of the database to records of the domain, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from rag_engine.core.ids import ChunkId
from rag_engine.core.keys import Key, Scope
from rag_engine.core.models import (
    Assertion,
    Chunk,
    Document,
    Extraction,
    Mention,
    Metadata,
    Stage,
    Submission,
    Usage,
    Version,
    VersionStatus,
)

Row = Sequence[Any]


def pack(value: object) -> str:
    """JSON with one form for each value, so that equal values are equal texts."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def id_list(ids: Sequence[Any]) -> str:
    """Ids or strings for `json_each(?)`."""
    return json.dumps(list(ids))


def pack_metadata(metadata: Metadata) -> str:
    """Metadata as JSON; tuples become lists."""
    return pack(dict(metadata))


def metadata_of(text: str) -> Metadata:
    """Metadata from JSON; lists become tuples."""
    loaded: Mapping[str, Any] = json.loads(text)
    return {k: tuple(v) if isinstance(v, list) else v for k, v in loaded.items()}


def document_of(row: Row) -> Document:
    """A row of `document_columns`."""
    return Document(
        id=row[0],
        source=row[1],
        root=row[2],
        title=row[3],
        media_type=row[4] or "",
        metadata=metadata_of(row[5]),
        version=row[6],
        content_hash=row[7],
        parsed_hash=row[8] or "",
        size=row[9],
        chunks=row[10],
        created_at=row[11],
        updated_at=row[12],
    )


def version_of(row: Row) -> Version:
    """A row of `version_columns`."""
    status, error = VersionStatus(row[9]), row[12]
    submission = Submission(
        document_id=row[0],
        source=row[2],
        root=row[3],
        title=row[4],
        metadata=metadata_of(row[5]),
        content_hash=row[6],
        size=row[7],
        fingerprint=row[8],
    )
    return Version(
        submission=submission,
        number=row[1],
        status=status,
        stage=Stage(row[10]) if row[10] else None,
        attempt=row[11],
        error=error,
        error_code=row[23],
        retry_at=row[22] if error and status is VersionStatus.PENDING else None,
        media_type=row[13],
        title=row[14],
        parsed_hash=row[15],
        warnings=tuple(json.loads(row[16])),
        chunks=row[17],
        requested_at=row[18],
        finished_at=row[19],
        usage=usage_of(row[24]),
    )


def usage_of(text: str) -> Usage:
    """What a version has cost, from its JSON."""
    seconds, tokens = json.loads(text)
    return Usage(seconds={Stage(one): spent for one, spent in seconds.items()}, tokens=tokens)


def pack_usage(usage: Usage | None) -> str | None:
    """What a version has cost as JSON."""
    return None if usage is None else pack([dict(usage.seconds), usage.tokens])


def chunk_of(row: Row) -> Chunk:
    """A row of `chunk_columns`."""
    return Chunk(
        id=ChunkId(row[0]),
        document_id=row[1],
        version=row[2],
        ordinal=row[3],
        text=row[4],
        start=row[5],
        end=row[6],
        tokens=row[7],
        pages=None if row[8] is None else (row[8], row[9]),
        heading_path=_headings(row[10]),
    )


@lru_cache(maxsize=1024)  # a document's passages share them
def _headings(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def pack_chunk(chunk: Chunk) -> str:
    """A chunk for staging."""
    pages = list(chunk.pages) if chunk.pages else None
    return pack(
        [chunk.id, chunk.ordinal, chunk.text, chunk.start, chunk.end, chunk.tokens, pages]
        + [list(chunk.heading_path)]
    )


def staged_chunk_of(text: str, document_id: str, version: int) -> Chunk:
    """A staged chunk."""
    id, ordinal, body, start, end, tokens, pages, heading_path = json.loads(text)
    return Chunk(
        id=ChunkId(id),
        document_id=document_id,
        version=version,
        ordinal=ordinal,
        text=body,
        start=start,
        end=end,
        tokens=tokens,
        pages=(pages[0], pages[1]) if pages else None,
        heading_path=tuple(heading_path),
    )


def mention_of(row: Row) -> Mention:
    """Columns name, type, description, weight, written."""
    return Mention(name=row[0], type=row[1], description=row[2], weight=row[3], written=row[4])


def assertion_of(row: Row) -> Assertion:
    """Columns source_name, target_name, keywords, description, weight."""
    return Assertion(
        source=row[0], target=row[1], keywords=row[2], description=row[3], weight=row[4]
    )


def pack_extraction(extraction: Extraction) -> str:
    """An extraction as it was found, for staging."""
    mentions = [[m.name, m.type, m.description, m.weight] for m in extraction.mentions]
    assertions = [
        [a.source, a.target, a.keywords, a.description, a.weight] for a in extraction.assertions
    ]
    return pack([mentions, assertions])


def extraction_of(text: str) -> Extraction:
    """A packed extraction."""
    mentions, assertions = json.loads(text)
    return Extraction(
        mentions=tuple(mention_of((*row, "")) for row in mentions),
        assertions=tuple(assertion_of(row) for row in assertions),
    )


def row_of_key(key: Key) -> Row:
    """Columns id, name, hash, scopes, workspaces, made_at."""
    scopes, workspaces = (pack(sorted(one)) for one in (key.scopes, key.workspaces))
    return key.id, key.name, key.hash, scopes, workspaces, key.made_at


def key_of(row: Row) -> Key:
    """Columns id, name, hash, scopes, workspaces, made_at."""
    id, name, hash, scopes, workspaces, made_at = row
    return Key(
        id=id,
        name=name,
        hash=hash,
        scopes=frozenset(map(Scope, json.loads(scopes))),
        workspaces=frozenset(json.loads(workspaces)),
        made_at=made_at,
    )
