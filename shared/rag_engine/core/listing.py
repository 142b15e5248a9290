"""In which order things are listed, and where a page ends.

A page ends at a place, not at a number of things: what comes before it may come and go, also what
stood at the place itself, and the next page still begins right after it. Callers pass a place on as
a cursor, a text that names the order it belongs to.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from rag_engine.core.models import Document, Version
from rag_engine.errors import InvalidCursor

Value = str | int | float
Place = tuple[Any, str]
"""The `Value` that is ordered by, and the document's id, by which ties are ordered."""

_LARGEST: Final = 1 << 63
_TO_LOWER: Final = {ord(one): one.lower() for one in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


class Sort(StrEnum):
    """What documents are ordered by; ties are in the order of their ids."""

    ID = "id"
    TITLE = "title"  # what it is called in a citation: its title, else its source
    CREATED = "created"
    UPDATED = "updated"
    SIZE = "size"


_VALUES: Final[dict[Sort, Callable[[Document], Value]]] = {
    Sort.ID: lambda document: "",
    Sort.TITLE: lambda document: folded(document.name),
    Sort.CREATED: lambda document: document.created_at,
    Sort.UPDATED: lambda document: document.updated_at,
    Sort.SIZE: lambda document: document.size,
}


def folded(name: str) -> str:
    """A name as it is ordered: by code point, with `A` to `Z` as `a` to `z`.

    All stores can do that in the same way, which no order of a language is.
    """
    return name.translate(_TO_LOWER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """In which order documents are listed; `descending` is the exact reverse, ties too."""

    by: Sort = Sort.ID
    descending: bool = False

    def place(self, document: Document) -> Place:
        """Where a document stands."""
        return _VALUES[self.by](document), document.id

    def cursor(self, place: Place) -> str:
        """A place as a text."""
        return _packed(self._name, place)

    def parsed(self, cursor: str) -> Place:
        """The place that a text says.

        Raises:
            InvalidCursor: It says none, or one in another order.
        """
        value, id = _unpacked(self._name, cursor, text=self.by in (Sort.ID, Sort.TITLE))
        return "" if self.by is Sort.ID else value, id

    @property
    def _name(self) -> str:
        return f"{self.by}-{'desc' if self.descending else 'asc'}"


BY_ID: Final = Order()


class VersionSort(StrEnum):
    """In which order versions are listed, the newest of each document."""

    REQUESTED = "requested"  # the latest first, then by document id
    ID = "id"  # by document id

    def place(self, version: Version) -> Place:
        """Where a version stands."""
        by_time = self is VersionSort.REQUESTED
        return version.requested_at if by_time else "", version.document_id

    def cursor(self, version: Version) -> str:
        """Where a version stands, as a text."""
        return _packed(self._name, self.place(version))

    def parsed(self, cursor: str) -> Place:
        """The place that a text says.

        Raises:
            InvalidCursor: It says none, or one in another order.
        """
        value, id = _unpacked(self._name, cursor, text=self is VersionSort.ID)
        return "" if self is VersionSort.ID else value, id

    @property
    def _name(self) -> str:
        return f"versions-{self}"


def _packed(order: str, place: Place) -> str:
    text = json.dumps([order, *place], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _unpacked(order: str, cursor: str, *, text: bool) -> Place:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        found = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise _refused(cursor) from error
    match found:
        case [str(), value, str(id)] if _fits(value, id, text=text) and found[0] == order:
            return value, id
        case [str(other), _, str()] if other != order:
            raise InvalidCursor(
                f"{cursor[:200]!r} is a place in another order ({other!r}, and this list is "
                f"{order!r}). Begin again without it, or ask in the order that it came from."
            )
        case _:
            raise _refused(cursor)


def _fits(value: Any, id: str, *, text: bool) -> bool:
    if not _is_unicode(id):
        return False
    if text:
        return isinstance(value, str) and _is_unicode(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) < _LARGEST  # which no NaN is


def _is_unicode(text: str) -> bool:
    """Whether a text has no lone surrogates, which no store takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refused(cursor: str) -> InvalidCursor:
    return InvalidCursor(
        f"{cursor[:200]!r} is no place in a list. Pass the `next` of the page before."
    )
