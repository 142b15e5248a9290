"""The one exact scan that searches vectors for every store.

Nothing here is an index whose answers depend on the order of past writes: each search looks at
every visible vector. Large sets are first scanned by two-bit codes (the sign of each dimension and
whether its magnitude is large), compared with bit operations; the best of that scan are scored in
float32 from the stored float16 values. Small sets are scored in float32 at once.

Two bits keep what one loses: of the 10 nearest among 4,065 passages of 384 dimensions, the best
200 codes hold 99.9 % with two bits and 95.5 % with the sign alone. The codes follow Charikar,
*Similarity estimation techniques from rounding algorithms* (2002), with a second plane.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.intp]
Float16 = npt.NDArray[np.float16]
Float32 = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]

SMALL: Final = 4096
"""Up to this many visible vectors are scored in float32 without a scan of codes."""

_LEAST: Final = 1024
_FACTOR: Final = 16
_SPARSE: Final = 4
_LARGE: Final = 0.67
"""Median magnitude of a standard normal variable: half of all dimensions count as large."""

_SPARE: Final = 8
"""This part of a table's size is the space behind it. What was never written takes no memory."""

_BLOCK: Final = 65_536
"""Vectors that are encoded at a time."""

_MAGNITUDE: Final = np.uint16(0x7FFF)

_ROUNDING: Final = 2.0**-10
"""How far from 1 the length of a vector can be after rounding to float16, and some more."""

_SIGN_AND_REST: Final = np.uint32(0x8FFF_E000).view(np.int32)
_EXPONENTS_APART: Final = np.float32(2.0**112)


def canonical(vectors: npt.ArrayLike) -> Float16:
    """The stored form of vectors: length 1 (or all zero), rounded to float16, shape kept.

    Every store keeps these values and scores from them, so that a score is the same on all. What
    has that form already is left, however often it is written: rounding moves the length a little.
    """
    values = np.asarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    unit: Float32 = np.divide(values, lengths, out=np.zeros_like(values), where=lengths > 0)
    with np.errstate(over="ignore"):  # a vector that long is not in that form
        rounded = values.astype(np.float16)
    settled = (np.abs(lengths - 1) < _ROUNDING) & (rounded == values).all(axis=-1, keepdims=True)
    stored: Float16 = np.where(settled, rounded, unit.astype(np.float16))
    return stored


@dataclass(frozen=True, slots=True)
class Codes:
    """Two-bit codes of `n` vectors: bit planes of shape `(words, n)`, one column a vector."""

    negative: Words
    large: Words
    count: npt.NDArray[np.int32]

    @classmethod
    def of(cls, vectors: Float16) -> Codes:
        """Codes of vectors of shape `(n, dimensions)`."""
        # A float16 is a sign bit and a magnitude that compares like an integer: ten times faster.
        bits = np.ascontiguousarray(vectors).view(np.uint16)
        threshold = np.float16(_LARGE / np.sqrt(max(1, vectors.shape[1]))).view(np.uint16)
        large = _planes((bits & _MAGNITUDE) > threshold)
        count = np.bitwise_count(large).sum(axis=0, dtype=np.int32)
        return cls(_planes(bits > _MAGNITUDE), large, count)

    def __getitem__(self, rows: Positions | slice) -> Codes:
        return Codes(self.negative[:, rows], self.large[:, rows], self.count[rows])

    def similarity(self, query: Codes) -> npt.NDArray[np.int32]:
        """Estimated inner product with one query, up to scale; shape `(n,)`.

        With magnitudes 1 and 2.5 the product of two dimensions is `±(2 + 3a)(2 + 3b) / 4`, where
        `a` and `b` say whether each is large. Summed over the dimensions that is a sum of counts of
        set bits.
        """
        # Counts of bits fit 16, which is half the memory traffic of this, the longest loop of all.
        size = len(self.count)
        differ, differ_large, both, differ_both = (np.zeros(size, np.uint16) for _ in range(4))
        for word, mine in enumerate(self.large):
            theirs = query.large[word, 0]
            opposite = self.negative[word] ^ query.negative[word, 0]
            differ += np.bitwise_count(opposite)
            differ_large += np.bitwise_count(opposite & theirs)
            opposite &= mine
            differ_large += np.bitwise_count(opposite)
            differ_both += np.bitwise_count(opposite & theirs)
            both += np.bitwise_count(mine & theirs)
        single = self.count + int(query.count[0]) - 2 * differ_large.astype(np.int32)
        double = both.astype(np.int32) - 2 * differ_both.astype(np.int32)
        estimate: npt.NDArray[np.int32] = 6 * single + 9 * double - 8 * differ.astype(np.int32)
        return estimate


