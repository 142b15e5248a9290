"""What the suites of kills take for possible is neither too little nor too much."""

from __future__ import annotations

from campaign import History

from rag_engine.core.edits import Alias, Suppression

ALIAS, BOB, CID = (
    Alias(source="Robert", target="Bob"),
    Suppression(name="Bob"),
    Suppression(name="Cid Dane"),
)


def test_of_edits_without_an_answer_each_may_or_may_not_have_been_made() -> None:
    history = History(
        steps=[
            ("alias", "Robert", "Bob"),
            ("hide", "Bob"),
            ("undo", "hide", "Bob"),
            ("hide", "Cid Dane"),
        ],
        answered=[True, True, False, False],
    )
    assert history.edits() == {
        frozenset({ALIAS, BOB}),
        frozenset({ALIAS}),
        frozenset({ALIAS, BOB, CID}),
        frozenset({ALIAS, CID}),
    }


def test_what_was_answered_is_certain_again() -> None:
    history = History(
        steps=[("hide", "Bob"), ("hide", "Cid Dane"), ("hide", "Bob")],
        answered=[False, True, True],
    )
    assert history.edits() == {frozenset({BOB, CID})}
