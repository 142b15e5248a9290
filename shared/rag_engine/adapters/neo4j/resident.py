"""What a process holds in memory of a workspace: what is visible as of one write counter.

A newer state is made from an older one by reading only what came and went in between. The database
shows each transaction what others have committed by then, so a state asks for what was shown and
not gone *at its counter*: rows are never changed once they are shown, and what is gone stays for a
while (see `Outdated`), so it does not matter what is written meanwhile.

States are immutable and share their arrays, so a reader keeps the one of its own snapshot.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rag_engine.adapters.neo4j.arrivals import Arrivals, Names, Torn, arrivals, names_of
from rag_engine.adapters.neo4j.connection import Connection, Row
from rag_engine.adapters.neo4j.filters import Rows
from rag_engine.adapters.neo4j.records import edit_of
from rag_engine.core.edits import ActiveEdit
from rag_engine.core.kept import keep
from rag_engine.core.mentions import MentionGraph
from rag_engine.core.postings import Postings
from rag_engine.core.ranked import Ranked, RankedPairs
from rag_engine.core.vectors import Ids, Mask, Positions, VectorTable
from rag_engine.errors import StoreUnavailable
from rag_engine.ports.storage import NodeKind

_KEPT: Final = 4
"""Recent states kept, from which newer ones are made."""

_MASKS: Final = 64
"""Masks kept with a state; a byte a node each."""

_RANKINGS: Final = 4
"""Rankings kept with a state; 16 bytes an entity each, 24 a pair."""

_WASTE: Final = 0.3
_MANY: Final = 1000
"""Share of dead rows above which they are thrown out, when there are many."""

_ATTEMPTS: Final = 20

_FEWER: Final = 0.9
"""Vectors are held again when there are so many times fewer passages than the most for that."""

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The property `state` of a workspace, which is read at one stroke.

    Attributes:
        counter: Writes so far.
        relations: Pairs of entities that are joined.
        edited: The write that put the last edit into force or out of it.
        removed: What went away up to this write may have been removed for good.
    """

    counter: int
    relations: int
    edited: int
    removed: int


