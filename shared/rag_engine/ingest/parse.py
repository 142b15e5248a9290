"""The first stage: an original's bytes to a parsed document, kept as a blob of its own.

A fact written by hand needs no parser: it says itself what its text is.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from rag_engine.core.edits import Fact, is_fact, unpack_fact
from rag_engine.core.models import Heading, PageStart, ParsedDocument, TextKind, Version
from rag_engine.ports.blobs import Blobs
from rag_engine.ports.models import Parser


async def parse(version: Version, blobs: Blobs, parser: Parser) -> ParsedDocument:
    """Parse a version's original. A submitted title outranks the one the parser found.

    Raises:
        DocumentRejected: The document cannot be read, is empty or too large.
    """
    if is_fact(version.document_id):
        return (await recall_fact(version.submission.content_hash, blobs)).parsed
    async with blobs.local(version.submission.content_hash) as path:
        parsed = await parser.parse(path, version.submission.source)
    return replace(
        parsed,
        text=_storable(parsed.text),
        title=version.submission.title or (_storable(parsed.title) if parsed.title else None),
        headings=tuple(replace(one, title=_storable(one.title)) for one in parsed.headings),
    )


async def recall_fact(hash: str, blobs: Blobs) -> Fact:
    """A fact that was written by hand, from its original.

    Raises:
        BlobMissing: It is no longer there.
    """
    return unpack_fact(await blobs.read(hash))


async def keep(parsed: ParsedDocument, blobs: Blobs) -> str:
    """Store a parsed document and return the hash by which `recall` finds it."""
    hash, _ = await blobs.put(pack(parsed))
    return hash


async def recall(hash: str, blobs: Blobs) -> ParsedDocument:
    """A parsed document that was kept.

    Raises:
        BlobMissing: It is no longer there.
    """
    return unpack(await blobs.read(hash))


def pack(parsed: ParsedDocument) -> bytes:
    """A parsed document as JSON."""
    record = {
        "text": parsed.text,
        "media_type": parsed.media_type,
        "title": parsed.title,
        "kind": parsed.kind,
        "pages": [[page.offset, page.number] for page in parsed.pages],
        "headings": [[one.offset, one.level, one.title] for one in parsed.headings],
        "warnings": parsed.warnings,
    }
    return json.dumps(record, ensure_ascii=False).encode()


def unpack(content: bytes) -> ParsedDocument:
    """A parsed document from its JSON."""
    record: dict[str, Any] = json.loads(content)
    return ParsedDocument(
        text=record["text"],
        media_type=record["media_type"],
        title=record["title"],
        kind=TextKind(record["kind"]),
        pages=tuple(PageStart(offset=offset, number=number) for offset, number in record["pages"]),
        headings=tuple(
            Heading(offset=offset, level=level, title=title)
            for offset, level, title in record["headings"]
        ),
        warnings=tuple(record["warnings"]),
    )


def _storable(text: str) -> str:
    """Text without lone surrogates, which UTF-8 cannot hold: each becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")
