"""What a process holds in memory of a workspace: vectors and mentions, as of one write counter.

A newer state is made from an older one by reading only what was added and removed in between.
States are immutable and share their arrays, so a reader keeps the one of its own snapshot.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from rag_engine.adapters.sqlite.functions import checksum, damaged
from rag_engine.adapters.sqlite.queries import SQL
from rag_engine.adapters.sqlite.rows import id_list
from rag_engine.core.kept import keep
from rag_engine.core.mentions import MentionGraph
from rag_engine.core.ranked import Pair, Ranked, RankedPairs
from rag_engine.core.vectors import Mask, Positions, VectorTable
from rag_engine.ports.storage import NodeKind

_KEPT: Final = 4
"""Recent states kept for readers whose snapshot is a little older than the newest state."""

_MASKS: Final = 64
"""Masks kept with a state; a byte a node each."""

_RANKINGS: Final = 4
"""Rankings kept with a state; 16 bytes an entity each, 24 a pair."""

_POSTINGS: Final = 128
"""Words whose postings are kept with a state; 8 bytes a passage that holds one."""

_WASTE: Final = 0.3
_MANY: Final = 1000
"""Share of dead rows above which everything is read anew, when there are many."""

Rows = npt.NDArray[np.int64]
WordPostings = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]
"""Positions of the chunks that hold a word, ascending, and how often each does."""


@dataclass(frozen=True, slots=True)
class Resident:
    """The state at `counter`.

    Attributes:
        chunk_rows: Database row of each chunk, ascending.
        chunk_documents: Database row of the document of each chunk.
        chunk_lengths: Lexemes of each chunk.
        entity_rows: Database row of each entity, ascending.
        masks: What filters leave visible, for those that are asked for again.
        rankings: Entities in the order of their mentions, under filters that were asked for.
        pair_rankings: And pairs of them in the order of their weights.
        postings: Where the words of questions stand that are asked for again.
    """

    counter: int
    chunk_rows: Rows
    chunk_documents: Rows
    chunk_lengths: Rows
    chunks: VectorTable
    entity_rows: Rows
    entities: VectorTable
    graph: MentionGraph
    masks: dict[tuple[NodeKind, str], Mask] = field(default_factory=dict)
    rankings: dict[str, Ranked] = field(default_factory=dict)
    pair_rankings: dict[str, RankedPairs] = field(default_factory=dict)
    postings: dict[str, WordPostings] = field(default_factory=dict)

    @classmethod
    def empty(cls, dimensions: int) -> Resident:
        """The state before the first write."""
        none = np.zeros(0, dtype=np.int64)
        nothing = VectorTable.of(none, np.zeros((0, dimensions), dtype=np.float16))
        return cls(0, none, none, none, nothing, none, nothing, MentionGraph.empty())

    @property
    def wasteful(self) -> bool:
        """Whether so many rows are dead that reading everything anew is better."""
        rows = len(self.chunk_rows) + len(self.entity_rows)
        alive = np.count_nonzero(self.chunks.alive) + np.count_nonzero(self.entities.alive)
        return rows > _MANY and rows - int(alive) > _WASTE * rows

    def chunk_positions(self, rows: Rows) -> Positions:
        """Positions of chunks by their database rows, all of which are held."""
        positions: Positions = np.searchsorted(self.chunk_rows, rows)
        return positions

    def postings_of(self, token: str, occurrences: Callable[[], Rows]) -> WordPostings:
        """Where a token stands.

        Args:
            token: What is looked for.
            occurrences: Finds the database row of the chunk of each.
        """
        known = self.postings.get(token)
        if known is not None:
            return known
        rows, counts = np.unique(occurrences(), return_counts=True)
        found = self.chunk_positions(rows).astype(np.int32), counts.astype(np.int32)
        return keep(self.postings, token, found, most=_POSTINGS)

    def visible(self, kind: NodeKind, name: str, documents: Callable[[], Rows]) -> Mask:
        """Which nodes of a kind a filter leaves visible.

        Args:
            kind: Of the nodes.
            name: Of the filter: equal names mean equal filters.
            documents: Finds the database rows of the documents that match.
        """
        known = self.masks.get((kind, name))
        if known is not None:
            return known
        if kind == "chunk":
            mask = self._of_documents(documents())
        else:
            chunks = self.visible("chunk", name, documents)
            mask = self.graph.mentioned(chunks, len(self.entity_rows))
        return keep(self.masks, (kind, name), mask, most=_MASKS)

    def ranked(self, name: str, visible: Mask) -> Ranked:
        """Entities by how many visible chunks mention them, then id.

        Args:
            name: Of the filter: equal names mean equal filters.
            visible: Which chunks it leaves visible.
        """
        known = self.rankings.get(name)
        if known is not None:
            return known
        ids = self.entities.ids
        ranked = Ranked.of(ids, self.graph.degrees(visible, len(ids)))
        return keep(self.rankings, name, ranked, most=_RANKINGS)

    def ranked_pairs(self, name: str, pairs: Callable[[], Collection[Pair]]) -> RankedPairs:
        """Pairs of entities by the weight of what joins them.

        Args:
            name: Of the filter: equal names mean equal filters.
            pairs: Finds those that it leaves visible.
        """
        known = self.pair_rankings.get(name)
        if known is not None:
            return known
        return keep(self.pair_rankings, name, RankedPairs.of(pairs()), most=_RANKINGS)

    def _of_documents(self, documents: Rows) -> Mask:
        highest = int(self.chunk_documents.max(initial=0))
        wanted = np.zeros(highest + 1, dtype=np.bool_)
        wanted[documents[documents <= highest]] = True
        mask: Mask = wanted[self.chunk_documents] & self.chunks.alive
        return mask

    def followed(self, connection: sqlite3.Connection, counter: int) -> Resident:
        """The state at the connection's snapshot, whose counter is `counter`."""
        removed = connection.execute(SQL["removed_since"], (self.counter,)).fetchall()
        # Entities before chunks, whose mentions name their rows.
        state = self.without(removed).with_entities(connection).with_chunks(connection)
        edited = [row for kind, row in removed if kind == "mentions"]
        state = state.with_mentions(connection, edited)
        return replace(state, counter=counter, masks={}, rankings={}, pair_rankings={}, postings={})

    def without(self, removed: list[tuple[str, int]]) -> Resident:
        """This state without chunks and entities, given by kind and database row."""
        chunks = np.array([row for kind, row in removed if kind == "chunk"], dtype=np.int64)
        entities = np.array([row for kind, row in removed if kind == "entity"], dtype=np.int64)
        return replace(
            self,
            chunks=self.chunks.without(_held(self.chunk_rows, chunks)),
            entities=self.entities.without(_held(self.entity_rows, entities)),
        )

    def with_entities(self, connection: sqlite3.Connection) -> Resident:
        """This state with the entities that were added to the database since."""
        last = int(self.entity_rows[-1]) if len(self.entity_rows) else 0
        found = connection.execute(SQL["entity_vectors_after"], (last,)).fetchall()
        if not found:
            return self
        rows, ids, vectors, sums = zip(*found, strict=True)
        return replace(
            self,
            entity_rows=np.concatenate((self.entity_rows, np.array(rows, dtype=np.int64))),
            entities=self.entities.extended(
                np.array(ids, dtype=np.int64), self._values(vectors, sums)
            ),
        )

    def with_chunks(self, connection: sqlite3.Connection) -> Resident:
        """This state with the chunks that were added to the database since."""
        last = int(self.chunk_rows[-1]) if len(self.chunk_rows) else 0
        found = connection.execute(SQL["chunk_vectors_after"], (last,)).fetchall()
        if not found:
            return self
        rows, ids, documents, lengths, vectors, packed, sums = zip(*found, strict=True)
        chunks = self.chunks.extended(np.array(ids, dtype=np.int64), self._values(vectors, sums))
        graph = self.graph.extended(*self._edges(packed), chunks.ids, len(self.entity_rows))
        return replace(
            self,
            chunk_rows=np.concatenate((self.chunk_rows, np.array(rows, dtype=np.int64))),
            chunk_documents=np.concatenate(
                (self.chunk_documents, np.array(documents, dtype=np.int64))
            ),
            chunk_lengths=np.concatenate((self.chunk_lengths, np.array(lengths, dtype=np.int64))),
            chunks=chunks,
            graph=graph,
        )

    def with_mentions(self, connection: sqlite3.Connection, edited: list[int]) -> Resident:
        """This state with the mentions that chunks have now, given by database row."""
        if not edited:
            return self
        found = connection.execute(SQL["mentions_in_memory"], (id_list(edited),)).fetchall()
        if not found:
            return self
        rows, packed = zip(*found, strict=True)
        graph = self.graph.changed(
            self.chunk_positions(np.array(rows, dtype=np.int64)),
            *self._edges(packed),
            self.chunks.ids,
            len(self.entity_rows),
        )
        return replace(self, graph=graph)

    def _edges(
        self, packed: tuple[bytes, ...]
    ) -> tuple[npt.NDArray[np.int64], Positions, npt.NDArray[np.int32]]:
        """Packed mentions of chunks: how many each has, their entities' positions, their weights."""
        if any(len(one) % 8 for one in packed):
            raise damaged("the mentions of a passage are cut")
        mentions = np.frombuffer(b"".join(packed), dtype="<i4").reshape(-1, 2)
        counts = np.array([len(one) // 8 for one in packed], dtype=np.int64)
        positions = np.searchsorted(self.entity_rows, mentions[:, 0])
        known = np.append(self.entity_rows, -1)[positions]
        if not np.array_equal(known, mentions[:, 0]):
            raise damaged("a passage mentions an entity that is not there")
        return counts, positions, mentions[:, 1].astype(np.int32)

    def _values(
        self, vectors: tuple[bytes, ...], sums: tuple[int | None, ...]
    ) -> npt.NDArray[np.float16]:
        """Vectors whose bytes are those that were written, by their checksums.

        The release before knows no checksums: what it writes has `None`.
        """
        length = 2 * self.chunks.values.shape[1]
        for vector, written in zip(vectors, sums, strict=True):
            if len(vector) != length or written not in (None, checksum(vector)):
                raise damaged("a vector is not what was written")
        return np.frombuffer(b"".join(vectors), dtype="<f2").reshape(-1, length // 2)


def _held(rows: Rows, wanted: Rows) -> Positions:
    """Positions of those of `wanted` that are among `rows`."""
    if not len(rows):
        return np.zeros(0, dtype=np.intp)
    places = np.minimum(np.searchsorted(rows, wanted), len(rows) - 1)
    found: Positions = places[rows[places] == wanted]
    return found


class Residents:
    """The states of one workspace that this process holds."""

    def __init__(self, dimensions: int) -> None:
        self._dimensions = dimensions
        self._lock = threading.Lock()
        self._states: OrderedDict[int, Resident] = OrderedDict()

    def at(self, connection: sqlite3.Connection, counter: int) -> Resident:
        """The state at the connection's snapshot, whose counter is `counter`."""
        with self._lock:
            if counter in self._states:
                return self._states[counter]
            state = self._base(connection, counter).followed(connection, counter)
            if state.wasteful:
                state = Resident.empty(self._dimensions).followed(connection, counter)
            self._states[counter] = state
            while len(self._states) > _KEPT:
                del self._states[min(self._states)]
            return state

    def rest(self) -> None:
        """Let go of all states until they are asked for, unless one is being made right now."""
        if self._lock.acquire(blocking=False):
            try:
                self._states.clear()
            finally:
                self._lock.release()

    def forget(self, counter: int) -> None:
        """Let go of a state."""
        with self._lock:
            self._states.pop(counter, None)

    def _base(self, connection: sqlite3.Connection, counter: int) -> Resident:
        """The nearest older state from which the log of removals leads here."""
        older = [one for one in self._states if one < counter]
        [(first,)] = connection.execute(SQL["removed_from"]).fetchall()
        if older and max(older) >= first:
            return self._states[max(older)]
        return Resident.empty(self._dimensions)
