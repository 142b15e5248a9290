"""Second stage: from the question's names and the best passages into the graph around them.

The neighbourhood is bounded whatever the size of the corpus: a node shows its 64 heaviest edges
(`ports.storage.MAX_NEIGHBOURS`), and entities are followed from the rarest on until there are
`MOST_NODES`. What that costs in recall is in docs/explanation/retrieval.md: nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from rag_engine.core.ids import entity_id
from rag_engine.core.members import members
from rag_engine.core.tokens import tokenize
from rag_engine.ports.storage import Adjacency, Hits, Ids, Reader, Scores

if TYPE_CHECKING:
    from rag_engine.core.bm25 import Statistics
    from rag_engine.core.filters import Filter
    from rag_engine.retrieval.plan import Plan, Span

SEEDS: Final = 20
"""Best passages of the first stage from which the graph is entered."""

MOST_NODES: Final = 1_500
"""Entities and chunks of a neighbourhood, together."""

Places = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbourhood:
    """The graph around a question: entities, chunks and the mentions between them.

    Attributes:
        entities: Ids, shape `(e,)`, ascending.
        degrees: Shape `(e,)`: visible chunks that mention each.
        chunks: Ids, shape `(c,)`, ascending.
        sources: Shape `(edges,)`: places in `entities`.
        targets: Shape `(edges,)`: places in `chunks`.
        weights: Shape `(edges,)`: of the mentions; 1 is a plain one.
        named: Shape `(e,)`: how surely the question names each entity, 0 for the others.
    """

    entities: Ids
    degrees: Ids
    chunks: Ids
    sources: Places
    targets: Places
    weights: Scores
    named: Scores


async def expand(
    reader: Reader,
    plan: Plan,
    found: Hits,
    statistics: Statistics,
    filter: Filter | None,
) -> Neighbourhood:
    """Read the graph two steps around the question's names and the best passages."""
    named = await _named(reader, plan, statistics, filter)
    seeds = found.ids[:SEEDS]
    around = await reader.adjacency("chunk", seeds, filter=filter)
    known = np.fromiter(named, dtype=np.int64, count=len(named))
    entities = np.unique(np.concatenate((known, around.neighbours)))
    edges = await reader.adjacency("entity", entities, filter=filter)
    chunks = _reached(entities, edges, seeds, known)
    owner = np.repeat(np.arange(len(entities)), np.diff(edges.offsets))
    inside = members(edges.neighbours, chunks)
    return Neighbourhood(
        entities=entities,
        degrees=edges.degrees,
        chunks=chunks,
        sources=owner[inside],
        targets=np.searchsorted(chunks, edges.neighbours[inside]),
        weights=edges.weights[inside] / 1000.0,
        named=np.array([named.get(id, 0.0) for id in entities.tolist()], dtype=np.float64),
    )


async def _named(
    reader: Reader, plan: Plan, statistics: Statistics, filter: Filter | None
) -> dict[int, float]:
    """Entities that the question names, the longest names first, with their weights."""
    keys = list(dict.fromkeys(span.key for span in plan.spans))
    canonical = await reader.canonical(keys)
    ids = {key: entity_id(one) for key, one in zip(keys, canonical, strict=True)}
    distinct = np.unique(np.fromiter(ids.values(), dtype=np.int64, count=len(ids)))
    adjacency = await reader.adjacency("entity", distinct, filter=filter)
    degrees = dict(zip(distinct.tolist(), adjacency.degrees.tolist(), strict=True))
    named: dict[int, float] = {}
    reached = 0
    for span in plan.spans:  # by beginning, the longest first
        degree = degrees[ids[span.key]]
        if span.first >= reached and degree > 0:
            named[ids[span.key]] = _sureness(span, statistics) / degree
            reached = span.last
    return named


def _sureness(span: Span, statistics: Statistics) -> float:
    """How much a stretch of words looks like a name: as its rarest word is rare, between 0 and 1.

    Some chunk has *Used* at the head of a sentence; that the word is common elsewhere tells that
    the question does not mean it.
    """
    rarest = max((statistics.rarity(token) for token in tokenize(span.key)), default=0.0)
    return rarest / max(statistics.rarity(""), 1e-9)


def _reached(entities: Ids, edges: Adjacency, seeds: Ids, known: Ids) -> Ids:
    """Chunks of the neighbourhood: the seeds, then those of ever more common entities."""
    room = max(MOST_NODES - len(entities) - len(seeds), 0)
    lengths = np.diff(edges.offsets)
    owner = np.repeat(np.arange(len(entities)), lengths)
    order = np.lexsort((entities, edges.degrees, ~members(entities, known)))
    turn = np.empty(len(entities), dtype=np.int64)
    turn[order] = np.arange(len(entities))
    within = np.arange(len(owner)) - edges.offsets[owner]
    by_turn = edges.neighbours[np.lexsort((within, turn[owner]))]
    fresh = by_turn[~members(by_turn, seeds)]
    distinct, first = np.unique(fresh, return_index=True)
    return np.unique(np.concatenate((seeds, distinct[np.argsort(first)][:room])))
