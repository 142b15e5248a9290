"""Which of some ids are among others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def members(ids: npt.NDArray[np.int64], of: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which of `ids` are in `of`, both in any order; shape of `ids`.

    `numpy.isin` sorts both, which for the few hundred ids of a question takes ten times as long.
    """
    if not len(of):
        return np.zeros(ids.shape, dtype=np.bool_)
    wanted = np.sort(of)
    places = np.minimum(np.searchsorted(wanted, ids), len(wanted) - 1)
    found: npt.NDArray[np.bool_] = wanted[places] == ids
    return found
