"""Which chunk holds which word how often, in memory: an exact lexical index for `core.bm25`.

Chunks are counted as in the `VectorTable` of the chunks. An index is what it was at one moment;
adding chunks makes another that shares the old arrays. It is sorted by word once for the bulk, and
once for what was added since, which is folded in when it has grown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from rag_engine.core import bm25
from rag_engine.core.bm25 import Statistics
from rag_engine.core.vectors import Mask, Positions, Scores

_TAIL: Final = 20_000
_SHARE: Final = 4
"""What was added is folded in when it is longer than `_TAIL` and than this part of the bulk."""


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Postings by word: those of word `w` are `offsets[w]:offsets[w + 1]`."""

    offsets: npt.NDArray[np.int64]
    chunks: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int32]

    @classmethod
    def of(
        cls,
        words: npt.NDArray[np.int32],
        chunks: npt.NDArray[np.int32],
        counts: npt.NDArray[np.int32],
    ) -> _Sorted:
        order = np.argsort(words, kind="stable")
        offsets = np.zeros(int(words.max(initial=-1)) + 2, dtype=np.int64)
        np.cumsum(np.bincount(words), out=offsets[1:])
        return cls(offsets, chunks[order], counts[order])

    def of_word(self, word: int) -> slice:
        if word >= len(self.offsets) - 1:
            return slice(0, 0)
        return slice(int(self.offsets[word]), int(self.offsets[word + 1]))

    def words(self) -> npt.NDArray[np.int32]:
        return np.repeat(np.arange(len(self.offsets) - 1, dtype=np.int32), np.diff(self.offsets))


@dataclass(frozen=True, slots=True)
class Postings:
    """The words of `n` chunks.

    Attributes:
        vocabulary: The number of each word; later indexes add to the same mapping.
        lengths: Shape `(n,)`: words of each chunk.
    """

    vocabulary: dict[str, int]
    lengths: npt.NDArray[np.int64]
    _bulk: _Sorted
    _tail: _Sorted

    @classmethod
    def empty(cls) -> Postings:
        """An index of no chunks."""
        return cls({}, np.zeros(0, dtype=np.int64), _none(), _none())

    def extended(self, lexemes: Sequence[str]) -> Postings:
        """This index with more chunks, given as words joined by spaces."""
        words, chunks, counts = [], [], []
        lengths = np.zeros(len(lexemes), dtype=np.int64)
        number = self.vocabulary
        for place, text in enumerate(lexemes):
            listed = text.split()
            lengths[place] = len(listed)
            for word, count in Counter(listed).items():
                words.append(number.setdefault(word, len(number)))
                chunks.append(len(self.lengths) + place)
                counts.append(count)
        added = [np.array(one, dtype=np.int32) for one in (words, chunks, counts)]
        tail = _joined(self._tail, _Sorted.of(*added))
        bulk = self._bulk
        if len(tail.chunks) > max(_TAIL, len(bulk.chunks) // _SHARE):
            bulk, tail = _joined(bulk, tail), _none()
        return Postings(number, np.concatenate((self.lengths, lengths)), bulk, tail)

    def compacted(self, rows: Positions) -> Postings:
        """An index of some of the chunks alone, counted anew in their order, and of their words.

        Args:
            rows: Of the chunks that stay, ascending.
        """
        postings = _joined(self._bulk, self._tail)
        place = np.full(len(self.lengths), -1, dtype=np.int32)
        place[rows] = np.arange(len(rows), dtype=np.int32)
        stay = place[postings.chunks] >= 0
        numbers, words = np.unique(postings.words()[stay], return_inverse=True)
        known = list(self.vocabulary)
        vocabulary = {known[number]: place for place, number in enumerate(numbers.tolist())}
        chunks, counts = place[postings.chunks[stay]], postings.counts[stay]
        bulk = _Sorted.of(words.astype(np.int32), chunks, counts)
        return Postings(vocabulary, self.lengths[rows], bulk, _none())

    def of(self, word: str) -> tuple[Positions, npt.NDArray[np.intp]]:
        """The chunks that hold a word, and how often each does."""
        number = self.vocabulary.get(word)
        if number is None:
            return np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp)
        bulk, tail = self._bulk.of_word(number), self._tail.of_word(number)
        chunks = np.concatenate((self._bulk.chunks[bulk], self._tail.chunks[tail]))
        counts = np.concatenate((self._bulk.counts[bulk], self._tail.counts[tail]))
        return chunks.astype(np.intp), counts.astype(np.intp)

    def statistics(self, words: Sequence[str], alive: Mask) -> Statistics:
        """Word statistics of the living chunks."""
        documents = int(np.count_nonzero(alive))
        length = int(self.lengths[alive].sum())
        frequency: Mapping[str, int] = {
            word: int(np.count_nonzero(alive[self.of(word)[0]])) for word in words
        }
        return Statistics(
            documents=documents,
            average_length=length / documents if documents else 0.0,
            frequency=frequency,
        )

    def scores(self, words: Sequence[str], statistics: Statistics) -> Scores:
        """What `core.bm25` gives each chunk, shape `(n,)`; 0 where it holds none of the words."""
        total: Scores = np.zeros(len(self.lengths), dtype=np.float64)
        for word, weight in bm25.weights(words, statistics).items():
            chunks, counts = self.of(word)
            lengths = self.lengths[chunks]
            total[chunks] += bm25.gain(weight, counts, lengths, statistics.average_length)
        return total


def _none() -> _Sorted:
    none = np.zeros(0, dtype=np.int32)
    return _Sorted.of(none, none, none)


def _joined(one: _Sorted, other: _Sorted) -> _Sorted:
    if not len(one.chunks):
        return other
    return _Sorted.of(
        np.concatenate((one.words(), other.words())),
        np.concatenate((one.chunks, other.chunks)),
        np.concatenate((one.counts, other.counts)),
    )
