"""Locking a document and looking up its versions, before anything is written.

Locks come first, then what they protect is read: the database shows a transaction whatever others
have committed by the time of each statement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from rag_engine.adapters.neo4j.connection import Connection, Row, Transaction
from rag_engine.adapters.neo4j.records import Properties, version_of
from rag_engine.core.models import Version, VersionStatus
from rag_engine.errors import LeaseLost
from rag_engine.ports.queue import Lease

Clock = Callable[[], float] | None
"""Seconds since the epoch, for tests; `None` for the database's own clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVersion:
    """A version as the database has it.

    Attributes:
        epoch: Of its last lease; 0 before the first.
        claimable_at: When a pending one may be claimed, or the lease of a running one ends.
        row: Of its record, once it is visible.
        node: All its properties.
    """

    version: Version
    epoch: int
    claimable_at: float | None
    row: int | None
    node: Properties


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """A document that is locked until the transaction ends.

    Attributes:
        versions: By number.
        now: By the clock of leases, after the lock was taken.
    """

    versions: tuple[StoredVersion, ...]
    now: float

    @property
    def shown(self) -> StoredVersion | None:
        """The visible version."""
        return next((one for one in self.versions if one.row is not None), None)

    def number(self, number: int) -> StoredVersion | None:
        """A version."""
        return next((one for one in self.versions if one.version.number == number), None)

    def held(self, lease: Lease) -> StoredVersion:
        """The version a lease is for.

        Raises:
            LeaseLost: It ran out, or another claim, a newer version, a cancellation or a delete
                came.
        """
        found = self.number(lease.version)
        if found is None or self._why_lost(lease) is not None:
            raise self.lost(lease)
        return found

    def lost(self, lease: Lease) -> LeaseLost:
        """What to raise when a lease is not held."""
        state = self._why_lost(lease) or "was worked on for longer than its lease"
        return LeaseLost(
            f"Version {lease.version} of {lease.document_id!r} {state}: the lease of epoch "
            f"{lease.epoch} is lost. Stop working on it; whoever holds it now goes on."
        )

    def _why_lost(self, lease: Lease) -> str | None:
        found = self.number(lease.version)
        if found is None:
            return "is gone"
        if found.version.status is not VersionStatus.RUNNING:
            return f"is {found.version.status}"
        if found.epoch != lease.epoch:
            return f"was claimed again (epoch {found.epoch})"
        if found.claimable_at is None or found.claimable_at <= self.now:
            return "was worked on for longer than its lease"
        return None


def token() -> str:
    """A value for the property that locks a node when it is written."""
    return uuid4().hex


def stored(node: Properties) -> StoredVersion:
    """A `Version` node."""
    return StoredVersion(
        version=version_of(node),
        epoch=node["epoch"],
        claimable_at=node.get("claimable_at"),
        row=node.get("row"),
        node=node,
    )


async def locked(transaction: Transaction, document_id: str, clock: Clock) -> Locked:
    """Lock a document and read its versions; one that is unknown has none.

    Args:
        transaction: The write transaction.
        document_id: Of the document.
        clock: Of leases.
    """
    rows = await transaction.rows("lock_document", document=document_id, token=token())
    versions = tuple(stored(row["version"]) for row in rows)
    return Locked(versions=versions, now=time_of(clock, rows))


async def alone(
    connection: Connection,
    workspace: int,
    clock: Clock,
    query: str,
    *,
    within: float | None = None,
    **parameters: object,
) -> list[Row]:
    """Run one statement that locks a document, looks again and writes: one round trip.

    Args:
        connection: To the database.
        workspace: Number of the workspace.
        clock: Of leases; the statement has its time as `$now`, `null` for the database's own.
        query: Name of the statement; it does no harm when it is run again.
        within: See `Connection.write`.
        parameters: Of the statement.
    """
    return await connection.run(
        query,
        workspace=workspace,
        write=True,
        within=within,
        token=token(),
        now=None if clock is None else clock(),
        **parameters,
    )


async def while_held(
    connection: Connection,
    workspace: int,
    clock: Clock,
    query: str,
    lease: Lease,
    *,
    within: float | None = None,
    **parameters: object,
) -> Row:
    """Run one statement that writes something if a lease is held.

    Args:
        connection: To the database.
        workspace: Number of the workspace.
        clock: Of leases.
        query: Name of the statement; it does no harm when it is run again.
        lease: Of the version that it is about.
        within: See `Connection.write`.
        parameters: Of the statement, besides those of the lease.

    Raises:
        LeaseLost: It is not held; nothing was written.
    """
    rows = await alone(
        connection,
        workspace,
        clock,
        query,
        within=within,
        document=lease.document_id,
        number=lease.version,
        version=lease.epoch,
        **parameters,
    )
    if not rows or not rows[0]["held"]:
        versions = tuple(stored(row["version"]) for row in rows)
        raise Locked(versions=versions, now=rows[0]["now"] if rows else 0.0).lost(lease)
    return rows[0]


def time_of(clock: Clock, rows: list[Row]) -> float:
    """The time by the clock of leases; the database's came with the rows."""
    if clock is not None:
        return clock()
    milliseconds: Any = rows[0]["milliseconds"] if rows else 0
    return float(milliseconds) / 1000.0
