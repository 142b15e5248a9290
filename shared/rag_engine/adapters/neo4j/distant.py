"""Dense search in a workspace that is too large for its vectors to be held in memory.

Passages come from Neo4j's vector index, which is not exact: how it was built depends on the order of
past writes. It is asked for more than is wanted; what is not visible in the view falls out, and the
rest is scored from the stored values as everywhere. Where that does not fill what is wanted although
there is enough to fill it, and where little is visible at all, everything visible is scored instead.

Names are chosen by their codes, which are held, and scored from the stored values: as exact as ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rag_engine.adapters.neo4j.errors import kept_no_more
from rag_engine.core.vectors import Float16, Float32, Ids, Mask, Positions, Scores, best, scores

if TYPE_CHECKING:
    from rag_engine.adapters.neo4j.arrivals import Ask
    from rag_engine.adapters.neo4j.resident import Resident
    from rag_engine.ports.storage import NodeKind, Vectors

_FEW: Final = 2_000
"""Up to this many visible passages are all scored: a megabyte and a half, by one statement."""

_LEAST: Final = 100
_FACTOR: Final = 4
_MOST: Final = 10_000
"""So many times as many as wanted are asked of the index, and at least, and at most."""

_PAGE: Final = 5_000
"""Vectors that are read at a time."""

_NEAR: Final = 1e-4
"""Scores of the index are this close to ours: it counts in float32, from the same values."""

Found = tuple[Ids, Scores]


class Distant:
    """The vectors of one state, which stay in the database.

    Args:
        ask: Runs a statement by its name.
        resident: The state.
    """

    def __init__(self, ask: Ask, resident: Resident) -> None:
        self._ask = ask
        self._resident = resident

    async def vectors(self, kind: NodeKind, ids: Ids) -> Vectors:
        """See `Reader.vectors`."""
        rows = self._resident.table(kind).rows(ids)
        known = np.unique(rows[rows >= 0])
        found = np.zeros((len(ids), self._resident.dimensions), dtype=np.float32)
        if len(known):
            values = np.concatenate([page async for _, page in self._values(kind, known)])
            found[rows >= 0] = values[np.searchsorted(known, rows[rows >= 0])]
        return found

    async def search(self, kind: NodeKind, queries: Vectors, k: int, visible: Mask) -> list[Found]:
        """See `VectorTable.search`."""
        if kind == "chunk":
            return [await self._chunks(query, k, visible) for query in queries]
        table = self._resident.entities
        chosen = await asyncio.to_thread(table.candidates, queries, k, visible)
        return [
            await self._scored(kind, rows, query, k)
            for rows, query in zip(chosen, queries, strict=True)
        ]

    async def _chunks(self, query: Float32, k: int, visible: Mask) -> Found:
        rows = np.flatnonzero(visible)
        if len(rows) <= max(_FEW, k) or k <= 0:
            return await self._scored("chunk", rows, query, k)
        if not query.any():  # all score 0, and the index takes no such query
            ids = np.sort(self._resident.chunks.ids[rows])[:k]
            return ids, np.zeros(len(ids), dtype=np.float64)
        wanted = max(_LEAST, _FACTOR * k)
        while True:
            (ids, values), floor = await self._indexed(query, k, visible, wanted)
            enough = len(ids) == k and values[-1] > 0.0  # vectors of zeros are not in the index
            if enough and (values[-1] > floor or wanted >= _MOST):
                return ids, values
            if floor < 0.0 or wanted >= _MOST:
                return await self._scored("chunk", rows, query, k)
            wanted = min(4 * wanted, _MOST)

    async def _indexed(
        self, query: Float32, k: int, visible: Mask, wanted: int
    ) -> tuple[Found, float]:
        """The best visible ones of those that the index gives, and what no other scores more than.

        That is negative when it gave all it has.
        """
        [row] = await self._ask("nearest_chunks", count=wanted, vector=query.tolist())
        listed: list[Mapping[str, Any]] = list(row["found"])
        floor = -1.0
        if len(listed) >= wanted:  # the index's scores are from 0 to 1
            floor = max(0.0, 2.0 * min(one["score"] for one in listed) - 1.0 + _NEAR)
        listed += row["marked"]  # not in the index yet
        if row["counter"] != self._resident.state.counter:
            # The index has lost what this view still sees.
            listed += await self._ask("gone_since", counter=self._resident.state.counter)
        if any(one["vector"] is None for one in listed):
            raise kept_no_more()  # removed for good between the index's answer and this
        ids = np.array([one["id"] for one in listed], dtype=np.int64)
        values = self._unpacked([one["vector"] for one in listed])
        rows = self._resident.chunks.rows(ids)
        seen = (rows >= 0) & visible[rows]
        ids, first = np.unique(ids[seen], return_index=True)
        return best(ids, scores(values[seen][first], query), k), floor

    async def _scored(self, kind: NodeKind, rows: Positions, query: Float32, k: int) -> Found:
        """The best of some rows, all of which are scored."""
        ids, found = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float64)
        async for positions, values in self._values(kind, rows):
            page = self._resident.table(kind).ids[positions]
            joined = np.concatenate((found, scores(values, query)))
            ids, found = best(np.concatenate((ids, page)), joined, k)
        return ids, found

    async def _values(
        self, kind: NodeKind, positions: Positions
    ) -> AsyncIterator[tuple[Positions, Float16]]:
        """Stored vectors page by page, in the order of their positions."""
        keys = self._resident.chunk_rows if kind == "chunk" else self._resident.entities.ids
        for first in range(0, len(positions), _PAGE):
            page = positions[first : first + _PAGE]
            wanted: list[int] = keys[page].tolist()
            if kind == "chunk":
                listed = await self._ask("chunk_vectors", rows=wanted)
            else:
                listed = await self._ask("name_vectors", ids=wanted)
            found = {one["row" if kind == "chunk" else "id"]: one["vector"] for one in listed}
            if len(found) < len(wanted):
                raise kept_no_more()
            yield page, self._unpacked([found[one] for one in wanted])

    def _unpacked(self, packed: list[bytes]) -> Float16:
        return np.frombuffer(b"".join(packed), dtype="<f2").reshape(-1, self._resident.dimensions)
