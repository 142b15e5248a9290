"""Lines are broken between words, however the text comes."""

from __future__ import annotations

import itertools
import textwrap

from hypothesis import given
from hypothesis import strategies as st

from rag_engine_cli.wrapping import Wrapper

TEXT = (
    "The bakery in Mill Lane was founded in 1921 by Clara Weiss. [1]\n\n  - Averyveryverylongword"
    " and some more of it\n"
)


@given(st.integers(1, 90), st.lists(st.integers(0, len(TEXT)), max_size=8))
def test_pieces_make_the_same_lines_as_the_whole(width: int, cuts: list[int]) -> None:
    whole = Wrapper(width)
    expected = whole.feed(TEXT) + whole.flush()
    pieces = Wrapper(width)
    places = sorted({0, len(TEXT), *cuts})
    printed = "".join(pieces.feed(TEXT[begin:end]) for begin, end in itertools.pairwise(places))
    assert printed + pieces.flush() == expected
    assert expected.split() == TEXT.split()
    for line in expected.splitlines():
        assert len(line) <= width or len(line.split()) == 1


def test_a_line_is_broken_as_anybody_would() -> None:
    wrapper = Wrapper(30)
    text = TEXT.split("\n", 1)[0]
    assert (wrapper.feed(text) + wrapper.flush()).splitlines() == textwrap.wrap(text, 30)


def test_files_are_not_broken() -> None:
    wrapper = Wrapper(None)
    assert wrapper.feed(TEXT) + wrapper.flush() == TEXT
