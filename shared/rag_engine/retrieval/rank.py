"""Third stage: PageRank around the question, then a linear ranking of what comes out best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from rag_engine.core.fusion import ranked, ranks
from rag_engine.core.ids import ChunkId
from rag_engine.core.members import members
from rag_engine.core.pagerank import pagerank
from rag_engine.core.tokens import tokenize
from rag_engine.ports.storage import Hits, Ids, Reader, Scores, Vectors
from rag_engine.retrieval.expand import SEEDS, Neighbourhood
from rag_engine.retrieval.features import Evidence, Float32, Floats, features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rag_engine.core.bm25 import Statistics
    from rag_engine.core.filters import Filter
    from rag_engine.retrieval.plan import Plan

POOL: Final = 40
"""Passages that are ranked by their features."""

FROM_WALK: Final = 30
"""Of these by PageRank, the others by the first stage."""

RESTART_AT_PASSAGES: Final = 0.5
"""Share of the walks that begin at passages of the first stage, the others at named entities."""

RESTART_POWER: Final = 3.0
"""Walks begin at a passage in proportion to this power of its fused score."""

RARITY_POWER: Final = 0.5
"""Edges of an entity weigh by this power of its rarity."""

SUBJECT: Final = 2000
"""Weight of a mention, in thousandths, from which the passage is about the entity."""

WEIGHTS: Final = np.array((0.46, 1.08, 2.93, 2.23, 5.15, 1.82, 2.28, 7.63))
"""Of each of `features.NAMES`; learned, as docs/explanation/retrieval.md says."""


async def rank(
    reader: Reader,
    plan: Plan,
    found: Hits,
    around: Neighbourhood,
    vector: Vectors,
    statistics: Statistics,
    filter: Filter | None,
) -> Hits:
    """Rank the passages found in either stage, best first.

    Returns:
        Hits with scores relative to the best passage's, which has 1.
    """
    pool, walk = pool_of(found, around, statistics)
    if not len(pool):
        return Hits(ids=pool, scores=walk)
    evidence = await evidence_of(
        reader, plan, pool, walk, found, around, vector, statistics, filter
    )
    raw = features(evidence) @ WEIGHTS
    ids, scores = ranked(pool, np.exp(raw - raw.max()))
    rest = ~members(found.ids, ids)
    return Hits(
        ids=np.concatenate((ids, found.ids[rest])),
        # After the pool, in the order of the first stage, which gave scores from 0 to 1.
        scores=np.concatenate((scores, scores[-1] * found.scores[rest])),
    )


def pool_of(found: Hits, around: Neighbourhood, statistics: Statistics) -> tuple[Ids, Scores]:
    """The passages worth ranking, and the PageRank of each."""
    mass = _walk(found, around, statistics)
    by_walk, by_walk_mass = ranked(around.chunks, mass)
    reached = by_walk[:FROM_WALK][by_walk_mass[:FROM_WALK] > 0.0]
    others = found.ids[~members(found.ids, reached)]
    pool = np.concatenate((reached, others[: POOL - len(reached)]))
    places = np.searchsorted(around.chunks, pool)
    places = np.minimum(places, max(len(around.chunks) - 1, 0))
    if not len(around.chunks):
        return pool, np.zeros(len(pool), dtype=np.float64)
    return pool, np.where(around.chunks[places] == pool, mass[places], 0.0)


def _walk(found: Hits, around: Neighbourhood, statistics: Statistics) -> Scores:
    """PageRank of the chunks around."""
    entities = len(around.entities)
    restart = np.zeros(entities + len(around.chunks), dtype=np.float64)
    seeds = np.searchsorted(around.chunks, found.ids[:SEEDS])
    passages = found.scores[:SEEDS] ** RESTART_POWER
    named = float(around.named.sum())
    if named > 0.0:
        restart[:entities] = (1.0 - RESTART_AT_PASSAGES) * around.named / named
    if passages.sum() > 0.0:
        restart[entities + seeds] = RESTART_AT_PASSAGES * passages / passages.sum()
    rarity = entity_rarity(around.degrees, statistics) ** RARITY_POWER
    mass = pagerank(
        around.sources,
        entities + around.targets,
        around.weights * np.maximum(rarity[around.sources], 1e-6),
        restart,
    )
    return mass[entities:]


def entity_rarity(degrees: Ids, statistics: Statistics) -> Floats:
    """How much it tells that two passages mention an entity: 1 when only one does, 0 when all do.

    `1 - log(degree) / log(chunks)`, so that a name in two of twenty passages counts about as much
    as one in two of twenty thousand.
    """
    chunks = np.log(max(statistics.documents, 2))
    return np.asarray(np.maximum(1.0 - np.log(np.maximum(degrees, 1)) / chunks, 0.0))


async def evidence_of(
    reader: Reader,
    plan: Plan,
    pool: Ids,
    walk: Scores,
    found: Hits,
    around: Neighbourhood,
    vector: Vectors,
    statistics: Statistics,
    filter: Filter | None,
) -> Evidence:
    """Read what the features of the passages in `pool` are made of."""
    named = around.entities[around.named > 0.0]
    entities, mentioned, about = await _mentions(reader, pool, named, filter)
    degrees = (await reader.adjacency("entity", entities, filter=filter)).degrees
    words = list(dict.fromkeys(plan.tokens))
    rarity = np.array([statistics.rarity(word) for word in words], dtype=np.float64)
    place = ranks(pool, found.ids)
    fused = np.zeros(len(pool), dtype=np.float64)
    fused[place < len(found.ids)] = found.scores[place[place < len(found.ids)]]
    documents, has = await _words(reader, pool, words)
    vectors = await reader.vectors("chunk", pool)
    if not plan.dense:  # vectors of a script the model does not know are all alike
        vectors, vector = vectors * 0.0, vector * 0.0
    return Evidence(
        question=vector,
        vectors=vectors,
        documents=documents,
        walk=walk,
        fused=fused,
        ranks=np.where(place < len(found.ids), place, 99),
        words=has,
        rarity=rarity / max(float(rarity.sum()), 1e-9),
        mentions=mentioned,
        subjects=about,
        entity_rarity=entity_rarity(degrees, statistics),
        named=members(entities, named),
    )


async def _mentions(
    reader: Reader, pool: Ids, named: Ids, filter: Filter | None
) -> tuple[Ids, Float32, Float32]:
    """Which entities can tell something, which passages mention them, and which are about them.

    An entity that only one passage of the pool mentions links it to none, so most are left out.
    """
    edges = await reader.adjacency("chunk", pool, filter=filter)
    rows = np.repeat(np.arange(len(pool)), np.diff(edges.offsets))
    every, places, counts = np.unique(edges.neighbours, return_inverse=True, return_counts=True)
    telling = (counts > 1) | members(every, named)
    mentioned = np.zeros((len(pool), len(every)), dtype=np.float32)
    about = np.zeros_like(mentioned)
    mentioned[rows, places] = 1.0
    about[rows, places] = edges.weights >= SUBJECT
    return every[telling], mentioned[:, telling], about[:, telling]


async def _words(reader: Reader, pool: Ids, words: Sequence[str]) -> tuple[Ids, Floats]:
    """The documents of the passages, numbered, and which of `words` stand in each passage.

    Its title and its headings count as the passage's.
    """
    chunks = await reader.chunks([ChunkId(id) for id in pool.tolist()])
    names = list(dict.fromkeys(chunk.document_id for chunk in chunks if chunk))
    titles = [one.title or "" if one else "" for one in await reader.documents(names)]
    numbers = {name: number for number, name in enumerate(names)}
    table = np.zeros((len(pool), len(words)), dtype=np.float64)
    documents = np.full(len(pool), -1, dtype=np.int64)
    for row, chunk in enumerate(chunks):
        if chunk:
            documents[row] = numbers[chunk.document_id]
            lines = (titles[documents[row]], *chunk.heading_path, chunk.text)
            has = set(tokenize("\n".join(lines)))
            table[row] = [word in has for word in words]
    return documents, table
