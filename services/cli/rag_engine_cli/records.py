"""Records of the domain as JSON: names that stay, times in ISO 8601, nothing internal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rag_engine.core.models import Document, Metadata, Version

if TYPE_CHECKING:
    from rag_engine.retrieval.context import Reference


def moment(seconds: float | None) -> str | None:
    """A time as JSON has it."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def metadata_record(metadata: Metadata) -> dict[str, Any]:
    """Metadata with lists as JSON has them."""
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in metadata.items()
    }


def version_record(version: Version) -> dict[str, Any]:
    """A version and where it stands."""
    return {
        "id": version.document_id,
        "source": version.submission.source,
        "version": version.number,
        "status": str(version.status),
        "stage": str(version.stage) if version.stage else None,
        "error": version.error,
        "error_code": version.error_code,
        "warnings": list(version.warnings),
        "chunks": version.chunks,
        "attempt": version.attempt,
        "retry_at": moment(version.retry_at),
        "requested_at": moment(version.requested_at),
        "finished_at": moment(version.finished_at),
        "usage": {
            "seconds": {str(stage): spent for stage, spent in version.usage.seconds.items()},
            "tokens": version.usage.tokens,
        },
    }


def document_record(document: Document) -> dict[str, Any]:
    """A document as readers see it."""
    return {
        "id": document.id,
        "source": document.source,
        "root": document.root,
        "title": document.title,
        "media_type": document.media_type,
        "metadata": metadata_record(document.metadata),
        "version": document.version,
        "size": document.size,
        "chunks": document.chunks,
        "created_at": moment(document.created_at),
        "updated_at": moment(document.updated_at),
    }


def reference_record(reference: Reference) -> dict[str, Any]:
    """Where a passage comes from."""
    return {
        "number": reference.number,
        "document_id": reference.document_id,
        "document": reference.document_name,
        "source": reference.source,
        "version": reference.version,
        "pages": list(reference.pages) if reference.pages else None,
        "headings": list(reference.heading_path),
        "start": reference.start,
        "end": reference.end,
        "score": reference.score,
    }
