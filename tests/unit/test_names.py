"""Entity keys: two spellings are one entity when their keys are equal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_engine.core.names import entity_key


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Ada Lovelace", "ada lovelace"),
        ("  ADA\u00a0\n LOVELACE ", "ada lovelace"),
        ("ＡＣＭＥ Straße", "acme strasse"),
        ("\u2003", ""),
    ],
)
def test_case_width_and_white_space_do_not_count(name: str, key: str) -> None:
    assert entity_key(name) == key


@given(st.text())
def test_the_key_of_a_key_is_that_key(name: str) -> None:
    assert entity_key(entity_key(name)) == entity_key(name)
