"""What every Store promises: versions become visible whole, and leave nothing behind.

Each test's name is the promise; see `rag_engine.ports.storage.Store`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rag_engine.core.jobs import Decision
from rag_engine.core.models import Stage, Usage, VersionStatus
from rag_engine.errors import Conflict, InvalidRequest, LeaseLost, ModelMismatch
from rag_engine.testing.drafts import (
    DIMENSIONS,
    LEASE,
    MEDIA_TYPE,
    WORKER,
    Draft,
    Passage,
    claim,
    id_of,
    ingest,
    int64,
    lattice,
    stage,
    told,
    work,
)
from rag_engine.testing.observation import differences, observe, observed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rag_engine.ports.storage import Control, Reader, Workspace
    from rag_engine.testing.drafts import Place

A = Draft(
    id="a",
    metadata={"author": "Ann", "year": 1843},
    passages=(
        Passage(text="Ann met Bob", extraction=told("Ann", "Bob", pairs=[("Ann", "Bob")])),
        Passage(text="the river", extraction=told("River")),
        Passage(text="nothing here"),
    ),
)
B = Draft(
    id="b",
    metadata={"author": "Bob"},
    passages=(
        Passage(text="Bob met Cid", extraction=told("BOB", "Cid", pairs=[("Cid", "BOB")])),
        Passage(text="the river again", extraction=told("river")),
    ),
)
A2 = replace(
    A,
    title="Second",
    metadata={"author": "Ann", "tags": ("new",)},
    passages=(Passage(text="Ann left", extraction=told("Ann", "Dora", pairs=[("Dora", "Ann")])),),
)


class StoreContract:
    """Subclass it and provide a fixture `control` that returns a `Place`."""

    @pytest.fixture
    async def opened(self, control: Place) -> AsyncIterator[Control]:
        one = control()
        yield one
        await one.aclose()

    @pytest.fixture
    async def workspace(self, opened: Control) -> Workspace:
        return await opened.open("default", create=True)

    async def test_an_empty_workspace_answers_everything_with_nothing(
        self, workspace: Workspace
    ) -> None:
        async with workspace.store.snapshot() as reader:
            stats = await reader.stats()
            assert (stats.documents, stats.chunks, stats.entities, stats.relations) == (0, 0, 0, 0)
            assert (stats.mentions, stats.assertions, dict(stats.fields)) == (0, 0, {})
            assert stats.model is None
            assert (await reader.list_documents()).documents == ()
            assert (await reader.search_text(["river"], 5)).ids.tolist() == []
            [hits] = await reader.search_dense("chunk", np.eye(DIMENSIONS, dtype="f4")[:1], 5)
            assert hits.ids.tolist() == []
            assert (await reader.statistics(["river"])).average_length == 0

    async def test_finish_makes_a_version_visible_whole(self, workspace: Workspace) -> None:
        [version] = await ingest(workspace, A)
        assert version.status is VersionStatus.INDEXED
        assert (version.chunks, version.stage, version.error) == (3, Stage.WRITE, None)
        assert version.finished_at is not None
        async with workspace.store.snapshot() as reader:
            [document] = await reader.documents(["a"])
            assert document is not None
            assert (document.version, document.chunks, document.size) == (1, 3, A.submission.size)
            assert document.metadata == A.metadata
            assert (document.media_type, document.parsed_hash) == (MEDIA_TYPE, "of a")
            assert document.title == "Parsed"
            assert document.created_at == document.updated_at == version.finished_at
            assert await reader.document_chunks("a") == [e.chunk for e in A.evidence()]
            stats = await reader.stats()
            assert (stats.documents, stats.chunks, stats.entities, stats.relations) == (1, 3, 3, 1)
            assert (stats.mentions, stats.assertions) == (3, 1)
            assert dict(stats.fields) == {"author": 1, "year": 1}

    async def test_the_submissions_title_outranks_the_parsers(self, workspace: Workspace) -> None:
        await ingest(workspace, replace(A, title="Given"))
        async with workspace.store.snapshot() as reader:
            [document] = await reader.documents(["a"])
            assert document is not None
            assert document.title == "Given"

    async def test_a_document_of_which_nothing_was_recorded_can_be_finished(
        self, workspace: Workspace
    ) -> None:
        await workspace.queue.accept(Draft(id="a").submission)
        await workspace.store.finish((await claim(workspace)).lease)
        async with workspace.store.snapshot() as reader:
            [document] = await reader.documents(["a"])
            assert document is not None
            assert (document.media_type, document.parsed_hash, document.title) == ("", "", None)
            assert document.chunks == 0
            assert await reader.document_chunks("a") == []

    async def test_staged_evidence_is_invisible(self, workspace: Workspace) -> None:
        await ingest(workspace, B)
        before = await observed(workspace)
        await workspace.queue.accept(A.submission)
        await stage(workspace.store, (await claim(workspace)).lease, A.evidence())
        assert differences(before, await observed(workspace)) == []
        async with workspace.store.snapshot() as reader:
            assert await reader.chunks(A.chunk_ids()) == [None, None, None]
            assert await reader.extractions(A.chunk_ids()) == [None, None, None]
            assert await reader.documents(["a"]) == [None]

    async def test_staging_again_changes_nothing(self, workspace: Workspace) -> None:
        await ingest(workspace, A)
        once = await observed(workspace)
        await workspace.store.delete(["a"])
        await workspace.queue.accept(A.submission)
        job = await claim(workspace)
        for _ in range(2):
            await stage(workspace.store, job.lease, A.evidence()[1:])
            await stage(workspace.store, job.lease, A.evidence())
        await work(workspace, job, A)
        assert differences(once, await observed(workspace)) == []

    async def test_stage_returns_the_keys_that_have_no_vector(self, workspace: Workspace) -> None:
        await workspace.queue.accept(A.submission)
        lease = (await claim(workspace)).lease
        assert await workspace.store.stage(lease, A.evidence()[1:]) == ["river"]
        assert await workspace.store.stage(lease, A.evidence()[:1]) == ["ann", "bob", "river"]
        await workspace.store.stage_names(lease, ["bob"], lattice("bob")[None, :])
        assert await workspace.store.stage(lease, A.evidence()) == ["ann", "river"]
        assert await workspace.store.stage(lease, []) == ["ann", "river"]

    async def test_a_name_known_from_another_document_needs_no_vector(
        self, workspace: Workspace
    ) -> None:
        await ingest(workspace, A)
        await workspace.queue.accept(B.submission)
        assert await workspace.store.stage((await claim(workspace)).lease, B.evidence()) == ["cid"]

    @pytest.mark.parametrize("how", ["delete", "replace", "cancel", "fail"])
    async def test_a_names_vector_goes_with_the_last_evidence(
        self, workspace: Workspace, how: str
    ) -> None:
        if how in ("delete", "replace"):
            await ingest(workspace, A)
        if how == "delete":
            await workspace.store.delete(["a"])
        elif how == "replace":
            await ingest(workspace, replace(A, passages=()))
        else:
            await workspace.queue.accept(A.submission)
            lease = (await claim(workspace)).lease
            await stage(workspace.store, lease, A.evidence())
            if how == "cancel":
                await workspace.queue.cancel("a")
            else:
                await workspace.queue.fail(lease, Decision(reason="It broke. Try another."))
        await workspace.queue.accept(B.submission)
        missing = await workspace.store.stage((await claim(workspace)).lease, B.evidence())
        assert missing == ["bob", "cid", "river"]

    async def test_a_name_staged_for_another_version_has_no_vector_yet(
        self, workspace: Workspace
    ) -> None:
        await workspace.queue.accept(A.submission)
        await stage(workspace.store, (await claim(workspace)).lease, A.evidence())
        await workspace.queue.accept(B.submission)
        lease = (await claim(workspace)).lease
        assert await workspace.store.stage(lease, B.evidence()) == ["bob", "cid", "river"]

    async def test_a_vector_of_a_name_that_is_not_mentioned_is_passed_over(
        self, workspace: Workspace
    ) -> None:
        await workspace.queue.accept(A.submission)
        lease = (await claim(workspace)).lease
        await workspace.store.stage_names(lease, ["ann"], lattice("ann")[None, :])
        assert await workspace.store.stage(lease, A.evidence()) == ["ann", "bob", "river"]

    async def test_a_name_that_becomes_known_meanwhile_needs_no_vector(
        self, workspace: Workspace
    ) -> None:
        await workspace.queue.accept(A.submission)
        lease = (await claim(workspace)).lease
        await workspace.store.stage(lease, A.evidence()[1:])
        await ingest(workspace, B)
        assert (await workspace.store.finish(lease)).chunks == 2
        async with workspace.store.snapshot() as reader:
            vectors = await reader.vectors("entity", int64([id_of("river")]))
        assert vectors.tolist() == [lattice("river").tolist()]

    async def test_a_name_once_known_is_known_although_its_document_goes(
        self, workspace: Workspace
    ) -> None:
        await ingest(workspace, B)
        alone = await observed(workspace)
        await workspace.store.delete(["b"])
        await ingest(workspace, A)
        await workspace.queue.accept(B.submission)
        job = await claim(workspace)
        await stage(workspace.store, job.lease, B.evidence())
        await workspace.store.delete(["a"])
        assert await workspace.store.stage(job.lease, B.evidence()) == []
        await work(workspace, job, B)
        assert differences(alone, await observed(workspace)) == []

    async def test_a_version_whose_names_have_no_vectors_cannot_be_finished(
        self, workspace: Workspace
    ) -> None:
        before = await observed(workspace)
        await workspace.queue.accept(A.submission)
        lease = (await claim(workspace)).lease
        await workspace.store.stage(lease, A.evidence())
        await workspace.store.stage_names(lease, ["ann", "bob"], np.eye(2, 8, dtype=np.float32))
        with pytest.raises(InvalidRequest, match="river"):
            await workspace.store.finish(lease)
        assert differences(before, await observed(workspace)) == []
        await workspace.store.stage_names(lease, ["river"], lattice("river")[None, :])
        assert (await workspace.store.finish(lease)).chunks == 3

    async def test_vectors_of_another_width_are_refused_and_nothing_is_written(
        self, workspace: Workspace
    ) -> None:
        await workspace.queue.accept(A.submission)
        lease = (await claim(workspace)).lease
        narrow = np.ones(DIMENSIONS - 1, dtype=np.float32)
        good, bad, _ = A.evidence()
        with pytest.raises(ModelMismatch):
            await workspace.store.stage(lease, [good, replace(bad, vector=narrow)])
        with pytest.raises(ModelMismatch):
            await workspace.store.stage_names(lease, ["ann"], narrow[None, :])
        version = await workspace.store.finish(lease)
        assert version.chunks == 0

    async def test_what_a_version_has_cost_is_recorded(self, workspace: Workspace) -> None:
        queue = workspace.queue
        await queue.accept(A.submission)
        job = await claim(workspace)
        assert job.version.usage == Usage()
        parsed = Usage(seconds={Stage.PARSE: 1.5})
        await queue.checkpoint(job.lease, Stage.PARSE, usage=parsed)
        await queue.checkpoint(job.lease, Stage.CHUNK)
        await queue.fail(
            job.lease, Decision(reason="Later.", code="ModelUnavailable", retry_in=0.0)
        )
        again = await claim(workspace)
        assert again.version.usage == parsed
        await stage(workspace.store, again.lease, A.evidence())
        whole = again.version.usage + Usage(seconds={Stage.PARSE: 0.5, Stage.EMBED: 2.0}, tokens=7)
        assert whole == Usage(seconds={Stage.PARSE: 2.0, Stage.EMBED: 2.0}, tokens=7)
        assert (await workspace.store.finish(again.lease, usage=whole)).usage == whole
        known = await queue.version("a")
        assert known is not None
        assert known.usage == whole

    async def test_replacing_leaves_nothing_of_the_old_version(self, workspace: Workspace) -> None:
        await ingest(workspace, B, A, A2)
        replaced = await observed(workspace)
        async with workspace.store.snapshot() as reader:
            assert await reader.chunks(A.chunk_ids(1)) == [None, None, None]
            [document] = await reader.documents(["a"])
            assert document is not None
            assert (document.version, document.title) == (2, "Second")
            stats = await reader.stats()
        assert (stats.documents, stats.chunks, stats.entities, stats.relations) == (2, 3, 5, 2)
        assert (stats.mentions, stats.assertions) == (5, 2)
        assert dict(stats.fields) == {"author": 2, "tags": 1}
        # Once more the same, so that everything is at the same version in a store of its own.
        await workspace.store.delete(["b"])
        await ingest(workspace, B)
        assert differences(replaced, await observed(workspace)) == []

    async def test_a_replaced_document_keeps_its_day_of_birth(
        self, workspace: Workspace, control: Place
    ) -> None:
        [first] = await ingest(workspace, A)
        await control.pass_time(1)
        [second] = await ingest(workspace, A2)
        async with workspace.store.snapshot() as reader:
            [document] = await reader.documents(["a"])
        assert document is not None
        assert document.created_at == first.finished_at
        assert document.updated_at == second.finished_at
        assert document.created_at < document.updated_at

    async def test_the_old_version_answers_until_the_new_one_is_finished(
        self, workspace: Workspace
    ) -> None:
        await ingest(workspace, A)
        before = await observed(workspace)
        await workspace.queue.accept(A2.submission)
        assert differences(before, await observed(workspace)) == []
        job = await claim(workspace)
        await stage(workspace.store, job.lease, A2.evidence(2))
        assert differences(before, await observed(workspace)) == []

    @pytest.mark.parametrize("how", ["cancel", "fail"])
    async def test_a_replacement_given_up_leaves_the_old_version_answering(
        self, workspace: Workspace, how: str
    ) -> None:
        await ingest(workspace, A, B)
        before = await observed(workspace)
        await workspace.queue.accept(A2.submission)
        lease = (await claim(workspace)).lease
        await stage(workspace.store, lease, A2.evidence(2))
        if how == "cancel":
            await workspace.queue.cancel("a")
        else:
            await workspace.queue.fail(lease, Decision(reason="It broke. Try another."))
        with pytest.raises(LeaseLost):
            await workspace.store.finish(lease)
        assert differences(before, await observed(workspace)) == []

    async def test_adding_b_and_deleting_it_equals_never_having_added_it(
        self, workspace: Workspace
    ) -> None:
        await ingest(workspace, A)
        alone = await observed(workspace)
        await ingest(workspace, B)
        assert differences(alone, await observed(workspace))
        assert await workspace.store.delete(["b"]) == 1
        assert differences(alone, await observed(workspace)) == []

    async def test_deleting_everything_leaves_an_empty_workspace(
        self, workspace: Workspace
    ) -> None:
        empty = await observed(workspace)
        await ingest(workspace, A, B, A2)
        assert await workspace.store.delete(["b", "a"]) == 2
        assert differences(empty, await observed(workspace)) == []

    async def test_delete_takes_versions_that_wait_or_run(self, workspace: Workspace) -> None:
        await ingest(workspace, A)
        await workspace.queue.accept(A2.submission)
        lease = (await claim(workspace)).lease
        await stage(workspace.store, lease, A2.evidence(2))
        await workspace.queue.accept(B.submission)
        assert await workspace.store.delete(["b", "a", "a", "unknown"]) == 2
        with pytest.raises(LeaseLost):
            await workspace.store.finish(lease)
        assert await workspace.queue.version("a") is None
        assert await workspace.queue.version("b") is None
        assert await workspace.queue.versions() == []
        assert await workspace.queue.claim(WORKER, LEASE) is None
        assert await workspace.store.delete(["a"]) == 0

    async def test_delete_counts_a_document_that_only_failed(self, workspace: Workspace) -> None:
        await workspace.queue.accept(A.submission)
        await workspace.queue.fail(
            (await claim(workspace)).lease, Decision(reason="It broke. Try another.")
        )
        assert await workspace.store.delete(["a"]) == 1
        assert await workspace.queue.version("a") is None

    async def test_a_lease_on_a_deleted_document_does_not_fit_its_successor(
        self, workspace: Workspace
    ) -> None:
        await workspace.queue.accept(A.submission)
        old = (await claim(workspace)).lease
        await workspace.store.delete(["a"])
        version = await workspace.queue.accept(A.submission)
        assert version.number == 1
        new = (await claim(workspace)).lease
        for refused in (
            workspace.store.stage(old, A.evidence()),
            workspace.store.stage_names(old, ["ann"], lattice("ann")[None, :]),
            workspace.store.finish(old),
            workspace.queue.heartbeat(old, LEASE),
        ):
            with pytest.raises(LeaseLost):
                await refused
        assert (await workspace.store.finish(new)).status is VersionStatus.INDEXED

    async def test_a_document_added_anew_is_as_if_it_had_never_been_there(
        self, workspace: Workspace
    ) -> None:
        await ingest(workspace, B, A)
        once = await observed(workspace)
        await ingest(workspace, A2)
        await workspace.store.delete(["a"])
        await ingest(workspace, A)
        assert differences(once, await observed(workspace)) == []

    async def test_a_reader_shows_no_write_that_began_after_it(self, workspace: Workspace) -> None:
        await ingest(workspace, A, B)
        async with workspace.store.snapshot() as old:
            before = await observe(old)
            counter = old.counter
            await ingest(workspace, A2)
            await workspace.store.delete(["b"])
            assert differences(before, await observe(old)) == []
            assert old.counter == counter
            async with workspace.store.snapshot() as new:
                assert new.counter != counter
                assert [one.id for one in (await new.list_documents()).documents] == ["a"]
                assert (await new.stats()).chunks == 1

    async def test_a_reader_never_asked_before_a_write_does_not_show_it(
        self, workspace: Workspace
    ) -> None:
        await ingest(workspace, A)
        before = await observed(workspace)
        async with workspace.store.snapshot() as old:
            await ingest(workspace, B)
            await workspace.store.delete(["a"])
            assert differences(before, await observe(old)) == []

    async def test_a_look_shows_what_a_view_shows(self, workspace: Workspace) -> None:
        for draft in (A, B, A2):
            await ingest(workspace, draft)
            assert differences(await observed(workspace), await workspace.store.look(observe)) == []

    async def test_what_goes_wrong_in_a_look_goes_wrong(self, workspace: Workspace) -> None:
        async def fail(reader: Reader) -> None:
            await reader.stats()
            raise Conflict("Somebody has it.")

        await ingest(workspace, A)
        with pytest.raises(Conflict, match="Somebody has it"):
            await workspace.store.look(fail)
        assert differences(await observed(workspace), await workspace.store.look(observe)) == []

    async def test_equal_counters_mean_equal_content(self, workspace: Workspace) -> None:
        counters = []
        for step in (None, A, B, A2, A, "b", B):
            if isinstance(step, Draft):
                await ingest(workspace, step)
            elif step is not None:
                await workspace.store.delete([step])
            async with workspace.store.snapshot() as reader:
                counters.append(reader.counter)
        assert counters == sorted(set(counters))
