"""What every Reader promises: the graph and the searches as the visible evidence makes them.

Each test's name is the promise; see `rag_engine.ports.storage.Reader`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pytest

from rag_engine.core.evidence import canonical
from rag_engine.core.filters import In
from rag_engine.core.ids import ChunkId, EntityId, text_hash
from rag_engine.core.models import Assertion, Entity, Extraction, Mention, MetadataValue
from rag_engine.ports.storage import MAX_NEIGHBOURS
from rag_engine.testing.drafts import (
    DIMENSIONS,
    Draft,
    Passage,
    id_of,
    ingest,
    int64,
    lattice,
    mentioning,
    one_each,
    saying,
    told,
)
from rag_engine.testing.observation import adjacency_rows, differences, observed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rag_engine.ports.storage import Workspace
    from rag_engine.testing.drafts import Place

BY_ANN: Final = In("author", ("Ann",))


class ReaderContract:
    """Subclass it and provide a fixture `control` that returns a `Place`."""

    @pytest.fixture
    async def workspace(self, control: Place) -> AsyncIterator[Workspace]:
        opened = control()
        yield await opened.open("default", create=True)
        await opened.aclose()

    async def test_order_is_kept_and_what_is_missing_is_none(self, workspace: Workspace) -> None:
        a, b = mentioning("a", "Ann"), mentioning("b", "Bob")
        await ingest(workspace, a, b)
        async with workspace.store.snapshot() as reader:
            documents = await reader.documents(["b", "nobody", "a", "b"])
            assert [one and one.id for one in documents] == ["b", None, "a", "b"]
            ids = [*b.chunk_ids(), ChunkId(7), *a.chunk_ids(), *b.chunk_ids()]
            chunks = await reader.chunks(ids)
            assert [one and one.document_id for one in chunks] == ["b", None, "a", "b"]
            extractions = await reader.extractions(ids)
            assert [bool(one) for one in extractions] == [True, False, True, True]
            entities = await reader.entities([id_of("Bob"), id_of("Cid"), id_of("Ann")])
            assert [one and one.name for one in entities] == ["Bob", None, "Ann"]
            vectors = await reader.vectors("chunk", int64(ids))
            assert vectors.dtype == np.float32
            bob = lattice("Bob").tolist()
            assert vectors.tolist() == [bob, [0.0] * DIMENSIONS, lattice("Ann").tolist(), bob]
            assert await reader.documents([]) == []
            assert await reader.chunks([]) == []
            assert await reader.document_chunks("nobody") == []

    async def test_many_are_asked_for_at_once(self, workspace: Workspace) -> None:
        draft = mentioning("a", "Ann")
        await ingest(workspace, draft)
        async with workspace.store.snapshot() as reader:
            # 40,000 is past the number of parameters a SQLite statement takes.
            unknown = [ChunkId(number) for number in range(40_000)]
            found = await reader.chunks([*unknown, *draft.chunk_ids()])
            assert found[:-1] == [None] * len(unknown)
            assert found[-1] is not None
            entities = await reader.entities([EntityId(id) for id in unknown])
            assert entities == [None] * len(unknown)
            edges = await reader.adjacency("chunk", int64([*unknown, *draft.chunk_ids()]))
            assert edges.degrees.sum() == 1

    async def test_a_chunk_comes_back_as_it_was_written(self, workspace: Workspace) -> None:
        text = 'Zwei\u2028Zeilen\r\n\tund "Ümläute", 京 \U0001f600 \x00 \x1f ende'
        draft = Draft(
            id="a",
            passages=(
                Passage(text=text, pages=(3, 4), heading_path=("Teil\n1", "§ 2")),
                Passage(text=""),
            ),
        )
        await ingest(workspace, draft)
        async with workspace.store.snapshot() as reader:
            assert await reader.document_chunks("a") == [one.chunk for one in draft.evidence()]

    async def test_metadata_comes_back_with_its_types(self, workspace: Workspace) -> None:
        metadata: dict[str, MetadataValue] = {
            "truth": True,
            "one": 1,
            "real": 1.0,
            "text": "1",
            "tags": ("a", 1, False, 0.5),
            "none": (),
            'q"uo.te\n': "",
        }
        await ingest(workspace, Draft(id="a", metadata=metadata))
        async with workspace.store.snapshot() as reader:
            [document] = await reader.documents(["a"])
            assert document is not None
            assert repr(sorted(document.metadata.items())) == repr(sorted(metadata.items()))
            fields = (await reader.stats()).fields
        assert dict(fields) == dict.fromkeys(metadata.keys() - {"none"}, 1)

    async def test_an_entity_is_what_its_mentions_add_up_to(self, workspace: Workspace) -> None:
        mentions = [
            Mention(name="ann", type="person", description="tall"),
            Mention(name="Ann", type="place", description=""),
            Mention(name="Ann", type="place", description="tall"),
            Mention(name="ANN", type="person", description="old"),
            Mention(name="ANN", type=""),
            Mention(name="ÅNN", type="person"),
            Mention(name="ANN", type="place"),
        ]
        await ingest(workspace, *one_each(mentions))
        async with workspace.store.snapshot() as reader:
            [entity] = await reader.entities([id_of("aNN")])
        assert entity == Entity(
            id=id_of("Ann"),
            key="ann",
            name="ANN",
            type="place",
            mentions=6,
            descriptions=tuple(sorted(("tall", "old"), key=text_hash)),
        )

    async def test_ties_of_names_and_types_go_to_the_smaller(self, workspace: Workspace) -> None:
        mentions = [
            Mention(name="straße", type="stadt"),
            Mention(name="STRASSE", type="ort"),
            Mention(name="Straße", type=""),
            Mention(name="Straße", type=""),
            Mention(name="STRASSE", type=""),
        ]
        await ingest(workspace, *one_each(mentions))
        async with workspace.store.snapshot() as reader:
            [entity] = await reader.entities([id_of("Straße")])
        assert entity is not None
        assert (entity.name, entity.type) == ("STRASSE", "ort")

    async def test_an_entity_whose_type_nobody_knows_has_none(self, workspace: Workspace) -> None:
        await ingest(workspace, mentioning("a", "Ann"))
        async with workspace.store.snapshot() as reader:
            [entity] = await reader.entities([id_of("Ann")])
        assert entity is not None
        assert (entity.type, entity.descriptions) == ("", ())

    async def test_descriptions_are_the_first_eight_by_hash(self, workspace: Workspace) -> None:
        facts = [f"fact {number}" for number in range(20)]
        mentions = [Mention(name="Ann", description=fact) for fact in (*facts, *facts[:5])]
        drafts = one_each(mentions)
        await ingest(workspace, *drafts)
        first = sorted(facts, key=text_hash)
        assert await self._descriptions(workspace) == tuple(first[:8])
        # Without the documents of the first two, the next two move up.
        gone = [d.id for d, m in zip(drafts, mentions, strict=True) if m.description in first[:2]]
        await workspace.store.delete(gone)
        assert await self._descriptions(workspace) == tuple(first[2:10])

    async def _descriptions(self, workspace: Workspace) -> tuple[str, ...]:
        async with workspace.store.snapshot() as reader:
            [entity] = await reader.entities([id_of("Ann")])
        assert entity is not None
        return entity.descriptions

    async def test_a_relation_is_what_its_assertions_add_up_to(self, workspace: Workspace) -> None:
        one = Extraction(
            mentions=(Mention(name="Ann"), Mention(name="Bob"), Mention(name="Cid")),
            assertions=(
                Assertion(source="Ann", target="Bob", keywords="knows", weight=700),
                Assertion(source="Bob", target="Ann", description="both ways", weight=400),
                Assertion(source="Cid", target="Ann", weight=1100),
                Assertion(source="Bob", target="Cid", weight=5000),
            ),
        )
        other = Extraction(
            mentions=(Mention(name="ANN"), Mention(name="BOB")),
            assertions=(Assertion(source="ANN", target="BOB", keywords="likes", weight=1),),
        )
        await ingest(workspace, saying("a", one), saying("b", other), mentioning("c", "BOB"))
        async with workspace.store.snapshot() as reader:
            [relations] = await reader.relations([id_of("ann")])
            ids = [id_of("nobody"), id_of("bob"), id_of("ann"), id_of("bob")]
            [nobody, bob, ann, again] = await reader.relations(ids, limit=1)
            assert (nobody, ann) == ([], relations[:1])
            assert [[id_of("bob")]] == [[one.source for one in bob]]
            assert again == bob
            assert await reader.relations([]) == []
            stats = await reader.stats()
        assert [(r.target_name, r.weight, r.assertions) for r in relations] == [
            ("BOB", 1101, 3),
            ("Cid", 1100, 1),
        ]
        assert {r.source for r in relations} == {id_of("Ann")}
        assert relations[0].target == id_of("Bob")
        assert relations[0].keywords == tuple(sorted(("knows", "likes"), key=text_hash))
        assert relations[0].descriptions == ("both ways",)
        assert relations[1].keywords == relations[1].descriptions == ()
        assert (stats.relations, stats.assertions, stats.entities) == (3, 5, 3)

    async def test_a_relation_forgets_what_only_a_deleted_document_said(
        self, workspace: Workspace
    ) -> None:
        def claiming(id: str, keywords: str, weight: int) -> Draft:
            assertion = Assertion(
                source="Ann",
                target="Bob",
                keywords=keywords,
                description=f"by {id}",
                weight=weight,
            )
            mentions = (Mention(name="Ann"), Mention(name="Bob"))
            return saying(id, Extraction(mentions=mentions, assertions=(assertion,)))

        await ingest(workspace, claiming("a", "knows", 700))
        alone = await observed(workspace)
        await ingest(workspace, claiming("b", "likes", 400))
        async with workspace.store.snapshot() as reader:
            [[relation]] = await reader.relations([id_of("Bob")])
        assert sorted(relation.keywords) == ["knows", "likes"]
        await workspace.store.delete(["b"])
        assert differences(alone, await observed(workspace)) == []

    async def test_relations_of_one_weight_are_in_the_order_of_ids(
        self, workspace: Workspace
    ) -> None:
        names = [f"N{number}" for number in range(12)]
        extraction = told("Ann", *names, pairs=[("Ann", name) for name in names])
        await ingest(workspace, saying("a", extraction))
        async with workspace.store.snapshot() as reader:
            [whole] = await reader.relations([id_of("Ann")])
            [first] = await reader.relations([id_of("Ann")], limit=5)
        found, some = [one.target for one in whole], [one.target for one in first]
        assert found == sorted(id_of(name) for name in names)
        assert some == found[:5]

    async def test_evidence_is_ordered_by_weight_then_chunk(self, workspace: Workspace) -> None:
        weights = [1000, 3000, 1000, 2000, 1000]
        mentions = [Mention(name="Ann", description=str(w), weight=w) for w in weights]
        drafts = one_each(mentions)
        await ingest(workspace, *drafts)
        ids = [draft.chunk_ids()[0] for draft in drafts]
        expected = sorted(zip(weights, ids, strict=True), key=lambda one: (-one[0], one[1]))
        async with workspace.store.snapshot() as reader:
            found = await reader.evidence(id_of("ann"))
            assert [(one.mention.weight, one.chunk_id) for one in found] == expected
            assert await reader.evidence(id_of("ann"), limit=3) == found[:3]
            assert await reader.evidence(id_of("nobody")) == []
        assert found[0].mention == mentions[1]

    async def test_extractions_come_back_in_canonical_form(self, workspace: Workspace) -> None:
        mentions = tuple(
            Mention(name=name, type="t", description=f"of {name}", weight=len(name))
            for name in ("Zoe", "ann", "Bob", "Äsa", "BOB", " ", "ANN")
        )
        assertions = tuple(
            Assertion(source=s, target=t, keywords=f"{s}{t}", description="d", weight=3)
            for s, t in (
                *(("ann", "Zoe"), ("Bob", "ann"), ("BOB", "ann"), ("ann", "Bob"), ("Äsa", "Bob")),
                *(("ann", "ANN"), ("ann", "Nobody"), ("ann", " ")),
            )
        )
        draft = Draft(
            id="a",
            passages=(
                Passage(
                    text="one", extraction=Extraction(mentions=mentions, assertions=assertions)
                ),
                Passage(text="two"),
            ),
        )
        await ingest(workspace, draft)
        async with workspace.store.snapshot() as reader:
            [first, second] = await reader.extractions(draft.chunk_ids())
            stats = await reader.stats()
        assert first == canonical(Extraction(mentions=mentions, assertions=assertions))
        assert second == Extraction()
        assert [one.name for one in first.mentions] == ["ANN", "BOB", "Zoe", "Äsa"]
        assert (stats.mentions, stats.assertions, stats.entities, stats.relations) == (4, 4, 4, 3)

    async def test_adjacency_leads_from_chunks_to_entities_and_back(
        self, workspace: Workspace
    ) -> None:
        one = Extraction(mentions=(Mention(name="Ann", weight=500), Mention(name="Bob")))
        two = Extraction(mentions=(Mention(name="ANN", weight=1500),))
        a, b = saying("a", one), saying("b", two)
        await ingest(workspace, a, b)
        [first], [second] = a.chunk_ids(), b.chunk_ids()
        async with workspace.store.snapshot() as reader:
            edges = await reader.adjacency("entity", int64([id_of("Bob"), 7, id_of("ann")]))
            assert adjacency_rows(edges) == [
                [1, [first], [1000]],
                [0, [], []],
                [2, [second, first], [1500, 500]],
            ]
            assert {a.dtype for a in (edges.offsets, edges.neighbours, edges.weights)} == {
                np.dtype(np.int64)
            }
            edges = await reader.adjacency("chunk", int64([first, first, second]))
            assert adjacency_rows(edges) == [
                [2, [id_of("Bob"), id_of("Ann")], [1000, 500]],
                [2, [id_of("Bob"), id_of("Ann")], [1000, 500]],
                [1, [id_of("Ann")], [1500]],
            ]
            edges = await reader.adjacency("chunk", int64([]))
            assert (edges.offsets.tolist(), edges.degrees.tolist()) == ([0], [])
            # An id is of one kind only.
            edges = await reader.adjacency("chunk", int64([id_of("Ann")]))
            assert edges.degrees.tolist() == [0]

    async def test_adjacency_is_cut_by_weight_then_id(self, workspace: Workspace) -> None:
        count = MAX_NEIGHBOURS + 36
        mentions = [Mention(name="Hub", weight=1000 + 500 * (n % 4 == 0)) for n in range(count)]
        metadata = {"author": "Ann"}
        drafts = [
            Draft(id=f"d{n}", passages=one.passages, metadata=metadata if n % 2 else {})
            for n, one in enumerate(one_each(mentions))
        ]
        await ingest(workspace, *drafts)
        edges = sorted(
            (-mention.weight, draft.chunk_ids()[0], bool(draft.metadata))
            for draft, mention in zip(drafts, mentions, strict=True)
        )
        async with workspace.store.snapshot() as reader:
            [row] = adjacency_rows(await reader.adjacency("entity", int64([id_of("hub")])))
            assert row == [
                count,
                [id for _, id, _ in edges[:MAX_NEIGHBOURS]],
                [-weight for weight, _, _ in edges[:MAX_NEIGHBOURS]],
            ]
            found = await reader.adjacency("entity", int64([id_of("hub")]), filter=BY_ANN)
            [row] = adjacency_rows(found)
            by_ann = [id for _, id, ann in edges if ann]
            assert row[:2] == [len(by_ann), by_ann[:MAX_NEIGHBOURS]]
            evidence = await reader.evidence(id_of("hub"), limit=1000)
            assert [one.chunk_id for one in evidence] == [id for _, id, _ in edges]
