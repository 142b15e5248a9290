"""First stage: what dense and lexical search find, joined."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np

from rag_engine.core.bm25 import informative
from rag_engine.core.fusion import DEPTH, fused
from rag_engine.ports.storage import Hits, Reader, Vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from rag_engine.core.bm25 import Statistics
    from rag_engine.core.filters import Filter
    from rag_engine.retrieval.plan import Plan

NOTHING = Hits(ids=np.zeros(0, dtype=np.int64), scores=np.zeros(0, dtype=np.float64))


async def candidates(
    reader: Reader, plan: Plan, vector: Vectors, statistics: Statistics, filter: Filter | None
) -> Hits:
    """Search for the question both ways.

    Args:
        reader: The view to search.
        plan: What to look for.
        vector: The question's, shape `(dimensions,)`.
        statistics: Of the question's words.
        filter: What may be seen.

    Returns:
        Both kinds joined, best first, with their fused scores.
    """
    dense, lexical = await _both(
        lambda: _dense(reader, plan, vector, filter),
        lambda: _lexical(reader, plan, statistics, filter),
    )
    ids, scores = fused((dense.ids, dense.scores), (lexical.ids, lexical.scores))
    return Hits(ids=ids, scores=scores)


async def _both(
    one: Callable[[], Coroutine[Any, Any, Hits]], other: Callable[[], Coroutine[Any, Any, Hits]]
) -> tuple[Hits, Hits]:
    """Wait for two: at the same time in an event loop, one after the other where there is none."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return await one(), await other()
    return await asyncio.gather(one(), other())


async def _dense(reader: Reader, plan: Plan, vector: Vectors, filter: Filter | None) -> Hits:
    if not plan.dense:
        return NOTHING
    [hits] = await reader.search_dense("chunk", vector[None, :], DEPTH, filter=filter)
    return hits


async def _lexical(
    reader: Reader, plan: Plan, statistics: Statistics, filter: Filter | None
) -> Hits:
    tokens = informative(plan.tokens, statistics)
    return await reader.search_text(tokens, DEPTH, filter=filter)
