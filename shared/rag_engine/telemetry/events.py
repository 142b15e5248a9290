"""Names of what is logged: the `action` field of every structured log line."""

from __future__ import annotations

from typing import Final

from rag_engine.core.models import Version

ACCEPTED: Final = "version_accepted"
INDEXED: Final = "version_indexed"
FAILED: Final = "version_failed"
LEASE_LOST: Final = "lease_lost"
LEASES_KEPT: Final = "leases_not_given_back"
HEARTBEAT: Final = "heartbeat_failed"
COLLECTED: Final = "blobs_collected"
LOG_KEPT: Final = "log_not_shortened"
DELETED: Final = "documents_deleted"
OUTDATED_KEPT: Final = "outdated_kept"
INDEXES_BEHIND: Final = "indexes_behind"
REQUEST: Final = "request_answered"
OPEN: Final = "open_to_all"
SEARCHER_GONE: Final = "searcher_gone"


def version(action: str, version: Version) -> dict[str, object]:
    """Fields of a log line about a version."""
    return {
        "action": action,
        "document": version.document_id,
        "version": version.number,
        "attempt": version.attempt,
    }
