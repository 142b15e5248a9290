"""What every Reader promises of its searches: exact, with ties by id, and only what a filter lets through.

Each test's name is the promise; see `rag_engine.ports.storage.Reader`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pytest

from rag_engine.core import bm25
from rag_engine.core.filters import And, Exists, In, Not, Or, Range, fields_of, matches
from rag_engine.core.ids import ChunkId
from rag_engine.core.models import Assertion, Entity, Extraction, Mention, MetadataValue
from rag_engine.core.vectors import canonical
from rag_engine.errors import ModelMismatch
from rag_engine.testing.drafts import (
    DIMENSIONS,
    Draft,
    Passage,
    id_of,
    ingest,
    int64,
    lattice,
    mentioning,
)
from rag_engine.testing.observation import adjacency_rows, list_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from rag_engine.core.filters import Filter
    from rag_engine.ports.storage import NodeKind, Reader, Vectors, Workspace
    from rag_engine.testing.drafts import Place

BY_ANN: Final = In("author", ("Ann",))


class SearchContract:
    """Subclass it and provide a fixture `control` that returns a `Place`."""

    @pytest.fixture
    async def workspace(self, control: Place) -> AsyncIterator[Workspace]:
        opened = control()
        yield await opened.open("default", create=True)
        await opened.aclose()

    async def test_dense_search_ranks_exactly_and_breaks_ties_by_id(
        self, workspace: Workspace
    ) -> None:
        h = 0.5
        points = {
            "same": (1.0, 0, 0, 0, 0, 0, 0, 0),
            "twin": (1.0, 0, 0, 0, 0, 0, 0, 0),
            "half": (h, h, h, h, 0, 0, 0, 0),
            "half too": (h, 0, h, 0, h, 0, h, 0),
            "none": (0.0,) * 8,
            "across": (0, 1.0, 0, 0, 0, 0, 0, 0),
            "against": (-1.0, 0, 0, 0, 0, 0, 0, 0),
        }
        drafts = [Draft(id=id, passages=(Passage(text=id, vector=p),)) for id, p in points.items()]
        await ingest(workspace, *drafts)
        query = np.eye(DIMENSIONS, dtype=np.float32)[:2]
        scores = {draft.chunk_ids()[0]: points[draft.id] for draft in drafts}
        async with workspace.store.snapshot() as reader:
            for k in (0, 1, 3, 4, 6, 7, 100):
                found = await reader.search_dense("chunk", query, k)
                for axis, hits in enumerate(found):
                    expected = sorted((-p[axis], id) for id, p in scores.items())[:k]
                    assert hits.ids.tolist() == [id for _, id in expected]
                    assert hits.scores.tolist() == [-score for score, _ in expected]
                    assert hits.scores.dtype == np.float64
            assert await reader.search_dense("chunk", query[:0], 3) == []

    async def test_dense_search_is_exact_among_many(self, workspace: Workspace) -> None:
        random = np.random.default_rng(7)
        vectors = _unit(random.normal(size=(400, DIMENSIONS)))
        passages = tuple(
            Passage(text=str(row), vector=tuple(vector.tolist()))
            for row, vector in enumerate(vectors)
        )
        draft = Draft(id="a", passages=passages)
        await ingest(workspace, draft)
        queries = _unit(random.normal(size=(5, DIMENSIONS)))
        stored = canonical(vectors).astype(np.float64)
        async with workspace.store.snapshot() as reader:
            found = await reader.search_dense("chunk", queries, 10)
            kept = await reader.vectors("chunk", int64(draft.chunk_ids()))
        assert kept.tolist() == stored.tolist()
        ids = int64(draft.chunk_ids())
        for query, hits in zip(queries, found, strict=True):
            scores = stored @ query.astype(np.float64)
            best = np.argsort(-scores)[:10]
            assert hits.ids.tolist() == ids[best].tolist()
            assert hits.scores.tolist() == pytest.approx(scores[best].tolist(), abs=1e-6)

    async def test_dense_search_finds_entities_by_their_key(self, workspace: Workspace) -> None:
        await ingest(workspace, mentioning("a", "ANN"), mentioning("b", "Bob"))
        query = lattice("ann")[None, :]
        async with workspace.store.snapshot() as reader:
            [hits] = await reader.search_dense("entity", query, 1)
            assert (hits.ids.tolist(), hits.scores.tolist()) == ([id_of("Ann")], [1.0])
            vectors = await reader.vectors("entity", int64([id_of("Ann"), id_of("nobody")]))
        assert vectors.tolist() == [lattice("ann").tolist(), [0.0] * DIMENSIONS]

    @pytest.mark.parametrize("width", [DIMENSIONS - 1, DIMENSIONS + 1])
    async def test_a_question_of_another_width_is_refused(
        self, workspace: Workspace, width: int
    ) -> None:
        async with workspace.store.snapshot() as reader:
            with pytest.raises(ModelMismatch):
                await reader.search_dense("chunk", np.ones((1, width), dtype=np.float32), 5)

    async def test_text_search_is_bm25_over_all_chunks(self, workspace: Workspace) -> None:
        texts = ["the river", "the river and the bank of the river", "the bank", "42 banks", ""]
        drafts = [Draft(id=str(n), passages=(Passage(text=t),)) for n, t in enumerate(texts)]
        await ingest(workspace, *drafts)
        evidence = [one for draft in drafts for one in draft.evidence()]
        async with workspace.store.snapshot() as reader:
            for tokens in (["river"], ["the", "river"], ["bank", "bank", "nowhere"], ["42"]):
                await self._assert_bm25(reader, tokens, [e.lexemes for e in evidence])
            for tokens in (["nowhere"], [], ["rive"]):
                assert (await reader.search_text(tokens, 5)).ids.tolist() == []

    async def _assert_bm25(
        self, reader: Reader, tokens: Sequence[str], lexemes: Sequence[str]
    ) -> None:
        words = [one.split() for one in lexemes]
        statistics = await reader.statistics(tokens)
        assert statistics.documents == len(words)
        assert statistics.average_length == sum(map(len, words)) / len(words)
        for token in tokens:
            assert statistics.frequency.get(token, 0) == sum(token in one for one in words)
        ids = [Draft(id=str(n), passages=(Passage(text=""),)).chunk_ids()[0] for n in range(5)]
        scores = bm25.score(tokens, lexemes, statistics).tolist()
        ranked = sorted((-score, id) for score, id in zip(scores, ids, strict=True) if score)
        for k in (0, 1, 2, 100):
            hits = await reader.search_text(tokens, k)
            assert hits.ids.tolist() == [id for _, id in ranked[:k]]
            assert hits.scores.tolist() == pytest.approx([-s for s, _ in ranked[:k]], abs=1e-9)

    async def test_text_search_is_exact_among_many(self, workspace: Workspace) -> None:
        random = np.random.default_rng(11)
        words = [" ".join(f"w{n}" for n in random.zipf(1.5, size=12) % 50) for _ in range(700)]
        passages = [Passage(text=text) for text in (*words, *words[:50])]
        drafts = [Draft(id=str(n), passages=tuple(passages[n::5])) for n in range(5)]
        await ingest(workspace, *drafts)
        evidence = {one.chunk.id: one.lexemes for draft in drafts for one in draft.evidence()}
        async with workspace.store.snapshot() as reader:
            for tokens in (["w1"], ["w7", "w1", "w1"], ["w40", "nowhere"]):
                frozen = await reader.statistics(tokens)
                scores = bm25.score(tokens, list(evidence.values()), frozen).tolist()
                ranked = sorted((-s, id) for id, s in zip(evidence, scores, strict=True) if s)
                hits = await reader.search_text(tokens, 60)
                assert hits.ids.tolist() == [id for _, id in ranked[:60]]
                assert hits.scores.tolist() == pytest.approx([-s for s, _ in ranked[:60]])

    async def test_text_search_breaks_ties_by_id(self, workspace: Workspace) -> None:
        draft = Draft(id="a", passages=(Passage(text="river"),) * 30)
        await ingest(workspace, draft)
        async with workspace.store.snapshot() as reader:
            hits = await reader.search_text(["river"], 7)
        assert hits.ids.tolist() == sorted(draft.chunk_ids())[:7]
        assert len(set(hits.scores.tolist())) == 1

    @pytest.mark.parametrize(
        ("text", "word"),
        [
            ("北京大学", "京大"), ("naïve", "naïve"), ("AND OR NOT", "and"), ("a near b", "near"),
            ("наука", "наука"), ("ภาษาไทย", "ภา"), ("x_y", "x"), ("CO₂", "co2"), ("हिन्दी", "हिन्दी"),
        ],
    )  # fmt: skip
    async def test_text_search_finds_the_tokens_of_every_script(
        self, workspace: Workspace, text: str, word: str
    ) -> None:
        draft = Draft(id="a", passages=(Passage(text=text), Passage(text="something else")))
        await ingest(workspace, draft)
        async with workspace.store.snapshot() as reader:
            hits = await reader.search_text([word], 5)
            assert hits.ids.tolist() == draft.chunk_ids()[:1]
            assert (await reader.statistics([word])).frequency[word] == 1

    async def test_a_filter_lets_nothing_else_shape_an_answer(self, workspace: Workspace) -> None:
        inside, outside = _inside_and_outside()
        await ingest(workspace, outside, inside)
        [mine], others = inside.chunk_ids(), outside.chunk_ids()
        async with workspace.store.snapshot() as reader:
            entities = await reader.entities([id_of("Ann"), id_of("Cid")], filter=BY_ANN)
            assert entities == [
                Entity(
                    id=id_of("Ann"), key="ann", name="ann", type="t", mentions=1,
                    descriptions=("in",),
                ),
                None,
            ]  # fmt: skip
            [[relation]] = await reader.relations([id_of("Ann")], filter=BY_ANN)
            assert (relation.target_name, relation.weight) == ("bob", 1000)
            assert (relation.assertions, relation.descriptions) == (1, ())
            assert await reader.relations([id_of("Cid")], filter=BY_ANN) == [[]]
            evidence = await reader.evidence(id_of("Ann"), filter=BY_ANN)
            assert [one.chunk_id for one in evidence] == [mine]
            nodes = int64([id_of("Ann"), id_of("Cid")])
            edges = await reader.adjacency("entity", nodes, filter=BY_ANN)
            assert adjacency_rows(edges) == [[1, [mine], [1000]], [0, [], []]]
            edges = await reader.adjacency("chunk", int64([others[0], mine]), filter=BY_ANN)
            assert edges.degrees.tolist() == [0, 2]
            visible: dict[NodeKind, set[int]] = {
                "chunk": {mine},
                "entity": {id_of("Ann"), id_of("Bob")},
            }
            for kind, found in visible.items():
                [hits] = await reader.search_dense(
                    kind, np.eye(DIMENSIONS, dtype=np.float32)[:1], 100, filter=BY_ANN
                )
                assert set(hits.ids.tolist()) == found
            hits = await reader.search_text(["river"], 100, filter=BY_ANN)
            everything = await reader.search_text(["river"], 100)
            assert hits.ids.tolist() == [mine]
            assert dict(zip(everything.ids, everything.scores, strict=True))[mine] == hits.scores[0]

    async def test_k_is_filled_from_what_matches(self, workspace: Workspace) -> None:
        near = np.eye(DIMENSIONS, dtype=np.float32)[0]
        crowd = Draft(
            id="crowd", passages=(Passage(text="river", vector=tuple(near.tolist())),) * 150
        )
        far = Draft(
            id="far",
            metadata={"author": "Ann"},
            passages=(Passage(text="river and more words", vector=tuple((-near).tolist())),) * 3,
        )
        await ingest(workspace, crowd, far)
        async with workspace.store.snapshot() as reader:
            [hits] = await reader.search_dense("chunk", near[None, :], 3, filter=BY_ANN)
            assert hits.ids.tolist() == sorted(far.chunk_ids())
            hits = await reader.search_text(["river"], 3, filter=BY_ANN)
            assert hits.ids.tolist() == sorted(far.chunk_ids())

    async def test_filters_mean_what_matches_says(self, workspace: Workspace) -> None:
        drafts = _filterable()
        await ingest(workspace, *drafts)
        async with workspace.store.snapshot() as reader:
            documents = await list_all(reader)
            assert len(documents) == len(drafts)
            for filter in _filters():
                expected = [one.id for one in documents if matches(filter, fields_of(one))]
                found = [one.id for one in await list_all(reader, filter)]
                assert found == expected, filter
                hits = await reader.search_text(["x"], 100, filter=filter)
                chunks = await reader.chunks([ChunkId(id) for id in hits.ids.tolist()])
                assert sorted(one.document_id for one in chunks if one) == expected, filter

    async def test_deep_and_long_filters_mean_the_same(self, workspace: Workspace) -> None:
        numbered = [Draft(id=f"d{n}", metadata={"n": n}) for n in range(6)]
        await ingest(workspace, *numbered)
        async with workspace.store.snapshot() as reader:
            documents = await list_all(reader)
            for filter in _large():
                expected = [one.id for one in documents if matches(filter, fields_of(one))]
                assert [one.id for one in await list_all(reader, filter)] == expected


def _large() -> list[Filter]:
    """Filters as large as `core.filters.parse` lets through, and lists longer than that."""
    one: Filter = In("n", (1, 2))
    nots, ands, ors = one, one, one
    for _ in range(16):
        nots = Not(nots)
        ands = And((Exists("n"), ands, Exists("n")))
        ors = Or((Exists("nobody"), ors))
    return [
        nots,
        ands,
        ors,
        Not(And((Or((nots, Exists("nobody"))), ands))),
        Or(tuple(In("n", (n + 4,)) for n in range(250))),
        And(tuple(Not(In("n", (n + 4,))) for n in range(120))),
        In("$id", tuple(f"d{n}" for n in range(3, 3000))),
        In("n", tuple(float(n) for n in range(3, 3000))),
    ]


def _filterable() -> list[Draft]:
    values: dict[str, MetadataValue] = {
        "true": True, "one": 1, "real": 1.0, "text": "1", "words": "true", "zero": 0, "no": False,
        "tags": ("red", "blue", 3), "empty": (), "blank": "", "big": 2**53, "small": -0.5,
        "umlaut": "ä", "upper": "Z", "lower": "a",
    }  # fmt: skip
    one = (Passage(text="x"),)
    return [
        *(Draft(id=id, passages=one, metadata={"f": value}) for id, value in values.items()),
        Draft(id="bare", passages=one, source="a/b.pdf"),
        Draft(id="rooted", passages=one, root="/srv", title="Rivers", metadata={"g.h": 1}),
    ]


def _filters() -> list[Filter]:
    scalars = (True, False, 1, 1.0, 0, "1", "true", "red", 3, "", "ä", "a", 2**53, -0.5)
    leaves: list[Filter] = [In("f", (value,)) for value in scalars]
    leaves += [
        Range("f", bound, value)
        for bound in ("gt", "gte", "lt", "lte")
        for value in (0, 1, 1.0, 2.5, "", "1", "a", "b", "red", "ä")
    ]
    leaves += [
        In("f", ()), In("f", (1, "blue")), Exists("f"), Exists("g.h"), Exists("g"),
        Exists("nobody"), In("nobody", (1,)), In("$id", ("bare", "one")), Exists("$root"),
        In("$title", ("Rivers",)), In("$title", ("Parsed",)), In("$source", ("a/b.pdf",)),
        Range("$id", "gte", "rooted"), In("$media_type", ("text/plain",)), In("$root", ("/srv",)),
    ]  # fmt: skip
    ones: tuple[Filter, Filter] = (In("f", (1,)), Exists("f"))
    whole: list[Filter] = [
        And(()),
        Or(()),
        And(ones),
        Or(ones),
        And((Not(ones[0]), ones[1])),
        Not(And(())),
    ]
    return [*leaves, *(Not(leaf) for leaf in leaves), *whole]


def _inside_and_outside() -> tuple[Draft, Draft]:
    inside = Extraction(
        mentions=(Mention(name="ann", type="t", description="in"), Mention(name="bob")),
        assertions=(Assertion(source="ann", target="bob"),),
    )
    outside = Extraction(
        mentions=(
            Mention(name="ANN", type="a", description="out", weight=9000),
            Mention(name="BOB"),
            Mention(name="Cid"),
        ),
        assertions=(
            Assertion(source="ANN", target="BOB", keywords="k", description="out", weight=9000),
            Assertion(source="Cid", target="ANN"),
        ),
    )
    two = Draft(id="out", passages=(Passage(text="river river", extraction=outside),) * 2)
    one = Draft(
        id="in",
        metadata={"author": "Ann"},
        passages=(Passage(text="a river", extraction=inside),),
    )
    return one, two


def _unit(rows: npt.NDArray[np.float64]) -> Vectors:
    unit: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit
