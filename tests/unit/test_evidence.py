"""Tallies and selections do not depend on order, and removing undoes adding."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rag_engine.core.evidence import SELECTED, Tally, canonical, majority, selected
from rag_engine.core.ids import chunk_id, entity_id
from rag_engine.core.models import Assertion, Extraction, Mention

NAMES = st.sampled_from(["Ann", "ANN", " ann ", "Bob", "", "Cid"])
MENTIONS = st.builds(
    Mention, name=NAMES, type=st.sampled_from(["", "x", "y"]), weight=st.integers(1, 3)
)
ASSERTIONS = st.builds(Assertion, source=NAMES, target=NAMES, weight=st.integers(1, 3))


@given(st.lists(MENTIONS, max_size=8), st.lists(ASSERTIONS, max_size=8), st.randoms())
def test_the_canonical_form_does_not_depend_on_order(
    mentions: list[Mention], assertions: list[Assertion], random: object
) -> None:
    once = canonical(Extraction(mentions=tuple(mentions), assertions=tuple(assertions)))
    random.shuffle(mentions)  # type: ignore[attr-defined]
    random.shuffle(assertions)  # type: ignore[attr-defined]
    again = canonical(Extraction(mentions=tuple(mentions), assertions=tuple(assertions)))
    assert once == again == canonical(once)
    keys = [mention.name.strip().casefold() for mention in once.mentions]
    assert keys == sorted(set(keys))
    assert "" not in keys
    for assertion in once.assertions:
        ends = {assertion.source.strip().casefold(), assertion.target.strip().casefold()}
        assert len(ends) == 2
        assert ends <= set(keys)


def test_a_tally_counts_chunks_words_names_and_pairs() -> None:
    tally = Tally()
    extraction = Extraction(
        mentions=(Mention(name="Ann", type="person"), Mention(name="Bob", description="a man")),
        assertions=(
            Assertion(source="Ann", target="Bob", keywords="met", weight=500),
            Assertion(source="Bob", target="Ann", weight=700),
        ),
    )
    tally.add(extraction, "ann met bob met")
    tally.add(Extraction(mentions=(Mention(name="ANN"),)), "ann")
    assert (tally.chunks, tally.length, tally.mentions, tally.assertions) == (2, 5, 3, 2)
    assert tally.frequency == {"ann": 2, "met": 1, "bob": 1}
    assert tally.entities["ann"].names == {"Ann": 1, "ANN": 1}
    assert tally.entities["bob"].descriptions == {"a man": 1}
    [(pair, relation)] = tally.relations.items()
    assert pair == ("ann", "bob")
    assert (relation.assertions, relation.weight, relation.keywords) == (2, 1200, {"met": 1})


def test_majorities_and_selections_break_ties_the_same_way_every_time() -> None:
    assert majority([("b", 2), ("a", 2), ("c", 1)]) == "a"
    assert majority([]) == ""
    texts = [f"text {n}" for n in range(20)]
    assert selected(texts) == selected(reversed(texts)) == selected(texts + texts)
    assert len(selected(texts)) == SELECTED


def test_ids_are_functions_of_what_they_name() -> None:
    assert chunk_id("a", 1, 2) == chunk_id("a", 1, 2)
    different = {chunk_id("a", 1, 2), chunk_id("a", 2, 1), chunk_id("a1", 1, 2), entity_id("a")}
    assert len(different) == 4
    assert all(0 <= id < 2**63 for id in different)
