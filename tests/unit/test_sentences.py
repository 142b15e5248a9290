from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_engine.core.sentences import sentence_spans


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


@pytest.mark.parametrize(
    "expected",
    [
        [
            "Dr. Smith went to Washington, D.C. by train.",
            "He met J. K. Rowling!",
            "It was 1990.",
            "Then",
        ],
        ['"Really?" she asked.', "“Yes.”", "(He left.)", "So?!", "Good…"],
        ["See Fig. 3 for v1.2.3 of it, e.g. this.", "The U.S. is large."],
        ["Am 3. Oktober 1990, z. B. in Berlin, war es so.", "Das war es."],
        ["It is so.[12]", "And so it is.(3)", "Yes."],
        ["1. First thing", "2. Second thing", "- a dash", "* a star"],
        ["Г. Иванов родился в 1900 г. в Москве.", "Он жил там."],
    ],
)
def test_sentences_with_spaces(expected: list[str]) -> None:
    joiner = "\n" if expected[0].startswith("1.") else " "
    assert sentences(joiner.join(expected)) == expected


@pytest.mark.parametrize(
    "expected",
    [
        ["我来了。", "你呢？", "“好！”"],
        ["यह है।", "वह भी।"],
        ["هل هذا؟", "نعم۔"],
        ["今日は。", "はい"],
    ],
)
def test_sentences_without_spaces(expected: list[str]) -> None:
    assert sentences("".join(expected)) == expected


def test_a_line_end_does_not_end_a_sentence_but_a_blank_line_does() -> None:
    assert sentences("one\ntwo\n \nthree") == ["one\ntwo", "three"]


@given(st.text())
def test_sentences_hold_everything_but_white_space(text: str) -> None:
    spans = sentence_spans(text)
    assert "".join("".join(text[a:b] for a, b in spans).split()) == "".join(text.split())
    assert all(text[a:b] == text[a:b].strip() != "" for a, b in spans)
    assert spans == sorted(spans)
