"""The orders in which documents are listed, from what a process knows of their versions.

What a version is ordered by never changes once it was shown: a process remembers it and asks only
for versions that are new, once somebody lists documents in another order than that of their ids.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from rag_engine.adapters.neo4j.connection import Row
from rag_engine.adapters.neo4j.errors import kept_no_more
from rag_engine.adapters.neo4j.records import document_of
from rag_engine.core.listing import Order, Place, Sort

_KEPT: Final = 8
"""Sorted lists that are kept, of the newest views that were asked for one."""

_SPARE: Final = 1_000
"""Versions that are gone and known all the same, before they are forgotten."""

Ask = Callable[[int], Awaitable[Sequence[Row]]]
"""Runs `versions_to_order`, given a write counter."""


class Orders:
    """Where the documents of a workspace stand in each order."""

    def __init__(self) -> None:
        self._counter = -1
        self._places: dict[int, dict[Sort, Place]] = {}
        self._sorted: dict[tuple[int, Sort], list[Place]] = {}

    async def places(
        self, order: Order, counter: int, documents: Mapping[str, int], ask: Ask
    ) -> list[Place]:
        """Where all documents of a view stand, ascending.

        Args:
            order: The order; its direction does not matter.
            counter: Of the view.
            documents: Row of the visible version of each document.
            ask: Reads what was shown after a write counter.

        Raises:
            StoreUnavailable: The view is so old that some versions are not kept any more.
        """
        known = self._sorted.get((counter, order.by))
        if known is not None:
            return known
        if order.by is Sort.ID:
            found = [("", id) for id in documents]
        else:
            await self._learn(counter, documents, ask)
            found = [self._places[row][order.by] for row in documents.values()]
        await asyncio.to_thread(found.sort)
        self._sorted[counter, order.by] = found
        while len(self._sorted) > _KEPT:
            del self._sorted[min(self._sorted)]
        return found

    async def _learn(self, counter: int, documents: Mapping[str, int], ask: Ask) -> None:
        if self._lacks(documents) and self._counter >= counter:
            self._counter = -1  # an old view, whose versions were forgotten
        for row in await ask(self._counter) if self._counter < counter else ():
            document = document_of(row["version"])
            self._places[row["version"]["row"]] = {
                by: Order(by=by).place(document) for by in Sort if by is not Sort.ID
            }
        if self._lacks(documents):
            raise kept_no_more()
        if len(self._places) > 2 * len(documents) + _SPARE:
            visible = set(documents.values())
            self._places = {row: one for row, one in self._places.items() if row in visible}
        self._counter = max(self._counter, counter)

    def _lacks(self, documents: Mapping[str, int]) -> bool:
        return any(row not in self._places for row in documents.values())


def page_of(places: Sequence[Place], order: Order, after: str | None, limit: int) -> list[Place]:
    """The places of a page, and one more if there is another page.

    Args:
        places: All of them, ascending.
        order: In which they are listed.
        after: The cursor of the place before the page.
        limit: Of the page.
    """
    if order.descending:
        end = len(places) if after is None else bisect_left(places, order.parsed(after))
        return list(places[max(0, end - limit - 1) : end][::-1])
    first = 0 if after is None else bisect_right(places, order.parsed(after))
    return list(places[first : first + limit + 1])
