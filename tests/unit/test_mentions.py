"""The mention graph against plain dictionaries, however it was put together."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rag_engine.core import mentions
from rag_engine.core.mentions import MentionGraph

ENTITIES = 6
CHUNKS = st.lists(
    st.dictionaries(st.integers(0, ENTITIES - 1), st.integers(1, 4), max_size=ENTITIES), max_size=10
)
ENTITY_IDS = np.array([50, 40, 30, 20, 10, 60], dtype=np.int64)


def chunk_ids(count: int) -> np.ndarray:
    return np.array([1000 - 7 * n if n % 2 else 1000 + n for n in range(count)], dtype=np.int64)


def ordered(chunk: dict[int, int]) -> list[tuple[int, int]]:
    return sorted(chunk.items(), key=lambda edge: (-edge[1], ENTITY_IDS[edge[0]]))


def build(chunks: list[dict[int, int]], cuts: list[int]) -> MentionGraph:
    graph, start = MentionGraph.empty(), 0
    for end in sorted({*(cut for cut in cuts if cut <= len(chunks)), len(chunks)}):
        part = chunks[start:end]
        edges = [edge for chunk in part for edge in ordered(chunk)]
        graph = graph.extended(
            np.array([len(chunk) for chunk in part], dtype=np.int64),
            np.array([entity for entity, _ in edges], dtype=np.intp),
            np.array([weight for _, weight in edges], dtype=np.int32),
            chunk_ids(end),
            ENTITIES,
        )
        start = end
    return graph


@given(CHUNKS, st.lists(st.integers(0, 10), max_size=4), st.data(), st.integers(1, 3))
def test_edges_are_those_of_visible_chunks_in_order_and_cut(
    chunks: list[dict[int, int]], cuts: list[int], data: st.DataObject, most: int
) -> None:
    graph, ids = build(chunks, cuts), chunk_ids(len(chunks))
    everything = data.draw(st.booleans())
    visible = np.array([everything or data.draw(st.booleans()) for _ in chunks], dtype=np.bool_)
    rows = np.array([*range(ENTITIES), -1, 2], dtype=np.intp)
    offsets, targets, weights, degrees = graph.of_entities(rows, visible, ids, most)
    for place, entity in enumerate(rows.tolist()):
        edges = [
            (-chunk[entity], int(ids[n]), n)
            for n, chunk in enumerate(chunks)
            if visible[n] and entity in chunk
        ]
        shown = slice(offsets[place], offsets[place + 1])
        assert targets[shown].tolist() == [n for _, _, n in sorted(edges)[:most]]
        assert weights[shown].tolist() == [-w for w, _, _ in sorted(edges)[:most]]
        assert degrees[place] == len(edges)


@given(CHUNKS, st.lists(st.integers(0, 10), max_size=4), st.integers(1, 3))
def test_edges_of_chunks_go_to_their_entities(
    chunks: list[dict[int, int]], cuts: list[int], most: int
) -> None:
    graph = build(chunks, cuts)
    visible = np.arange(len(chunks)) % 3 != 1
    rows = np.array([*range(len(chunks)), -1], dtype=np.intp)
    offsets, targets, _, degrees = graph.of_chunks(rows, visible, most)
    for place, chunk in enumerate([*chunks, {}]):
        there = place < len(chunks) and visible[place]
        edges = [(-w, int(ENTITY_IDS[e]), e) for e, w in chunk.items()] if there else []
        shown = slice(offsets[place], offsets[place + 1])
        assert targets[shown].tolist() == [e for _, _, e in sorted(edges)[:most]]
        assert degrees[place] == len(edges)


@given(CHUNKS)
def test_mentioned_entities_are_those_of_visible_chunks(chunks: list[dict[int, int]]) -> None:
    visible = np.arange(len(chunks)) % 2 == 0
    found = build(chunks, []).mentioned(visible, ENTITIES)
    wanted = {e for n, chunk in enumerate(chunks) if visible[n] for e in chunk}
    assert set(np.flatnonzero(found).tolist()) == wanted


def test_a_long_tail_is_folded_in() -> None:
    chunks = [{n % ENTITIES: 1} for n in range(30)]
    many = build(chunks, list(range(31)))
    assert many.sorted_chunks == 1
    limit = mentions._TAIL
    try:
        mentions._TAIL = 5  # type: ignore[misc]
        folded = build(chunks, list(range(31)))
    finally:
        mentions._TAIL = limit  # type: ignore[misc]
    assert folded.sorted_chunks > 20
    rows, visible, ids = np.arange(ENTITIES), np.ones(30, dtype=np.bool_), chunk_ids(30)
    for one, other in zip(
        many.of_entities(rows, visible, ids, 64),
        folded.of_entities(rows, visible, ids, 64),
        strict=True,
    ):
        assert one.tolist() == other.tolist()


@given(CHUNKS, st.lists(st.integers(0, 10), max_size=4), st.data())
def test_a_compacted_graph_has_the_edges_of_what_stays(
    chunks: list[dict[int, int]], cuts: list[int], data: st.DataObject
) -> None:
    stay = np.array([n for n in range(len(chunks)) if data.draw(st.booleans())], dtype=np.intp)
    entities = np.array(sorted({e for n in stay for e in chunks[n]}), dtype=np.intp)
    ids, everything = chunk_ids(len(chunks)), np.ones(len(stay), dtype=np.bool_)
    graph = build(chunks, cuts).compacted(stay, entities, ids[stay])
    offsets, targets, weights, degrees = graph.of_chunks(np.arange(len(stay)), everything, 3)
    for place, n in enumerate(stay.tolist()):
        shown = slice(offsets[place], offsets[place + 1])
        edges = zip(entities[targets[shown]].tolist(), weights[shown].tolist(), strict=True)
        assert list(edges) == ordered(chunks[n])[:3]
        assert degrees[place] == len(chunks[n])
    offsets, targets, _, _ = graph.of_entities(
        np.arange(len(entities)), everything, ids[stay], ENTITIES + len(chunks)
    )
    for place, entity in enumerate(entities.tolist()):
        edges = [(-chunks[n][entity], int(ids[n])) for n in stay.tolist() if entity in chunks[n]]
        shown = slice(offsets[place], offsets[place + 1])
        assert ids[stay][targets[shown]].tolist() == [id for _, id in sorted(edges)]
