"""Measures of retrieval quality, and how sure a difference between two modes is."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

_TOKEN = re.compile(r"\S+")

Span = tuple[int, int]
Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def recall(ranking: Sequence[str], gold: Sequence[str], k: int) -> float:
    """Share of the gold passages among the first `k`."""
    return len(set(ranking[:k]) & set(gold)) / len(set(gold))


def ndcg(ranking: Sequence[str], grades: Mapping[str, int], k: int = 10) -> float:
    """Normalised discounted cumulative gain with graded relevance, as BEIR and trec_eval count it."""
    gains = [grades.get(id, 0) / math.log2(rank + 2) for rank, id in enumerate(ranking[:k])]
    ideal = sorted((grade for grade in grades.values() if grade > 0), reverse=True)[:k]
    best = sum(grade / math.log2(rank + 2) for rank, grade in enumerate(ideal))
    return sum(gains) / best if best else 0.0


def token_overlap(
    text: str, found: Sequence[Span], gold: Sequence[Span]
) -> tuple[int, int, int, int]:
    """Tokens (runs without white space) of a document that are found, gold, both and either."""
    starts, ends = _token_bounds(text)
    covered = [_covered(starts, ends, spans) for spans in (found, gold)]
    both, either = covered[0] & covered[1], covered[0] | covered[1]
    return int(covered[0].sum()), int(covered[1].sum()), int(both.sum()), int(either.sum())


@lru_cache(maxsize=64)
def _token_bounds(text: str) -> tuple[Places, Places]:
    tokens = [match.span() for match in _TOKEN.finditer(text)]
    return np.array([start for start, _ in tokens]), np.array([end for _, end in tokens])


def _covered(starts: Places, ends: Places, spans: Sequence[Span]) -> Mask:
    covered = np.zeros(len(starts), dtype=np.bool_)
    for start, end in spans:
        covered |= (starts < end) & (ends > start)
    return covered


def bootstrap(
    differences: Sequence[float], *, draws: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Bounds of the mean difference between two modes over the same questions, at 95 %.

    The questions are drawn anew with replacement; the bounds are the percentiles of the means.
    """
    values = np.asarray(differences, dtype=np.float64)
    chosen = np.random.default_rng(seed).integers(0, len(values), size=(draws, len(values)))
    low, high = np.percentile(values[chosen].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
