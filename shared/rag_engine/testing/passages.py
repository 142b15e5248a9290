"""Ranked chunks without a store, for tests of contexts and answers."""

from __future__ import annotations

from rag_engine.core.ids import chunk_id
from rag_engine.core.models import Chunk, Document
from rag_engine.retrieval.context import RankedChunk


def ranked(
    text: str,
    score: float,
    *,
    document: str = "d",
    title: str | None = None,
    ordinal: int = 0,
    pages: tuple[int, int] | None = None,
    headings: tuple[str, ...] = (),
) -> RankedChunk:
    """A chunk that is all of `text`, in a document that is called by its id in capitals."""
    return RankedChunk(
        chunk=Chunk(
            id=chunk_id(document, 1, ordinal),
            document_id=document,
            version=1,
            ordinal=ordinal,
            text=text,
            start=0,
            end=len(text),
            tokens=len(text.split()),
            pages=pages,
            heading_path=headings,
        ),
        document=Document(
            id=document,
            source=f"{document}.txt",
            root=None,
            title=title or document.upper(),
            media_type="text/plain",
            metadata={},
            version=1,
            content_hash="",
            parsed_hash="",
            size=1,
            chunks=1,
            created_at=0,
            updated_at=0,
        ),
        score=score,
    )