def _planes(bits: Mask) -> Words:
    packed = np.packbits(bits, axis=1)
    missing = -packed.shape[1] % 8
    padded = np.pad(packed, ((0, 0), (0, missing)))
    return np.ascontiguousarray(padded.view(np.uint64).T)


class _Room:
    """Where tables have their rows, with space behind them.

    Each table sees the first so many rows, and those are never changed. So the newest table grows in
    place, and tables that were made from each other share all they have in common: a write costs
    what it adds, not a copy of everything.
    """

    def __init__(self, dimensions: int, size: int, *, coded: bool) -> None:
        words = -(-dimensions // 64)
        self.coded = coded
        self._dimensions = dimensions
        self._values = np.empty((size, 0 if coded else dimensions), dtype=np.float16)
        self._codes = Codes(
            np.empty((words, size), dtype=np.uint64),
            np.empty((words, size), dtype=np.uint64),
            np.empty(size, dtype=np.int32),
        )
        self._used = 0
        self._lock = threading.Lock()

    def seen(self, rows: int) -> tuple[Float16, Codes]:
        """The first rows."""
        return self._values[:rows], self._codes[:rows]

    def extended(self, rows: int, values: Float16) -> _Room:
        """A room with vectors behind the first `rows`: this one, unless something is there."""
        total = rows + len(values)
        room = self
        if not self._claimed(rows, total):
            room = _Room(self._dimensions, total + total // _SPARE, coded=self.coded)
            room._used = total
            room._write(0, *self.seen(rows))
        for first in range(0, len(values), _BLOCK):
            block = values[first : first + _BLOCK]
            room._write(rows + first, block, Codes.of(block))
        return room

    def picked(self, rows: Positions) -> _Room:
        """A room with some of the rows, in the order given."""
        room = _Room(self._dimensions, len(rows) + len(rows) // _SPARE, coded=self.coded)
        room._used = len(rows)
        for first in range(0, len(rows), _BLOCK):
            block = rows[first : first + _BLOCK]
            room._write(first, self._values[block], self._codes[block])
        return room

    def _claimed(self, rows: int, total: int) -> bool:
        # Not waited for: who holds it is extending the same table, from another thread.
        if total > len(self._values) or not self._lock.acquire(blocking=False):
            return False
        try:
            free = self._used == rows
            self._used = total if free else self._used
            return free
        finally:
            self._lock.release()

    def _write(self, first: int, values: Float16, codes: Codes) -> None:
        place = slice(first, first + len(values))
        if not self.coded:
            self._values[place] = values
        self._codes.negative[:, place] = codes.negative
        self._codes.large[:, place] = codes.large
        self._codes.count[place] = codes.count


@dataclass(frozen=True, slots=True)
class VectorTable:
    """Vectors by id, as of one moment; changing it makes another table.

    Attributes:
        ids: Shape `(n,)`. An id that was removed and added again stands twice, once alive.
        values: Shape `(n, dimensions)`; `(n, 0)` in a table that keeps codes alone, an eighth of the
            memory: its `candidates` are scored by who has the values.
        alive: Shape `(n,)`: which rows still count.
        order: Rows in ascending order of their ids.
    """

    ids: Ids
    values: Float16
    codes: Codes
    alive: Mask
    order: Positions
    _room: _Room = field(repr=False, compare=False)

    @classmethod
    def of(cls, ids: Ids, values: Float16, *, coded: bool = False) -> VectorTable:
        """A table of vectors of shape `(n, dimensions)`, or with `coded` of their codes alone."""
        room = _Room(values.shape[1], 0, coded=coded).extended(0, values)
        alive = np.ones(len(ids), dtype=np.bool_)
        return cls(ids, *room.seen(len(ids)), alive, np.argsort(ids, kind="stable"), room)

    def extended(self, ids: Ids, values: Float16) -> VectorTable:
        """This table with more rows at its end."""
        if not len(ids):
            return self
        if not len(self.ids):
            return VectorTable.of(ids, values, coded=self._room.coded)
        room = self._room.extended(len(self.ids), values)
        rows = np.argsort(ids, kind="stable")
        places = np.searchsorted(self.ids, ids[rows], side="right", sorter=self.order)
        return VectorTable(
            np.concatenate((self.ids, ids)),
            *room.seen(len(self.ids) + len(ids)),
            np.concatenate((self.alive, np.ones(len(ids), dtype=np.bool_))),
            np.insert(self.order, places, rows + len(self.ids)),
            room,
        )

    def without(self, rows: Positions) -> VectorTable:
        """This table with some rows no longer counting."""
        if not len(rows):
            return self
        alive = self.alive.copy()
        alive[rows] = False
        return replace(self, alive=alive)

    def compacted(self) -> VectorTable:
        """A table of the living rows alone, in their order."""
        rows = np.flatnonzero(self.alive)
        room = self._room.picked(rows)
        ids, alive = self.ids[rows], np.ones(len(rows), dtype=np.bool_)
        return VectorTable(ids, *room.seen(len(rows)), alive, np.argsort(ids, kind="stable"), room)

    def rows(self, ids: Ids) -> Positions:
        """The living row of each id, or -1."""
        found = np.full(len(ids), -1, dtype=np.intp)
        if not len(self.ids):
            return found
        # Rows of equal ids stand in the order they were added: only the last can be alive.
        places = np.searchsorted(self.ids, ids, side="right", sorter=self.order) - 1
        rows = self.order[np.maximum(places, 0)]
        hit = (places >= 0) & (self.ids[rows] == ids) & self.alive[rows]
        found[hit] = rows[hit]
        return found

    def vectors(self, ids: Ids) -> Float32:
        """The vectors of ids, shape `(len(ids), dimensions)`; zeros where there is none."""
        rows = self.rows(ids)
        found = np.zeros((len(ids), self.values.shape[1]), dtype=np.float32)
        found[rows >= 0] = self.values[rows[rows >= 0]]
        return found

    def search(
        self, queries: Float32, k: int, allowed: Mask | None = None
    ) -> list[tuple[Ids, Scores]]:
        """The `k` living, allowed rows nearest to each query by cosine: ids and scores.

        Args:
            queries: Shape `(q, dimensions)`, of length 1.
            k: How many to return at most.
            allowed: Shape `(n,)`: rows that may be returned; `None` for all.
        """
        visible = self.alive if allowed is None else self.alive & allowed
        found = []
        for query, chosen in zip(queries, self.candidates(queries, k, visible), strict=True):
            found.append(best(self.ids[chosen], scores(self.values[chosen], query), k))
        return found

    def candidates(self, queries: Float32, k: int, visible: Mask) -> list[Positions]:
        """The visible rows among which the `k` nearest to each query are, by their codes."""
        rows = np.flatnonzero(visible)
        wanted = max(_LEAST, _FACTOR * k)
        if len(rows) <= max(SMALL, wanted):
            return [rows] * len(queries)
        encoded = [Codes.of(query[None, :].astype(np.float16)) for query in queries]
        return [self._near(query, rows, visible, wanted) for query in encoded]

    def _near(self, query: Codes, rows: Positions, visible: Mask, m: int) -> Positions:
        """The visible rows whose codes are nearest: about `m` of them."""
        if _SPARSE * len(rows) < len(self.ids):
            return rows[_largest(self.codes[rows].similarity(query), m)]
        # Copying the codes of many rows costs more than comparing those that do not count.
        estimates = self.codes.similarity(query)
        estimates[~visible] = np.iinfo(np.int32).min
        return _largest(estimates, m)


def scores(values: Float16, query: Float32) -> Scores:
    """What vectors of shape `(n, dimensions)` score against a query of shape `(dimensions,)`."""
    # Row by row sums, not a matrix product: BLAS rounds differently for other batch shapes.
    found: Scores = np.einsum("ij,j->i", widened(values), query).astype(np.float64)
    return found


def widened(values: Float16) -> Float32:
    """Finite float16 values as float32, shape kept. Six times faster than `astype`.

    A float32 has the bits of the float16 thirteen places higher, and exponents that begin 112 lower.
    """
    bits = values.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= _SIGN_AND_REST
    found = bits.view(np.float32)
    found *= _EXPONENTS_APART
    return found


def _largest(estimates: npt.NDArray[np.int32], m: int) -> Positions:
    """The rows of the `m` largest estimates and of all that equal the smallest of them."""
    cut = np.partition(estimates, len(estimates) - m)[len(estimates) - m]
    return np.flatnonzero(estimates >= cut)


def best(ids: Ids, scores: Scores, k: int) -> tuple[Ids, Scores]:
    """The `k` best of scored ids, ties in the order of ids."""
    if len(ids) > 4 * k and k > 0:
        cut = np.partition(scores, len(scores) - k)[len(scores) - k]
        chosen = np.flatnonzero(scores >= cut)
        ids, scores = ids[chosen], scores[chosen]
    order = np.lexsort((ids, -scores))[:k]
    return ids[order], scores[order]


def stack(vectors: Sequence[Float32], dimensions: int) -> Float32:
    """Vectors as one array of shape `(n, dimensions)`, also when there are none."""
    if not vectors:
        return np.zeros((0, dimensions), dtype=np.float32)
    return np.stack(vectors).astype(np.float32)
