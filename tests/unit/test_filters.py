"""Filters: their JSON form, and what they mean."""

from __future__ import annotations

import pytest

from rag_engine.core.filters import (
    And,
    Exists,
    In,
    Not,
    Or,
    Range,
    check_fields,
    matches,
    names,
    parse,
)
from rag_engine.errors import InvalidFilter

FIELDS = {"author": "Ann", "year": 1843, "tags": ("sea", "stone"), "draft": False}


@pytest.mark.parametrize(
    ("filter_", "wanted"),
    [
        ({"eq": {"author": "Ann"}}, True),
        ({"eq": {"author": "ann"}}, False),
        ({"eq": {"year": 1843.0}}, True),
        ({"eq": {"year": "1843"}}, False),
        ({"eq": {"draft": False}}, True),
        ({"eq": {"draft": 0}}, False),
        ({"eq": {"tags": "sea"}}, True),
        ({"in": {"tags": ["wood", "stone"]}}, True),
        ({"in": {"tags": []}}, False),
        ({"gt": {"year": 1843}}, False),
        ({"gte": {"year": 1843}}, True),
        ({"lt": {"author": "B"}}, True),
        ({"lte": {"author": 3}}, False),
        ({"lt": {"nowhere": 1}}, False),
        ({"exists": "tags"}, True),
        ({"exists": "nowhere"}, False),
        ({"not": {"eq": {"nowhere": 1}}}, True),
        ({"and": []}, True),
        ({"or": []}, False),
        ({"and": [{"exists": "year"}, {"not": {"exists": "author"}}]}, False),
        ({"or": [{"exists": "nowhere"}, {"gt": {"year": 1}}]}, True),
    ],
)
def test_a_filter_means_what_it_says(filter_: object, wanted: bool) -> None:
    assert matches(parse(filter_), FIELDS) is wanted


def test_large_whole_numbers_are_told_apart() -> None:
    assert not matches(parse({"eq": {"id": 2**53}}), {"id": 2**53 + 1})
    assert matches(parse({"gt": {"id": 2**53}}), {"id": 2**53 + 1})


def test_the_json_form_becomes_a_tree() -> None:
    parsed = parse(
        {"and": [{"or": [{"eq": {"a": 1}}, {"exists": "b"}]}, {"not": {"gt": {"c": "x"}}}]}
    )
    assert parsed == And((Or((In("a", (1,)), Exists("b"))), Not(Range("c", "gt", "x"))))
    assert list(names(parsed)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("author", "not a filter"),
        ({}, "not a filter"),
        ({"eq": {"a": 1}, "gt": {"b": 2}}, "not a filter"),
        ({"equals": {"a": 1}}, "'equals' is not an operator. Use one of: and, or"),
        ({"eq": {"a": 1, "b": 2}}, "one field"),
        ({"eq": ["a", 1]}, "one field"),
        ({"eq": {"a": None}}, "cannot be compared"),
        ({"eq": {"": 1}}, "name of a field"),
        ({"in": {"a": 1}}, "list of values"),
        ({"in": {"a": [[1]]}}, "cannot be compared"),
        ({"gt": {"a": True}}, "Use 'eq'"),
        ({"and": {"eq": {"a": 1}}}, "list of filters"),
        ({"exists": 3}, "name of a field"),
        ({"in": {"a": [1] * 20_000}}, "at most 10,000"),
        ({"gt": {"a": 2**63}}, "too large a number"),
    ],
)
def test_a_malformed_filter_is_refused_with_what_is_wrong(wrong: object, words: str) -> None:
    with pytest.raises(InvalidFilter, match=words):
        parse(wrong)


def test_a_filter_that_is_too_large_is_refused() -> None:
    deep: object = {"exists": "a"}
    for _ in range(20):
        deep = {"not": deep}
    with pytest.raises(InvalidFilter, match="too large"):
        parse(deep)
    with pytest.raises(InvalidFilter, match="too large"):
        parse({"or": [{"exists": "a"}] * 300})


def test_a_field_that_no_document_has_is_refused() -> None:
    check_fields(parse({"eq": {"$source": "x"}}), [])
    check_fields(parse({"eq": {"author": "x"}}), ["author"])
    with pytest.raises(InvalidFilter, match=r"'autor'.*'author'"):
        check_fields(parse({"not": {"eq": {"autor": "x"}}}), ["author"])
