"""Filters compiled to SQL: a query for the rows of the documents that match.

Each node of the tree becomes one common table expression over those before it: nested selects
would overflow SQLite's parser, which has room for about a dozen levels.
"""

from __future__ import annotations

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
# CROSS keeps the order of the join, so that each value is looked up in the index.
_AMONG: Final = (
    "SELECT document FROM (VALUES {}) AS wanted CROSS JOIN field_value "
    "ON field = ? AND kind = wanted.column1 AND value = wanted.column2"
)
_COMPARES: Final[dict[Bound, str]] = {
    "gt": "SELECT document FROM field_value WHERE field = ? AND kind = ? AND value > ?",
    "gte": "SELECT document FROM field_value WHERE field = ? AND kind = ? AND value >= ?",
    "lt": "SELECT document FROM field_value WHERE field = ? AND kind = ? AND value < ?",
    "lte": "SELECT document FROM field_value WHERE field = ? AND kind = ? AND value <= ?",
}


def compile_filter(filter_: Filter) -> tuple[str, list[Scalar]]:
    """A SELECT of one column, `document`, and its parameters; a row may come more than once."""
    query = _Query()
    last = query.add(filter_)
    nodes = ", ".join(f"{name} AS ({sql})" for name, sql in query.nodes)
    return f"WITH {nodes} SELECT document FROM {last}", query.parameters  # noqa: S608 - our names


def stored(value: Scalar) -> tuple[str, Scalar]:
    """A value as `field_value` holds it: its kind and what is compared within that kind."""
    kind, comparison = comparable(value)
    return kind, int(comparison) if kind == "boolean" else comparison


class _Query:
    """The nodes compiled so far, children first, and the parameters in the order they stand."""

    def __init__(self) -> None:
        self.nodes: list[tuple[str, str]] = []
        self.parameters: list[Scalar] = []

    def add(self, filter_: Filter) -> str:
        """Add a filter's node after those of its parts; return its name."""
        match filter_:
            case And(parts):
                return self._combined(parts, " INTERSECT ", _ALL)
            case Or(parts):
                return self._combined(parts, " UNION ", _NONE)
            case Not(part):
                return self._node(f"{_ALL} EXCEPT {_all_of(self.add(part))}")
            case In(field, values):
                return self._in(field, values)
            case Range(field, bound, value):
                return self._node(_COMPARES[bound], field, *stored(value))
            case Exists(field):
                return self._node(_EXISTS, field)

    def _combined(self, parts: tuple[Filter, ...], operator: str, empty: str) -> str:
        names = [self.add(part) for part in parts]
        return self._node(operator.join(map(_all_of, names)) or empty)

    def _in(self, field: str, values: tuple[Scalar, ...]) -> str:
        pairs = [stored(value) for value in values]
        if not pairs:
            return self._node(_NONE)
        if len(pairs) == 1:
            return self._node(_EQUALS, field, *pairs[0])
        places = ", ".join(["(?, ?)"] * len(pairs))
        return self._node(_AMONG.format(places), *(one for pair in pairs for one in pair), field)

    def _node(self, sql: str, *parameters: Scalar) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append((name, sql))
        self.parameters.extend(parameters)
        return name


def _all_of(name: str) -> str:
    return f"SELECT document FROM {name}"  # noqa: S608 - our names
