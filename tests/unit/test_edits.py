"""What edits make of evidence, and which filters name facts."""

from __future__ import annotations

import pytest

from rag_engine.core.edits import (
    FACT_MEDIA_TYPE,
    Alias,
    Edits,
    Fact,
    Suppression,
    is_fact,
    pack_fact,
    unpack_fact,
    without_facts,
)
from rag_engine.core.evidence import canonical
from rag_engine.core.filters import And, Filter, In, Not, Or, Range, matches
from rag_engine.core.models import Assertion, Extraction, Mention
from rag_engine.testing.drafts import told


def test_without_edits_everything_is_seen_as_it_was_found() -> None:
    found = canonical(told("Ann", "Bob", pairs=[("Ann", "Bob")]))
    assert Edits().applied(found) == found
    assert Edits().changed(found) == set()


def test_of_two_joined_mentions_the_heavier_one_is_seen() -> None:
    edits = Edits.of([Alias(source="Big Blue", target="IBM")])
    found = canonical(
        Extraction(mentions=(Mention(name="IBM"), Mention(name="Big Blue", weight=1500)))
    )
    expected = Mention(name="IBM", weight=1500, written="Big Blue")
    assert edits.applied(found) == Extraction(mentions=(expected,))
    assert edits.changed(found) == {"big blue"}


def test_what_would_join_an_entity_to_itself_is_not_seen() -> None:
    edits = Edits.of([Alias(source="Big Blue", target="IBM")])
    found = canonical(told("IBM", "Big Blue", pairs=[("IBM", "Big Blue")]))
    assert edits.applied(found).assertions == ()


def test_a_parted_pair_is_parted_whichever_way_it_is_written_and_named() -> None:
    edits = Edits.of(
        [Alias(source="Big Blue", target="IBM"), Suppression(name="lotus", other="ibm")]
    )
    found = canonical(told("Big Blue", "Lotus", pairs=[("Big Blue", "Lotus")]))
    seen = edits.applied(found)
    assert seen.assertions == ()
    assert len(seen.mentions) == 2
    assert edits.changed(found) == {"big blue", "lotus"}


def test_the_id_of_an_edit_is_a_function_of_the_keys() -> None:
    assert Suppression(name="A", other="b").id == Suppression(name="B", other="a").id
    assert Suppression(name="a").id != Suppression(name="a", other="b").id
    assert Alias(source="a", target="b").id == Alias(source="A", target=" B").id
    assert Alias(source="a", target="b").id != Alias(source="b", target="a").id


def test_a_fact_says_in_words_what_its_evidence_says() -> None:
    fact = Fact(name="Ann", target="Bob", keywords="sister of", description="She is older.")
    assert fact.text == "Ann – sister of – Bob: She is older."
    [joined] = fact.extraction.assertions
    assert joined == Assertion(
        source="Ann", target="Bob", keywords="sister of", description="She is older."
    )
    assert unpack_fact(pack_fact(fact)) == fact
    assert is_fact(fact.document_id)
    assert Fact(name="Ann", type="person").text == "Ann (person)"


@pytest.mark.parametrize(
    ("filter", "seen"),
    [
        (Not(In("year", (1,))), False),
        (In("$source", ("manual",)), True),
        (Or((In("year", (1,)), In("$id", ("manual:1",)))), True),
        (In("$media_type", (FACT_MEDIA_TYPE, "text/plain")), True),
        (In("author", ("manual",)), False),
        (Range("$id", "gt", ""), False),
        (And(()), False),
    ],
)
def test_facts_stay_outside_a_filter_that_does_not_name_them(filter: Filter, seen: bool) -> None:
    fields = {
        "$id": "manual:1",
        "$source": "manual",
        "$media_type": FACT_MEDIA_TYPE,
        "author": "manual",
    }
    assert matches(without_facts(filter), fields) is seen
