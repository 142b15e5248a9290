"""What the engine needs from a queue: versions of documents as jobs, held by leases.

`rag_engine.testing.queue_contract` holds every adapter to these words; the rules at the head of
`ports.storage` hold here too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rag_engine.core.listing import VersionSort
from rag_engine.core.models import Stage, Submission, Usage, Version, VersionStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rag_engine.core.jobs import Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to work on one version until it runs out or is fenced.

    A lease that ran out is not held, even while nobody else has claimed the version.

    Attributes:
        epoch: Grows with every claim of the version; a write under an older one is refused. It
            never comes again, not even for a document that was deleted and added anew.
    """

    document_id: str
    version: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A claimed version."""

    lease: Lease
    version: Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """How many versions stand where.

    Attributes:
        pending: Versions that wait, those that are put off included.
        running: Versions that somebody works on.
        oldest_seconds: Since the oldest of the pending ones was requested; 0 without any.
        indexed: Documents that answer.
        chunks: What these consist of.
    """

    pending: int = 0
    running: int = 0
    oldest_seconds: float = 0.0
    indexed: int = 0
    chunks: int = 0


class JobQueue(Protocol):
    """One workspace's versions as jobs. Time is the database's."""

    async def accept(self, submission: Submission, *, first: int = 1) -> Version:
        """Record that a version is wanted. When this returns, the wish is durable.

        If the newest version of the document that was not cancelled, failed or superseded has the
        same submission, metadata of the same types, it is returned and nothing changes. Older pending and running versions are
        superseded: their leases are lost and their staged evidence goes.

        Args:
            submission: What is wanted.
            first: The version's number if no other version of the document is known; else it is
                one more than the newest's.
        """
        ...

    async def claim(
        self, worker: str, seconds: float, *, document_id: str | None = None
    ) -> Job | None:
        """Lease the version that has waited longest, or one whose lease has run out.

        With a document's id, only a version of that document.

        Of all that may be claimed, the one requested first; ties go to the smaller document id.
        What an earlier attempt recorded at checkpoints is still there; what it staged is not, for a
        part of a version must never be joined with a part made in another way.
        """
        ...

    async def heartbeat(self, lease: Lease, seconds: float) -> None:
        """Extend a lease to `seconds` from now.

        This and `version` may be called from another thread, in its own event loop.

        Raises:
            LeaseLost: It is no longer held: stop working.
        """
        ...

    async def checkpoint(
        self,
        lease: Lease,
        stage: Stage,
        *,
        media_type: str | None = None,
        title: str | None = None,
        parsed_hash: str | None = None,
        warnings: Sequence[str] = (),
        usage: Usage | None = None,
    ) -> None:
        """Record a finished stage, what it found and what all has cost; `None` leaves it as it was.

        Warnings are added to those recorded before, each once.

        Raises:
            LeaseLost: The lease is no longer held.
        """
        ...

    async def fail(self, lease: Lease, decision: Decision) -> Version:
        """End an attempt as decided: back to pending and claimable in a while, or failed for good.

        The reason and its code are recorded either way, until the version is indexed. A version
        that failed for good has no staged evidence left.

        Raises:
            LeaseLost: The lease is no longer held.
        """
        ...

    async def release(self, lease: Lease) -> None:
        """End an attempt that was interrupted by request: back to pending, and it does not count.

        Raises:
            LeaseLost: The lease is no longer held.
        """
        ...

    async def release_stalled(self) -> int:
        """Put back to pending what nobody works on any more; return how many versions.

        Their leases have run out, or their worker is known to be gone: the `Control` that it claimed
        through was closed or, where the store can tell, its process ended. The attempts count.
        """
        ...

    async def cancel(self, document_id: str) -> Version | None:
        """Cancel the pending or running version of a document, if there is one.

        Its lease is lost and its staged evidence goes.
        """
        ...

    async def version(self, document_id: str, number: int | None = None) -> Version | None:
        """A version of a document; without a number the newest that was requested."""
        ...

    async def versions(
        self,
        *,
        status: VersionStatus | None = None,
        sort: VersionSort = VersionSort.REQUESTED,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Version]:
        """The newest version of each document, the latest requested first, then by document id.

        Pages by document id meet each document once, whatever is requested meanwhile. In the other
        order, one that is requested anew comes to stand before the pages that are still to be read.

        Args:
            status: Only those whose newest version has it.
            sort: Another order.
            after: Begin after this place, a cursor as `sort.cursor` makes it.
            limit: How many at most.

        Raises:
            InvalidCursor: `after` is no place in that order.
        """
        ...

    async def census(self) -> Census:
        """How many versions stand where, without loading what they hold."""
        ...

    async def seconds_to_next(self) -> float | None:
        """Seconds until a pending version may be claimed; 0 for now, `None` when none waits."""
        ...
