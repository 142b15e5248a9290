"""Personalised PageRank over a small weighted graph, by power iteration.

Haveliwala, *Topic-Sensitive PageRank* (2002). The graph is the neighbourhood of one question, at
most some 1,500 nodes, so a fixed number of iterations over plain arrays is exact enough and takes
less than a millisecond: at damping .8 what is left after 15 is .8 ** 15 = .035 of the mass, spread
along paths that no ranking looks at.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

DAMPING: Final = 0.8
ITERATIONS: Final = 15


def pagerank(
    sources: Places,
    targets: Places,
    weights: Floats,
    restart: Floats,
    *,
    damping: float = DAMPING,
    iterations: int = ITERATIONS,
) -> Floats:
    """How often a walker is at each node who follows edges by weight and restarts now and then.

    Args:
        sources: Shape `(edges,)`: where each undirected edge begins; give each edge once.
        targets: Shape `(edges,)`: where it ends.
        weights: Shape `(edges,)`: positive.
        restart: Shape `(nodes,)`: where walks begin, in any proportion, not negative.
        damping: The chance to walk on rather than restart.
        iterations: Steps of the power iteration.

    Returns:
        Shape `(nodes,)`; sums to at most 1, less what is lost at nodes without edges. All zero
        when nothing restarts anywhere.
    """
    nodes = len(restart)
    total = float(restart.sum())
    if total <= 0.0:
        return np.zeros(nodes, dtype=np.float64)
    start = restart / total
    begin = np.concatenate((sources, targets))
    end = np.concatenate((targets, sources))
    both = np.concatenate((weights, weights))
    outward = np.bincount(begin, weights=both, minlength=nodes)
    share = damping * both / outward[begin]
    mass = start
    for _ in range(iterations):
        arriving = np.bincount(end, weights=share * mass[begin], minlength=nodes)
        mass = (1.0 - damping) * start + arriving
    return mass
