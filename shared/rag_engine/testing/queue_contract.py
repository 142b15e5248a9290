"""What every JobQueue promises: nothing accepted is lost, and one worker holds a version at a time.

Each test's name is the promise; see `rag_engine.ports.queue.JobQueue`.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rag_engine.core.jobs import Decision
from rag_engine.core.models import Stage, VersionStatus
from rag_engine.errors import LeaseLost
from rag_engine.ports.queue import Census
from rag_engine.testing.drafts import (
    LEASE,
    WORKER,
    Draft,
    Passage,
    claim,
    ingest,
    stage,
    told,
    work,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rag_engine.core.models import Metadata, Submission, Version
    from rag_engine.ports.queue import JobQueue, Lease
    from rag_engine.ports.storage import Workspace
    from rag_engine.testing.drafts import Place

DRAFT = Draft(
    id="a",
    metadata={"year": 1843, "tags": ("x", "y"), "done": True},
    passages=(Passage(text="Ann", extraction=told("Ann")), Passage(text="river")),
)
WANTED = DRAFT.submission
_FOR_GOOD = Decision(reason="It broke. Try another.", code="DocumentUnreadable")
_LATER = Decision(reason="It was away. Wait.", code="ModelUnavailable", retry_in=LEASE)


def _of(document_id: str) -> Submission:
    return replace(WANTED, document_id=document_id)


class QueueContract:
    """Subclass it and provide a fixture `control` that returns a `Place`."""

    @pytest.fixture
    async def workspace(self, control: Place) -> AsyncIterator[Workspace]:
        opened = control()
        yield await opened.open("default", create=True)
        await opened.aclose()

    @pytest.fixture
    def queue(self, workspace: Workspace) -> JobQueue:
        return workspace.queue

    async def test_an_accepted_version_waits(self, queue: JobQueue) -> None:
        version = await queue.accept(WANTED)
        assert version.submission == WANTED
        assert (version.number, version.status, version.attempt) == (1, VersionStatus.PENDING, 0)
        assert (version.stage, version.error, version.finished_at) == (None, None, None)
        assert await queue.version("a") == version
        assert await queue.version("a", 1) == version
        assert await queue.versions() == [version]
        assert await queue.seconds_to_next() == 0

    async def test_what_is_unknown_is_none(self, queue: JobQueue) -> None:
        await queue.accept(WANTED)
        assert await queue.version("b") is None
        assert await queue.version("a", 2) is None
        assert await queue.cancel("b") is None

    async def test_a_document_can_begin_at_another_number(self, workspace: Workspace) -> None:
        queue = workspace.queue
        assert (await queue.accept(WANTED, first=7)).number == 7
        assert (await queue.accept(WANTED, first=3)).number == 7
        assert (await work(workspace, await claim(workspace), DRAFT)).number == 7
        assert (await queue.accept(replace(WANTED, title="Other"), first=3)).number == 8
        assert (await queue.accept(_of("b"), first=2)).number == 2
        await workspace.store.delete(["a"])
        assert (await queue.accept(WANTED)).number == 1

    async def test_accepting_survives_a_restart(self, control: Place) -> None:
        first = control()
        accepted = await (await first.open("default", create=True)).queue.accept(WANTED)
        await first.aclose()
        second = control()
        try:
            queue = (await second.open("default")).queue
            assert await queue.version("a") == accepted
            job = await queue.claim(WORKER, LEASE)
            assert job is not None
            assert job.version.submission == WANTED
        finally:
            await second.aclose()

    @pytest.mark.parametrize("when", ["pending", "running", "indexed"])
    async def test_accepting_the_same_again_changes_nothing(
        self, workspace: Workspace, when: str
    ) -> None:
        queue = workspace.queue
        await queue.accept(WANTED)
        if when != "pending":
            job = await claim(workspace)
            if when == "indexed":
                await work(workspace, job, DRAFT)
        before = await queue.version("a")
        reordered = replace(WANTED, metadata=dict(reversed([*WANTED.metadata.items()])))
        assert await queue.accept(reordered) == before
        assert await queue.versions() == [before]
        assert await queue.claim(WORKER, LEASE) is None or when == "pending"

    @pytest.mark.parametrize(
        "other",
        [
            replace(WANTED, content_hash="other"),
            replace(WANTED, fingerprint="other"),
            replace(WANTED, source="other"),
            replace(WANTED, root="/other"),
            replace(WANTED, title="Other"),
            replace(WANTED, metadata={}),
        ],
        ids=["content", "fingerprint", "source", "root", "title", "metadata"],
    )
    async def test_anything_different_is_a_new_version(
        self, queue: JobQueue, other: Submission
    ) -> None:
        await queue.accept(WANTED)
        version = await queue.accept(other)
        assert (version.number, version.submission) == (2, other)
        assert await queue.accept(other) == version

    @pytest.mark.parametrize(
        ("one", "other"),
        [({"x": True}, {"x": 1}), ({"x": "1"}, {"x": 1}), ({"x": ("a",)}, {"x": "a"})],
    )
    async def test_metadata_of_another_type_is_a_new_version(
        self, queue: JobQueue, one: Metadata, other: Metadata
    ) -> None:
        await queue.accept(replace(WANTED, metadata=one))
        assert (await queue.accept(replace(WANTED, metadata=other))).number == 2

    @pytest.mark.parametrize("how", ["cancel", "fail", "supersede"])
    async def test_a_version_given_up_can_be_wanted_again(
        self, workspace: Workspace, how: str
    ) -> None:
        queue = workspace.queue
        await queue.accept(WANTED)
        if how == "cancel":
            await queue.cancel("a")
        elif how == "fail":
            await queue.fail((await claim(workspace)).lease, _FOR_GOOD)
        else:
            await queue.accept(replace(WANTED, title="Other"))
            await queue.cancel("a")
        version = await queue.accept(WANTED)
        assert version.status is VersionStatus.PENDING
        assert version.number == (3 if how == "supersede" else 2)

    async def test_a_replacement_given_up_does_not_hide_that_the_old_one_is_indexed(
        self, workspace: Workspace
    ) -> None:
        [indexed] = await ingest(workspace, DRAFT)
        await workspace.queue.accept(replace(WANTED, title="Other"))
        await workspace.queue.cancel("a")
        assert await workspace.queue.accept(WANTED) == indexed

    async def test_what_was_indexed_before_the_current_version_is_wanted_anew(
        self, workspace: Workspace
    ) -> None:
        await ingest(workspace, DRAFT, replace(DRAFT, title="Other"))
        assert (await workspace.queue.accept(WANTED)).number == 3

    async def test_the_newest_wish_wins_over_a_waiting_version(self, workspace: Workspace) -> None:
        queue = workspace.queue
        await queue.accept(WANTED)
        newest = await queue.accept(replace(WANTED, title="Other"))
        older = await queue.version("a", 1)
        assert older is not None
        assert older.status is VersionStatus.SUPERSEDED
        assert older.finished_at is not None
        assert (await claim(workspace)).version.number == newest.number
        assert await queue.claim(WORKER, LEASE) is None
        assert [version.number for version in await queue.versions()] == [2]

    async def test_the_newest_wish_wins_over_a_running_version(self, workspace: Workspace) -> None:
        queue = workspace.queue
        await queue.accept(WANTED)
        lease = (await claim(workspace)).lease
        await stage(workspace.store, lease, DRAFT.evidence())
        await queue.accept(replace(WANTED, title="Other"))
        await self._assert_lost(workspace, lease)
        job = await claim(workspace)
        assert job.version.number == 2
        version = await work(workspace, job, replace(DRAFT, passages=()))
        assert version.chunks == 0

    async def test_what_is_indexed_is_known_until_a_newer_one_is_finished(
        self, workspace: Workspace
    ) -> None:
        await ingest(workspace, DRAFT)
        await workspace.queue.accept(replace(WANTED, title="Other"))
        assert (await self._version(workspace, 1)).status is VersionStatus.INDEXED
        await work(workspace, await claim(workspace), DRAFT)
        assert await workspace.queue.version("a", 1) is None
        assert (await self._version(workspace)).number == 2

    async def test_a_claimed_version_runs(self, workspace: Workspace) -> None:
        accepted = await workspace.queue.accept(WANTED)
        job = await claim(workspace)
        assert job.version == replace(accepted, status=VersionStatus.RUNNING, attempt=1)
        assert (job.lease.document_id, job.lease.version) == ("a", 1)
        assert await workspace.queue.version("a") == job.version
        assert await workspace.queue.claim("another", LEASE) is None
        assert await workspace.queue.seconds_to_next() is None

    async def test_what_waited_longest_is_claimed_first(
        self, workspace: Workspace, control: Place
    ) -> None:
        for id in ("c", "a", "b"):
            await workspace.queue.accept(_of(id))
            await control.pass_time(1)
        assert [(await claim(workspace)).lease.document_id for _ in "123"] == ["c", "a", "b"]
        assert await workspace.queue.claim(WORKER, LEASE) is None

    async def test_one_documents_version_can_be_claimed_before_its_turn(
        self, workspace: Workspace
    ) -> None:
        for id in ("a", "b"):
            await workspace.queue.accept(_of(id))
        job = await workspace.queue.claim(WORKER, LEASE, document_id="b")
        assert job is not None
        assert job.lease.document_id == "b"
        assert await workspace.queue.claim(WORKER, LEASE, document_id="b") is None
        assert (await claim(workspace)).lease.document_id == "a"

    async def test_many_workers_share_the_work_without_overlap(self, control: Place) -> None:
        controls = [control() for _ in range(3)]
        try:
            queues = [(await one.open("default", create=True)).queue for one in controls]
            for number in range(12):
                await queues[0].accept(_of(f"d{number}"))
            jobs = await asyncio.gather(
                *(queues[number % 3].claim(f"w{number}", LEASE) for number in range(15))
            )
            claimed = [job.lease for job in jobs if job]
            assert len({lease.document_id for lease in claimed}) == len(claimed) == 12
            assert len({lease.epoch for lease in claimed}) == 12
        finally:
            for one in controls:
                await one.aclose()

    async def test_a_lease_runs_out_and_the_version_can_be_claimed_again(
        self, workspace: Workspace, control: Place
    ) -> None:
        await workspace.queue.accept(WANTED)
        old = await claim(workspace)
        await control.pass_time(LEASE * 2)
        new = await claim(workspace)
        assert new.lease.epoch > old.lease.epoch
        assert new.version.attempt == 2
        await self._assert_lost(workspace, old.lease)
        assert (await work(workspace, new, DRAFT)).status is VersionStatus.INDEXED

    async def test_a_lease_that_ran_out_is_lost_even_if_nobody_took_it(
        self, workspace: Workspace, control: Place
    ) -> None:
        await workspace.queue.accept(WANTED)
        lease = (await claim(workspace)).lease
        await control.pass_time(LEASE * 2)
        await self._assert_lost(workspace, lease)
        assert (await self._version(workspace)).status is VersionStatus.RUNNING

    async def test_a_heartbeat_keeps_a_lease(self, workspace: Workspace, control: Place) -> None:
        await workspace.queue.accept(WANTED)
        job = await claim(workspace)
        for _ in range(3):
            await control.pass_time(LEASE * 0.6)
            await workspace.queue.heartbeat(job.lease, LEASE)
        assert await workspace.queue.claim("another", LEASE) is None
        assert await workspace.queue.release_stalled() == 0
        assert (await work(workspace, job, DRAFT)).status is VersionStatus.INDEXED

    async def test_a_heartbeat_counts_from_now(self, workspace: Workspace, control: Place) -> None:
        await workspace.queue.accept(WANTED)
        lease = (await claim(workspace)).lease
        await workspace.queue.heartbeat(lease, LEASE)
        await control.pass_time(LEASE * 1.2)
        await self._assert_lost(workspace, lease)

    async def test_what_stalled_is_put_back(self, workspace: Workspace, control: Place) -> None:
        queue = workspace.queue
        await queue.accept(_of("a"))
        await queue.accept(_of("b"))
        first = (await claim(workspace)).lease
        await control.pass_time(LEASE * 0.7)
        second = (await claim(workspace)).lease
        await control.pass_time(LEASE * 0.7)
        assert await queue.release_stalled() == 1
        assert await queue.release_stalled() == 0
        version = await queue.version(first.document_id)
        assert version is not None
        assert (version.status, version.attempt) == (VersionStatus.PENDING, 1)
        assert await queue.seconds_to_next() == 0
        await self._assert_lost(workspace, first)
        await queue.heartbeat(second, LEASE)

    async def test_what_a_worker_that_is_gone_held_is_put_back_at_once(
        self, workspace: Workspace, control: Place
    ) -> None:
        for id in ("a", "b"):
            await workspace.queue.accept(_of(id))
        other = control()
        theirs = await other.open("default")
        for _ in "12":
            job = await theirs.queue.claim("theirs", LEASE, document_id="a")
            assert job is not None
            assert (await claim(workspace)).lease.document_id == "b"
            assert await workspace.queue.release_stalled() == 0
            await other.aclose()
            await workspace.queue.heartbeat(job.lease, LEASE)
            assert await workspace.queue.release_stalled() == 1
            await self._assert_lost(workspace, job.lease)
            version = await self._version(workspace)
            assert (version.status, version.error) == (VersionStatus.PENDING, None)
            other = control()
            theirs = await other.open("default")
            await workspace.queue.cancel("b")
            await workspace.queue.accept(_of("b"))
        assert version.attempt == 2
        assert await theirs.queue.seconds_to_next() == 0
        await other.aclose()

    async def test_what_was_recorded_outlives_its_lease_and_what_was_staged_does_not(
        self, workspace: Workspace, control: Place
    ) -> None:
        await workspace.queue.accept(WANTED)
        lease = (await claim(workspace)).lease
        await workspace.queue.checkpoint(lease, Stage.EXTRACT, media_type="text/plain")
        await stage(workspace.store, lease, DRAFT.evidence())
        await control.pass_time(LEASE * 2)
        await workspace.queue.release_stalled()
        job = await claim(workspace)
        assert (job.version.stage, job.version.media_type) == (Stage.EXTRACT, "text/plain")
        await stage(workspace.store, job.lease, DRAFT.evidence()[:1])
        assert (await workspace.store.finish(job.lease)).chunks == 1

    async def test_an_attempt_that_was_put_back_does_not_count(self, workspace: Workspace) -> None:
        await workspace.queue.accept(WANTED)
        for _ in range(3):
            job = await claim(workspace)
            assert job.version.attempt == 1
            await stage(workspace.store, job.lease, DRAFT.evidence())
            await workspace.queue.release(job.lease)
            assert await workspace.queue.seconds_to_next() == 0
        with pytest.raises(LeaseLost):
            await workspace.queue.release(job.lease)

    async def test_checkpoints_add_to_what_is_known(self, workspace: Workspace) -> None:
        queue = workspace.queue
        await queue.accept(WANTED)
        job = await claim(workspace)
        await queue.checkpoint(
            job.lease, Stage.PARSE, media_type="text/html", title="T", warnings=["one", "two"]
        )
        await queue.checkpoint(job.lease, Stage.CHUNK, parsed_hash="h", warnings=["two", "three"])
        await queue.checkpoint(job.lease, Stage.EMBED)
        assert await queue.version("a") == replace(
            job.version,
            stage=Stage.EMBED,
            media_type="text/html",
            title="T",
            parsed_hash="h",
            warnings=("one", "two", "three"),
        )

    async def test_a_failure_for_good_has_a_reason(self, workspace: Workspace) -> None:
        queue = workspace.queue
        await queue.accept(WANTED)
        job = await claim(workspace)
        await stage(workspace.store, job.lease, DRAFT.evidence())
        failed = await queue.fail(job.lease, _FOR_GOOD)
        assert failed.status is VersionStatus.FAILED
        assert (failed.error, failed.error_code) == (_FOR_GOOD.reason, _FOR_GOOD.code)
        assert (failed.attempt, failed.retry_at) == (1, None)
        assert failed.finished_at is not None
        assert await queue.version("a") == failed
        assert await queue.versions(status=VersionStatus.FAILED) == [failed]
        assert await queue.claim(WORKER, LEASE) is None
        await self._assert_lost(workspace, job.lease)

    async def test_a_failure_to_be_retried_waits_its_time(
        self, workspace: Workspace, control: Place
    ) -> None:
        queue = workspace.queue
        await queue.accept(WANTED)
        job = await claim(workspace)
        await queue.checkpoint(job.lease, Stage.PARSE)
        await stage(workspace.store, job.lease, DRAFT.evidence()[:1])
        version = await queue.fail(job.lease, _LATER)
        assert version == await queue.version("a")
        assert (version.status, version.attempt) == (VersionStatus.PENDING, 1)
        assert (version.error, version.error_code) == (_LATER.reason, _LATER.code)
        assert version.retry_at is not None
        assert LEASE <= version.retry_at - version.requested_at < LEASE * 1.1
        assert (version.stage, version.finished_at) == (Stage.PARSE, None)
        assert await queue.claim(WORKER, LEASE) is None
        wait = await queue.seconds_to_next()
        assert wait is not None
        assert 0 < wait <= LEASE
        await self._assert_lost(workspace, job.lease)
        await control.pass_time(LEASE * 1.1)
        assert await queue.seconds_to_next() == 0
        again = await claim(workspace)
        assert (again.version.attempt, again.version.retry_at) == (2, None)
        assert again.version.error_code == _LATER.code
        assert again.version == await queue.version("a")
        await stage(workspace.store, again.lease, DRAFT.evidence())
        finished = await workspace.store.finish(again.lease)
        assert (finished.chunks, finished.error, finished.error_code) == (2, None, None)
        assert finished == await queue.version("a")

    async def test_what_is_put_off_can_be_cancelled(self, workspace: Workspace) -> None:
        await workspace.queue.accept(WANTED)
        await workspace.queue.fail((await claim(workspace)).lease, _LATER)
        cancelled = await workspace.queue.cancel("a")
        assert cancelled is not None
        assert cancelled == await workspace.queue.version("a")
        assert (cancelled.retry_at, cancelled.error_code) == (None, _LATER.code)
        assert await workspace.queue.seconds_to_next() is None

    @pytest.mark.parametrize("how", ["released", "stalled"])
    async def test_what_failed_before_and_is_put_back_can_be_retried_at_once(
        self, workspace: Workspace, control: Place, how: str
    ) -> None:
        queue = workspace.queue
        await queue.accept(WANTED)
        await queue.fail((await claim(workspace)).lease, replace(_LATER, retry_in=0.0))
        lease = (await claim(workspace)).lease
        if how == "released":
            await queue.release(lease)
        else:
            await control.pass_time(LEASE * 2)
            await queue.release_stalled()
        version = await self._version(workspace)
        assert version.retry_at is not None
        assert 0 <= version.retry_at - version.requested_at < LEASE * 2.1
        assert (await claim(workspace)).version.retry_at is None

    async def test_a_heartbeat_may_come_from_another_threads_event_loop(
        self, workspace: Workspace, control: Place
    ) -> None:
        queue = workspace.queue
        await queue.accept(WANTED)
        lease = (await claim(workspace)).lease
        for _ in range(3):
            await control.pass_time(LEASE * 0.6)
            await asyncio.to_thread(lambda: asyncio.run(queue.heartbeat(lease, LEASE)))
        seen = await asyncio.to_thread(lambda: asyncio.run(queue.version("a")))
        assert seen is not None
        assert seen.status is VersionStatus.RUNNING
        await queue.cancel("a")
        with pytest.raises(LeaseLost):
            await asyncio.to_thread(lambda: asyncio.run(queue.heartbeat(lease, LEASE)))

    async def test_cancelling_ends_what_waits(self, queue: JobQueue) -> None:
        await queue.accept(WANTED)
        cancelled = await queue.cancel("a")
        assert cancelled is not None
        assert cancelled.status is VersionStatus.CANCELLED
        assert cancelled.finished_at is not None
        assert await queue.version("a") == cancelled
        assert await queue.claim(WORKER, LEASE) is None
        assert await queue.seconds_to_next() is None
        assert await queue.cancel("a") is None

    async def test_cancelling_ends_what_runs(self, workspace: Workspace) -> None:
        await workspace.queue.accept(WANTED)
        lease = (await claim(workspace)).lease
        await stage(workspace.store, lease, DRAFT.evidence())
        cancelled = await workspace.queue.cancel("a")
        assert cancelled is not None
        assert cancelled.status is VersionStatus.CANCELLED
        await self._assert_lost(workspace, lease)
        assert await workspace.queue.release_stalled() == 0

    async def test_what_is_final_cannot_be_cancelled(self, workspace: Workspace) -> None:
        [indexed] = await ingest(workspace, DRAFT)
        assert await workspace.queue.cancel("a") is None
        assert await workspace.queue.version("a") == indexed

    async def test_a_finished_lease_is_lost(self, workspace: Workspace) -> None:
        await workspace.queue.accept(WANTED)
        job = await claim(workspace)
        await work(workspace, job, DRAFT)
        await self._assert_lost(workspace, job.lease)

    async def test_a_lease_of_another_epoch_is_not_held(self, workspace: Workspace) -> None:
        await workspace.queue.accept(WANTED)
        lease = (await claim(workspace)).lease
        await self._assert_lost(workspace, replace(lease, epoch=lease.epoch + 1))
        await self._assert_lost(workspace, replace(lease, epoch=lease.epoch - 1))
        await self._assert_lost(workspace, replace(lease, version=2))
        await self._assert_lost(workspace, replace(lease, document_id="b"))
        await workspace.queue.heartbeat(lease, LEASE)

    async def test_versions_lists_the_newest_of_each_document(
        self, workspace: Workspace, control: Place
    ) -> None:
        queue = workspace.queue
        for id in ("b", "a", "c"):
            await queue.accept(_of(id))
            await control.pass_time(1)
        await queue.cancel("a")
        await queue.accept(replace(_of("b"), title="Other"))
        assert await self._listed(queue) == [("b", 2), ("c", 1), ("a", 1)]
        assert [one.document_id for one in await queue.versions(limit=2)] == ["b", "c"]
        assert await self._listed(queue, VersionStatus.CANCELLED) == [("a", 1)]
        assert await self._listed(queue, VersionStatus.PENDING) == [("b", 2), ("c", 1)]
        assert await self._listed(queue, VersionStatus.SUPERSEDED) == []

    async def test_seconds_to_next_is_the_shortest_wait(
        self, workspace: Workspace, control: Place
    ) -> None:
        queue = workspace.queue
        assert await queue.seconds_to_next() is None
        for id, seconds in (("a", LEASE * 3), ("b", LEASE)):
            await queue.accept(_of(id))
            later = replace(_LATER, retry_in=seconds)
            await queue.fail((await claim(workspace)).lease, later)
        wait = await queue.seconds_to_next()
        assert wait is not None
        assert 0 < wait <= LEASE
        await control.pass_time(LEASE * 1.5)
        assert await queue.seconds_to_next() == 0

    async def test_the_census_counts_what_stands_where(
        self, workspace: Workspace, control: Place
    ) -> None:
        queue = workspace.queue
        assert await queue.census() == Census()
        for id in ("a", "b", "c", "d"):
            await queue.accept(_of(id))
            await control.pass_time(1)
        running = await claim(workspace)
        await queue.cancel("d")
        census = await queue.census()
        assert (census.pending, census.running) == (2, 1)
        assert census.oldest_seconds >= 2  # since "b" was requested
        await control.pass_time(10)
        assert (await queue.census()).oldest_seconds >= 12
        await queue.fail(running.lease, _FOR_GOOD)
        assert (await queue.census()).running == 0

    async def test_the_census_counts_documents_that_answer_once(self, workspace: Workspace) -> None:
        queue = workspace.queue
        await ingest(workspace, DRAFT)
        await ingest(workspace, replace(DRAFT, title="Another"))
        await ingest(workspace, replace(DRAFT, id="b"))
        assert await queue.census() == Census(indexed=2, chunks=4)
        await queue.accept(replace(WANTED, title="Third"))
        await queue.fail((await claim(workspace)).lease, _FOR_GOOD)
        assert await queue.census() == Census(indexed=2, chunks=4)
        await workspace.store.delete(["a"])
        assert await queue.census() == Census(indexed=1, chunks=2)

    async def _assert_lost(self, workspace: Workspace, lease: Lease) -> None:
        """Nothing can be written under this lease, and trying changes nothing."""
        before = await workspace.queue.version(lease.document_id)
        for refused in (
            workspace.queue.heartbeat(lease, LEASE),
            workspace.queue.checkpoint(lease, Stage.EMBED, title="lost"),
            workspace.queue.fail(lease, _FOR_GOOD),
            workspace.queue.fail(lease, _LATER),
            workspace.store.stage(lease, DRAFT.evidence()),
            workspace.store.stage_names(lease, ["ann"], np.zeros((1, 8), dtype=np.float32)),
            workspace.store.finish(lease),
        ):
            with pytest.raises(LeaseLost):
                await refused
        assert await workspace.queue.version(lease.document_id) == before

    async def _version(self, workspace: Workspace, number: int | None = None) -> Version:
        version = await workspace.queue.version("a", number)
        assert version is not None
        return version

    async def _listed(
        self, queue: JobQueue, status: VersionStatus | None = None
    ) -> list[tuple[str, int]]:
        return [(one.document_id, one.number) for one in await queue.versions(status=status)]
