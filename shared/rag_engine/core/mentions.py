"""The bipartite graph of chunks and the entities they mention, held as arrays.

Rows count as in the `VectorTable` of each kind. A graph is what it was at one moment; adding
chunks makes another that shares the old arrays. The way back, from entities to chunks, is sorted
once for the bulk and once for what was added since, which is folded in when it has grown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from rag_engine.core.vectors import Ids, Mask, Positions

_TAIL: Final = 20_000
"""Mentions added since the last full sort before the next one (60 ms at 800,000)."""


@dataclass(frozen=True, slots=True)
class Edges:
    """The edges of some nodes as compressed sparse rows, each row by weight descending, then id.

    Attributes:
        offsets: Shape `(rows + 1,)`.
        targets: Rows of the other kind.
        weights: In thousandths.
    """

    offsets: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int32]
    weights: npt.NDArray[np.int32]

    def lengths(self, rows: Positions) -> npt.NDArray[np.int64]:
        """How many edges each of `rows` has; 0 for one that is not there."""
        known = np.clip(rows, 0, len(self.offsets) - 2)
        return np.where(rows == known, self.offsets[known + 1] - self.offsets[known], 0)

    def gather(
        self, rows: Positions, lengths: npt.NDArray[np.int64]
    ) -> tuple[Positions, Positions]:
        """The first `lengths` edges of `rows`: which of them each belongs to, where it stands."""
        starts = self.offsets[np.clip(rows, 0, len(self.offsets) - 2)]
        owner = np.repeat(np.arange(len(rows)), lengths)
        begin = np.cumsum(lengths) - lengths
        places = np.arange(len(owner)) - begin[owner] + starts[owner]
        return owner, places


def _no_edges() -> Edges:
    none = np.zeros(0, dtype=np.int32)
    return Edges(np.zeros(1, dtype=np.int64), none, none)


def _edges(
    sources: Positions, targets: Positions, weights: npt.NDArray[np.int32], ids: Ids, rows: int
) -> Edges:
    """Sort loose edges into rows; `ids` are those of the targets' kind."""
    order = np.lexsort((ids[targets], -weights.astype(np.int64), sources))
    offsets = np.zeros(rows + 1, dtype=np.int64)
    np.cumsum(np.bincount(sources, minlength=rows), out=offsets[1:])
    return Edges(offsets, targets[order].astype(np.int32), weights[order])


