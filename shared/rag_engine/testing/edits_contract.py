"""What every Store promises of edits by hand: aliases and suppressions, in force until undone.

Each test's name is the promise; see `rag_engine.ports.storage.Store.edit`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from rag_engine.core.edits import Alias, Edit, Suppression
from rag_engine.core.models import Extraction, Mention
from rag_engine.errors import Conflict, InvalidRequest, ModelMismatch
from rag_engine.testing.drafts import (
    DIMENSIONS,
    Draft,
    Passage,
    floats,
    id_of,
    ingest,
    int64,
    lattice,
    mentioning,
    put,
    told,
)
from rag_engine.testing.observation import differences, observed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rag_engine.core.models import Entity
    from rag_engine.ports.storage import Control, Workspace
    from rag_engine.testing.drafts import Place

IBM = Draft(
    id="ibm",
    passages=(
        Passage(
            text="IBM bought Red Hat",
            extraction=told("IBM", "Red Hat", pairs=[("IBM", "Red Hat")]),
        ),
        Passage(text="IBM, that is Big Blue", extraction=told("IBM", "Big Blue")),
    ),
)
BLUE = Draft(
    id="blue",
    passages=(
        Passage(
            text="Big Blue bought Lotus",
            extraction=told("Big Blue", "Lotus", pairs=[("Big Blue", "Lotus")]),
        ),
    ),
)
NICKNAME = Alias(source="Big Blue", target="IBM")


async def entity_of(workspace: Workspace, name: str) -> Entity | None:
    async with workspace.store.snapshot() as reader:
        [entity] = await reader.entities([id_of(name)])
        return entity


class EditsContract:
    """Subclass it and provide a fixture `control` that returns a `Place`."""

    @pytest.fixture
    async def opened(self, control: Place) -> AsyncIterator[Control]:
        one = control()
        yield one
        await one.aclose()

    @pytest.fixture
    async def workspace(self, opened: Control) -> Workspace:
        return await opened.open("default", create=True)

    @pytest.fixture
    async def filled(self, workspace: Workspace) -> Workspace:
        await ingest(workspace, IBM, BLUE)
        return workspace

    async def test_an_alias_joins_two_entities(self, filled: Workspace) -> None:
        await put(filled.store, NICKNAME)
        assert await entity_of(filled, "Big Blue") is None
        entity = await entity_of(filled, "IBM")
        assert entity is not None
        assert (entity.name, entity.mentions) == ("IBM", 3)
        async with filled.store.snapshot() as reader:
            [found] = await reader.relations([entity.id])
            joined = [one.target_name for one in found]
            assert sorted(joined) == ["Lotus", "Red Hat"]
            assert await reader.canonical(["big blue", "ibm", "x"]) == ["ibm", "ibm", "x"]
            edges = await reader.adjacency("entity", int64([entity.id]))
            assert edges.degrees.tolist() == [3]
            stats = await reader.stats()
            assert (stats.entities, stats.relations, stats.mentions) == (3, 2, 5)

    async def test_a_chunk_that_uses_both_names_mentions_the_entity_once(
        self, filled: Workspace
    ) -> None:
        await put(filled.store, NICKNAME)
        async with filled.store.snapshot() as reader:
            evidence = await reader.evidence(id_of("IBM"))
            assert len({one.chunk_id for one in evidence}) == len(evidence) == 3
            written = sorted(one.mention.written for one in evidence)
            assert written == ["", "", "Big Blue"]

    async def test_what_was_found_is_kept_as_it_was(self, filled: Workspace) -> None:
        async with filled.store.snapshot() as before:
            ids = [chunk.id for chunk in await before.document_chunks("blue")]
            found = await before.extractions(ids)
            await put(filled.store, NICKNAME, Suppression(name="Lotus"))
        async with filled.store.snapshot() as after:
            assert await after.extractions(ids) == found

    async def test_what_an_edit_does_not_change_is_left_alone(self, workspace: Workspace) -> None:
        """Also where the database hands out mentions in another order than that of their keys."""
        await ingest(workspace, mentioning("z", "Zoe"), mentioning("a", "Ann"))
        both = Passage(text="x", extraction=told("Ann", "Zoe", pairs=[("Ann", "Zoe")]))
        await ingest(workspace, Draft(id="both", passages=(both,)))
        async with workspace.store.snapshot() as reader:
            ids = [chunk.id for chunk in await reader.document_chunks("both")]
            found = await reader.extractions(ids)
        await put(workspace.store, Suppression(name="Zoe", other="Nobody"))
        async with workspace.store.snapshot() as reader:
            assert await reader.extractions(ids) == found

    async def test_the_name_of_an_alias_is_the_one_it_was_given(self, filled: Workspace) -> None:
        await put(filled.store, Alias(source="IBM", target="International Business Machines"))
        entity = await entity_of(filled, "international business machines")
        assert entity is not None
        assert entity.name == "International Business Machines"

    async def test_aliases_are_followed_to_the_end(self, filled: Workspace) -> None:
        await put(filled.store, Alias(source="IBM", target="Acme"), NICKNAME)
        entity = await entity_of(filled, "Acme")
        assert entity is not None
        assert entity.mentions == 3
        async with filled.store.snapshot() as reader:
            assert await reader.canonical(["big blue"]) == ["acme"]

    async def test_edits_hold_for_what_is_ingested_later(self, workspace: Workspace) -> None:
        await put(workspace.store, NICKNAME, Suppression(name="Lotus"))
        await ingest(workspace, IBM, BLUE)
        entity = await entity_of(workspace, "IBM")
        assert entity is not None
        assert entity.mentions == 3
        assert await entity_of(workspace, "Lotus") is None
        await ingest(workspace, replace(BLUE, title="again"))
        entity = await entity_of(workspace, "IBM")
        assert entity is not None
        assert entity.mentions == 3

    async def test_a_suppressed_entity_is_seen_nowhere(self, filled: Workspace) -> None:
        await put(filled.store, Suppression(name="IBM"))
        assert await entity_of(filled, "IBM") is None
        async with filled.store.snapshot() as reader:
            assert await reader.evidence(id_of("IBM")) == []
            assert await reader.relations([id_of("Red Hat")]) == [[]]
            [hits] = await reader.search_dense("entity", lattice("ibm")[None, :], 9)
            assert id_of("IBM") not in hits.ids.tolist()
            chunks = [chunk.id for chunk in await reader.document_chunks("ibm")]
            edges = await reader.adjacency("chunk", int64(chunks))
            assert edges.degrees.tolist() == [1, 1]

    async def test_a_suppressed_relation_leaves_both_its_ends(self, filled: Workspace) -> None:
        await put(filled.store, Suppression(name="Red Hat", other="IBM"))
        for name in ("IBM", "Red Hat"):
            assert await entity_of(filled, name) is not None
            async with filled.store.snapshot() as reader:
                assert await reader.relations([id_of(name)]) == [[]]
                assert (await reader.stats()).relations == 1

    async def test_the_heavier_of_two_mentions_counts(self, workspace: Workspace) -> None:
        mentions = (
            Mention(name="IBM", type="company", weight=1000),
            Mention(name="Big Blue", type="nickname", weight=2000),
        )
        passage = Passage(text="x", extraction=Extraction(mentions=mentions))
        await ingest(workspace, Draft(id="a", passages=(passage,)))
        await put(workspace.store, NICKNAME)
        entity = await entity_of(workspace, "IBM")
        assert entity is not None
        assert entity.type == "nickname"

    @pytest.mark.parametrize(
        "edits",
        [
            [NICKNAME],
            [Suppression(name="IBM")],
            [Suppression(name="IBM", other="Red Hat")],
            [NICKNAME, Suppression(name="IBM")],
            [Suppression(name="IBM"), NICKNAME],
            [NICKNAME, Alias(source="IBM", target="Lotus")],
            [Alias(source="IBM", target="Lotus"), NICKNAME, Suppression(name="Lotus")],
            [Suppression(name="IBM", other="Lotus"), NICKNAME],
        ],
    )
    async def test_undone_in_any_order_it_is_as_if_it_had_never_been(
        self, control: Place, edits: list[Edit]
    ) -> None:
        one = control()
        for name, undone in (("forward", edits), ("backward", edits[::-1])):
            workspace = await one.open(name, create=True)
            await ingest(workspace, IBM, BLUE)
            before = await observed(workspace)
            assert await put(workspace.store, *edits) == [True] * len(edits)
            assert differences(before, await observed(workspace)) != []
            for edit in undone:
                assert await workspace.store.undo(edit.id)
            assert differences(before, await observed(workspace)) == []
        await one.aclose()

    async def test_the_order_of_edits_and_documents_shapes_nothing(self, control: Place) -> None:
        edits = (Suppression(name="Lotus"), Alias(source="IBM", target="Acme"), NICKNAME)
        one = control()
        first, last = [await one.open(name, create=True) for name in ("first", "last")]
        await put(first.store, *edits)
        await ingest(first, IBM, BLUE)
        await ingest(last, BLUE, IBM)
        await put(last.store, *edits[::-1])
        assert differences(await observed(first), await observed(last)) == []
        await one.aclose()

    async def test_an_alias_may_lead_to_one_of_a_name_that_nobody_mentions(
        self, workspace: Workspace
    ) -> None:
        await ingest(workspace, mentioning("blue", "Big Blue"))
        await put(workspace.store, Alias(source="IBM", target="International Business Machines"))
        await put(workspace.store, NICKNAME)
        assert await entity_of(workspace, "Big Blue") is None
        entity = await entity_of(workspace, "International Business Machines")
        assert entity is not None
        assert entity.mentions == 1

    async def test_the_same_edit_twice_is_one(self, filled: Workspace) -> None:
        assert await put(filled.store, NICKNAME) == [True]
        async with filled.store.snapshot() as reader:
            before = reader.counter
        again = Alias(source="BIG  BLUE", target="ibm")
        assert await put(filled.store, again) == [False]
        async with filled.store.snapshot() as reader:
            assert reader.counter == before
            assert [one.edit for one in await reader.edits()] == [NICKNAME]

    async def test_undoing_what_is_not_in_force_changes_nothing(self, filled: Workspace) -> None:
        assert not await filled.store.undo(NICKNAME.id)

    @pytest.mark.parametrize(
        ("edit", "error"),
        [
            (Alias(source="Acme", target="Big Blue"), InvalidRequest),
            (Alias(source="IBM", target="ibm"), InvalidRequest),
            (Alias(source=" ", target="IBM"), InvalidRequest),
            (Suppression(name=" "), InvalidRequest),
            (Suppression(name="Lotus", other="LOTUS"), InvalidRequest),
            (Alias(source="Big Blue", target="Lotus"), Conflict),
            (Suppression(name="Big Blue"), InvalidRequest),
            (Suppression(name="Lotus", other="Big Blue"), InvalidRequest),
            (Alias(source="Red Hat", target="Lotus"), Conflict),
            (Alias(source="Lotus", target="Red Hat"), Conflict),
            (Alias(source="Cid", target="Lotus"), Conflict),
        ],
    )
    async def test_an_edit_that_makes_no_sense_changes_nothing(
        self, filled: Workspace, edit: Edit, error: type[Exception]
    ) -> None:
        await put(filled.store, NICKNAME, Alias(source="IBM", target="Acme"))
        await put(filled.store, Suppression(name="Cid"), Suppression(name="Lotus", other="Red Hat"))
        before = await observed(filled)
        with pytest.raises(error):
            await put(filled.store, edit)
        assert differences(before, await observed(filled)) == []

    async def test_a_workspace_with_edits_alone_takes_no_other_model(self, control: Place) -> None:
        """Their vectors become those of entities as soon as a document mentions one."""
        one = control()
        workspace = await one.open("default", create=True)
        await put(workspace.store, NICKNAME)
        await one.aclose()
        other = control(model="other")
        with pytest.raises(ModelMismatch):
            await other.open("default")
        await other.aclose()

    async def test_vectors_of_another_size_are_refused(self, filled: Workspace) -> None:
        with pytest.raises(ModelMismatch):
            await filled.store.edit(
                Suppression(name="IBM"), floats([1.0] * (DIMENSIONS + 1))[None, :]
            )

    async def test_a_snapshot_shows_no_edit_that_came_later(self, filled: Workspace) -> None:
        async with filled.store.snapshot() as reader:
            await put(filled.store, NICKNAME)
            [entity] = await reader.entities([id_of("Big Blue")])
            assert entity is not None
            assert await reader.edits() == []
            edges = await reader.adjacency("entity", int64([id_of("Big Blue"), id_of("IBM")]))
            assert edges.degrees.tolist() == [2, 2]

    async def test_a_version_staged_before_an_edit_obeys_it(self, workspace: Workspace) -> None:
        await workspace.queue.accept(BLUE.submission)
        await put(workspace.store, NICKNAME)
        await ingest(workspace, BLUE)
        entity = await entity_of(workspace, "IBM")
        assert entity is not None
        assert entity.mentions == 1
        assert await workspace.store.undo(NICKNAME.id)
        assert await entity_of(workspace, "Big Blue") is not None

    async def test_deleting_documents_takes_their_edited_evidence_along(
        self, filled: Workspace
    ) -> None:
        await put(filled.store, NICKNAME, Suppression(name="Lotus"))
        await filled.store.delete(["ibm", "blue"])
        for edit in (NICKNAME, Suppression(name="Lotus")):
            assert await filled.store.undo(edit.id)
        async with filled.store.snapshot() as reader:
            stats = await reader.stats()
            assert (stats.entities, stats.mentions, stats.relations) == (0, 0, 0)
        await ingest(filled, mentioning("c", "Lotus"))
        assert await entity_of(filled, "Lotus") is not None
