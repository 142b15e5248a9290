"""What one workspace holds. Records are immutable, so a shallow copy is a snapshot."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rag_engine.core.edits import Edits
from rag_engine.core.models import VersionStatus
from rag_engine.core.names import entity_key
from rag_engine.errors import LeaseLost, ModelMismatch, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rag_engine.core.edits import ActiveEdit
    from rag_engine.core.ids import ChunkId
    from rag_engine.core.models import Document, Version
    from rag_engine.ports.idempotency import IdempotencyRecord
    from rag_engine.ports.queue import Lease
    from rag_engine.ports.storage import ChunkEvidence, Vectors

VersionKey = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    """A version with what only the queue needs to know of it."""

    version: Version
    available_at: float
    epoch: int = 0
    process: object = None


@dataclass(slots=True, kw_only=True)
class Tables:
    """A workspace's rows.

    Attributes:
        versions: Every version of every document that was not deleted.
        documents: The visible ones.
        evidence: Of each version, staged or visible; never changed in place.
        staged_names: Of each version: the entity keys its staged evidence mentions, with their
            vectors as far as they are known; never changed in place.
        names: Vectors of the visible entities' keys.
        edits: Those in force, by id.
        edit_vectors: Of the keys that each edit in force is about; never changed in place.
        counter: Grows with every change of what is visible.
        epochs: Counts claims. It is the workspace's rather than the version's, so that a lease on
            a deleted document does not fit the document that took its id.
        deleted: Whether the workspace is gone, and whoever still has it is to be told.
        processes: The controls that are open.
        leases: When the lease of each epoch runs out. Apart from the rows, so that a heartbeat
            from another thread changes nothing else.
        idempotency: What each idempotency key stands for, and since when.
    """

    model: str
    dimensions: int
    versions: dict[VersionKey, VersionRow] = field(default_factory=dict)
    documents: dict[str, Document] = field(default_factory=dict)
    evidence: dict[VersionKey, Mapping[ChunkId, ChunkEvidence]] = field(default_factory=dict)
    staged_names: dict[VersionKey, Mapping[str, Vectors | None]] = field(default_factory=dict)
    names: dict[str, Vectors] = field(default_factory=dict)
    edits: dict[str, ActiveEdit] = field(default_factory=dict)
    edit_vectors: dict[str, Mapping[str, Vectors]] = field(default_factory=dict)
    counter: int = 0
    epochs: int = 0
    deleted: bool = False
    processes: set[object] = field(default_factory=set)
    leases: dict[int, float] = field(default_factory=dict)
    idempotency: dict[str, tuple[IdempotencyRecord, float]] = field(default_factory=dict)

    def there(self) -> Tables:
        """These, unless the workspace was deleted.

        Raises:
            NotFound: It was.
        """
        if self.deleted:
            raise NotFound("The workspace was deleted. Create it by adding a document to it.")
        return self

    def copy(self) -> Tables:
        """Return these rows as they stand, untouched by what is written next."""
        return replace(
            self,
            versions=dict(self.versions),
            documents=dict(self.documents),
            evidence=dict(self.evidence),
            staged_names=dict(self.staged_names),
            names=dict(self.names),
            edits=dict(self.edits),
            edit_vectors=dict(self.edit_vectors),
        )

    def in_force(self) -> Edits:
        """Return all edits together."""
        return Edits.of(one.edit for one in self.edits.values())

    def adopt(self, model: str, dimensions: int) -> None:
        """Take vectors of this model from now on, if there are no others.

        Raises:
            ModelMismatch: There are vectors of another model.
        """
        vectors = any(self.evidence.values()) or self.edit_vectors
        if vectors and (self.model, self.dimensions) != (model, dimensions):
            raise ModelMismatch(
                f"The vectors were made by {self.model!r} ({self.dimensions} dimensions), not by "
                f"{model!r} ({dimensions}). Configure that model, or use another workspace."
            )
        self.model, self.dimensions = model, dimensions

    def held(self, lease: Lease, now: float) -> VersionRow:
        """Return the row a lease gives the right to change.

        Raises:
            LeaseLost: The lease ran out, or somebody else has the right now, or nobody.
        """
        row = self.versions.get((lease.document_id, lease.version))
        if row is None or row.epoch != lease.epoch or not self.is_held(row, now):
            raise LeaseLost(
                f"Version {lease.version} of {lease.document_id!r} is no longer held under epoch "
                f"{lease.epoch}. Stop working on it and claim another."
            )
        return row

    def is_held(self, row: VersionRow, now: float) -> bool:
        """Return whether somebody works on a version and its lease has not run out."""
        return row.version.status is VersionStatus.RUNNING and now < self.leases[row.epoch]

    def is_left(self, row: VersionRow, now: float) -> bool:
        """Return whether nobody works on a running version any more."""
        running = row.version.status is VersionStatus.RUNNING
        return running and not (self.is_held(row, now) and row.process in self.processes)

    def seconds_to_work(self, now: float) -> float | None:
        """Return how long it takes until something can be claimed or put back; `None` if nothing is."""
        if any(self.is_left(row, now) for row in self.versions.values()):
            return 0.0
        pending = [
            row for row in self.versions.values() if row.version.status is VersionStatus.PENDING
        ]
        return min((max(row.available_at - now, 0.0) for row in pending), default=None)

    def newest(self, document_id: str) -> VersionRow | None:
        """Return the newest version of a document, whatever became of it."""
        numbers = [number for owner, number in self.versions if owner == document_id]
        return self.versions[document_id, max(numbers)] if numbers else None

    def end(self, row: VersionRow, status: VersionStatus, now: float) -> Version:
        """Give a version a final status; nobody holds it any longer."""
        version = replace(row.version, status=status, retry_at=None, finished_at=now)
        self.versions[version.document_id, version.number] = replace(row, version=version)
        return version

    def drop(self, keys: Iterable[VersionKey]) -> None:
        """Drop the evidence of versions, and the vectors of names that is not visible without it."""
        for key in keys:
            self.evidence.pop(key, None)
            self.staged_names.pop(key, None)
        self.names = {key: self.names[key] for key in self.names.keys() & self.visible()}

    def visible(self) -> set[str]:
        """Return the keys of all entities that are visible."""
        keys = set[str]()
        for document in self.documents.values():
            keys |= self.mentioned((document.id, document.version))
        return keys

    def mentioned(self, version: VersionKey) -> set[str]:
        """Return the entity keys that a version's evidence mentions, as edits let it be seen."""
        edits = self.in_force()
        return {
            entity_key(mention.name)
            for evidence in self.evidence.get(version, {}).values()
            for mention in edits.applied(evidence.extraction).mentions
        }

    def vectors_of_edits(self) -> dict[str, Vectors]:
        """Return the vectors of all keys that edits are about."""
        return {key: one for vectors in self.edit_vectors.values() for key, one in vectors.items()}
