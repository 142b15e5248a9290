"""Lexical search: postings from the full-text index, scores from `core.bm25`.

FTS5's own ranking computes a score for every matching row before it drops most of them, with
constants that are not ours. Reading the occurrences of each word through its vocabulary table and
scoring them here is six times faster and exact, and a filter is one more mask. What questions ask
for again, common words above all, is kept as long as nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from rag_engine.adapters.sqlite.queries import SQL
from rag_engine.adapters.sqlite.resident import Resident, Rows
from rag_engine.adapters.sqlite.views import View
from rag_engine.core import bm25
from rag_engine.core.bm25 import Statistics
from rag_engine.core.vectors import Mask, best
from rag_engine.ports.storage import Hits


def search_lexical(
    view: View,
    resident: Resident,
    visible: Mask,
    tokens: Sequence[str],
    statistics: Statistics,
    k: int,
) -> Hits:
    """The `k` best visible chunks for the tokens. See `Reader.search_text`."""
    total = np.zeros(len(visible), dtype=np.float64)
    for token, weight in bm25.weights(tokens, statistics).items():
        chunks, counts = resident.postings_of(token, partial(_occurrences, view, token))
        lengths = resident.chunk_lengths[chunks]
        total[chunks] += bm25.gain(weight, counts, lengths, statistics.average_length)
    found = np.flatnonzero((total > 0) & visible)
    ids, scores = best(resident.chunks.ids[found], total[found], k)
    return Hits(ids=ids, scores=scores)


def _occurrences(view: View, token: str) -> Rows:
    """The database row of the chunk of each occurrence."""
    # As one text: a Python object for each occurrence would take longer than finding it.
    [(listed,)] = view.rows(SQL["occurrences"], token)
    return np.fromstring(str(listed or ""), dtype=np.int64, sep=" ")
