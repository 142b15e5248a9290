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

from collections.abc import Sequence
from dataclasses import dataclass, replace
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

_MAGNITUDE: Final = np.uint16(0x7FFF)

_ROUNDING: Final = 2.0**-10
"""How far from 1 the length of a vector can be after rounding to float16, and some more."""

_WIDENED: Final = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
"""The float32 of every float16: looking it up takes half the time of converting."""


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

    def joined(self, other: Codes) -> Codes:
        """These codes followed by others."""
        return Codes(
            np.concatenate((self.negative, other.negative), axis=1),
            np.concatenate((self.large, other.large), axis=1),
            np.concatenate((self.count, other.count)),
        )

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


@dataclass(frozen=True, slots=True)
class VectorTable:
    """Vectors by id, as of one moment; changing it makes another table.

    Attributes:
        ids: Shape `(n,)`. An id that was removed and added again stands twice, once alive.
        values: Shape `(n, dimensions)`.
        alive: Shape `(n,)`: which rows still count.
        order: Rows in ascending order of their ids.
    """

    ids: Ids
    values: Float16
    codes: Codes
    alive: Mask
    order: Positions

    @classmethod
    def of(cls, ids: Ids, values: Float16) -> VectorTable:
        """A table of vectors of shape `(n, dimensions)`."""
        alive = np.ones(len(ids), dtype=np.bool_)
        return cls(ids, values, Codes.of(values), alive, np.argsort(ids, kind="stable"))

    def extended(self, ids: Ids, values: Float16) -> VectorTable:
        """This table with more rows at its end."""
        if not len(ids):
            return self
        if not len(self.ids):
            return VectorTable.of(ids, values)
        rows = np.argsort(ids, kind="stable")
        places = np.searchsorted(self.ids, ids[rows], side="right", sorter=self.order)
        return VectorTable(
            np.concatenate((self.ids, ids)),
            np.concatenate((self.values, values)),
            self.codes.joined(Codes.of(values)),
            np.concatenate((self.alive, np.ones(len(ids), dtype=np.bool_))),
            np.insert(self.order, places, rows + len(self.ids)),
        )

    def without(self, rows: Positions) -> VectorTable:
        """This table with some rows no longer counting."""
        if not len(rows):
            return self
        alive = self.alive.copy()
        alive[rows] = False
        return replace(self, alive=alive)

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
        rows = np.flatnonzero(visible)
        wanted = max(_LEAST, _FACTOR * k)
        found = []
        for position, query in enumerate(queries):
            chosen = rows
            if len(rows) > max(SMALL, wanted):
                encoded = Codes.of(queries[position : position + 1].astype(np.float16))
                chosen = self._near(encoded, rows, visible, wanted)
            found.append(best(self.ids[chosen], self._score(chosen, query), k))
        return found

    def _near(self, query: Codes, rows: Positions, visible: Mask, m: int) -> Positions:
        """The visible rows whose codes are nearest: about `m` of them."""
        if _SPARSE * len(rows) < len(self.ids):
            return rows[_largest(self.codes[rows].similarity(query), m)]
        # Copying the codes of many rows costs more than comparing those that do not count.
        estimates = self.codes.similarity(query)
        estimates[~visible] = np.iinfo(np.int32).min
        return _largest(estimates, m)

    def _score(self, rows: Positions, query: Float32) -> Scores:
        # Row by row sums, not a matrix product: BLAS rounds differently for other batch shapes.
        values = np.take(_WIDENED, self.values.view(np.uint16)[rows])
        scores: Scores = np.einsum("ij,j->i", values, query).astype(np.float64)
        return scores


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
