"""Plans: which stretches of a question may be names, and when its vector means nothing."""

from __future__ import annotations

import pytest

from rag_engine.errors import InvalidRequest
from rag_engine.retrieval.plan import LONGEST_NAME, name_spans, plan

LATIN = frozenset({"Latin"})


def test_every_stretch_may_be_a_name_the_longest_first() -> None:
    keys = [span.key for span in name_spans("Who owned St. Louis's Arch?")]
    assert keys.index("st. louis's arch") < keys.index("st. louis") < keys.index("st")
    assert "arch" in keys


def test_a_letter_of_a_script_without_spaces_is_a_word() -> None:
    keys = {span.key for span in name_spans("谁写了《红楼梦》")}
    assert {"红楼梦", "谁写了"} <= keys


def test_stretches_are_bounded() -> None:
    spans = name_spans("word " * 5000)
    assert max(span.last - span.first for span in spans) == LONGEST_NAME
    assert len(spans) < 3000


def test_a_script_that_the_model_does_not_know_leaves_words_and_names() -> None:
    asked = plan("红楼梦的作者是谁？", "graph", LATIN)
    assert not asked.dense
    assert asked.spans
    [warning] = asked.warnings
    assert "Han" in warning
    assert "RAG_EMBEDDING_MODEL" in warning


def test_dense_search_alone_goes_on_with_a_warning() -> None:
    asked = plan("红楼梦的作者是谁？", "naive", LATIN)
    assert asked.dense
    assert asked.warnings


@pytest.mark.parametrize("question", ["Who?", "Who wrote 红楼梦, and when was it printed?", "123?"])
def test_a_question_that_is_mostly_in_a_known_script_is_asked_both_ways(question: str) -> None:
    asked = plan(question, "graph", LATIN)
    assert asked.dense
    assert not asked.warnings


def test_a_model_for_all_scripts_is_never_warned_of() -> None:
    assert plan("红楼梦", "fusion", None).dense


def test_an_unknown_mode_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidRequest, match="graph, fusion, naive"):
        plan("Who?", "magic", None)
