"""The LLM-free extractor: what a passage mentions, in several scripts, by the passage alone."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_engine.adapters.models.phrases import (
    HEADING_WEIGHT,
    MOST_ASSERTIONS,
    MOST_MENTIONS,
    TITLE_WEIGHT,
    PhraseExtractor,
    extraction,
)
from rag_engine.core.evidence import canonical
from rag_engine.ports.models import Passage


def mentioned(text: str, title: str | None = None) -> set[str]:
    return {one.name for one in extraction(Passage(text=text, title=title)).mentions}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (
            "She studied at the Royal Northern College of Music in Manchester.",
            {"Royal Northern College of Music", "Manchester"},
        ),
        (
            "They met King George II and Caroline of Ansbach.",
            {"King George II", "Caroline of Ansbach"},
        ),
        ("Released on Linda Perry's Custard Records.", {"Linda Perry", "Custard Records"}),
        ("In 1976 Beauty and the Beast opened.", {"Beauty and the Beast"}),
        ("He read J. S. Bach and Dr. Watson aloud.", {"Dr. Watson"}),
        ("We sequenced TP53 and BRCA1 by mRNA.", {"TP53", "BRCA1"}),
        (
            "Der Rhein fließt durch die Stadt Köln und mündet in die Nordsee.",
            {"Rhein", "Köln", "Nordsee"},
        ),
        ("На её берегах стоят города Нижний Новгород и Казань.", {"Нижний Новгород", "Казань"}),
        ("Η Αθήνα και ο Πειραιάς.", {"Αθήνα", "Πειραιάς"}),
        ("《红楼梦》的作者曹雪芹生于南京。", {"红楼梦", "曹雪芹", "南京"}),
        ("夏目漱石は東京で『坊っちゃん』を書いた。", {"夏目漱石", "東京", "坊っちゃん"}),
        ("يقع السد العالي في مصر.", {"السد العالي", "مصر"}),
        ("서울은 대한민국의 수도이다.", {"서울", "대한민국"}),
        ("उज्जैन नगर में महाकाल मन्दिर है", {"महाकाल मन्दिर"}),
    ],
)
def test_names_are_found(text: str, names: set[str]) -> None:
    assert names <= mentioned(text)


@pytest.mark.parametrize(
    ("text", "absent"),
    [
        ("The house is old. However, it stands.", {"The", "However"}),
        ("It opened in May 2004 on a Sunday.", {"May", "May 2004", "Sunday"}),
        ("Lines are long. Waiting in lines is dull.", {"Lines"}),
        ("Albert Einstein wrote. Einstein was right.", {"Einstein"}),
    ],
)
def test_what_is_no_name_is_left_out(text: str, absent: set[str]) -> None:
    assert not absent & mentioned(text)


def test_text_in_lower_case_has_key_phrases() -> None:
    assert mentioned("bone marrow cells were injected into the left ventricle of mice") >= {
        "bone marrow cells"
    }


def test_a_passage_is_about_its_title_and_its_heading() -> None:
    passage = Passage(text="x", title="Nike, Inc. (company)", heading_path=("Top", "Early years"))
    weights = {one.name: one.weight for one in extraction(passage).mentions}
    assert weights["Nike"] == weights["Nike, Inc."] == TITLE_WEIGHT
    assert weights["Nike, Inc. (company)"] == TITLE_WEIGHT
    assert weights["Early years"] == HEADING_WEIGHT
    assert "Top" not in weights


def test_what_is_mentioned_often_weighs_more() -> None:
    found = extraction(Passage(text="Ada met Bob. Ada left. Ada slept."))
    weights = {one.name: one.weight for one in found.mentions}
    assert weights["Ada"] > weights["Bob"]


def test_neighbours_in_a_sentence_are_related_by_the_words_between() -> None:
    [one] = extraction(Passage(text="Ada was born in London. Bob slept.")).assertions
    assert (one.source, one.keywords, one.target) == ("Ada", "was born in", "London")


@given(st.text(max_size=300), st.none() | st.text(max_size=40))
def test_any_text_is_taken_and_the_evidence_is_bounded_and_sound(
    text: str, title: str | None
) -> None:
    passage = Passage(text=text, title=title)
    found = extraction(passage)
    assert found == extraction(passage)
    assert len(found.mentions) <= MOST_MENTIONS + 4
    assert len(found.assertions) <= MOST_ASSERTIONS
    assert len(canonical(found).mentions) == len(found.mentions)
    assert len(canonical(found).assertions) == len(found.assertions)


@pytest.mark.parametrize(
    "piece", ["A. ", "Ab ", "and ", "的", "中国", "x's ", "( ", "ا ", "ก", "\n"]
)
def test_time_is_linear_in_the_length_of_hostile_text(piece: str) -> None:
    began = time.perf_counter()
    extraction(Passage(text=piece * 20_000, title=piece * 100))
    assert time.perf_counter() - began < 20.0


async def test_passages_come_back_in_order() -> None:
    found = await PhraseExtractor().extract([Passage(text="Ada."), Passage(text="Bob.")])
    assert [[one.name for one in each.mentions] for each in found] == [["Ada"], ["Bob"]]
