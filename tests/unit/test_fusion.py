"""Fusion: two rankings become one that neither the order of reading nor ties can change."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rag_engine.core.fusion import DEPTH, fused, normalised, ranked, ranks

SCORES = st.dictionaries(st.integers(0, 30), st.floats(0, 10, width=16), max_size=12)


def hits(scores: dict[int, float]) -> tuple[np.ndarray, np.ndarray]:
    ids = np.array(list(scores), dtype=np.int64)
    return ranked(ids, np.array([scores[id] for id in scores], dtype=np.float64))


@given(SCORES, SCORES)
def test_the_joined_ranking_holds_everybody_once_by_score_then_id(
    dense: dict[int, float], lexical: dict[int, float]
) -> None:
    ids, scores = fused(hits(dense), hits(lexical))
    assert sorted(ids.tolist()) == sorted(dense.keys() | lexical.keys())
    assert [(-s, i) for s, i in zip(scores, ids, strict=True)] == sorted(
        (-s, i) for s, i in zip(scores, ids, strict=True)
    )
    assert np.all((scores >= 0) & (scores <= 1))


def test_the_best_of_both_has_one_and_the_worst_of_one_nothing() -> None:
    ids, scores = fused(hits({1: 0.9, 2: 0.5}), hits({1: 7.0, 3: 2.0}))
    assert ids.tolist() == [1, 2, 3]
    assert scores.tolist() == [1.0, 0.0, 0.0]


def test_equal_scores_all_count_as_best() -> None:
    assert normalised(np.array([3.0, 3.0])).tolist() == [1.0, 1.0]
    assert normalised(np.zeros(0)).tolist() == []


def test_a_kind_without_hits_leaves_the_other_as_it_is() -> None:
    ids, scores = fused(hits({}), hits({5: 4.0, 6: 2.0, 7: 3.0}))
    assert ids.tolist() == [5, 7, 6]
    assert scores.tolist() == [0.5, 0.25, 0.0]


def test_only_the_best_hundred_of_a_kind_count() -> None:
    ids, _ = fused(hits({id: 200.0 - id for id in range(150)}), hits({}))
    assert ids.tolist() == list(range(DEPTH))


def test_ranks_count_from_zero_and_end_for_those_that_are_missing() -> None:
    among = np.array([7, 3, 9])
    assert ranks(np.array([9, 4, 7]), among).tolist() == [2, 3, 0]
    assert ranks(np.array([], dtype=np.int64), among).tolist() == []
