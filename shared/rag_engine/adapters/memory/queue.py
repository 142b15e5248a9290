"""The queue: a version is a job, and a lease with an epoch is the right to work on it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rag_engine.adapters.memory.tables import VersionRow
from rag_engine.core.listing import VersionSort
from rag_engine.core.models import UNFINISHED, Version, VersionStatus
from rag_engine.ports.queue import Census, Job, Lease

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rag_engine.adapters.memory.tables import Tables
    from rag_engine.core.jobs import Decision
    from rag_engine.core.listing import Place
    from rag_engine.core.models import Stage, Submission, Usage

_AT_ONCE = 0.0  # and not now: a clock that is set back puts nothing off


class MemoryQueue:
    """One workspace's versions as jobs; see `rag_engine.ports.queue.JobQueue`."""

    def __init__(self, tables: Tables, *, clock: Callable[[], float], process: object) -> None:
        self._held = tables
        self._clock = clock
        self._process = process

    @property
    def _tables(self) -> Tables:
        return self._held.there()

    async def accept(self, submission: Submission, *, first: int = 1) -> Version:
        now = self._clock()
        rows = self._rows(submission.document_id)
        alive = [row for row in rows if row.version.status in (*UNFINISHED, VersionStatus.INDEXED)]
        if alive and _identity(alive[-1].version.submission) == _identity(submission):
            return alive[-1].version
        for row in alive:
            if row.version.status in UNFINISHED:
                self._give_up(row, VersionStatus.SUPERSEDED)
        version = Version(
            submission=submission,
            number=rows[-1].version.number + 1 if rows else first,
            status=VersionStatus.PENDING,
            requested_at=now,
        )
        self._put(VersionRow(version=version, available_at=_AT_ONCE))
        return version

    async def claim(
        self, worker: str, seconds: float, *, document_id: str | None = None
    ) -> Job | None:
        now = self._clock()
        ready = [
            row
            for row in self._tables.versions.values()
            if self._claimable(row, now) and document_id in (None, row.version.document_id)
        ]
        if not ready:
            return None
        row = min(ready, key=_waiting)
        self._tables.epochs += 1
        self._tables.leases[self._tables.epochs] = now + seconds
        version = replace(
            row.version,
            status=VersionStatus.RUNNING,
            attempt=row.version.attempt + 1,
            retry_at=None,
        )
        epoch = self._tables.epochs
        row = replace(row, version=version, epoch=epoch, process=self._process)
        self._put(row)
        self._tables.drop([(version.document_id, version.number)])
        lease = Lease(document_id=version.document_id, version=version.number, epoch=row.epoch)
        return Job(lease=lease, version=version)

    async def heartbeat(self, lease: Lease, seconds: float) -> None:
        now = self._clock()
        self._tables.held(lease, now)
        self._tables.leases[lease.epoch] = now + seconds

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
        row = self._tables.held(lease, self._clock())
        before = row.version
        version = replace(
            before,
            stage=stage,
            media_type=before.media_type if media_type is None else media_type,
            title=before.title if title is None else title,
            parsed_hash=before.parsed_hash if parsed_hash is None else parsed_hash,
            warnings=tuple(dict.fromkeys((*before.warnings, *warnings))),
            usage=before.usage if usage is None else usage,
        )
        self._put(replace(row, version=version))

    async def fail(self, lease: Lease, decision: Decision) -> Version:
        now = self._clock()
        row = self._tables.held(lease, now)
        version = replace(row.version, error=decision.reason, error_code=decision.code)
        row = replace(row, version=version)
        if decision.retry_in is None:
            return self._give_up(row, VersionStatus.FAILED)
        return self._put_back(row, now + decision.retry_in)

    async def release(self, lease: Lease) -> None:
        now = self._clock()
        row = self._tables.held(lease, now)
        version = replace(row.version, attempt=row.version.attempt - 1)
        self._put_back(replace(row, version=version), now)

    async def release_stalled(self) -> int:
        now = self._clock()
        stalled = [row for row in self._tables.versions.values() if self._tables.is_left(row, now)]
        for row in stalled:
            self._put_back(row, now)
        return len(stalled)

    async def cancel(self, document_id: str) -> Version | None:
        for row in self._rows(document_id):
            if row.version.status in UNFINISHED:
                return self._give_up(row, VersionStatus.CANCELLED)
        return None

    async def version(self, document_id: str, number: int | None = None) -> Version | None:
        if number is None:
            row = self._tables.newest(document_id)
        else:
            row = self._tables.versions.get((document_id, number))
        return row.version if row else None

    async def versions(
        self,
        *,
        status: VersionStatus | None = None,
        sort: VersionSort = VersionSort.REQUESTED,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Version]:
        ids = {document_id for document_id, _ in self._tables.versions}
        rows = [row for id in ids if (row := self._tables.newest(id))]
        found = [row.version for row in rows if status in (None, row.version.status)]
        by_time = sort is VersionSort.REQUESTED

        def rank(place: Place) -> Place:
            return -place[0] if by_time else "", place[1]

        places = {rank(sort.place(one)): one for one in found}
        first = None if after is None else rank(sort.parsed(after))
        chosen = sorted(one for one in places if first is None or one > first)
        return [places[one] for one in chosen[:limit]]

    async def census(self) -> Census:
        versions = [row.version for row in self._tables.versions.values()]
        pending = [one for one in versions if one.status is VersionStatus.PENDING]
        now = self._clock()
        oldest = min((one.requested_at for one in pending), default=now)
        indexed = [one for one in versions if one.status is VersionStatus.INDEXED]
        return Census(
            pending=len(pending),
            running=sum(one.status is VersionStatus.RUNNING for one in versions),
            oldest_seconds=max(0.0, now - oldest),
            indexed=len(indexed),
            chunks=sum(one.chunks for one in indexed),
        )

    async def seconds_to_next(self) -> float | None:
        now = self._clock()
        waits = [
            max(row.available_at - now, 0.0)
            for row in self._tables.versions.values()
            if row.version.status is VersionStatus.PENDING
        ]
        return min(waits, default=None)

    def _claimable(self, row: VersionRow, now: float) -> bool:
        pending = row.version.status is VersionStatus.PENDING
        return self._stalled(row, now) or (pending and row.available_at <= now)

    def _stalled(self, row: VersionRow, now: float) -> bool:
        running = row.version.status is VersionStatus.RUNNING
        return running and not self._tables.is_held(row, now)

    def _rows(self, document_id: str) -> list[VersionRow]:
        rows = [row for (id, _), row in self._tables.versions.items() if id == document_id]
        return sorted(rows, key=lambda row: row.version.number)

    def _put(self, row: VersionRow) -> None:
        self._tables.versions[row.version.document_id, row.version.number] = row

    def _put_back(self, row: VersionRow, available_at: float) -> Version:
        if row.version.error is None:  # it is not put off
            available_at = _AT_ONCE
        retry_at = available_at if row.version.error else None
        version = replace(row.version, status=VersionStatus.PENDING, retry_at=retry_at)
        self._put(replace(row, version=version, available_at=available_at))
        return version

    def _give_up(self, row: VersionRow, status: VersionStatus) -> Version:
        self._tables.drop([(row.version.document_id, row.version.number)])
        return self._tables.end(row, status, self._clock())


def _identity(submission: Submission) -> tuple[Submission, str]:
    # `True == 1`, but a filter tells them apart.
    return submission, repr(sorted(submission.metadata.items()))


def _waiting(row: VersionRow) -> tuple[float, str]:
    return (row.version.requested_at, row.version.document_id)
