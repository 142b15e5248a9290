from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from rag_engine.core.scripts import SCRIPTS, scripts

# What the Unicode names of letters begin with.
NAMES = {
    "LATIN": "Latin",
    "GREEK": "Greek",
    "CYRILLIC": "Cyrillic",
    "HEBREW": "Hebrew",
    "ARABIC": "Arabic",
    "DEVANAGARI": "Devanagari",
    "THAI": "Thai",
    "HANGUL": "Hangul",
    "HIRAGANA": "Kana",
    "KATAKANA": "Kana",
    "CJK": "Han",
    "GEORGIAN": "Other",
    "TAMIL": "Other",
}


def test_letters_are_counted_by_script() -> None:
    assert scripts("Hello, мир! 我的 かなカナ 2024 _") == {
        "Latin": 5,
        "Kana": 4,
        "Cyrillic": 3,
        "Han": 2,
    }


def test_a_text_without_letters_has_no_script() -> None:
    assert scripts("12 + 3 = 15 €") == {}


def test_every_letter_of_the_basic_plane_has_the_script_of_its_name() -> None:
    wrong = []
    for point in range(0x10000):
        character = chr(point)
        name = unicodedata.name(character, "").removeprefix("HALFWIDTH ").removeprefix("FULLWIDTH ")
        script = NAMES.get(name.split(" ")[0])
        if script and character.isalpha() and scripts(character) != {script: 1}:
            wrong.append((hex(point), name, scripts(character)))
    assert wrong == []


@given(st.text())
def test_every_letter_is_counted_once(text: str) -> None:
    counts = scripts(text)
    assert sum(counts.values()) == sum(character.isalpha() for character in text)
    assert set(counts) <= set(SCRIPTS)
