"""Every error RAG Engine raises on purpose.

    RagEngineError
    ├── CallerError                  the request is at fault: repeating it cannot help
    │   ├── ConfigurationError       a setting, or a missing optional package
    │   ├── InvalidRequest           a wrong mode, name, number
    │   │   ├── InvalidFilter        a filter that is malformed or names an unknown field
    │   │   └── InvalidCursor        no place in the list that is asked for
    │   ├── NotFound                 no such document, workspace, entity
    │   ├── Conflict                 another document stands there already
    │   ├── IdempotencyKeyReused     the key of another request
    │   ├── ModelMismatch            the store's vectors were made by another model
    │   ├── ArchiveRejected          an archive that is not a whole, safe export
    │   └── DocumentRejected         the document itself cannot be read
    │       ├── DocumentUnreadable   damaged, encrypted, of a type nobody can parse
    │       ├── DocumentEmpty        no text could be found in it
    │       └── DocumentTooLarge     over a limit on bytes, pages, memory or time
    └── WorldError                   the surroundings are at fault
        ├── StoreUnavailable         the database cannot be reached, is busy or read-only
        ├── StoreFull                the disk, or a quota, is full
        ├── StoreCorrupt             the database's bytes are damaged
        ├── StoreTooNew              the database was written by a later release
        ├── BlobMissing              an original that a row names is not in the blob store
        ├── LeaseLost                another worker holds this version now
        ├── ModelUnavailable         a model cannot be reached or loaded, or timed out
        │   └── ModelOverloaded      a model asked us to slow down
        └── ModelMisbehaved          a model answered with something unusable

Messages name the thing with `!r` and end with the remedy. Domain errors know nothing of HTTP or
exit codes: each service keeps its own table.
"""

from __future__ import annotations

from typing import ClassVar


class RagEngineError(Exception):
    """Any error RAG Engine raises on purpose."""

    retryable: ClassVar[bool] = False
    """Whether the same call may succeed later without anybody changing anything."""


class CallerError(RagEngineError):
    """The request is at fault: repeating it cannot help."""


class ConfigurationError(CallerError):
    """A setting has no usable value, or an optional package is not installed."""


class InvalidRequest(CallerError):
    """An argument is not one of those that are understood."""


class InvalidFilter(InvalidRequest):
    """A filter is malformed or names a field that no document has."""


class InvalidCursor(InvalidRequest):
    """A cursor says no place in the list that is asked for."""


class NotFound(CallerError):
    """No document, workspace, version or entity has that name."""


class Conflict(CallerError):
    """Something else stands where the request wanted to put a thing."""


class IdempotencyKeyReused(CallerError):
    """An idempotency key was given with another request before."""


class ModelMismatch(CallerError):
    """The workspace's vectors were made by another embedding model."""


class ArchiveRejected(CallerError):
    """An archive is not a whole, safe export of a workspace."""


class DocumentRejected(CallerError):
    """A document cannot be ingested; the others are not affected."""


class DocumentUnreadable(DocumentRejected):
    """A document is damaged, encrypted, or of a type that no parser knows."""


class DocumentEmpty(DocumentRejected):
    """A document holds no text that could be found, by OCR neither."""


class DocumentTooLarge(DocumentRejected):
    """A document exceeds a limit on bytes, pages, decompressed bytes, memory or time."""


class WorldError(RagEngineError):
    """The surroundings are at fault: disk, database, network, model."""


class StoreUnavailable(WorldError):
    """The database cannot be opened, is read-only, or stayed busy for too long."""

    retryable = True


class StoreFull(WorldError):
    """The disk or a quota is full. What was stored before is safe."""


class StoreCorrupt(WorldError):
    """The database's bytes are damaged."""


class StoreTooNew(WorldError):
    """The database was written by a release that this one cannot read."""


class BlobMissing(WorldError):
    """An original that a row names is not in the blob store."""


class LeaseLost(WorldError):
    """The lease ran out or was fenced: another worker holds this version, or nobody wants it."""


class ModelUnavailable(WorldError):
    """A model cannot be reached or loaded, or did not answer in time."""

    retryable = True


class ModelOverloaded(ModelUnavailable):
    """A model asked for fewer requests.

    Args:
        message: What happened, and the remedy.
        retry_after: Seconds the server asked us to wait, when it said so.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ModelMisbehaved(WorldError):
    """A model answered with something unusable: wrong shape, truncated, not what was asked."""
