"""What speaks for a passage, as numbers: alone, beside the question, and together with another.

A question in two steps is answered by two passages of which neither holds all its words. So the
features that matter look at pairs: one passage mentions what the other is about (a *link*), and
together they cover the question better than each alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

_BLOCK: Final = 256
"""Entities for which all pairs of passages are multiplied at a time: 3 MB for 40 passages."""

Floats = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]

NAMES: Final = (
    "walk",  # logarithm of PageRank relative to the best
    "fused",  # 1 / rank in the first stage
    "cover",  # share of the question's words, by rarity, that stand in it
    "subject",  # rarity of an entity it is about that the question names
    "residual",  # cosine with what the best passages leave of the question
    "linked",  # a good passage mentions what it is about
    "together",  # words covered together with a passage it is linked to
    "gain",  # words it adds to a passage it is linked to
)

ANCHORS: Final = 5
"""Best passages so far, whose residuals are looked at."""

ALPHA: Final = 0.7
"""How much of an anchor is taken out of the question's vector."""

SHARED: Final = 0.7
"""Worth of a link by an entity that neither passage is about."""

SAME_DOCUMENT: Final = 0.3
"""Worth of a link within a document: its passages share their title and repeat each other."""

_FLOOR: Final = -6.0
"""Logarithm of the least PageRank that is told apart from none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of `n` passages, `w` words of the question and `m` entities.

    Attributes:
        question: Vector of the question, shape `(d,)`; all zero when dense search does not count.
        vectors: Shape `(n, d)`.
        documents: Which document each passage is of, shape `(n,)`, numbered in any way.
        walk: PageRank, shape `(n,)`.
        fused: Scores of the first stage, shape `(n,)`, 0 for a passage it lacks.
        ranks: Ranks in the first stage from 0, shape `(n,)`.
        words: Shape `(n, w)`: whether each word of the question stands in the passage.
        rarity: Shape `(w,)`: share of each word in the question's, sums to 1.
        mentions: Shape `(n, m)`: whether the passage mentions the entity.
        subjects: Shape `(n, m)`: whether it is about the entity.
        entity_rarity: Shape `(m,)`: between 0 and 1.
        named: Shape `(m,)`: whether the question names the entity.
    """

    question: Float32
    vectors: Float32
    documents: npt.NDArray[np.int64]
    walk: Floats
    fused: Floats
    ranks: npt.NDArray[np.int64]
    words: Floats
    rarity: Floats
    mentions: Float32
    subjects: Float32
    entity_rarity: Floats
    named: npt.NDArray[np.bool_]


def features(evidence: Evidence) -> Floats:
    """The features of each passage, shape `(n, len(NAMES))`, columns in the order of `NAMES`."""
    cosines = (evidence.vectors @ evidence.question).astype(np.float64)
    walk = _relative_logarithm(evidence.walk)
    strength = _strength(evidence.fused, walk)
    anchors = np.lexsort((np.arange(len(walk)), -strength))[:ANCHORS]
    linked, link = links(evidence)
    alone = evidence.words @ evidence.rarity
    together = 1.0 - ((1.0 - evidence.words) * evidence.rarity) @ (1.0 - evidence.words).T
    weight = link * strength[None, :]
    residual = _residual(evidence.vectors, cosines, anchors)
    named_rarity = np.where(evidence.named, evidence.entity_rarity, 0.0)
    return np.column_stack(
        (
            walk,
            1.0 / (1.0 + evidence.ranks),
            alone,
            _largest(evidence.subjects * named_rarity),
            residual,
            _largest(linked * strength[None, :]),
            _largest(weight * together),
            _largest(weight * (together - alone[None, :])),
        )
    )


def links(evidence: Evidence) -> tuple[Floats, Floats]:
    """How each passage (row) is linked to each other one (column), by entities not in the question.

    Returns:
        Whether the other mentions what this one is about, and the strongest link of any kind: that
        one, its reverse, or an entity that both mention. Between 0 and 1, zero on the diagonal.
    """
    unnamed = np.where(evidence.named, 0.0, evidence.entity_rarity)
    about = _strongest(evidence.subjects * unnamed, evidence.mentions)
    shared = _strongest(evidence.mentions * unnamed, evidence.mentions)
    link = np.maximum(np.maximum(about, about.T), SHARED * shared)
    same = evidence.documents[:, None] == evidence.documents[None, :]
    worth = np.where(same, SAME_DOCUMENT, 1.0)
    np.fill_diagonal(worth, 0.0)
    return about * worth, link * worth


def _strongest(rows: Floats | Float32, columns: Floats | Float32) -> Floats:
    """`max over k of rows[i, k] * columns[j, k]` for all i, j; none is negative."""
    strongest = np.zeros((len(rows), len(columns)), dtype=np.float64)
    for first in range(0, rows.shape[1], _BLOCK):
        some = slice(first, first + _BLOCK)
        products = rows[:, None, some] * columns[None, :, some]
        np.maximum(strongest, products.max(axis=2), out=strongest)
    return strongest


def _relative_logarithm(mass: Floats) -> Floats:
    best = float(mass.max(initial=0.0))
    if best <= 0.0:
        return np.zeros(len(mass), dtype=np.float64)
    return np.maximum(np.log(np.maximum(mass / best, 1e-9)), _FLOOR)


def _strength(fused: Floats, walk: Floats) -> Floats:
    """How good each passage looks so far, 1 for the best: first stage and graph, half and half."""
    joined = fused / max(float(fused.max(initial=0.0)), 1e-9) + np.maximum(1.0 + walk / 3.0, 0.0)
    return np.asarray(joined / max(float(joined.max(initial=0.0)), 1e-9), dtype=np.float64)


def _residual(vectors: Float32, cosines: Floats, anchors: npt.NDArray[np.intp]) -> Floats:
    """The largest cosine with what another of the best passages leaves of the question."""
    alike = (vectors @ vectors[anchors].T).astype(np.float64)
    pull = ALPHA * cosines[anchors]
    # |q - pull a|, of unit vectors q and a with cosine c: sqrt(1 - 2 pull c + pull^2)
    length = np.sqrt(np.maximum(1.0 - 2.0 * pull * cosines[anchors] + pull**2, 1e-9))
    residual = (cosines[:, None] - pull * alike) / length
    residual[anchors, np.arange(len(anchors))] = -1.0
    return _largest(residual, empty=-1.0)


def _largest(values: Floats | Float32, empty: float = 0.0) -> Floats:
    return np.asarray(values.max(axis=1, initial=empty), dtype=np.float64)
