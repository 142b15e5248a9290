"""Filters, answered by the database leaf by leaf and put together here.

Each condition of a filter is one parameter of one statement, so that its text never changes and no
filter is too deep for the planner. What a condition finds among the versions that were ever shown
does not change, only more of them come: a process remembers it and asks for what is new.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rag_engine.adapters.neo4j.connection import Row
from rag_engine.core.filters import (
    And,
    Exists,
    Filter,
    In,
    Leaf,
    Not,
    Or,
    Range,
    comparable,
    leaves,
)

Rows = npt.NDArray[np.int64]
Ask = Callable[[Sequence[Mapping[str, Any]]], Awaitable[Sequence[Row]]]

_REMEMBERED: Final = 256
"""Conditions whose matches are remembered; the oldest are forgotten."""


@dataclass(frozen=True, slots=True)
class _Known:
    """The versions that a condition was found to match, of those shown up to a counter."""

    counter: int = -1
    rows: Rows = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


class Matches:
    """Which versions match the conditions of filters, as far as this process has asked."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def matching(self, filter_: Filter, counter: int, visible: Rows, ask: Ask) -> Rows:
        """The visible versions that match a filter.

        Args:
            filter_: The filter.
            counter: Of the view.
            visible: Rows of the versions that are visible in it, ascending.
            ask: Runs `matching_versions`.

        Returns:
            Their rows, ascending.
        """
        leaves = _leaves(filter_)
        known = {name: self._known.get(name, _Known()) for name in leaves}
        asked = [
            {"number": name, "since": known[name].counter, **_parameters(leaf)}
            for name, leaf in leaves.items()
            if known[name].counter < counter
        ]
        if asked:
            found = {row["leaf"]: row["rows"] for row in await ask(asked)}
            for one in asked:
                name = one["number"]
                new = np.array(found.get(name, []), dtype=np.int64)
                known[name] = _Known(counter, np.union1d(known[name].rows, new))
            self._remember(known)
        return _combined(filter_, known, visible)

    def _remember(self, known: Mapping[str, _Known]) -> None:
        for name, one in known.items():
            if self._known.get(name, _Known()).counter < one.counter:
                self._known[name] = one
                self._known.move_to_end(name)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


def _combined(filter_: Filter, known: Mapping[str, _Known], visible: Rows) -> Rows:
    match filter_:
        case And(parts):
            rows = visible
            for part in parts:
                rows = np.intersect1d(rows, _combined(part, known, visible))
            return rows
        case Or(parts):
            rows = np.zeros(0, dtype=np.int64)
            for part in parts:
                rows = np.union1d(rows, _combined(part, known, visible))
            return rows
        case Not(part):
            return np.setdiff1d(visible, _combined(part, known, visible))
        case In() | Range() | Exists():
            return np.intersect1d(known[repr(filter_)].rows, visible)


def _leaves(filter_: Filter) -> Mapping[str, Leaf]:
    """The conditions of a filter by their text, in which `True`, `1` and `1.0` differ."""
    return {repr(leaf): leaf for leaf in leaves(filter_)}


def _parameters(leaf: Leaf) -> dict[str, Any]:
    """A condition as `matching_versions` takes it."""
    match leaf:
        case Exists(field):
            return {"test": "exists", "field": field}
        case Range(field, bound, value):
            kind, _ = comparable(value)
            return {"test": bound, "field": field, "kind": kind, "bound": value}
        case In(field, values):
            kinds: dict[str, list[Any]] = {"text": [], "boolean": [], "number": []}
            for value in values:
                kinds[comparable(value)[0]].append(value)
            return {
                "test": "in",
                "field": field,
                "texts": kinds["text"],
                "flags": kinds["boolean"],
                "numbers": kinds["number"],
            }