def state_of(values: Sequence[int]) -> State:
    """The state from the property."""
    counter, relations, edited, removed = values
    return State(counter=counter, relations=relations, edited=edited, removed=removed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """What is visible at `state.counter`.

    Attributes:
        exact: Whether vectors are held; else the names' codes alone, and the rest is `Distant`.
        dimensions: Of the vectors.
        edits: Those in force, by the time they were made, then by id.
        documents: Row of the visible version of each document.
        fields: Names of the metadata fields of each visible version, by row.
        chunk_rows: Row of each chunk.
        chunk_versions: Row of the version of each chunk.
        chunk_assertions: How many assertions each chunk makes.
        masks: What filters leave visible, for those that are asked for again.
        rankings: Entities in the order of their mentions, under filters that were asked for.
        pair_rankings: And pairs of them in the order of their weights.
    """

    state: State
    exact: bool
    dimensions: int
    edits: tuple[ActiveEdit, ...]
    documents: Mapping[str, int]
    fields: Mapping[int, tuple[str, ...]]
    chunk_rows: Rows
    chunk_versions: Rows
    chunk_assertions: Counts
    chunks: VectorTable
    entities: VectorTable
    graph: MentionGraph
    postings: Postings
    masks: dict[tuple[NodeKind, str], Mask] = field(default_factory=dict)
    rankings: dict[str, Ranked] = field(default_factory=dict)
    pair_rankings: dict[str, RankedPairs] = field(default_factory=dict)

    @classmethod
    def empty(cls, dimensions: int, *, exact: bool = True) -> Resident:
        """The state before the first write."""
        none = np.zeros(0, dtype=np.int64)
        vectors = np.zeros((0, dimensions), dtype=np.float16)
        return cls(
            state=State(counter=0, relations=0, edited=0, removed=0),
            exact=exact,
            dimensions=dimensions,
            edits=(),
            documents={},
            fields={},
            chunk_rows=none,
            chunk_versions=none,
            chunk_assertions=none,
            chunks=VectorTable.of(none, vectors if exact else vectors[:, :0]),
            entities=VectorTable.of(none, vectors, coded=not exact),
            graph=MentionGraph.empty(),
            postings=Postings.empty(),
        )

    @property
    def wasteful(self) -> bool:
        """Whether so many rows are dead that it is better to do without them."""
        rows = len(self.chunks.ids) + len(self.entities.ids)
        alive = np.count_nonzero(self.chunks.alive) + np.count_nonzero(self.entities.alive)
        return rows > _MANY and rows - int(alive) > _WASTE * rows

    @property
    def versions(self) -> Rows:
        """Rows of the visible versions, ascending."""
        return np.sort(np.fromiter(self.documents.values(), dtype=np.int64))

    def table(self, kind: NodeKind) -> VectorTable:
        """The vectors of a kind."""
        return self.chunks if kind == "chunk" else self.entities

    def visible(self, kind: NodeKind, name: str, versions: Rows) -> Mask:
        """Which nodes of a kind belong to some of the visible versions.

        Args:
            kind: Of the nodes.
            name: Of the filter that the versions match: equal names mean equal filters.
            versions: Rows of the versions.
        """
        known = self.masks.get((kind, name))
        if known is not None:
            return known
        mask: Mask
        if kind == "chunk":
            mask = np.isin(self.chunk_versions, versions) & self.chunks.alive
        else:
            chunks = self.visible("chunk", name, versions)
            mask = self.graph.mentioned(chunks, len(self.entities.ids))
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

    def keep_pairs(self, name: str, ranked: RankedPairs) -> None:
        """Keep pairs in their order, by the name of the filter that leaves them visible."""
        keep(self.pair_rankings, name, ranked, most=_RANKINGS)

    def rows_of(self, positions: Positions) -> list[int]:
        """Rows of chunks by their positions."""
        rows: list[int] = self.chunk_rows[positions].tolist()
        return rows

    def mentioning(self, entity: int, visible: Mask) -> Positions:
        """Positions of the visible chunks that mention an entity, by weight descending, then id."""
        positions = self.entities.rows(np.array([entity], dtype=np.int64))
        everything = len(self.chunk_rows)
        found = self.graph.of_entities(positions, visible, self.chunks.ids, everything)
        return found[1] if positions[0] >= 0 else found[1][:0]

    def followed(
        self,
        state: State,
        edits: tuple[ActiveEdit, ...],
        changes: Sequence[Row],
        added: Arrivals,
        names: Names,
    ) -> Resident:
        """The state after what came and went.

        Args:
            state: What it is the state at.
            edits: In force then.
            changes: Rows of `changes_between`.
            added: What came.
            names: Of the entities in it that were `unknown`. Those not found do not count: the
                state then serves for nothing but following it further.
        """
        documents, fields = _versions(dict(self.documents), dict(self.fields), changes)
        gone = [row["row"] for row in changes if row["what"] == "chunk gone"]
        positions = np.flatnonzero(np.isin(self.chunk_rows, np.array(gone, dtype=np.int64)))
        chunks = self.chunks.without(positions).extended(added.ids, added.vectors)
        entities = self.entities.extended(names.ids, names.vectors)
        graph = self.graph
        if len(added.rows):
            graph = graph.extended(
                added.counts,
                entities.rows(added.edges["entity"].astype(np.int64)),
                added.edges["weight"].astype(np.int32),
                chunks.ids,
                len(entities.ids),
            )
        alive = graph.mentioned(chunks.alive, len(entities.ids))
        alive[entities.rows(names.ids[~names.found])] = False
        return Resident(
            state=state,
            exact=self.exact,
            dimensions=self.dimensions,
            edits=edits,
            documents=documents,
            fields=fields,
            chunk_rows=np.concatenate((self.chunk_rows, added.rows)),
            chunk_versions=np.concatenate((self.chunk_versions, added.versions)),
            chunk_assertions=np.concatenate((self.chunk_assertions, added.assertions)),
            chunks=chunks,
            entities=replace(entities, alive=alive),
            graph=graph,
            postings=added.postings,
        )

    def compacted(self) -> Resident:
        """The same without what is dead."""
        alive = np.flatnonzero(self.chunks.alive)
        chunks, entities = self.chunks.compacted(), np.flatnonzero(self.entities.alive)
        return replace(
            self,
            chunk_rows=self.chunk_rows[alive],
            chunk_versions=self.chunk_versions[alive],
            chunk_assertions=self.chunk_assertions[alive],
            chunks=chunks,
            entities=self.entities.compacted(),
            graph=self.graph.compacted(alive, entities, chunks.ids),
            postings=self.postings.compacted(alive),
            masks={},
            rankings={},
            pair_rankings={},
        )

    def unknown(self, added: Arrivals) -> Ids:
        """Entities that added chunks mention and whose vectors are not held, ascending."""
        ids = np.unique(added.edges["entity"]).astype(np.int64)
        return ids[self.entities.rows(ids) < 0]


def _versions(
    documents: dict[str, int], fields: dict[int, tuple[str, ...]], changes: Sequence[Row]
) -> tuple[dict[str, int], dict[int, tuple[str, ...]]]:
    for change in changes:
        if change["what"] == "version gone":
            fields.pop(change["row"], None)
            if documents.get(change["document"]) == change["row"]:
                del documents[change["document"]]
    for change in changes:
        if change["what"] == "version":
            documents[change["document"]] = change["row"]
            fields[change["row"]] = tuple(change["fields"])
    return documents, fields


class Residents:
    """The states of one workspace that this process holds."""

    def __init__(
        self, connection: Connection, workspace: int, dimensions: int, exact_chunks: int
    ) -> None:
        self._connection = connection
        self._workspace = workspace
        self._dimensions = dimensions
        self._exact_chunks = exact_chunks
        self._states: OrderedDict[int, Resident] = OrderedDict()
        self._unfinished: Resident | None = None
        self._reading: asyncio.Task[Resident] | None = None

    async def now(self) -> Resident:
        """The newest state."""
        state = await self._state()
        for _ in range(_ATTEMPTS):
            if state.counter in self._states:
                return self._states[state.counter]
            found = await self._read_together(state)
            if found.state.counter >= state.counter:
                return found
        raise _overrun()

    async def aclose(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    async def _read_together(self, state: State) -> Resident:
        """This state or a newer one, or one that was being read already: all who wait share it.

        It goes on when all of them have given up: a large workspace takes longer than a question
        may, and whoever asks next would begin anew.
        """
        reading = self._reading
        if reading is None or reading.done():
            reading = self._reading = asyncio.create_task(self._read(state))
            reading.add_done_callback(_heard)
        await asyncio.wait([reading])
        if reading.cancelled():
            raise StoreUnavailable("The store was closed while it was read. Open it again.")
        return reading.result()

    async def _read(self, state: State) -> Resident:
        for _ in range(_ATTEMPTS):
            found = await self._followed(self._base(state), state)
            if found is not None and self._has_outgrown(found):
                found = await self._followed(Resident.empty(self._dimensions), state)
            if found is not None and found.wasteful:
                found = await asyncio.to_thread(found.compacted)
            if found is not None:
                self._keep(found)
                return found
            state = await self._state()
        raise _overrun()

    def _has_outgrown(self, found: Resident) -> bool:
        """Whether vectors are held that should not be, or the other way round."""
        chunks = np.count_nonzero(found.chunks.alive)
        if found.exact:
            return bool(chunks > self._exact_chunks)
        return bool(chunks <= _FEWER * self._exact_chunks)

    def _base(self, state: State) -> Resident:
        """The nearest older state from which what is still in the database leads here."""
        known = [*self._states.values()]
        if self._unfinished is not None and self._unfinished.state.counter < state.counter:
            known.append(self._unfinished)
        older = [one for one in known if state.removed <= one.state.counter <= state.counter]
        nearest = max(older, key=lambda one: one.state.counter, default=None)
        return nearest or Resident.empty(self._dimensions)

    def _keep(self, found: Resident) -> None:
        self._unfinished = None
        self._states[found.state.counter] = found
        while len(self._states) > _KEPT:
            del self._states[min(self._states)]

    async def _followed(self, base: Resident, state: State) -> Resident | None:
        """The state made from an older one, or `None` when there is a newer one to be read."""
        span = {"since": base.state.counter, "upto": state.counter}
        changes = await self._rows("changes_between", **span)
        dimensions = self._dimensions
        if not base.state.counter:
            chunks = sum(row["chunks"] for row in changes if row["what"] == "version")
            base = Resident.empty(dimensions, exact=chunks <= self._exact_chunks)
        try:
            added = await arrivals(
                self._rows, base.postings, dimensions=dimensions, exact=base.exact, **span
            )
            names = await names_of(self._rows, base.unknown(added), dimensions)
        except Torn:  # what was deleted is not part of the newest state
            return None
        edits = base.edits
        if state.edited > base.state.counter:
            edits = await self._edits_at(state.counter)
        if await self._is_cut(base, state):
            return None
        found = await asyncio.to_thread(base.followed, state, edits, changes, added, names)
        if (
            not names.found.all()
        ):  # what mentions them is gone since, and the rest need not be read again
            self._unfinished = found
            return None
        return found

    async def _is_cut(self, base: Resident, state: State) -> bool:
        """Whether something was removed for good that had to be read."""
        removed = (await self._state()).removed
        return removed > (base.state.counter or state.counter)

    async def _edits_at(self, counter: int) -> tuple[ActiveEdit, ...]:
        rows = await self._rows("edits_at", upto=counter)
        edits = [edit_of(row["edit"]) for row in rows]
        return tuple(sorted(edits, key=lambda one: (one.made_at, one.edit.id)))

    async def _state(self) -> State:
        rows = await self._rows("state")
        if not rows:
            raise self._connection.gone(self._workspace)
        return state_of(rows[0]["state"])

    async def _rows(self, query: str, **parameters: Any) -> list[Row]:
        return await self._connection.run(query, workspace=self._workspace, **parameters)


def _heard(reading: asyncio.Task[Resident]) -> None:
    """Whoever waits is told of an error; that nobody does any more is none."""
    if not reading.cancelled():
        reading.exception()


def _overrun() -> StoreUnavailable:
    return StoreUnavailable(
        "So much is written to the workspace that it could not be read. Try again."
    )
