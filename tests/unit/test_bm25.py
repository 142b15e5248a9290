"""BM25: one formula, whether from texts or from postings, and what is worth searching for."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_engine.core import bm25
from rag_engine.core.bm25 import Statistics, informative, score

WORDS = st.sampled_from(["a", "b", "aa", "ab"])
TEXTS = st.lists(st.lists(WORDS, max_size=8).map(" ".join), max_size=6)


def statistics_of(texts: list[str]) -> Statistics:
    words = [text.split() for text in texts]
    everything = {word for text in words for word in text}
    return Statistics(
        documents=len(texts),
        average_length=sum(map(len, words)) / len(words) if words else 0.0,
        frequency={word: sum(word in text for text in words) for word in everything},
    )


@given(st.lists(WORDS, max_size=5), TEXTS)
def test_a_score_is_the_formula_of_the_paper(query: list[str], texts: list[str]) -> None:
    statistics = statistics_of(texts)
    wanted = []
    for text in texts:
        words, total = text.split(), 0.0
        for token in query:
            n = statistics.frequency.get(token, 0)
            rarity = log(1 + (len(texts) - n + 0.5) / (n + 0.5))
            norm = bm25.K1 * (
                1 - bm25.B + bm25.B * len(words) / max(statistics.average_length, 1.0)
            )
            total += rarity * (bm25.K1 + 1) * words.count(token) / (words.count(token) + norm)
        wanted.append(total)
    assert np.allclose(score(query, texts, statistics), wanted)


def test_rarer_words_more_often_in_shorter_texts_score_higher() -> None:
    texts = ["a b", "a a", "a b b b b b", "b"]
    found = score(["a"], texts, statistics_of(texts))
    assert found[1] > found[0] > found[2] > found[3] == 0


def test_the_commonest_tokens_are_left_out_when_they_cost_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    statistics = Statistics(
        documents=1000, average_length=9.0, frequency={"the": 900, "sea": 30, "of": 700, "x": 1}
    )
    query = ["the", "sea", "of", "x", "the", "nowhere"]
    assert informative(query, statistics) == ["the", "sea", "of", "x", "the"]
    monkeypatch.setattr(bm25, "AFFORDABLE", 800)
    assert informative(query, statistics) == ["sea", "of", "x"]
    monkeypatch.setattr(bm25, "AFFORDABLE", 0)
    assert informative(query, statistics) == ["x"]
    assert informative(["nowhere"], statistics) == []
