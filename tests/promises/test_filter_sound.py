"""Promise 7, Filter-sound: nothing outside a filter is in what is found, or shapes it.

The oracle: with word statistics frozen, `query(A ∪ B, filter=A) == query(A)`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from rankings import CORPORA, QUESTIONS, fill, ranking, statistics

import places
from engines import put, small_engine
from places import opened
from rag_engine import Fact, Question, parse_filter
from rag_engine.core import bm25
from rag_engine.core.filters import In, fields_of, matches
from rag_engine.core.tokens import tokenize
from rag_engine.retrieval.plan import MODES
from rag_engine.testing import strategies
from rag_engine.testing.drafts import ingest, try_put
from rag_engine.testing.observation import (
    OF_THE_WORKSPACE,
    differences,
    list_all,
    observe,
    without,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rag_engine.core.edits import Edit
    from rag_engine.core.filters import Filter
    from rag_engine.core.ids import ChunkId
    from rag_engine.ports.storage import Reader, Workspace
    from rag_engine.testing.drafts import Draft

EXAMPLES = settings(max_examples=max(25, settings.default.max_examples // 4))

every_store = pytest.mark.parametrize("store", places.PROMISED)


@every_store
@EXAMPLES
@given(corpus=strategies.corpora(), filter=strategies.filters())
async def test_filters_mean_what_matches_says(
    store: str, corpus: list[Draft], filter: Filter
) -> None:
    async with opened(store, "default") as [workspace]:
        await ingest(workspace, *corpus)
        async with workspace.store.snapshot() as reader:
            documents = await list_all(reader)
            expected = [one.id for one in documents if matches(filter, fields_of(one))]
            assert [one.id for one in await list_all(reader, filter)] == expected


@every_store
@EXAMPLES
@given(corpus=strategies.corpora(max_size=5), filter=strategies.filters())
async def test_what_a_filter_hides_shapes_nothing_by_metadata(
    store: str, corpus: list[Draft], filter: Filter
) -> None:
    async with opened(store, "default") as [everything]:
        await ingest(everything, *corpus)
        async with everything.store.snapshot() as reader:
            inside = {one.id for one in await list_all(reader) if matches(filter, fields_of(one))}
        await _assert_sound(store, everything, filter, [one for one in corpus if one.id in inside])


@every_store
@EXAMPLES
@given(
    corpus=strategies.corpora(max_size=5),
    edits=st.lists(strategies.edits(), max_size=3),
    data=st.data(),
)
async def test_what_a_filter_hides_shapes_nothing_by_id(
    store: str, corpus: list[Draft], edits: list[Edit], data: st.DataObject
) -> None:
    """Whatever was merged and hidden by hand: edits are the workspace's, evidence is not."""
    ids = data.draw(st.sets(st.sampled_from(strategies.IDS)))
    async with opened(store, "default") as [everything]:
        made = [edit for edit in edits if await try_put(everything.store, edit)]
        await ingest(everything, *corpus)
        inside = [one for one in corpus if one.id in ids]
        await _assert_sound(store, everything, In("$id", tuple(ids)), inside, made)


async def _assert_sound(
    store: str,
    everything: Workspace,
    filter: Filter,
    inside: Sequence[Draft],
    edits: Sequence[Edit] = (),
) -> None:
    """`query(A ∪ B, filter=A) == query(A)`, with word statistics frozen."""
    async with opened(store, "default") as [alone]:
        for edit in edits:
            await try_put(alone.store, edit)
        await ingest(alone, *inside)
        async with alone.store.snapshot() as few, everything.store.snapshot() as many:
            left = without(await observe(few), *OF_THE_WORKSPACE)
            right = without(await observe(many, filter=filter), *OF_THE_WORKSPACE)
            assert differences(left, right) == []
            await _assert_text_search_sound(many, filter, inside)


async def _assert_text_search_sound(
    reader: Reader, filter: Filter, inside: Sequence[Draft]
) -> None:
    lexemes: dict[ChunkId, str] = {
        one.chunk.id: one.lexemes for draft in inside for one in draft.evidence()
    }
    for tokens in [tokenize(text) for text in (*strategies.WORDS, " ".join(strategies.WORDS))]:
        frozen = await reader.statistics(tokens)
        scores = bm25.score(tokens, list(lexemes.values()), frozen).tolist()
        expected = sorted((-score, id) for id, score in zip(lexemes, scores, strict=True) if score)
        hits = await reader.search_text(tokens, 100, filter=filter)
        assert hits.ids.tolist() == [id for _, id in expected]
        assert hits.scores.tolist() == [-score for score, _ in expected]


@pytest.mark.parametrize("mode", MODES)
@settings(
    max_examples=12, phases=[Phase.explicit, Phase.generate]
)  # an example is too slow to shrink
@given(CORPORA, CORPORA, QUESTIONS)
async def test_nothing_outside_a_filter_shapes_a_ranking(
    mode: str, inside: list[str], outside: list[str], question: str
) -> None:
    mine = {f"in{n}": text for n, text in enumerate(inside)}
    theirs = {f"out{n}": text for n, text in enumerate(outside)}
    with tempfile.TemporaryDirectory() as folder:
        alone = await small_engine(Path(folder) / "alone")
        mixed = await small_engine(Path(folder) / "mixed")
        await fill(alone, mine, "a")
        await fill(mixed, mine | theirs, "a")
        await fill(mixed, theirs, "b")
        words = await statistics(mixed)
        filtered = await ranking(mixed, question, mode, frozen=words, side="a")
        assert filtered == await ranking(alone, question, mode, frozen=words)
        await alone.aclose()
        await mixed.aclose()


SISTER = Fact(name="Jonas Reed", target="Ada Brand", keywords="brother of")


@pytest.mark.parametrize(
    ("filter", "seen"),
    [
        ({"not": {"eq": {"kind": "gossip"}}}, False),
        ({"eq": {"$source": "manual"}}, True),
        ({"or": [{"eq": {"kind": "history"}}, {"eq": {"$source": "manual"}}]}, True),
    ],
)
async def test_facts_stay_outside_a_filter_that_does_not_name_them(
    tmp_path: Path, filter: dict[str, object], seen: bool
) -> None:
    engine = await small_engine(tmp_path)
    await put(engine, "lighthouse", "Ada Brand built it.", metadata={"kind": "history"})
    await put(engine, "nickname", "Jonas Reed kept bees.", metadata={"kind": "gossip"})
    await engine.add_fact(SISTER)
    await engine.work()
    question = Question(text="Jonas Reed, brother of Ada Brand", filter=parse_filter(filter))
    passages = (await engine.search(question)).context.passages
    found = {one.reference.document_id for one in passages}
    assert (SISTER.document_id in found) is seen
    listed = await engine.documents(filter=parse_filter(filter))
    assert (SISTER.document_id in {one.id for one in listed.documents}) is seen
    await engine.aclose()
