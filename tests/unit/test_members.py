"""Which of some ids are among others."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rag_engine.core.members import members

IDS = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3), max_size=20)


@given(IDS, IDS)
def test_it_is_what_a_set_says(ids: list[int], of: list[int]) -> None:
    found = members(np.array(ids, dtype=np.int64), np.array(of, dtype=np.int64))
    assert found.tolist() == [one in set(of) for one in ids]
