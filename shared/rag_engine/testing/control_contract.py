"""What every Control promises: workspaces apart from each other, and the same when opened again.

Each test's name is the promise; see `rag_engine.ports.storage.Control`.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rag_engine.core.ids import chunk_id
from rag_engine.core.jobs import Decision
from rag_engine.core.keys import Key, Scope
from rag_engine.errors import InvalidRequest, LeaseLost, ModelMismatch, NotFound, StoreUnavailable
from rag_engine.ports.idempotency import KEPT_SECONDS, IdempotencyRecord
from rag_engine.testing.drafts import (
    DIMENSIONS,
    LEASE,
    WORKER,
    Draft,
    Passage,
    claim,
    ingest,
    stage,
)
from rag_engine.testing.observation import differences, observed
from rag_engine.testing.store_contract import A2, A, B

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rag_engine.ports.storage import Control, Workspace
    from rag_engine.testing.drafts import Place


KEY = "5b" * 32
"""An idempotency key, as long as one may be."""


class ControlContract:
    """Subclass it and provide a fixture `control` that returns a `Place`."""

    @pytest.fixture
    async def opened(self, control: Place) -> AsyncIterator[Control]:
        one = control()
        yield one
        await one.aclose()

    @pytest.fixture
    async def workspace(self, opened: Control) -> Workspace:
        return await opened.open("default", create=True)

    async def test_two_controls_over_one_place_see_each_others_writes(
        self, workspace: Workspace, control: Place
    ) -> None:
        other = control()
        try:
            theirs = await other.open("default", create=True)
            for draft in (A, B, A2):
                await ingest(workspace, draft)
                assert differences(await observed(workspace), await observed(theirs)) == []
            await theirs.store.delete(["b"])
            await ingest(theirs, A)
            assert differences(await observed(workspace), await observed(theirs)) == []
            async with workspace.store.snapshot() as mine, theirs.store.snapshot() as yours:
                assert mine.counter == yours.counter
                assert [one.id for one in (await mine.list_documents()).documents] == ["a"]
        finally:
            await other.aclose()

    async def test_opened_again_it_shows_the_same(self, control: Place) -> None:
        first = control()
        workspace = await first.open("default", create=True)
        await ingest(workspace, A, B)
        before = await observed(workspace)
        await workspace.queue.accept(A2.submission)
        job = await claim(workspace)
        await stage(workspace.store, job.lease, A2.evidence(2))
        await first.aclose()
        second = control()
        try:
            assert await second.workspaces() == ["default"]
            workspace = await second.open("default")
            assert differences(before, await observed(workspace)) == []
            version = await workspace.store.finish(job.lease)
            assert (version.number, version.chunks) == (2, 1)
        finally:
            await second.aclose()

    async def test_workspaces_do_not_touch_each_other(self, opened: Control) -> None:
        mine = await opened.open("mine", create=True)
        theirs = await opened.open("theirs", create=True)
        await ingest(mine, A)
        before = await observed(mine)
        await ingest(theirs, B, replace(A2, id="a"))
        await theirs.queue.accept(A.submission)
        assert differences(before, await observed(mine)) == []
        assert await mine.queue.claim(WORKER, LEASE) is None
        await theirs.store.delete(["a", "b"])
        assert differences(before, await observed(mine)) == []
        assert await opened.workspaces() == ["mine", "theirs"]

    async def test_it_knows_where_there_is_work(self, opened: Control, control: Place) -> None:
        assert await opened.waiting() == {}
        later = Decision(reason="It was away. Wait.", retry_in=LEASE)
        queues = {}
        for name in ("c", "now", "later", "held"):
            queues[name] = (await opened.open(name, create=True)).queue
        assert await opened.waiting() == {}
        for name in ("now", "later", "held"):
            await queues[name].accept(A.submission)
        assert await opened.waiting() == {"held": 0, "later": 0, "now": 0}
        for name in ("later", "held"):
            job = await queues[name].claim(WORKER, LEASE * 2)
            assert job is not None
            if name == "later":
                await queues[name].fail(job.lease, later)
        found = await opened.waiting()
        assert [*found] == ["later", "now"]
        assert 0 < found["later"] <= LEASE
        await control.pass_time(LEASE * 1.1)
        assert await opened.waiting() == {"later": 0, "now": 0}
        await control.pass_time(LEASE)
        assert await opened.waiting() == {"held": 0, "later": 0, "now": 0}

    async def test_what_a_worker_that_is_gone_held_is_work(
        self, opened: Control, workspace: Workspace, control: Place
    ) -> None:
        await workspace.queue.accept(A.submission)
        other = control()
        await claim(await other.open("default"))
        assert await opened.waiting() == {}
        await other.aclose()
        assert await opened.waiting() == {"default": 0}

    async def test_a_workspace_must_be_created_and_is_opened_once(self, opened: Control) -> None:
        with pytest.raises(NotFound, match="'nowhere'"):
            await opened.open("nowhere")
        assert await opened.workspaces() == []
        workspace = await opened.open("here", create=True)
        assert await opened.open("here") is workspace
        assert workspace.name == "here"
        assert await opened.workspaces() == ["here"]

    @pytest.mark.parametrize("name", ["", "a" * 65, "a/b", "a b", "ä", "a\n", "..\\x", "a\0"])
    async def test_a_name_that_cannot_be_a_workspace_is_refused(
        self, opened: Control, name: str
    ) -> None:
        with pytest.raises(InvalidRequest):
            await opened.open(name, create=True)
        assert await opened.workspaces() == []

    @pytest.mark.parametrize("name", ["a", "A-Z_0.9", "x" * 64])
    async def test_a_name_that_can_be_one_is_kept_as_it_is(
        self, opened: Control, name: str
    ) -> None:
        await opened.open(name, create=True)
        assert await opened.workspaces() == [name]

    async def test_vectors_of_another_model_are_not_opened(self, control: Place) -> None:
        first = control()
        workspace = await first.open("default", create=True)
        await ingest(workspace, A)
        async with workspace.store.snapshot() as reader:
            model = (await reader.stats()).model
        await first.aclose()
        assert model is not None
        for other in (control(model="other"), control(dimensions=DIMENSIONS * 2)):
            with pytest.raises(ModelMismatch, match=model):
                await other.open("default")
            await other.aclose()

    @pytest.mark.parametrize("how", ["cancel", "fail", "supersede", "delete"])
    async def test_a_version_given_up_leaves_no_vectors_behind(
        self, control: Place, how: str
    ) -> None:
        first = control()
        workspace = await first.open("default", create=True)
        await workspace.queue.accept(A.submission)
        lease = (await claim(workspace)).lease
        await stage(workspace.store, lease, A.evidence())
        match how:
            case "cancel":
                await workspace.queue.cancel("a")
            case "fail":
                await workspace.queue.fail(lease, Decision(reason="It broke. Try another."))
            case "supersede":
                await workspace.queue.accept(A2.submission)
            case "delete":
                await workspace.store.delete(["a"])
        await first.aclose()
        other = control(model="other")
        await other.open("default")
        await other.aclose()

    async def test_vectors_that_are_staged_are_not_opened_by_another_model(
        self, control: Place
    ) -> None:
        first = control()
        workspace = await first.open("default", create=True)
        await workspace.queue.accept(A.submission)
        await stage(workspace.store, (await claim(workspace)).lease, A.evidence())
        await first.aclose()
        other = control(model="other")
        with pytest.raises(ModelMismatch):
            await other.open("default")
        await other.aclose()

    async def test_a_workspace_without_vectors_takes_any_model(self, control: Place) -> None:
        first = control()
        workspace = await first.open("default", create=True)
        await ingest(workspace, A)
        await workspace.store.delete(["a"])
        await first.aclose()
        other = control(model="other", dimensions=2)
        try:
            workspace = await other.open("default")
            draft = Draft(id="a", passages=(Passage(text="Ann", vector=(0.0, 1.0)),))
            await ingest(workspace, draft)
            async with workspace.store.snapshot() as reader:
                assert (await reader.stats()).model == "other"
                found = await reader.vectors("chunk", np.array([chunk_id("a", 1, 0)]))
            assert found.tolist() == [[0.0, 1.0]]
        finally:
            await other.aclose()

    async def test_every_version_of_every_workspace_names_its_blobs(
        self, opened: Control, control: Place
    ) -> None:
        one = await opened.open("one", create=True)
        other = await opened.open("other", create=True)
        await ingest(one, A)
        await other.queue.accept(B.submission)
        pending, indexed = B.submission.content_hash, A.submission.content_hash
        asked = [pending, "nobody's", f"of {A.id}", indexed]
        assert await opened.referenced(asked) == {pending, indexed, f"of {A.id}"}
        assert await opened.referenced([]) == set()
        elsewhere = control(model="other")
        assert await elsewhere.referenced(asked) == {pending, indexed, f"of {A.id}"}
        await elsewhere.aclose()
        await one.store.delete([A.id])
        assert await opened.referenced(asked) == {pending}

    async def test_a_workspace_that_is_deleted_is_gone_with_all_it_held(
        self, opened: Control
    ) -> None:
        mine = await opened.open("mine", create=True)
        await ingest(mine, A)
        theirs = await opened.open("theirs", create=True)
        await ingest(theirs, A, B)
        await theirs.queue.accept(A2.submission)
        before = await observed(mine)
        assert await opened.delete("theirs")
        assert not await opened.delete("theirs")
        assert await opened.workspaces() == ["mine"]
        assert await opened.waiting() == {}
        hashes = [one.submission.content_hash for one in (A, A2, B)]
        assert await opened.referenced(hashes) == {A.submission.content_hash}
        with pytest.raises(NotFound, match="'theirs'"):
            await opened.open("theirs")
        assert differences(before, await observed(mine)) == []
        with pytest.raises(InvalidRequest):
            await opened.delete("../mine")

    async def test_one_that_is_made_under_its_name_begins_empty(
        self, opened: Control, control: Place
    ) -> None:
        await ingest(await opened.open("same", create=True), A)
        await opened.delete("same")
        again = await opened.open("same", create=True)
        assert await again.queue.version(A.id) is None
        await ingest(again, B)
        other = control()
        async with (await other.open("same")).store.snapshot() as reader:
            assert [one.id for one in (await reader.list_documents()).documents] == [B.id]
        await other.aclose()

    @pytest.mark.parametrize("again", [False, True])
    async def test_who_has_a_deleted_workspace_open_is_told_and_loses_nothing_silently(
        self, opened: Control, control: Place, again: bool
    ) -> None:
        other = control()
        theirs = await other.open("same", create=True)
        await ingest(theirs, A)
        await theirs.queue.accept(B.submission)
        lease = (await claim(theirs)).lease
        mine = await opened.open("same")
        async with theirs.store.snapshot():
            await opened.delete("same")
        if again:
            await ingest(await opened.open("same", create=True), A2)
        gone = (NotFound, StoreUnavailable, LeaseLost)
        for one in (theirs, mine):
            with pytest.raises(gone):
                await one.queue.accept(B.submission)
            with pytest.raises(gone):
                await stage(one.store, lease, B.evidence())
            with pytest.raises(gone):
                await one.store.finish(lease)
            with pytest.raises(gone):
                await one.queue.heartbeat(lease, LEASE)
            with pytest.raises(gone):
                async with one.store.snapshot():
                    pass
        if again:
            assert await (await other.open("same")).queue.version(B.id) is None
            assert await other.workspaces() == ["same"]
        else:
            with pytest.raises(NotFound, match="'same'"):
                await other.open("same")
            await ingest(await other.open("same", create=True), B)
        await other.aclose()

    async def test_keys_are_kept_and_forgotten_wherever_they_are_asked_for(
        self, opened: Control, control: Place
    ) -> None:
        assert await opened.keys() == []
        reading = Key(id="b", name="Reader", hash="1f", scopes=frozenset({Scope.READ}), made_at=2.0)
        writing = Key(
            id="a",
            name="Scanner ü",
            hash="2f",
            scopes=frozenset({Scope.READ, Scope.WRITE}),
            workspaces=frozenset({"one", "two"}),
            made_at=2.0,
        )
        first = replace(reading, id="c", made_at=1.5)
        for key in (reading, writing, first):
            await opened.add_key(key)
        other = control()
        assert await other.keys() == [first, writing, reading]
        assert await other.remove_key("a")
        assert not await other.remove_key("a")
        await other.aclose()
        assert await opened.keys() == [first, reading]
        assert await opened.workspaces() == []

    async def test_an_idempotency_key_stands_for_the_first_request_wherever_it_is_asked_for(
        self, opened: Control, control: Place
    ) -> None:
        await opened.open("default", create=True)
        mine = opened.idempotency
        asked = IdempotencyRecord(fingerprint="1f")
        answered = replace(asked, answer='{"text": "Straße \\u0000 🙂"}')
        assert await mine.reserve("default", KEY, "1f") == asked
        other = control()
        theirs = other.idempotency
        for one in (mine, theirs):
            assert await one.reserve("default", KEY, "2f") == asked
            assert await one.reserve("default", KEY, "1f") == asked
        assert await theirs.settle("default", KEY, replace(answered, fingerprint="2f")) == asked
        assert await mine.settle("default", KEY, answered) == answered
        assert await theirs.settle("default", KEY, replace(answered, answer="later")) == answered
        await theirs.release("default", KEY, "1f")
        await other.aclose()
        assert await mine.reserve("default", KEY, "2f") == answered
        assert await mine.reserve("default", "other", "2f") == replace(asked, fingerprint="2f")

    async def test_of_many_requests_with_one_key_at_once_one_is_stood_for(
        self, opened: Control, control: Place
    ) -> None:
        await opened.open("default", create=True)
        other = control()
        both = [opened.idempotency, other.idempotency] * 5
        reserved = await asyncio.gather(
            *(one.reserve("default", KEY, str(number)) for number, one in enumerate(both))
        )
        assert len(set(reserved)) == 1
        settled = await asyncio.gather(
            *(
                one.settle("default", KEY, replace(reserved[0], answer=str(number)))
                for number, one in enumerate(both)
            )
        )
        assert len(set(settled)) == 1
        assert settled[0].answer in {*map(str, range(len(both)))}
        await other.aclose()

    async def test_an_idempotency_key_is_free_again_once_it_is_released_or_old(
        self, opened: Control, control: Place
    ) -> None:
        await opened.open("default", create=True)
        await opened.open("idle", create=True)
        records = opened.idempotency
        await records.reserve("default", KEY, "1f")
        await records.release("default", KEY, "2f")
        assert (await records.reserve("default", KEY, "3f")).fingerprint == "1f"
        await records.release("default", KEY, "1f")
        asked = await records.reserve("default", KEY, "4f")
        assert asked == IdempotencyRecord(fingerprint="4f")
        await records.settle("default", KEY, replace(asked, answer="yes"))
        await records.reserve("idle", KEY, "1f")
        await control.pass_time(KEPT_SECONDS * 0.9)
        await records.reserve("default", "later", "2f")
        assert await records.forget() == 0
        await control.pass_time(KEPT_SECONDS * 0.2)
        asked = await records.reserve("default", KEY, "5f")
        assert asked == IdempotencyRecord(fingerprint="5f")
        assert await records.forget() == 1
        assert (await records.reserve("default", "later", "3f")).fingerprint == "2f"
        assert await records.forget(older_than=0) == 2
        assert await records.forget(older_than=0) == 0

    async def test_idempotency_keys_are_a_workspaces_own_and_go_with_it(
        self, opened: Control
    ) -> None:
        records = opened.idempotency
        answered = IdempotencyRecord(fingerprint="1f", answer="yes")
        assert await records.reserve("none", KEY, "1f") == IdempotencyRecord(fingerprint="1f")
        assert await records.settle("none", KEY, answered) == answered
        await records.release("none", KEY, "1f")
        assert await opened.workspaces() == []
        for name in ("mine", "theirs"):
            await opened.open(name, create=True)
        assert await records.settle("mine", KEY, answered) == answered
        assert (await records.reserve("theirs", KEY, "2f")).fingerprint == "2f"
        await opened.delete("mine")
        await opened.open("mine", create=True)
        assert (await records.reserve("mine", KEY, "3f")).fingerprint == "3f"
        assert (await records.reserve("theirs", KEY, "3f")).fingerprint == "2f"

    async def test_a_chore_is_due_once_in_a_while_wherever_it_is_asked_for(
        self, opened: Control, control: Place
    ) -> None:
        assert not await opened.due("sweep", 60)
        await opened.open("default", create=True)
        assert await opened.due("sweep", 60)
        assert not await opened.due("sweep", 60)
        assert await opened.due("dust", 60)
        await control.pass_time(61)
        assert await opened.due("sweep", 60)
        assert not await opened.due("sweep", 60)
