"""Joining the dense and the lexical ranking into one.

Scores of two kinds are made comparable by min-max over each kind's best, then averaged: a *convex
combination* (Bruch, Gai and Ingber, *An Analysis of Fusion Functions for Hybrid Retrieval*, 2023),
which keeps what ranks forget, by how much one passage is better than the next.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from rag_engine.core.vectors import Ids, Scores

DEPTH: Final = 100
"""Best hits of each kind that are joined."""

DENSE: Final = 0.5
LEXICAL: Final = 0.5
"""Weights of the two kinds."""


def normalised(scores: Scores) -> Scores:
    """Scores between 0 for the least and 1 for the best; 1 for all when they are equal."""
    if not len(scores):
        return scores
    low, high = float(scores.min()), float(scores.max())
    if high <= low:
        return np.ones(len(scores), dtype=np.float64)
    return (scores - low) / (high - low)


def fused(
    dense: tuple[Ids, Scores],
    lexical: tuple[Ids, Scores],
    *,
    dense_weight: float = DENSE,
    lexical_weight: float = LEXICAL,
) -> tuple[Ids, Scores]:
    """Join two rankings; what one of them lacks has nothing from it.

    Args:
        dense: Distinct ids and their cosines, best first; of more than `DEPTH` the best count.
        lexical: Distinct ids and their BM25 scores, best first; likewise.
        dense_weight: What the best dense hit is worth.
        lexical_weight: What the best lexical hit is worth.

    Returns:
        Ids and scores, best first; ties in the order of ids.
    """
    parts = [
        (ids[:DEPTH], weight * normalised(scores[:DEPTH]))
        for (ids, scores), weight in ((dense, dense_weight), (lexical, lexical_weight))
        if weight > 0
    ]
    if not parts:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float64)
    ids, places = np.unique(np.concatenate([ids for ids, _ in parts]), return_inverse=True)
    scores = np.bincount(
        places, weights=np.concatenate([scores for _, scores in parts]), minlength=len(ids)
    ).astype(np.float64)
    return ranked(ids, scores)


def ranked(ids: Ids, scores: Scores) -> tuple[Ids, Scores]:
    """Sort by score descending, then id."""
    order = np.lexsort((ids, -scores))
    return ids[order], scores[order]


def ranks(ids: Ids, among: Ids) -> npt.NDArray[np.int64]:
    """The place of each of `ids` in the ranking `among`, from 0; its length for one not in it."""
    places = np.full(len(ids), len(among), dtype=np.int64)
    found, here, there = np.intersect1d(ids, among, assume_unique=True, return_indices=True)
    if len(found):
        places[here] = there
    return places
