"""Filters over documents: a small tree, its JSON form, and what it means.

`matches` is the meaning; stores compile the tree to their own language and are tested against it.

The JSON form has one operator an object::

    {"and": [{"eq": {"author": "Dickens"}}, {"gte": {"year": 1843}}]}

Operators: `and`, `or` (lists), `not` (one filter), `eq`, `in`, `gt`, `gte`, `lt`, `lte` (one
field each), `exists` (a field's name). A field that holds a list matches when one of its values
does, which is how tags work. Numbers compare with numbers and strings with strings; a value of
another type does not match, it is no error. Fields that begin with `$` are the document's own:
`$id`, `$source`, `$root`, `$title`, `$media_type`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from rag_engine.core.models import Document, MetadataValue, Scalar
from rag_engine.errors import InvalidFilter

Bound = Literal["gt", "gte", "lt", "lte"]

OWN_FIELDS = ("$id", "$source", "$root", "$title", "$media_type")
_MAX_DEPTH = 16
_MAX_NODES = 256
_MAX_VALUES = 10_000
LARGEST = 2**63 - 1
"""Whole numbers beyond it, either way, fit no database column."""
_BOUNDS: tuple[Bound, ...] = ("gt", "gte", "lt", "lte")
_OPERATORS = ("and", "or", "not", "eq", "in", *_BOUNDS, "exists")


@dataclass(frozen=True, slots=True)
class And:
    """Every part matches; with no parts it matches everything."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Some part matches; with no parts it matches nothing."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not match."""

    part: Filter


@dataclass(frozen=True, slots=True)
class In:
    """The field has one of the values; `eq` is `in` with one value."""

    field: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """The field has a value on that side of the bound, of the same type as the bound."""

    field: str
    bound: Bound
    value: str | int | float


@dataclass(frozen=True, slots=True)
class Exists:
    """The field has a value, whichever."""

    field: str


Leaf = In | Range | Exists
Filter = And | Or | Not | Leaf


def fields_of(document: Document) -> dict[str, MetadataValue]:
    """All that filters can see of a document: its metadata and its own `$` fields."""
    own = {
        "$id": document.id,
        "$source": document.source,
        "$root": document.root,
        "$title": document.title,
        "$media_type": document.media_type,
    }
    return dict(document.metadata) | {name: value for name, value in own.items() if value}


def matches(filter_: Filter, fields: Mapping[str, MetadataValue]) -> bool:
    """Whether a document with these fields passes the filter. The reference for every store."""
    match filter_:
        case And(parts):
            return all(matches(part, fields) for part in parts)
        case Or(parts):
            return any(matches(part, fields) for part in parts)
        case Not(part):
            return not matches(part, fields)
        case In(field, values):
            wanted = {comparable(value) for value in values}
            return any(comparable(value) in wanted for value in values_of(fields, field))
        case Range(field, bound, value):
            return any(_within(one, bound, value) for one in values_of(fields, field))
        case Exists(field):
            return bool(values_of(fields, field))


def values_of(fields: Mapping[str, MetadataValue], field: str) -> tuple[Scalar, ...]:
    """The values of a field as a tuple: empty when it is absent."""
    value = fields.get(field)
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def comparable(value: Scalar) -> tuple[str, Scalar]:
    """A value with its kind, so that `True`, `1` and `"1"` differ and `1` equals `1.0`."""
    if isinstance(value, bool):
        return ("boolean", value)
    return ("text", value) if isinstance(value, str) else ("number", value)


def _within(value: Scalar, bound: Bound, limit: str | int | float) -> bool:
    kind, left = comparable(value)
    other, right = comparable(limit)
    if kind != other or kind == "boolean":
        return False
    pair = cast("tuple[float, float]", (left, right))
    match bound:
        case "gt":
            return pair[0] > pair[1]
        case "gte":
            return pair[0] >= pair[1]
        case "lt":
            return pair[0] < pair[1]
        case "lte":
            return pair[0] <= pair[1]


def leaves(filter_: Filter) -> Iterator[Leaf]:
    """The conditions of a filter, each of one field, in the order in which they stand."""
    match filter_:
        case And(parts) | Or(parts):
            for part in parts:
                yield from leaves(part)
        case Not(part):
            yield from leaves(part)
        case In() | Range() | Exists():
            yield filter_


def names(filter_: Filter) -> Iterator[str]:
    """The fields a filter looks at."""
    for leaf in leaves(filter_):
        yield leaf.field


def check_fields(filter_: Filter, known: Iterable[str]) -> None:
    """Refuse a filter over a field that no document has: it is a typing error, not an answer.

    Raises:
        InvalidFilter: Naming the field and those there are.
    """
    allowed = {*known, *OWN_FIELDS}
    for name in names(filter_):
        if name not in allowed:
            listed = ", ".join(repr(one) for one in sorted(allowed))
            raise InvalidFilter(f"No document has a field {name!r}. Fields there are: {listed}.")


def parse(value: object) -> Filter:
    """Read a filter from its JSON form.

    Raises:
        InvalidFilter: Naming what is wrong and what is understood.
    """
    budget = [_MAX_NODES]
    return _parse(value, 0, budget)


def _parse(value: object, depth: int, budget: list[int]) -> Filter:
    budget[0] -= 1
    if depth > _MAX_DEPTH or budget[0] < 0:
        raise InvalidFilter(
            f"The filter is too large. Use at most {_MAX_DEPTH} levels and {_MAX_NODES} conditions."
        )
    if not isinstance(value, dict) or len(value) != 1:
        raise InvalidFilter(
            f"{value!r} is not a filter. A filter is an object with one operator, "
            'for example {"eq": {"author": "Dickens"}}.'
        )
    [(operator, operand)] = value.items()
    match operator:
        case "and" | "or":
            if not isinstance(operand, list):
                raise InvalidFilter(f"{operator!r} takes a list of filters, not {operand!r}.")
            parts = tuple(_parse(part, depth + 1, budget) for part in operand)
            return And(parts) if operator == "and" else Or(parts)
        case "not":
            return Not(_parse(operand, depth + 1, budget))
        case "exists":
            return Exists(_field_name(operand))
        case "eq" | "in" | "gt" | "gte" | "lt" | "lte":
            return _parse_comparison(operator, operand)
        case _:
            known = ", ".join(_OPERATORS)
            raise InvalidFilter(f"{operator!r} is not an operator. Use one of: {known}.")


def _parse_comparison(operator: str, operand: object) -> Filter:
    if not isinstance(operand, dict) or len(operand) != 1:
        raise InvalidFilter(
            f"{operator!r} takes an object with one field, not {operand!r}. "
            f'Write {{"{operator}": {{"field": value}}}}.'
        )
    [(name, value)] = operand.items()
    field = _field_name(name)
    if operator == "in":
        if not isinstance(value, list):
            raise InvalidFilter(f"'in' takes a list of values for {field!r}, not {value!r}.")
        if len(value) > _MAX_VALUES:
            raise InvalidFilter(
                f"'in' takes at most {_MAX_VALUES:,} values for {field!r}, not {len(value):,}. "
                "Give the documents a field of their own to select them by."
            )
        return In(field, tuple(_scalar(field, one) for one in value))
    scalar = _scalar(field, value)
    if operator == "eq":
        return In(field, (scalar,))
    if isinstance(scalar, bool):
        raise InvalidFilter(f"{operator!r} cannot compare {field!r} with {scalar!r}. Use 'eq'.")
    return Range(field, cast("Bound", operator), scalar)


def _field_name(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidFilter(f"{value!r} is not the name of a field. Give a string.")
    return value


def _scalar(field: str, value: object) -> Scalar:
    if isinstance(value, int) and abs(value) > LARGEST:
        raise InvalidFilter(f"{value!r} is too large a number for {field!r}. Use a string.")
    if isinstance(value, bool | int | float | str):
        return value
    raise InvalidFilter(
        f"{value!r} cannot be compared with {field!r}. Give a string, a number, true or false."
    )
