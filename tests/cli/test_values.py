"""Words of the command line as metadata and filters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rag_engine.core.filters import And, Exists, In, Not, Range
from rag_engine.errors import InvalidFilter, InvalidRequest
from rag_engine_cli.values import filter_of, metadata, typed

if TYPE_CHECKING:
    from rag_engine.core.filters import Filter
    from rag_engine.core.models import MetadataValue


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2023", 2023),
        ("-1.5", -1.5),
        ("true", True),
        ("false", False),
        ("True", "True"),
        ("null", "null"),
        ("NaN", "NaN"),
        ("007", "007"),
        ("2023-06-01", "2023-06-01"),
        ('"2023"', "2023"),
        ("[a, 2, true]", ("a", 2, True)),
        ('["a", "b, c"]', ("a", "b, c")),
        ("[]", ()),
        ("", ""),
        ("a=b", "a=b"),
        ('{"a": 1}', '{"a": 1}'),
    ],
)
def test_values_are_typed_as_they_are_meant(text: str, value: MetadataValue) -> None:
    assert typed(text) == value
    assert type(typed(text)) is type(value)


def test_metadata_adds_up() -> None:
    assert metadata([], None) is None
    assert metadata(["a=1", "b = x y", "c=1", "c=z"], '{"a": 2, "d": [1]}') == {
        "a": 1,
        "b": "x y",
        "c": (1, "z"),
        "d": (1,),
    }
    assert metadata([], "{}") == {}
    with pytest.raises(InvalidRequest):
        metadata(["x"], None)


@pytest.mark.parametrize(
    ("words", "filter"),
    [
        ([], None),
        (["year=2023"], In("year", (2023, "2023"))),
        (['year="2023"'], In("year", ("2023",))),
        (["author=Ada Lovelace"], In("author", ("Ada Lovelace",))),
        (["author!=x"], Not(In("author", ("x",)))),
        (["tags=[a, b]"], In("tags", ("a", "b"))),
        (["year > 3"], Range("year", "gt", 3)),
        (["year>=3"], Range("year", "gte", 3)),
        (["date<2023-06"], Range("date", "lt", "2023-06")),
        (["year<=3.5"], Range("year", "lte", 3.5)),
        (["tags"], Exists("tags")),
        (['{"exists": "tags"}', "a=b=c"], And((Exists("tags"), In("a", ("b=c",))))),
    ],
)
def test_filters_are_understood(words: list[str], filter: Filter | None) -> None:
    assert filter_of(words) == filter


@pytest.mark.parametrize("word", ["", "=", "a>", "a<=true", "a>[1]", "{}", "[]{", "{'a': 1}"])
def test_other_filters_are_refused(word: str) -> None:
    with pytest.raises(InvalidFilter):
        filter_of([word])
