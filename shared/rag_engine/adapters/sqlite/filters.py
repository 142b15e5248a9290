"""Filters compiled to SQL: a query for the rows of the documents that match."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rag_engine.core.filters import (
    And,
    Bound,
    Exists,
    Filter,
    In,
    Not,
    Or,
    Range,
    comparable,
)
from rag_engine.core.models import Scalar

_ALL: Final = "SELECT row AS document FROM document WHERE current IS NOT NULL"
_NONE: Final = "SELECT row AS document FROM document WHERE 0"
_EXISTS: Final = "SELECT document FROM field_value WHERE field = ?"
_EQUALS: Final = "SELECT document FROM field_value WHERE field = ? AND kind = ? AND value = ?"
_COMPARES: Final[dict[Bound, str]] = {
    "gt": "SELECT document FROM field_value WHERE field = ? AND kind = ? AND value > ?",
    "gte": "SELECT document FROM field_value WHERE field = ? AND kind = ? AND value >= ?",
    "lt": "SELECT document FROM field_value WHERE field = ? AND kind = ? AND value < ?",
    "lte": "SELECT document FROM field_value WHERE field = ? AND kind = ? AND value <= ?",
}


def compile_filter(filter_: Filter) -> tuple[str, list[Scalar]]:
    """A SELECT of one column, `document`, and its parameters."""
    match filter_:
        case And(parts):
            return _combined(parts, " INTERSECT ", _ALL)
        case Or(parts):
            return _combined(parts, " UNION ", _NONE)
        case Not(part):
            sql, parameters = compile_filter(part)
            return f"{_ALL} EXCEPT {_nested(sql)}", parameters
        case In(field, values):
            one = [(_EQUALS, [field, *stored(value)]) for value in values]
            return _joined(one, " UNION ", _NONE)
        case Range(field, bound, value):
            return _COMPARES[bound], [field, *stored(value)]
        case Exists(field):
            return _EXISTS, [field]


def stored(value: Scalar) -> tuple[str, Scalar]:
    """A value as `field_value` holds it: its kind and what is compared within that kind."""
    kind, comparison = comparable(value)
    return kind, int(comparison) if kind == "boolean" else comparison


def _combined(parts: tuple[Filter, ...], operator: str, empty: str) -> tuple[str, list[Scalar]]:
    return _joined([compile_filter(part) for part in parts], operator, empty)


def _joined(
    queries: Sequence[tuple[str, list[Scalar]]], operator: str, empty: str
) -> tuple[str, list[Scalar]]:
    if not queries:
        return empty, []
    sql = operator.join(_nested(query) for query, _ in queries)
    return sql, [value for _, values in queries for value in values]


def _nested(sql: str) -> str:
    # SQLite has no parentheses around the members of a compound select.
    return f"SELECT document FROM ({sql})"  # noqa: S608 - made of the constants above alone