@dataclass(frozen=True, slots=True)
class MentionGraph:
    """Mentions between `chunks` chunk rows and `entities` entity rows.

    Attributes:
        forward: From chunks to entities.
        bulk: From entities back to the first `sorted_chunks` chunks.
        tail: From entities back to the chunks after them.
    """

    forward: Edges
    bulk: Edges
    tail: Edges
    sorted_chunks: int

    @classmethod
    def empty(cls) -> MentionGraph:
        """A graph without nodes."""
        return cls(_no_edges(), _no_edges(), _no_edges(), 0)

    def extended(
        self,
        counts: npt.NDArray[np.int64],
        targets: Positions,
        weights: npt.NDArray[np.int32],
        chunk_ids: Ids,
        entities: int,
    ) -> MentionGraph:
        """This graph with more chunks.

        Args:
            counts: Shape `(added,)`: mentions of each added chunk.
            targets: Their entity rows, chunk after chunk; each chunk's by weight descending, then
                id.
            weights: Of the same shape, in thousandths.
            chunk_ids: Ids of all chunk rows, the added ones included.
            entities: Number of entity rows.
        """
        before = len(self.forward.offsets) - 1
        ends = self.forward.offsets[-1] + np.cumsum(counts, dtype=np.int64)
        forward = Edges(
            np.concatenate((self.forward.offsets, ends)),
            np.concatenate((self.forward.targets, targets.astype(np.int32))),
            np.concatenate((self.forward.weights, weights)),
        )
        since = int(forward.offsets[-1] - forward.offsets[self.sorted_chunks])
        if since > _TAIL or not before:
            bulk = _reversed(forward, 0, chunk_ids, entities)
            return MentionGraph(forward, bulk, _no_edges(), len(forward.offsets) - 1)
        tail = _reversed(forward, self.sorted_chunks, chunk_ids, entities)
        return MentionGraph(forward, self.bulk, tail, self.sorted_chunks)

    def changed(
        self,
        rows: Positions,
        counts: npt.NDArray[np.int64],
        targets: Positions,
        weights: npt.NDArray[np.int32],
        chunk_ids: Ids,
        entities: int,
    ) -> MentionGraph:
        """This graph with other mentions for some of its chunks.

        Args:
            rows: Chunk rows, ascending.
            counts: Of the shape of `rows`: mentions that each has now.
            targets: As in `extended`.
            weights: As in `extended`.
            chunk_ids: Ids of all chunk rows.
            entities: Number of entity rows.
        """
        chunks = len(self.forward.offsets) - 1
        owner = np.repeat(np.arange(chunks), np.diff(self.forward.offsets))
        kept = ~np.isin(owner, rows)
        owner = np.concatenate((owner[kept], np.repeat(rows, counts)))
        order = np.argsort(owner, kind="stable")
        offsets = np.zeros(chunks + 1, dtype=np.int64)
        np.cumsum(np.bincount(owner, minlength=chunks), out=offsets[1:])
        forward = Edges(
            offsets,
            np.concatenate((self.forward.targets[kept], targets.astype(np.int32)))[order],
            np.concatenate((self.forward.weights[kept], weights))[order],
        )
        return MentionGraph(
            forward, _reversed(forward, 0, chunk_ids, entities), _no_edges(), chunks
        )

    def compacted(self, chunks: Positions, entities: Positions, chunk_ids: Ids) -> MentionGraph:
        """This graph with some of its nodes alone, counted anew in their order.

        Args:
            chunks: Rows of the chunks that stay, ascending.
            entities: Rows of the entities that stay, ascending; all that these chunks mention.
            chunk_ids: Ids of the chunks that stay.
        """
        counts = self.forward.lengths(chunks)
        _, places = self.forward.gather(chunks, counts)
        targets = np.searchsorted(entities, self.forward.targets[places])
        weights = self.forward.weights[places]
        nothing = MentionGraph.empty()
        return nothing.extended(counts, targets, weights, chunk_ids, len(entities))

    def of_chunks(
        self, rows: Positions, visible: Mask, most: int
    ) -> tuple[npt.NDArray[np.int64], Positions, npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Edges of chunk rows to entities: offsets, entity rows, weights, degrees.

        Args:
            rows: Chunk rows; -1 for an unknown chunk.
            visible: Shape `(chunks,)`: an invisible chunk has no edges.
            most: Edges shown for a node at most; degrees count all.
        """
        owner, places = self.forward.gather(rows, self.forward.lengths(rows))
        seen = visible[rows[owner]]
        return _cut(
            owner[seen],
            self.forward.targets[places[seen]],
            self.forward.weights[places[seen]],
            len(rows),
            most,
        )

    def of_entities(
        self, rows: Positions, visible: Mask, chunk_ids: Ids, most: int
    ) -> tuple[npt.NDArray[np.int64], Positions, npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Edges of entity rows to visible chunks: offsets, chunk rows, weights, degrees."""
        bulk, tail = self.bulk.lengths(rows), self.tail.lengths(rows)
        degrees: npt.NDArray[np.int64] | None = None
        if visible.all():  # then no edge has to be looked at beyond those that are shown
            degrees = bulk + tail
            bulk, tail = np.minimum(bulk, most), np.minimum(tail, most)
        owner, places = self.bulk.gather(rows, bulk)
        targets, weights = self.bulk.targets[places], self.bulk.weights[places]
        late, late_places = self.tail.gather(rows, tail)
        if len(late):
            owner = np.concatenate((owner, late))
            targets = np.concatenate((targets, self.tail.targets[late_places]))
            weights = np.concatenate((weights, self.tail.weights[late_places]))
            order = np.lexsort((chunk_ids[targets], -weights.astype(np.int64), owner))
            owner, targets, weights = owner[order], targets[order], weights[order]
        seen = visible[targets]
        shown = _cut(owner[seen], targets[seen], weights[seen], len(rows), most)
        return shown if degrees is None else (*shown[:3], degrees)

    def mentioned(self, visible: Mask, entities: int) -> Mask:
        """Which of the entity rows some visible chunk mentions; shape `(entities,)`."""
        counts = np.diff(self.forward.offsets)
        found = np.zeros(entities, dtype=np.bool_)
        found[self.forward.targets[np.repeat(visible, counts)]] = True
        return found

    def degrees(self, visible: Mask, entities: int) -> npt.NDArray[np.int64]:
        """How many visible chunks mention each of the entity rows; shape `(entities,)`."""
        seen = self.forward.targets[np.repeat(visible, np.diff(self.forward.offsets))]
        return np.bincount(seen, minlength=entities).astype(np.int64)


def _reversed(forward: Edges, first: int, chunk_ids: Ids, entities: int) -> Edges:
    start = forward.offsets[first]
    counts = np.diff(forward.offsets[first:])
    chunks = np.repeat(np.arange(first, len(forward.offsets) - 1), counts)
    return _edges(
        forward.targets[start:].astype(np.intp),
        chunks,
        forward.weights[start:],
        chunk_ids,
        entities,
    )


def _cut(
    owner: Positions,
    targets: npt.NDArray[np.int32],
    weights: npt.NDArray[np.int32],
    rows: int,
    most: int,
) -> tuple[npt.NDArray[np.int64], Positions, npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    degrees = np.bincount(owner, minlength=rows).astype(np.int64)
    begin = np.cumsum(degrees) - degrees
    kept = np.arange(len(owner)) - begin[owner] < most
    offsets = np.zeros(rows + 1, dtype=np.int64)
    np.cumsum(np.minimum(degrees, most), out=offsets[1:])
    return offsets, targets[kept].astype(np.intp), weights[kept], degrees
