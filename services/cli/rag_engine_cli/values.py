"""Words of the command line as metadata and filters."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from rag_engine.core.filters import And, Exists, Filter, In, Not, Range, parse
from rag_engine.core.models import Metadata, MetadataValue, Scalar
from rag_engine.errors import InvalidFilter, InvalidRequest

_CONDITION: Final = re.compile(r"([^=<>!]+?)\s*(>=|<=|!=|=|>|<)\s*(.*)", re.DOTALL)
_BOUNDS: Final = frozenset({">", ">=", "<", "<="})


def typed(text: str) -> MetadataValue:
    """A value as it is most likely meant.

    `2023` and `1.5` are numbers, `true` is a boolean, `[a, b]` is a list, everything else is text;
    quotes make text of anything: `"2023"`.
    """
    try:
        value = json.loads(text, parse_constant=_refuse)
    except ValueError:
        if text.startswith("[") and text.endswith("]"):
            return tuple(_scalar(part.strip()) for part in text[1:-1].split(",") if part.strip())
        return text
    if isinstance(value, list) and all(isinstance(one, str | int | float) for one in value):
        return tuple(value)
    return value if isinstance(value, str | int | float) else text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)  # NaN and Infinity are words here


def _scalar(text: str) -> Scalar:
    value = typed(text)
    return text if isinstance(value, tuple) else value


def metadata(pairs: Sequence[str], document: str | None) -> Metadata | None:
    """What `--metadata key=value …` and `--metadata-json` say; `None` when neither is given.

    A key that is given several times has a list of values.

    Raises:
        InvalidRequest: A pair has no key, or the JSON is no flat object.
    """
    if not pairs and document is None:
        return None
    found: dict[str, MetadataValue] = _from_json(document) if document is not None else {}
    given: dict[str, list[Scalar]] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise InvalidRequest(
                f"{pair!r} is no metadata. Write key=value, for example --metadata year=2023"
            )
        value = typed(text.strip())
        found[key.strip()] = value
        given.setdefault(key.strip(), []).extend(value if isinstance(value, tuple) else (value,))
    return found | {key: tuple(values) for key, values in given.items() if len(values) > 1}


def _from_json(text: str) -> dict[str, MetadataValue]:
    try:
        record: Any = json.loads(text, parse_constant=_refuse)
    except ValueError as error:
        raise InvalidRequest(
            f"--metadata-json is not JSON ({error}). "
            """Write an object, for example '{"year": 2023, "tags": ["a", "b"]}'"""
        ) from error
    if not isinstance(record, dict):
        raise InvalidRequest(f"--metadata-json takes an object, not {record!r}.")
    found: dict[str, MetadataValue] = {}
    for key, value in record.items():
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, str | int | float) for part in parts):
            raise InvalidRequest(
                f"{value!r} cannot be the metadata {key!r}. "
                "Give a string, a number, true or false, or a list of them."
            )
        found[key] = tuple(parts) if isinstance(value, list) else value
    return found


def filter_of(words: Sequence[str]) -> Filter | None:
    """What `--filter …` says; several are and-ed.

    Each is a JSON filter or short: `field=value`, `field!=value`, `field>=value`,
    `field=[a, b]` (one of them), or a field's name alone (it has a value).

    Raises:
        InvalidFilter: Naming what is wrong and what is understood.
    """
    parts = tuple(_filter(word.strip()) for word in words)
    return parts[0] if len(parts) == 1 else And(parts) if parts else None


def _filter(word: str) -> Filter:
    if word.startswith("{"):
        try:
            return parse(json.loads(word))
        except ValueError as error:
            raise InvalidFilter(
                f"{word!r} is not JSON ({error}). "
                """Write for example '{"gte": {"year": 1843}}', or short: 'year>=1843'"""
            ) from error
    match = _CONDITION.fullmatch(word)
    if match is None:
        if re.fullmatch(r"[^=<>!{}]+", word):
            return Exists(word)
        raise InvalidFilter(
            f"{word!r} is not a filter. Write field=value, field!=value, field>=value, or JSON."
        )
    field, operator, text = match[1].strip(), match[2], match[3].strip()
    if operator in _BOUNDS:
        return _range(word, field, operator, text)
    equal = In(field, _alternatives(typed(text), text))
    return equal if operator == "=" else Not(equal)


def _range(word: str, field: str, operator: str, text: str) -> Filter:
    value = typed(text)
    if not text or isinstance(value, bool | tuple):
        raise InvalidFilter(f"{word!r} compares with no number and no text. Write field>=value.")
    match operator:
        case ">":
            return Range(field, "gt", value)
        case ">=":
            return Range(field, "gte", value)
        case "<":
            return Range(field, "lt", value)
        case _:
            return Range(field, "lte", value)


def _alternatives(value: MetadataValue, text: str) -> tuple[Scalar, ...]:
    """What a short condition accepts: `2023` also finds the text `"2023"`, as people expect."""
    if isinstance(value, tuple):
        return value
    quoted = text.startswith('"') and text.endswith('"')
    return (value,) if quoted or isinstance(value, str) else (value, text)
