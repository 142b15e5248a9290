"""What becomes of a version whose attempt failed."""

from __future__ import annotations

import pytest

from rag_engine.core.jobs import INTERNAL, MAX_ATTEMPTS, decide
from rag_engine.errors import (
    BlobMissing,
    DocumentEmpty,
    ModelOverloaded,
    ModelUnavailable,
    StoreUnavailable,
)

AWAY = ModelUnavailable("The model is away. Start it.")


def test_what_may_pass_is_tried_again_ever_later_and_then_given_up() -> None:
    decisions = [
        decide(AWAY, source="a.md", attempt=attempt) for attempt in range(1, MAX_ATTEMPTS + 1)
    ]
    assert {one.code for one in decisions} == {"ModelUnavailable"}
    pauses = [one.retry_in for one in decisions]
    assert pauses == [2, 4, 8, 16, None]
    assert decisions[0].reason == "The model is away. Start it."
    assert f"given up after {MAX_ATTEMPTS} attempts" in decisions[-1].reason


def test_the_pause_is_never_shorter_than_the_model_asked_for() -> None:
    slow = ModelOverloaded("Too many requests. Wait.", retry_after=60)
    assert decide(slow, source="a.md", attempt=1).retry_in == 60
    quick = ModelOverloaded("Too many requests. Wait.", retry_after=0.5)
    assert decide(quick, source="a.md", attempt=3).retry_in == 8


def test_an_original_that_another_machine_may_have_is_looked_for_again() -> None:
    gone = BlobMissing("There is no blob 'x'. Share the folder.")
    decisions = [decide(gone, source="a.md", attempt=attempt) for attempt in (1, MAX_ATTEMPTS)]
    assert [(one.code, one.retry_in) for one in decisions] == [
        ("BlobMissing", 2),
        ("BlobMissing", None),
    ]


@pytest.mark.parametrize(
    ("error", "code"), [(DocumentEmpty("no text"), "DocumentEmpty"), (ValueError("x"), INTERNAL)]
)
def test_what_cannot_pass_by_itself_is_given_up_at_once(error: Exception, code: str) -> None:
    decision = decide(error, source="a.md", attempt=1)
    assert (decision.retry_in, decision.code) == (None, code)


def test_a_defect_of_ours_says_where_and_what() -> None:
    reason = decide(KeyError("x"), source="a.md", attempt=1).reason
    assert "'a.md'" in reason
    assert "KeyError" in reason
    assert reason.endswith("if you may share it.")


def test_the_code_is_the_name_in_the_tree() -> None:
    busy = StoreUnavailable("busy. Wait.")
    assert decide(busy, source="a.md", attempt=1).code == "StoreUnavailable"
