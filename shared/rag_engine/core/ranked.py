"""Lists by strength in pages: where a page ends, and nodes in the order of their degrees."""

from __future__ import annotations

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
