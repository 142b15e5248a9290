"""What every Store promises of its contents: all of a workspace as of one moment, for who copies it.

Each test's name is the promise; see `rag_engine.ports.storage.Contents`.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rag_engine.core.edits import Alias, Suppression
from rag_engine.core.evidence import canonical
from rag_engine.core.names import entity_key
from rag_engine.testing.drafts import (
    DIMENSIONS,
    Draft,
    Passage,
    claim,
    ingest,
    lattice,
    mentioning,
    put,
    stage,
    told,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rag_engine.ports.storage import Content, Contents, Workspace
    from rag_engine.testing.drafts import Place

DRAFT = Draft(
    id="b",
    source="ships/b.txt",
    root="/ships",
    title="Ships",
    metadata={"year": 1843, "depth": 2.0, "tags": ("x", "y"), "done": True},
    passages=(
        Passage(
            text="Ann met Bob",
            extraction=told("Ann", "Bob", pairs=[("Ann", "Bob")]),
            pages=(3, 4),
            heading_path=("One", "Two"),
        ),
        Passage(text="a river"),
        Passage(text="Bob again", extraction=told("Bob")),
    ),
)


async def _read(contents: Contents) -> list[Content]:
    async with aclosing(contents.read()) as found:
        return [one async for one in found]


class ContentsContract:
    """Subclass it and provide a fixture `control` that returns a `Place`."""

    @pytest.fixture
    async def workspace(self, control: Place) -> AsyncIterator[Workspace]:
        opened = control()
        yield await opened.open("default", create=True)
        await opened.aclose()

    async def test_an_empty_workspace_holds_nothing(self, workspace: Workspace) -> None:
        async with workspace.store.contents() as contents:
            assert contents.documents == 0
            assert await _read(contents) == []
            assert await contents.edits() == []
            assert await contents.names([]) == []

    async def test_a_document_comes_back_with_all_that_belongs_to_it(
        self, workspace: Workspace
    ) -> None:
        [version] = await ingest(workspace, DRAFT)
        async with workspace.store.snapshot() as reader:
            [document] = await reader.documents(["b"])
        async with workspace.store.contents() as contents:
            [found] = await _read(contents)
        evidence = DRAFT.evidence(version.number)
        assert found.document == document
        assert found.submission == DRAFT.submission
        types = {name: type(value) for name, value in found.submission.metadata.items()}
        assert types == {"year": int, "depth": float, "tags": tuple, "done": bool}
        assert list(found.chunks) == [one.chunk for one in evidence]
        assert list(found.extractions) == [canonical(one.extraction) for one in evidence]
        assert found.vectors.dtype == np.float32
        assert np.array_equal(found.vectors, np.stack([one.vector for one in evidence]))

    async def test_documents_come_in_the_order_of_their_ids(self, workspace: Workspace) -> None:
        ids = ["b", "B", "é", "a\U0001f600", "a\uffff", "a", "a b"]
        await ingest(workspace, *(mentioning(id, f"Name {n}") for n, id in enumerate(ids)))
        async with workspace.store.contents() as contents:
            assert contents.documents == len(ids)
            assert [one.document.id for one in await _read(contents)] == sorted(ids)

    async def test_a_document_without_chunks_is_there(self, workspace: Workspace) -> None:
        await ingest(workspace, Draft(id="empty"), mentioning("full", "Ann"))
        async with workspace.store.contents() as contents:
            empty, full = await _read(contents)
        assert (empty.chunks, empty.extractions) == ((), ())
        assert empty.vectors.shape == (0, DIMENSIONS)
        assert len(full.chunks) == 1

    async def test_only_what_is_visible_is_there(self, workspace: Workspace) -> None:
        await ingest(workspace, mentioning("gone", "Eve"), mentioning("old", "Ann"))
        await ingest(workspace, mentioning("old", "Bob"))
        await workspace.store.delete(["gone"])
        await workspace.queue.accept(mentioning("old", "Cid").submission)
        job = await claim(workspace)
        await stage(workspace.store, job.lease, mentioning("old", "Cid").evidence(3))
        await workspace.queue.accept(mentioning("waits", "Dan").submission)
        async with workspace.store.contents() as contents:
            assert contents.documents == 1
            [found] = await _read(contents)
        assert (found.document.id, found.document.version) == ("old", 2)
        assert found.submission == mentioning("old", "Bob").submission
        assert [one.text for one in found.chunks] == ["Bob"]

    async def test_nothing_that_is_written_later_is_seen(self, workspace: Workspace) -> None:
        drafts = [mentioning(id, id.upper()) for id in "abcd"]
        await ingest(workspace, *drafts)
        await put(workspace.store, Suppression(name="A"))
        async with workspace.store.contents() as contents:
            await ingest(workspace, mentioning("a", "Other"), mentioning("e", "New"))
            await workspace.store.delete(["b"])
            await put(workspace.store, Alias(source="C", target="D"))
            await workspace.store.undo(Suppression(name="A").id)
            found = await _read(contents)
            assert contents.documents == 4
            assert [one.edit for one in await contents.edits()] == [Suppression(name="A")]
        assert [one.document.id for one in found] == list("abcd")
        assert [one.chunks[0].text for one in found] == list("ABCD")
        assert [one.submission for one in found] == [draft.submission for draft in drafts]

    async def test_evidence_is_as_it_was_found_whatever_edits_make_of_it(
        self, workspace: Workspace
    ) -> None:
        await ingest(workspace, DRAFT)
        await put(workspace.store, Alias(source="Bob", target="Robert"), Suppression(name="Ann"))
        async with workspace.store.contents() as contents:
            [found] = await _read(contents)
            edits = [one.edit for one in await contents.edits()]
        evidence = DRAFT.evidence(1)
        assert list(found.extractions) == [canonical(one.extraction) for one in evidence]
        assert edits == [Alias(source="Bob", target="Robert"), Suppression(name="Ann")]

    async def test_names_have_the_vectors_that_were_written(self, workspace: Workspace) -> None:
        await ingest(workspace, DRAFT)
        async with workspace.store.contents() as contents:
            ann, nobody, bob = await contents.names(["ann", "nobody", "bob"])
        assert nobody is None
        assert ann is not None
        assert bob is not None
        assert np.array_equal(ann, lattice(entity_key("Ann")))
        assert np.array_equal(bob, lattice(entity_key("Bob")))

    async def test_names_that_edits_are_about_have_theirs(self, workspace: Workspace) -> None:
        await ingest(workspace, DRAFT)
        await put(workspace.store, Alias(source="Bob", target="Robert"), Suppression(name="Ann"))
        async with workspace.store.contents() as contents:
            found = await contents.names(["ann", "bob", "robert"])
        for key, vector in zip(["ann", "bob", "robert"], found, strict=True):
            assert vector is not None
            assert np.array_equal(vector, lattice(key))

    async def test_many_documents_are_read(self, workspace: Workspace) -> None:
        long = tuple(Passage(text=f"part {n}") for n in range(600))
        await ingest(workspace, Draft(id="m long", passages=long))
        few = [replace(DRAFT, id=f"{side}{n:03d}") for side in "az" for n in range(60)]
        await ingest(workspace, *few)
        async with workspace.store.contents() as contents:
            found = await _read(contents)
        assert [len(one.chunks) for one in found] == [3] * 60 + [600] + [3] * 60
        assert [one.ordinal for one in found[60].chunks] == list(range(600))
