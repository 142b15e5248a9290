"""Lists by strength in pages: where a page ends, nodes by their degrees, pairs by their weights."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from rag_engine.core.vectors import Ids
from rag_engine.errors import InvalidCursor

_LARGEST: Final = 2**63 - 1


def pack_place(strength: int, *ids: int) -> str:
    """Where a page ends: the strength of its last row and the ids that tell equal ones apart."""
    return ".".join(map(str, (strength, *ids)))


def place_of(text: str, ids: int) -> tuple[int, ...]:
    """The numbers that `pack_place` was given.

    Raises:
        InvalidCursor: It is no place with so many ids.
    """
    parts = text.split(".")
    if len(parts) == 1 + ids and all(one.isascii() and one.isdecimal() for one in parts):
        # Texts before numbers: reading one of thousands of digits takes long.
        place = tuple(int(one) for one in parts if len(one) < 20)
        if len(place) == len(parts) and max(place) <= _LARGEST:
            return place
    raise InvalidCursor(
        f"{text[:80]!r} is no place in this list. Pass the `next` of the page before."
    )


@dataclass(frozen=True, slots=True)
class Ranked:
    """Nodes by degree descending, then id; those of degree 0 are left out.

    Attributes:
        ids: Shape `(n,)`.
        degrees: Shape `(n,)`.
    """

    ids: Ids
    degrees: npt.NDArray[np.int64]

    @classmethod
    def of(cls, ids: Ids, degrees: npt.NDArray[np.int64]) -> Ranked:
        """Nodes in their order, given in any."""
        order = np.lexsort((ids, -degrees))
        order = order[: np.count_nonzero(degrees)]
        return cls(ids[order], degrees[order])

    def page(self, after: str | None, limit: int) -> tuple[list[int], str | None]:
        """Ids of the next `limit` nodes, and where the page ends unless it is the last one.

        Raises:
            InvalidCursor: `after` is no place.
        """
        first = 0 if after is None else self._behind(*place_of(after, 1))
        last = min(first + limit, len(self.ids))
        more = first < last < len(self.ids)
        end = pack_place(int(self.degrees[last - 1]), int(self.ids[last - 1])) if more else None
        return self.ids[first:last].tolist(), end

    def _behind(self, degree: int, id: int) -> int:
        """How many nodes stand up to a place, whether or not there is one at it."""
        ascending = self.degrees[::-1]
        first = len(ascending) - int(np.searchsorted(ascending, degree, "right"))
        last = len(ascending) - int(np.searchsorted(ascending, degree, "left"))
        return first + int(np.searchsorted(self.ids[first:last], id, "right"))


Pair = tuple[int, int, int]
"""The lower id of two nodes, the higher one, and the weight of what joins them."""


@dataclass(frozen=True, slots=True)
class RankedPairs:
    """Pairs of nodes by weight descending, then the lower id of the two, then the other one.

    Attributes:
        low: The lower id of each pair; shape `(n,)`.
        high: The other one.
        weights: In thousandths.
    """

    low: Ids
    high: Ids
    weights: npt.NDArray[np.int64]

    @classmethod
    def of(cls, pairs: Collection[Pair]) -> RankedPairs:
        """Pairs in their order, given in any, each once."""
        low, high, weights = np.array([*pairs], dtype=np.int64).reshape(-1, 3).T
        order = np.lexsort((high, low, -weights))
        return cls(low[order], high[order], weights[order])

    def page(self, after: str | None, limit: int) -> tuple[list[Pair], str | None]:
        """The next `limit` pairs, and where the page ends unless it is the last one.

        Raises:
            InvalidCursor: `after` is no place.
        """
        first = 0 if after is None else self._behind(*place_of(after, 2))
        shown = slice(first, first + limit + 1)
        columns = self.low[shown].tolist(), self.high[shown].tolist(), self.weights[shown].tolist()
        return page_of_pairs([*zip(*columns, strict=True)], limit)

    def _behind(self, weight: int, low: int, high: int) -> int:
        """How many pairs stand up to a place, whether or not there is one at it."""
        ascending = self.weights[::-1]
        first = len(ascending) - int(np.searchsorted(ascending, weight, "right"))
        last = len(ascending) - int(np.searchsorted(ascending, weight, "left"))
        equal = self.low[first:last]
        last = first + int(np.searchsorted(equal, low, "right"))
        first += int(np.searchsorted(equal, low, "left"))
        return first + int(np.searchsorted(self.high[first:last], high, "right"))


def page_of_pairs(pairs: Sequence[Pair], limit: int) -> tuple[list[Pair], str | None]:
    """The first `limit` of pairs in their order, and where they end if there are more."""
    page = [*pairs[:limit]]
    low, high, weight = page[-1] if page else (0, 0, 0)
    return page, pack_place(weight, low, high) if page and len(pairs) > limit else None
