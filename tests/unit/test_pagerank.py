"""PageRank: the same as the dense matrix gives, and none the wiser for the order of edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_engine.core.pagerank import DAMPING, pagerank

EDGES = st.lists(
    st.tuples(st.integers(0, 4), st.integers(5, 9), st.integers(1, 8)), min_size=1, max_size=20
)


def walk(edges: list[tuple[int, int, int]], restart: np.ndarray, **how: float) -> np.ndarray:
    source, target, weight = (np.array(column) for column in zip(*edges, strict=True))
    return pagerank(source, target, weight.astype(float), restart, **how)  # type: ignore[arg-type]


@given(EDGES)
def test_it_converges_to_the_fixed_point(edges: list[tuple[int, int, int]]) -> None:
    restart = np.zeros(10)
    restart[edges[0][0]] = 2.0
    step = np.zeros((10, 10))
    for source, target, weight in edges:
        step[target, source] += weight
        step[source, target] += weight
    out = step.sum(axis=0)
    step = np.divide(step, out, out=np.zeros_like(step), where=out > 0)
    wanted = np.linalg.solve(np.eye(10) - DAMPING * step, (1 - DAMPING) * restart / 2.0)
    assert walk(edges, restart, iterations=120) == pytest.approx(wanted, abs=1e-9)


@given(EDGES)
def test_the_mass_is_one_where_every_start_has_an_edge(edges: list[tuple[int, int, int]]) -> None:
    restart = np.zeros(10)
    restart[[edge[0] for edge in edges]] = 1.0
    assert walk(edges, restart).sum() == pytest.approx(1.0)


def test_nothing_restarts_nowhere() -> None:
    assert walk([(0, 5, 1)], np.zeros(10)).tolist() == [0.0] * 10


def test_what_is_nearer_has_more() -> None:
    chain = [(0, 5, 1), (1, 5, 1), (1, 6, 1), (2, 6, 1), (2, 7, 1)]
    restart = np.zeros(10)
    restart[0] = 1.0
    mass = walk(chain, restart)
    assert mass[5] > mass[6] > mass[7] > 0.0
    assert mass[8] == 0.0
