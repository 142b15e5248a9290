"""Tokens: what an index holds and a question asks for is one function of text, in every script."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_engine.core.tokens import fold, tokenize


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("The Quick-brown fox's 2nd_jump", ["the", "quick", "brown", "fox", "s", "2nd", "jump"]),
        ("Straße ＡＢＣ ﬁne", ["strasse", "abc", "fine"]),
        ("co\u00adoperate and co\u200doperate", ["cooperate", "and", "cooperate"]),
        ("中国人民", ["中国", "国人", "人民"]),
        ("我", ["我"]),
        ("2008年北京", ["2008", "年北", "北京"]),
        ("東京タワー", ["東京", "京タ", "タワ", "ワー"]),
        ("서울은 크다", ["서울", "울은", "크다"]),
        ("สวัสดี", ["สวั", "วัส", "สดี"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("ДОМ дома", ["дом", "дома"]),
        ("… — !", []),
        ("", []),
    ],
)
def test_words_are_found_in_every_script(text: str, tokens: list[str]) -> None:
    assert tokenize(text) == tokens


@given(st.text())
def test_folding_again_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(st.text())
def test_a_splitter_that_knows_only_ascii_finds_the_tokens_again(text: str) -> None:
    tokens = tokenize(text)
    joined = " ".join(tokens)
    assert re.findall(r"[^\x00-\x2f\x3a-\x60\x7b-\x7f]+", joined) == tokens


@given(st.text(), st.text())
def test_a_line_end_parts_what_stands_on_either_side(one: str, other: str) -> None:
    assert tokenize(f"{one}\n{other}") == tokenize(one) + tokenize(other)


@given(st.text())
def test_case_and_width_make_no_difference(text: str) -> None:
    assert tokenize(fold(text)) == tokenize(text)
