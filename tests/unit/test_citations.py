from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_engine.retrieval.citations import AnswerFilter

fragments = st.lists(
    st.sampled_from(
        [
            *"[](){}<>【】†!`,;- 0123456789.:/hftpsw\nab",
            "[1]",
            "[1, 9]",
            "[2-4]",
            "http://x.y/z",
            "https://",
            "www.a.b",
            "![a](http://b.c)",
            "[t](u)",
            "<img src=x>",
            "</script>",
            "[1]: http://x",
        ]
    ),
    max_size=14,
)


def through(text: str, *cuts: int, known: range = range(1, 5)) -> tuple[str, AnswerFilter]:
    shown = AnswerFilter(known)
    edges = [0, *sorted(cuts), len(text)]
    parts = [shown.feed(text[a:b]) for a, b in pairwise(edges)]
    return "".join([*parts, shown.flush()]), shown


@given(text=fragments.map("".join), data=st.data())
def test_the_pieces_it_comes_in_make_no_difference(text: str, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=6))
    whole, once = through(text)
    pieces, again = through(text, *cuts)
    assert pieces == whole
    assert (again.cited, again.removed) == (once.cited, once.removed)


@given(text=fragments.map("".join))
def test_nothing_that_loads_or_leads_away_is_left(text: str) -> None:
    whole, _ = through(text)
    assert "](" not in whole
    assert "]:" not in whole
    assert "<img" not in whole
    assert "</script" not in whole


@pytest.mark.parametrize(
    ("text", "expected", "cited", "removed"),
    [
        ("Yes [1].", "Yes [1].", {1}, 0),
        ("Yes [7].", "Yes.", set(), 1),
        ("Yes [1, 7].", "Yes [1].", {1}, 1),
        ("Yes [2-4].", "Yes [2][3][4].", {2, 3, 4}, 0),
        ("Yes [3–6].", "Yes [3][4].", {3, 4}, 2),
        ("Yes【2†source】.", "Yes[2].", {2}, 0),
        ("Yes [1][2] [9].", "Yes [1][2].", {1, 2}, 1),
        ("An array a[i] and [sic].", "An array a[i] and [sic].", set(), 0),
        ("[1](http://a.b)", "[1] (`http://a.b`)", {1}, 0),
        ("![x](http://a.b/c.png)", "![x] (`http://a.b/c.png`)", set(), 0),
        ("[1]: http://a.b", "[1] : `http://a.b`", {1}, 0),
        ("See https://a.b/c?d=e.", "See `https://a.b/c?d=e`.", set(), 0),
        ("`curl https://a.b`", "`curl https://a.b`", set(), 0),
        ("a < b, List<int>, <a href=x>", "a < b, List<int>, < a href=x>", set(), 0),
        ("[10000] [1", "[10000] [1", set(), 0),
    ],
)
def test_what_becomes_of_it(text: str, expected: str, cited: set[int], removed: int) -> None:
    shown, state = through(text)
    assert shown == expected
    assert state.cited == cited
    assert state.removed == removed


def test_text_is_not_held_back_longer_than_needed() -> None:
    shown = AnswerFilter([1])
    assert shown.feed("The river [") == "The river"
    assert shown.feed("1") == ""
    assert shown.feed("] flows") == " [1] flows"
    assert shown.feed(" nort") == " nort"
