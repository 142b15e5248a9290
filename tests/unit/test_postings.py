"""Postings in memory score as `core.bm25` scores the texts themselves, however they came to be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_engine.core import bm25, postings
from rag_engine.core.postings import Postings

TEXTS = st.lists(
    st.lists(st.sampled_from(("a", "b", "c", "ä", "京大")), max_size=6).map(" ".join), max_size=8
)


@given(batches=st.lists(TEXTS, max_size=5), query=st.lists(st.sampled_from("abcäx"), max_size=4))
@pytest.mark.parametrize("tail", [0, 4, 20_000])
def test_scores_and_statistics_are_those_of_the_texts(
    batches: list[list[str]], query: list[str], tail: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postings, "_TAIL", tail)
        index = Postings.empty()
        for batch in batches:
            index = index.extended(batch)
    texts = [text for batch in batches for text in batch]
    alive = np.array([place % 3 != 1 for place in range(len(texts))], dtype=np.bool_)
    living = [text for text, lives in zip(texts, alive, strict=True) if lives]
    statistics = index.statistics(query, alive)
    assert statistics.documents == len(living)
    assert statistics.average_length == (
        sum(len(text.split()) for text in living) / len(living) if living else 0.0
    )
    assert statistics.frequency == {
        word: sum(word in text.split() for text in living) for word in query
    }
    expected = bm25.score(query, texts, statistics)
    assert index.scores(query, statistics).tolist() == pytest.approx(expected.tolist())


@given(batches=st.lists(TEXTS, min_size=1, max_size=4), data=st.data())
@pytest.mark.parametrize("tail", [0, 4, 20_000])
def test_a_compacted_index_is_that_of_the_chunks_that_stay(
    batches: list[list[str]], data: st.DataObject, tail: int
) -> None:
    texts = [text for batch in batches for text in batch]
    stay = sorted(data.draw(st.sets(st.integers(0, max(len(texts) - 1, 0)))) & {*range(len(texts))})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postings, "_TAIL", tail)
        index = Postings.empty()
        for batch in batches:
            index = index.extended(batch)
        index = index.compacted(np.array(stay, dtype=np.intp)).extended(["new b"])
    kept = [*(texts[row] for row in stay), "new b"]
    query = ["a", "b", "c", "ä", "new", "x"]
    statistics = index.statistics(query, np.ones(len(kept), dtype=np.bool_))
    expected = bm25.score(query, kept, statistics)
    assert index.scores(query, statistics).tolist() == pytest.approx(expected.tolist())
    assert set(index.vocabulary) == {word for text in kept for word in text.split()}


def test_an_older_index_does_not_see_what_was_added_later() -> None:
    older = Postings.empty().extended(["a b"])
    newer = older.extended(["b c"])
    assert older.of("b")[0].tolist() == [0]
    assert older.of("c")[0].tolist() == []
    assert newer.of("b")[0].tolist() == [0, 1]
    assert newer.of("c")[1].tolist() == [1]
