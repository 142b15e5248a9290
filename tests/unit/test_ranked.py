"""Pairs in the order of their weights, and where their pages end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rag_engine.core.ranked import RankedPairs, pack_place

small = st.integers(0, 4)
pairs = st.dictionaries(st.tuples(small, small), small, max_size=12)


@given(weights=pairs, after=st.tuples(small, small, small), limit=st.integers(1, 5))
def test_a_page_is_what_comes_after_its_place(
    weights: dict[tuple[int, int], int], after: tuple[int, int, int], limit: int
) -> None:
    ranked = RankedPairs.of([(*pair, weight) for pair, weight in weights.items()])
    whole = sorted((-weight, *pair) for pair, weight in weights.items())
    weight, low, high = after
    rest = [one for one in whole if one > (-weight, low, high)]
    page, end = ranked.page(pack_place(*after), limit)
    assert [(-weight, low, high) for low, high, weight in page] == rest[:limit]
    assert (end is None) == (len(rest) <= limit)
    assert ranked.page(None, len(whole) + 1)[0] == [(low, high, -n) for n, low, high in whole]
