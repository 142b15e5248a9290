"""The exact scan against a brute-force one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from rag_engine.core import vectors
from rag_engine.core.vectors import Codes, VectorTable, best, canonical, widened

DIMENSIONS = 8
ROWS = npst.arrays(
    np.float32,
    st.tuples(st.integers(0, 12), st.just(DIMENSIONS)),
    elements=st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]),
)


def brute(ids: np.ndarray, values: np.ndarray, query: np.ndarray, k: int) -> list[int]:
    scores = [float(np.sum(row.astype(np.float32) * query)) for row in values]
    order = sorted(range(len(ids)), key=lambda i: (-scores[i], ids[i]))
    return [int(ids[i]) for i in order[:k]]


@given(ROWS, st.integers(0, 5), st.data())
def test_search_finds_the_nearest_visible_rows(
    raw: np.ndarray, k: int, data: st.DataObject
) -> None:
    values = canonical(raw)
    ids = np.array(
        data.draw(st.permutations(range(100, 100 + len(values)))), dtype=np.int64
    ).reshape(-1)
    allowed = np.array([data.draw(st.booleans()) for _ in ids], dtype=np.bool_)
    query = canonical(np.ones((1, DIMENSIONS))).astype(np.float32)
    [(found, scores)] = VectorTable.of(ids, values).search(query, k, allowed)
    assert found.tolist() == brute(ids[allowed], values[allowed], query[0], k)
    assert list(scores) == sorted(scores, reverse=True)


@given(ROWS, ROWS, st.data())
def test_a_table_that_grew_and_shrank_equals_one_made_at_once(
    first: np.ndarray, second: np.ndarray, data: st.DataObject
) -> None:
    ids = np.arange(len(first) + len(second), dtype=np.int64) * 7 % 101
    values = canonical(np.concatenate((first, second)))
    table = VectorTable.of(ids[: len(first)], values[: len(first)])
    table = table.extended(ids[len(first) :], values[len(first) :])
    gone = sorted(data.draw(st.sets(st.sampled_from(ids.tolist() or [0]))) & set(ids.tolist()))
    table = table.without(table.rows(np.array(gone, dtype=np.int64)))
    kept = ~np.isin(ids, gone)
    query = canonical(np.arange(1, DIMENSIONS + 1)[None]).astype(np.float32)
    [(grown, _)] = table.search(query, 100)
    [(made, _)] = VectorTable.of(ids[kept], values[kept]).search(query, 100)
    assert grown.tolist() == made.tolist()


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 40)), min_size=1, max_size=25))
def test_tables_made_from_each_other_share_rows_and_see_their_own(
    steps: list[tuple[int, int]],
) -> None:
    """Each step extends one of the tables there are, the newest or an older one, by some rows."""
    tables = [VectorTable.of(np.zeros(0, np.int64), np.zeros((0, DIMENSIONS), np.float16))]
    expected = [np.zeros((0, DIMENSIONS), np.float16)]
    for number, (which, count) in enumerate(steps):
        chosen = which % len(tables)
        added = canonical(np.random.default_rng(number).standard_normal((count, DIMENSIONS)))
        first = len(tables[chosen].ids)
        ids = np.arange(first, first + count, dtype=np.int64)
        tables.append(tables[chosen].extended(ids, added))
        expected.append(np.concatenate((expected[chosen], added)))
    for table, values in zip(tables, expected, strict=True):
        assert np.array_equal(table.values, values)
        codes = Codes.of(values)
        assert np.array_equal(table.codes.negative, codes.negative)
        assert np.array_equal(table.codes.large, codes.large)
        assert np.array_equal(table.codes.count, codes.count)


def test_a_table_grows_in_place_without_a_copy_of_what_is_there() -> None:
    values = canonical(np.random.default_rng(1).standard_normal((1000, DIMENSIONS)))
    table = VectorTable.of(np.arange(1000, dtype=np.int64), values)
    for number in range(1000, 1050):
        grown = table.extended(np.array([number]), values[:1])
        assert np.shares_memory(grown.values, table.values)
        table = grown


def test_a_table_of_codes_alone_chooses_the_same_candidates() -> None:
    values = canonical(np.random.default_rng(1).standard_normal((6000, 40)))
    ids = np.arange(6000, dtype=np.int64)
    whole = VectorTable.of(ids[:5000], values[:5000]).extended(ids[5000:], values[5000:])
    coded = VectorTable.of(ids[:5000], values[:5000], coded=True)
    coded = coded.extended(ids[5000:], values[5000:])
    assert coded.values.shape == (6000, 0)
    queries = canonical(np.random.default_rng(2).standard_normal((3, 40))).astype(np.float32)
    for one, other in zip(
        whole.candidates(queries, 10, whole.alive),
        coded.candidates(queries, 10, coded.alive),
        strict=True,
    ):
        assert 0 < len(one) < 6000
        assert np.array_equal(one, other)


@pytest.mark.parametrize("coded", [False, True])
def test_a_compacted_table_has_the_living_rows_alone_and_grows(coded: bool) -> None:
    values = canonical(np.random.default_rng(4).standard_normal((30, DIMENSIONS)))
    ids = np.arange(100, 130, dtype=np.int64)[::-1]
    table = VectorTable.of(ids[:20], values[:20], coded=coded).without(np.arange(0, 20, 3))
    table = table.compacted().extended(ids[20:], values[20:])
    stay = np.array([row for row in range(30) if row >= 20 or row % 3])
    made = VectorTable.of(ids[stay], values[stay], coded=coded)
    assert np.array_equal(table.ids, made.ids)
    assert np.array_equal(table.values, made.values)
    assert np.array_equal(table.codes.large, made.codes.large)
    assert np.array_equal(table.codes.negative, made.codes.negative)
    assert np.array_equal(table.codes.count, made.codes.count)
    assert np.array_equal(table.rows(ids), made.rows(ids))
    assert table.alive.all()


def test_an_id_that_went_and_came_back_is_found_at_its_new_row() -> None:
    values = canonical(np.eye(2, DIMENSIONS))
    ids = np.array([5], dtype=np.int64)
    table = VectorTable.of(ids, values[:1]).without(np.array([0]))
    assert table.rows(ids).tolist() == [-1]
    table = table.extended(ids, values[1:])
    assert table.rows(ids).tolist() == [1]
    assert table.vectors(ids)[0].tolist() == values[1].tolist()
    assert not table.vectors(np.array([6])).any()


def test_codes_estimate_the_inner_product_of_two_bit_values() -> None:
    random = np.random.default_rng(1)
    values = canonical(random.standard_normal((50, 100)))
    query = canonical(random.standard_normal((1, 100)))

    def decoded(rows: np.ndarray) -> np.ndarray:
        large = np.abs(rows.astype(np.float32)) > np.float32(np.float16(0.67 / np.sqrt(100)))
        return np.where(rows < 0, -1, 1) * np.where(large, 2.5, 1.0)

    wanted = decoded(values) @ decoded(query)[0]
    estimates = Codes.of(values).similarity(Codes.of(query))
    # Four times the product, short of a constant: 4 for each dimension.
    assert np.allclose(estimates + 4 * 100, 4 * wanted)


def test_a_large_table_is_scanned_by_codes_and_finds_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(2)
    topics = random.standard_normal((40, 64))
    values = canonical(topics[random.integers(0, 40, 6000)] + random.standard_normal((6000, 64)))
    queries = canonical(topics[:20] + random.standard_normal((20, 64))).astype(np.float32)
    table = VectorTable.of(np.arange(6000, dtype=np.int64), values)
    allowed = random.random(6000) < 0.9
    scanned = [table.search(queries, 10), table.search(queries, 10, allowed)]
    monkeypatch.setattr(vectors, "SMALL", 10_000)
    exact = [table.search(queries, 10), table.search(queries, 10, allowed)]
    same = [
        len(np.intersect1d(a[0], b[0]))
        for one, other in zip(scanned, exact, strict=True)
        for a, b in zip(one, other, strict=True)
    ]
    assert sum(same) >= 0.99 * 10 * len(same)


def test_a_large_table_gives_all_its_rows_when_asked_for_more() -> None:
    values = canonical(np.random.default_rng(3).standard_normal((5000, 8)))
    table = VectorTable.of(np.arange(5000, dtype=np.int64), values)
    [(found, _)] = table.search(values[:1].astype(np.float32), 10**7)
    assert sorted(found.tolist()) == list(range(5000))


def test_vectors_are_kept_at_length_one_in_float16() -> None:
    kept = canonical([[3.0, 4.0], [0.0, 0.0]])
    assert kept.dtype == np.float16
    assert np.allclose(kept, [[0.6, 0.8], [0.0, 0.0]], atol=1e-3)


def test_the_best_are_chosen_by_score_then_id() -> None:
    ids, scores = best(np.array([4, 3, 2, 1, 9]), np.array([1.0, 2.0, 2.0, 0.5, 2.0]), 2)
    assert ids.tolist() == [2, 3]
    assert scores.tolist() == [2.0, 2.0]
    assert best(np.arange(9), np.ones(9), 0)[0].tolist() == []


@pytest.mark.parametrize("k", [200, 300, 1000, 4500, 6000])
def test_however_many_are_wanted_only_the_allowed_come(k: int) -> None:
    random = np.random.default_rng(3)
    table = VectorTable.of(
        np.arange(6000, dtype=np.int64), canonical(random.standard_normal((6000, 16)))
    )
    query = canonical(random.standard_normal((1, 16))).astype(np.float32)
    allowed = np.arange(6000) < 5000
    [(ids, _)] = table.search(query, k, allowed)
    assert len(ids) == min(k, 5000)
    assert ids.max() < 5000


@pytest.mark.parametrize("dimensions", [2, 8, 64])
def test_what_is_stored_can_be_stored_again_without_a_change(dimensions: int) -> None:
    """An archive holds stored vectors, and an import writes them as any others."""
    stored = canonical(np.random.default_rng(4).standard_normal((20_000, dimensions)))
    assert np.array_equal(canonical(stored), stored)
    lengths = np.linalg.norm(stored.astype(np.float32), axis=1)
    assert not np.allclose(lengths, 1.0, atol=1e-5)
    assert np.array_equal(canonical(2 * stored.astype(np.float32)), canonical(stored * 4.0))


def test_a_vector_longer_than_float16_can_say_is_made_short() -> None:
    assert canonical([[3e6, 4e6]]).tolist() == canonical([[3.0, 4.0]]).tolist()


def test_every_finite_float16_is_widened_exactly() -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    expected = finite.astype(np.float32)
    assert widened(finite).tobytes() == expected.tobytes()
    assert widened(finite.reshape(-1, 64)).shape == (len(finite) // 64, 64)
