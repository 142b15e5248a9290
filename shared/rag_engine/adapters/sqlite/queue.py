"""A workspace's versions as jobs, in the same file as its documents."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from rag_engine.adapters.sqlite.connection import Writer
from rag_engine.adapters.sqlite.leases import StoredVersion, find_version, held
from rag_engine.adapters.sqlite.presence import Presence
from rag_engine.adapters.sqlite.queries import SQL
from rag_engine.adapters.sqlite.rows import id_list, pack, pack_metadata, pack_usage, version_of
from rag_engine.adapters.sqlite.views import Readers, View
from rag_engine.core.jobs import Decision
from rag_engine.core.listing import VersionSort
from rag_engine.core.models import UNFINISHED, Stage, Submission, Usage, Version, VersionStatus
from rag_engine.errors import LeaseLost, StoreCorrupt, WorldError
from rag_engine.ports.queue import Census, Job, Lease


class SqliteQueue:
    """See `JobQueue`. A claim takes the write lock, so no two workers claim the same version."""

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        presence: Presence,
        clock: Callable[[], float],
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._presence = presence
        self._clock = clock
        self._owed: list[Lease] = []

    async def accept(self, submission: Submission, *, first: int = 1) -> Version:
        """See `JobQueue.accept`."""

        def write(connection: sqlite3.Connection) -> Version:
            id = submission.document_id
            wanted = find_version(connection, "newest_wanted_version", id)
            if wanted is not None and _same(wanted.version, submission):
                return wanted.version
            newest = find_version(connection, "newest_version", id)
            connection.execute(SQL["add_document"], (id,))
            [document, _] = connection.execute(SQL["document_row"], (id,)).fetchone()
            now = self._clock()
            _end_unfinished(connection, document, VersionStatus.SUPERSEDED, now)
            number = newest.version.number + 1 if newest else first
            connection.execute(SQL["add_version"], (document, number, *columns_of(submission), now))
            return _reread(connection, "newest_version", id).version

        return await self._writer.run(write)

    async def claim(
        self, worker: str, seconds: float, *, document_id: str | None = None
    ) -> Job | None:
        """See `JobQueue.claim`."""

        owed = list(self._owed)

        def write(connection: sqlite3.Connection) -> Job | None:
            for lease in owed:
                with suppress(LeaseLost):
                    self._release(connection, lease)
            now = self._clock()
            found = find_version(connection, "claimable_version", now, document_id)
            if found is None:
                return None
            connection.execute(SQL["add_meta"], ("epoch", 1))
            [epoch] = connection.execute(SQL["meta"], ("epoch",)).fetchone()
            holder = (epoch, worker, self._presence.name())
            connection.execute(SQL["lease_version"], (*holder, now + seconds, found.row))
            connection.execute(SQL["unstage_chunks"], (found.row,))
            connection.execute(SQL["unstage_names"], (found.row,))
            version = replace(
                found.version,
                status=VersionStatus.RUNNING,
                attempt=found.version.attempt + 1,
                retry_at=None,
            )
            lease = Lease(document_id=version.document_id, version=version.number, epoch=epoch)
            return Job(lease=lease, version=version)

        job = await self._writer.run(write)
        self._owed = [lease for lease in self._owed if lease not in owed]
        return job

    async def heartbeat(self, lease: Lease, seconds: float) -> None:
        """See `JobQueue.heartbeat`."""

        def write(connection: sqlite3.Connection) -> None:
            now = self._clock()
            row = held(connection, lease, now).row
            connection.execute(SQL["extend_lease"], (now + seconds, row))

        await self._writer.run(write)

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

        def write(connection: sqlite3.Connection) -> None:
            found = held(connection, lease, self._clock())
            known = pack(list(dict.fromkeys((*found.version.warnings, *warnings))))
            spent = pack_usage(usage)
            connection.execute(
                SQL["checkpoint"], (stage, media_type, title, parsed_hash, known, spent, found.row)
            )

        await self._writer.run(write)

    async def fail(self, lease: Lease, decision: Decision) -> Version:
        """See `JobQueue.fail`."""

        def write(connection: sqlite3.Connection) -> Version:
            now = self._clock()
            row = held(connection, lease, now).row
            reason, code = decision.reason, decision.code
            if decision.retry_in is not None:
                connection.execute(SQL["postpone"], (reason, code, now + decision.retry_in, row))
            else:
                connection.execute(SQL["give_up"], (reason, code, now, row))
                connection.execute(SQL["unstage_chunks"], (row,))
                connection.execute(SQL["unstage_names"], (row,))
            place = (lease.document_id, lease.version)
            return _reread(connection, "version_by_number", *place).version

        return await self._writer.run(write)

    async def release(self, lease: Lease) -> None:
        """See `JobQueue.release`. What the disk has no room for now is done before the next claim."""
        try:
            await self._writer.run(lambda connection: self._release(connection, lease))
        except LeaseLost:
            raise
        except WorldError:
            self._owed.append(lease)
            raise

    def _release(self, connection: sqlite3.Connection, lease: Lease) -> None:
        now = self._clock()
        connection.execute(SQL["release"], (now, held(connection, lease, now).row))

    async def release_stalled(self) -> int:
        """See `JobQueue.release_stalled`."""

        def write(connection: sqlite3.Connection) -> int:
            now = self._clock()
            processes = [name for (name,) in connection.execute(SQL["working_processes"])]
            gone = [name for name in processes if self._presence.is_gone(name)]
            return connection.execute(SQL["release_stalled"], (now, now, id_list(gone))).rowcount

        return await self._writer.run(write)

    async def cancel(self, document_id: str) -> Version | None:
        """See `JobQueue.cancel`."""

        def write(connection: sqlite3.Connection) -> Version | None:
            found = find_version(connection, "newest_version", document_id)
            if found is None or found.version.status not in UNFINISHED:
                return None
            [document, _] = connection.execute(SQL["document_row"], (document_id,)).fetchone()
            _end_unfinished(connection, document, VersionStatus.CANCELLED, self._clock())
            return _reread(connection, "newest_version", document_id).version

        return await self._writer.run(write)

    async def version(self, document_id: str, number: int | None = None) -> Version | None:
        """See `JobQueue.version`."""
        if number is None:
            rows = await self._rows("newest_version", document_id)
        else:
            rows = await self._rows("version_by_number", document_id, number)
        return version_of(rows[0]) if rows else None

    async def versions(
        self,
        *,
        status: VersionStatus | None = None,
        sort: VersionSort = VersionSort.REQUESTED,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Version]:
        """See `JobQueue.versions`."""
        place = (math.inf, "") if after is None else sort.parsed(after)
        query = "newest_versions" if status is None else "newest_versions_of_status"
        if sort is VersionSort.ID:
            query = "newest_versions_by_id"
        return [version_of(row) for row in await self._rows(query, status, *place, limit)]

    async def census(self) -> Census:
        """See `JobQueue.census`."""

        def read(view: View) -> tuple[list[Any], list[Any]]:
            return view.rows(SQL["unfinished_versions"]), view.rows(SQL["all_meta"])

        rows, pairs = await self._readers.read(read)
        meta = dict(pairs)
        now = self._clock()
        counts = {status: (count, oldest) for status, count, oldest in rows}
        pending, oldest = counts.get(VersionStatus.PENDING, (0, now))
        running, _ = counts.get(VersionStatus.RUNNING, (0, now))
        return Census(
            pending=pending,
            running=running,
            oldest_seconds=max(0.0, now - oldest),
            indexed=meta.get("documents", 0),
            chunks=meta.get("chunks", 0),
        )

    async def seconds_to_next(self) -> float | None:
        """See `JobQueue.seconds_to_next`."""
        rows: list[Any] = await self._readers.read(lambda view: view.rows(SQL["next_claimable"]))
        [(at,)] = rows
        return None if at is None else max(0.0, at - self._clock())

    async def _rows(self, clause: str, *parameters: object) -> list[Any]:
        sql = f"{SQL['version_columns']} {SQL[clause]}"
        return await self._readers.read(lambda view: view.rows(sql, *parameters))


def columns_of(submission: Submission) -> tuple[Any, ...]:
    return (
        submission.source,
        submission.root,
        submission.title,
        pack_metadata(submission.metadata),
        submission.content_hash,
        submission.size,
        submission.fingerprint,
    )


def _same(version: Version, submission: Submission) -> bool:
    """Whether a version already is what a submission asks for."""
    return columns_of(version.submission) == columns_of(submission)


def _end_unfinished(
    connection: sqlite3.Connection, document: int, status: VersionStatus, now: float
) -> None:
    connection.execute(SQL["end_unfinished"], (status, now, document))
    connection.execute(SQL["unstage_document_chunks"], (document,))
    connection.execute(SQL["unstage_document_names"], (document,))


def _reread(connection: sqlite3.Connection, clause: str, *parameters: object) -> StoredVersion:
    found = find_version(connection, clause, *parameters)
    if found is None:
        raise StoreCorrupt(
            f"A row written a moment ago is not there ({parameters!r}). Check the file with: "
            "rag-engine doctor"
        )
    return found
