"""BM25 over the tokens of candidates: the one lexical score, whatever engine found them.

Robertson and Zaragoza, *The Probabilistic Relevance Framework: BM25 and Beyond* (2009). The
inverse document frequency is the variant that cannot be negative, `ln(1 + (N - n + .5)/(n + .5))`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

K1: Final = 0.9
B: Final = 0.4
"""Anserini's defaults (Yang, Fang and Lin 2017), chosen there for passages of many collections."""

COMMON_SHARE: Final = 0.08
COMMON_COUNT: Final = 2_000
"""A token in more chunks than both of these allow is asked for only if nothing rarer is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Word statistics of a workspace, as of one snapshot."""

    documents: int
    """How many chunks there are."""
    average_length: float
    """Tokens per chunk, on average."""
    frequency: Mapping[str, int]
    """In how many chunks each token of the question stands; a token left out stands in none."""

    def rarity(self, token: str) -> float:
        """Return the inverse document frequency of `token`, never negative."""
        n = min(self.frequency.get(token, 0), self.documents)
        return log(1.0 + (self.documents - n + 0.5) / (n + 0.5))


def informative(query: Sequence[str], statistics: Statistics) -> list[str]:
    """Return the distinct tokens of `query` worth searching for, in order.

    Tokens in more than 8 % of the chunks go when rarer ones remain: they hardly move a score and
    make an inverted index read most of itself (110 ms against 6 ms at 100,000 chunks). In a small
    workspace there is no time to win and the score is worse without them (recall@5 .70 against .79
    over 59 long chunks), so a token must also stand in more than 2,000 chunks. Tokens that no chunk
    has go too, unless that is all of them.
    """
    distinct = list(dict.fromkeys(query))
    known = [t for t in distinct if statistics.frequency.get(t, 0) > 0]
    limit = max(COMMON_SHARE * statistics.documents, COMMON_COUNT)
    rare = [t for t in known if statistics.frequency[t] <= limit]
    return rare or known or distinct


def score(
    query: Sequence[str], documents: Sequence[str], statistics: Statistics
) -> npt.NDArray[np.float64]:
    """Score each document against the tokens of a question.

    Args:
        query: Tokens of the question; a repeated token counts as often as it is repeated.
        documents: Each candidate's tokens, joined by single spaces.
        statistics: Of the whole workspace, so that a filter cannot change a score.

    Returns:
        Float64 of shape `(len(documents),)`, zero where no token is shared.
    """
    weights: dict[str, float] = {}
    for token in query:
        weights[token] = weights.get(token, 0.0) + statistics.rarity(token)
    if not weights or not documents:
        return np.zeros(len(documents), dtype=np.float64)
    # Doubled spaces let neighbouring tokens both be found; counting in the string is five times
    # faster than splitting it.
    spaced = [f" {document} ".replace(" ", "  ") for document in documents]
    lengths = np.array([document.count(" ") + 1 if document else 0 for document in documents])
    average = max(statistics.average_length, 1.0)
    norm = K1 * (1.0 - B + B * lengths / average)
    # Term by term, not a matrix product, whose rounding could depend on the size of the batch.
    total = np.zeros(len(documents), dtype=np.float64)
    for token, weight in weights.items():
        counts = np.array([text.count(f" {token} ") for text in spaced], dtype=np.float64)
        total += weight * (K1 + 1.0) * counts / (counts + norm)
    return total
