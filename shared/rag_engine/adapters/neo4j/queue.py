"""A workspace's versions as jobs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from rag_engine.adapters.neo4j.connection import Connection, Row, Transaction, Work
from rag_engine.adapters.neo4j.leases import (
    Clock,
    Locked,
    StoredVersion,
    alone,
    locked,
    stored,
    time_of,
    token,
    while_held,
)
from rag_engine.adapters.neo4j.records import (
    Properties,
    submission_properties,
    usage_properties,
    version_of,
)
from rag_engine.core.jobs import Decision
from rag_engine.core.listing import VersionSort
from rag_engine.core.models import UNFINISHED, Stage, Submission, Usage, Version, VersionStatus
from rag_engine.ports.queue import Census, Job, Lease

T = TypeVar("T")

_NEW: Final[Properties] = {
    "status": str(VersionStatus.PENDING),
    "attempt": 0,
    "epoch": 0,
    "warnings": [],
    "chunks": 0,
}
_BEAT_SECONDS: Final = 10.0
"""For how long a heartbeat is tried at least; with longer leases, for half of one."""


class Neo4jQueue:
    """See `JobQueue`. Whoever changes a version locks its document first, then looks again.

    Args:
        connection: To the database.
        workspace: Number of the workspace.
        clock: Of leases.
        process: Names this process in the versions that it claims.
    """

    def __init__(
        self, connection: Connection, workspace: int, *, clock: Clock, process: str
    ) -> None:
        self._connection = connection
        self._workspace = workspace
        self._clock = clock
        self._process = process

    async def accept(self, submission: Submission, *, first: int = 1) -> Version:
        """See `JobQueue.accept`."""
        id, asked = submission.document_id, submission_properties(submission)
        found = await self._alone("accept", document=id, asked=asked, new=_NEW, first=first)
        if not found:
            raise self._connection.gone(self._workspace)
        [row] = found
        times = {"claimable_at": row["now"], "requested_at": row["now"]}
        added = {**asked, **_NEW, **times, "document_id": id, "number": row["number"]}
        return version_of(row["same"] or added)

    async def claim(
        self, worker: str, seconds: float, *, document_id: str | None = None
    ) -> Job | None:
        """See `JobQueue.claim`."""
        attempt = token()
        holder = {"worker": worker, "process": self._process, "claimed_by": attempt}
        while True:
            found = await self._alone(
                "claim", attempt=attempt, document=document_id, seconds=seconds, holder=holder
            )
            if not found:
                return None
            [row] = found
            if row["leased"]:
                return _job(stored(row["version"]))
            if row["deleted"]:
                raise self._connection.gone(self._workspace)
            # Somebody else was faster: there may be another one.

    async def heartbeat(self, lease: Lease, seconds: float) -> None:
        """See `JobQueue.heartbeat`."""
        within = max(seconds / 2, _BEAT_SECONDS)
        await self._set_held(lease, {}, seconds=seconds, within=within)

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
        """See `JobQueue.checkpoint`."""
        found = {"media_type": media_type, "title": title, "parsed_hash": parsed_hash}
        found |= usage_properties(usage)
        given = {name: value for name, value in found.items() if value is not None}
        await self._set_held(lease, {**given, "stage": str(stage)}, warnings=warnings)

    async def fail(self, lease: Lease, decision: Decision) -> Version:
        """See `JobQueue.fail`."""
        attempt = token()

        async def work(transaction: Transaction) -> Version:
            document = await locked(transaction, lease.document_id, self._clock)
            done = document.number(lease.version)
            if done is not None and done.node.get("failed_by") == attempt:
                return done.version  # an earlier run was committed, only its answer was lost
            version = document.held(lease).version
            why = {
                "error": decision.reason,
                "error_code": decision.code,
                "process": None,
                "failed_by": attempt,
            }
            if decision.retry_in is None:
                ended = {**why, "status": str(VersionStatus.FAILED)}
                await self._give_up(transaction, version, lease.epoch, document.now, ended)
            else:
                at = document.now + decision.retry_in
                pending = str(VersionStatus.PENDING)
                await self._set(transaction, version, status=pending, claimable_at=at, **why)
            [row] = await transaction.rows(
                "version", document=lease.document_id, number=lease.version
            )
            return version_of(row["version"])

        return await self._write(work)

    async def release(self, lease: Lease) -> None:
        """See `JobQueue.release`."""

        async def work(transaction: Transaction) -> None:
            document = await locked(transaction, lease.document_id, self._clock)
            version = document.held(lease).version
            await self._set(
                transaction,
                version,
                status=str(VersionStatus.PENDING),
                attempt=version.attempt - 1,
                claimable_at=document.now,
                process=None,
            )

        await self._write(work)

    async def release_stalled(self) -> int:
        """See `JobQueue.release_stalled`."""

        async def work(transaction: Transaction) -> int:
            now = await self._now(transaction)
            stalled = await transaction.rows("stalled", now=now)
            if not stalled:
                return 0
            documents = sorted({row["document"] for row in stalled})
            await transaction.rows("lock_documents", documents=documents, token=token())
            [row] = await transaction.rows("put_back", stalled=stalled, now=now)
            return int(row["versions"])

        return await self._write(work)

    async def cancel(self, document_id: str) -> Version | None:
        """See `JobQueue.cancel`."""
        attempt = token()

        async def work(transaction: Transaction) -> Version | None:
            document = await locked(transaction, document_id, self._clock)
            if not document.versions:
                return None
            last = document.versions[-1]
            newest = last.version
            if last.node.get("ended_by") == attempt:
                return newest  # an earlier run was committed, only its answer was lost
            if newest.status not in UNFINISHED:
                return None
            await self._end(transaction, document_id, document, VersionStatus.CANCELLED, attempt)
            return replace(
                newest, status=VersionStatus.CANCELLED, retry_at=None, finished_at=document.now
            )

        return await self._write(work)

    async def version(self, document_id: str, number: int | None = None) -> Version | None:
        """See `JobQueue.version`."""
        query = "newest_version" if number is None else "version"
        rows = await self._read(query, document=document_id, number=number)
        return version_of(rows[0]["version"]) if rows else None

    async def versions(
        self,
        *,
        status: VersionStatus | None = None,
        sort: VersionSort = VersionSort.REQUESTED,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Version]:
        """See `JobQueue.versions`."""
        at, id = (math.inf, "") if after is None else sort.parsed(after)
        wanted = None if status is None else str(status)
        query = "newest_versions" if sort is VersionSort.REQUESTED else "newest_versions_by_id"
        rows = await self._read(query, status=wanted, at=at, id=id, limit=limit)
        return [stored(row["version"]).version for row in rows]

    async def census(self) -> Census:
        """See `JobQueue.census`."""
        rows = await self._read("unfinished")
        [indexed] = await self._read("indexed")
        counts = {str(row["status"]): row for row in rows}
        now = time_of(self._clock, rows)
        pending = counts.get(VersionStatus.PENDING, {"count": 0, "oldest": now})
        return Census(
            pending=pending["count"],
            running=counts.get(VersionStatus.RUNNING, {"count": 0})["count"],
            oldest_seconds=max(0.0, now - pending["oldest"]),
            indexed=indexed["documents"],
            chunks=indexed["chunks"],
        )

    async def seconds_to_next(self) -> float | None:
        """See `JobQueue.seconds_to_next`."""

        rows = await self._read("next_claimable")
        return max(0.0, rows[0]["at"] - time_of(self._clock, rows)) if rows else None

    async def _end(
        self,
        transaction: Transaction,
        id: str,
        document: Locked,
        status: VersionStatus,
        attempt: str | None = None,
    ) -> None:
        """End the unfinished versions of a document."""
        ended = [one for one in document.versions if one.version.status in UNFINISHED]
        if not ended:
            return
        await transaction.rows(
            "end_versions",
            document=id,
            numbers=[one.version.number for one in ended],
            properties={
                "status": str(status),
                "finished_at": document.now,
                "claimable_at": None,
                "process": None,
                "ended_by": attempt,
            },
        )
        await transaction.rows("unstage", versions=[one.epoch for one in ended])

    async def _give_up(
        self,
        transaction: Transaction,
        version: Version,
        epoch: int,
        now: float,
        ended: dict[str, Any],
    ) -> None:
        await transaction.rows(
            "end_versions",
            document=version.document_id,
            numbers=[version.number],
            properties={**ended, "claimable_at": None, "finished_at": now},
        )
        await transaction.rows("unstage", versions=[epoch])

    async def _set_held(
        self,
        lease: Lease,
        properties: Properties,
        *,
        warnings: Sequence[str] = (),
        seconds: float | None = None,
        within: float | None = None,
    ) -> None:
        """Change the version of a lease that is held, and extend the lease by so many seconds."""
        await while_held(
            self._connection,
            self._workspace,
            self._clock,
            "set_held",
            lease,
            within=within,
            properties=properties,
            warnings=list(dict.fromkeys(warnings)),
            seconds=seconds,
        )

    async def _set(self, transaction: Transaction, version: Version, **properties: Any) -> None:
        await transaction.rows(
            "set_version",
            document=version.document_id,
            number=version.number,
            properties=properties,
        )

    async def _now(self, transaction: Transaction) -> float:
        if self._clock is not None:
            return self._clock()
        return time_of(None, await transaction.rows("server_time"))

    async def _alone(self, query: str, **parameters: Any) -> list[Row]:
        return await alone(self._connection, self._workspace, self._clock, query, **parameters)

    async def _read(self, query: str, **parameters: Any) -> list[Row]:
        return await self._connection.run(query, workspace=self._workspace, **parameters)

    async def _write(self, work: Work[T]) -> T:
        return await self._connection.write(work, workspace=self._workspace)


def _job(claimed: StoredVersion) -> Job:
    version = claimed.version
    lease = Lease(document_id=version.document_id, version=version.number, epoch=claimed.epoch)
    return Job(lease=lease, version=version)
