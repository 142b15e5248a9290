"""Lexical search: candidates from the full-text index, scores from `core.bm25`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from rag_engine.adapters.sqlite.connection import View
from rag_engine.adapters.sqlite.queries import SQL
from rag_engine.adapters.sqlite.resident import Resident, Rows
from rag_engine.adapters.sqlite.rows import id_list
from rag_engine.core import bm25
from rag_engine.core.bm25 import Statistics
from rag_engine.core.vectors import Mask, best
from rag_engine.ports.storage import Hits

_FEW: Final = 300
"""Up to this many visible chunks are all scored, without asking the index."""

_LISTED: Final = 5_000
"""Up to this many visible chunks, the index is given their list. A longer list costs more than
reading on in the ranking of all chunks until enough visible ones have come."""

_CANDIDATES: Final = 3
"""Candidates taken from the index for each result: its BM25 has other constants than ours."""


def search_lexical(
    view: View,
    resident: Resident,
    visible: Mask,
    tokens: Sequence[str],
    statistics: Statistics,
    k: int,
) -> Hits:
    """The `k` best visible chunks for the tokens. See `Reader.search_text`."""
    size = int(np.count_nonzero(visible))
    if size <= _FEW:
        rows = resident.chunk_rows[visible]
    elif size <= _LISTED:
        rows = _among(view, tokens, _CANDIDATES * k, resident.chunk_rows[visible])
    else:
        rows = _ranked(view, tokens, _CANDIDATES * k, resident, visible)
    lexemes: list[Any] = view.rows(SQL["lexemes"], id_list(rows.tolist()))
    scores = bm25.score(tokens, [text for _, text in lexemes], statistics)
    found = scores > 0
    rows = np.array([row for row, _ in lexemes], dtype=np.int64)[found]
    ids, scores = best(resident.chunks.ids[resident.chunk_positions(rows)], scores[found], k)
    return Hits(ids=ids, scores=scores)


def _among(view: View, tokens: Sequence[str], most: int, among: Rows) -> Rows:
    rows: list[Any] = []
    if tokens:
        listed = id_list(among.tolist())
        rows = view.rows(SQL["search_lexical_among"], _match(tokens), listed, most)
    return np.array([row for (row,) in rows], dtype=np.int64)


def _ranked(
    view: View, tokens: Sequence[str], most: int, resident: Resident, visible: Mask
) -> Rows:
    """The first `most` visible rows of the index's own ranking."""
    share = np.count_nonzero(visible) / len(visible)
    limit = most if share == 1 else int(1.3 * most / share)
    while tokens:
        rows: list[Any] = view.rows(SQL["search_lexical"], _match(tokens), limit)
        ranked = np.array([row for (row,) in rows], dtype=np.int64)
        shown = ranked[visible[resident.chunk_positions(ranked)]]
        if len(shown) >= most or len(ranked) < limit:
            return shown[:most]
        limit *= 4
    return np.zeros(0, dtype=np.int64)


def _match(tokens: Sequence[str]) -> str:
    # Tokens hold no quotation marks: see `core.tokens`.
    return " OR ".join(f'"{token}"' for token in dict.fromkeys(tokens))
