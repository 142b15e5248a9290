"""What a store can hold of names and metadata that people give."""

from __future__ import annotations

import math
import re
from typing import Final

from rag_engine.core.edits import Edit, Fact
from rag_engine.core.filters import LARGEST
from rag_engine.core.models import Metadata, Scalar
from rag_engine.core.names import entity_key
from rag_engine.errors import InvalidRequest

LONGEST: Final = 4096
"""Characters of an id, a title, a field name or a metadata value."""


_WORKSPACE: Final = re.compile(r"(?=[._-]*[A-Za-z0-9])[A-Za-z0-9._-]{1,64}")


def check_workspace(name: str) -> None:
    """Refuse a name that no store gives a workspace.

    Raises:
        InvalidRequest: It is not 1 to 64 letters, digits, `-`, `_` or `.`, or has neither letter
            nor digit: programs take `..` in an address for another one.
    """
    if not _WORKSPACE.fullmatch(name):
        raise InvalidRequest(
            f"{name!r} cannot be the name of a workspace. Use 1 to 64 letters, digits, "
            "'-', '_' or '.', among them a letter or a digit."
        )


def check_submission(
    document_id: str, source: str, root: str | None, title: str | None, metadata: Metadata
) -> None:
    """Refuse names and values that a store or a filter could not hold.

    Raises:
        InvalidRequest: Naming the first one that cannot be used.
    """
    if not document_id:
        raise InvalidRequest("A document needs an id. Give one, for example its path.")
    for word in (document_id, source, root or "", title or ""):
        _check(word)
    for name, value in metadata.items():
        if not name or name.startswith("$"):
            raise InvalidRequest(
                f"{name!r} cannot name a metadata field. Use a name that does not begin with '$'."
            )
        _check(name)
        for one in value if isinstance(value, tuple) else (value,):
            _check(one)


def check_fact(fact: Fact) -> None:
    """Refuse a fact that says nothing or cannot be stored.

    Raises:
        InvalidRequest: Naming what is wrong with it.
    """
    names = [name for name in (fact.name, fact.target) if name is not None]
    if not all(map(entity_key, names)):
        raise InvalidRequest("A fact needs a name to be about. Give one that can be seen.")
    if len({entity_key(name) for name in names}) < len(names):
        raise InvalidRequest(f"{fact.name!r} cannot be joined to itself. Name another entity.")
    for part in (*names, fact.type, fact.description, fact.keywords):
        _check(part)


def check_names(edit: Edit) -> None:
    """Refuse an edit whose names cannot be stored.

    Raises:
        InvalidRequest: Naming the first one.
    """
    for name in edit.names:
        _check(name)


def _check(value: Scalar) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidRequest(f"{value!r} cannot be a metadata value. Use a finite number.")
    if isinstance(value, int) and abs(value) > LARGEST:
        raise InvalidRequest(f"{value!r} is too large for a metadata value. Use a string.")
    if isinstance(value, str) and (len(value) > LONGEST or not _is_text(value)):
        raise InvalidRequest(
            f"{value[:80]!r} cannot be stored as an id, a name or a metadata value. "
            f"Use valid Unicode of at most {LONGEST:,} characters."
        )


def _is_text(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return "\0" not in value
