"""Looking up versions and checking leases, inside a write transaction."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from rag_engine.adapters.sqlite.queries import SQL
from rag_engine.adapters.sqlite.rows import version_of
from rag_engine.core.models import Version, VersionStatus
from rag_engine.errors import LeaseLost
from rag_engine.ports.queue import Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVersion:
    """A version as the database has it.

    Attributes:
        row: Its database row.
        claimable_at: When a pending one may be claimed, or the lease of a running one ends.
    """

    version: Version
    row: int
    epoch: int
    claimable_at: float | None


def find_version(
    connection: sqlite3.Connection, clause: str, *parameters: object
) -> StoredVersion | None:
    """The first version that a clause of `queries.sql` selects."""
    sql = f"{SQL['version_columns']} {SQL[clause]}"
    row = connection.execute(sql, parameters).fetchone()
    if row is None:
        return None
    return StoredVersion(version=version_of(row), row=row[20], epoch=row[21], claimable_at=row[22])


def held(connection: sqlite3.Connection, lease: Lease, now: float) -> StoredVersion:
    """The version a lease is for.

    Raises:
        LeaseLost: It ran out, or another claim, a newer version, a cancellation or a delete came.
    """
    found = find_version(connection, "version_by_number", lease.document_id, lease.version)
    if found is None:
        state = "is gone"
    elif found.version.status is not VersionStatus.RUNNING:
        state = f"is {found.version.status}"
    elif found.epoch != lease.epoch:
        state = f"was claimed again (epoch {found.epoch})"
    elif found.claimable_at is None or found.claimable_at <= now:
        state = "was worked on for longer than its lease"
    else:
        return found
    raise LeaseLost(
        f"Version {lease.version} of {lease.document_id!r} {state}: the lease of epoch "
        f"{lease.epoch} is lost. Stop working on it; whoever holds it now goes on."
    )
