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

from rag_engine.adapters.neo4j.connection import Connection, Row, Transaction
from rag_engine.adapters.neo4j.filters import Rows
from rag_engine.adapters.neo4j.records import EDGE, edit_of
from rag_engine.core.edits import ActiveEdit
from rag_engine.core.mentions import MentionGraph
from rag_engine.core.postings import Postings
from rag_engine.core.vectors import Ids, Mask, Positions, VectorTable
from rag_engine.errors import StoreUnavailable
from rag_engine.ports.storage import NodeKind

_KEPT: Final = 4
"""Recent states kept, from which newer ones are made."""

_MASKS: Final = 64
"""Masks kept with a state; a byte a node each."""

_WASTE: Final = 0.3
_MANY: Final = 1000
"""Share of dead rows above which everything is read anew, when there are many."""

_ATTEMPTS: Final = 20

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


async def read_state(transaction: Transaction) -> State:
    """The state of a workspace as of now."""
    return _only(await transaction.rows("state"))


def _only(rows: Sequence[Row]) -> State:
    if not rows:
        raise StoreUnavailable(
            "The workspace is not in the database any more. Restore it from a backup."
        )
    return state_of(rows[0]["state"])


def state_of(values: Sequence[int]) -> State:
    """The state from the property."""
    counter, relations, edited, removed = values
    return State(counter=counter, relations=relations, edited=edited, removed=removed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """What is visible at `state.counter`.

    Attributes:
        edits: Those in force, by the time they were made, then by id.
        documents: Row of the visible version of each document.
        fields: Names of the metadata fields of each visible version, by row.
        chunk_rows: Row of each chunk.
        chunk_versions: Row of the version of each chunk.
        chunk_assertions: How many assertions each chunk makes.
        masks: What filters leave visible, for those that are asked for again.
    """

    state: State
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

    @classmethod
    def empty(cls, dimensions: int) -> Resident:
        """The state before the first write."""
        none = np.zeros(0, dtype=np.int64)
        nothing = VectorTable.of(none, np.zeros((0, dimensions), dtype=np.float16))
        return cls(
            state=State(counter=0, relations=0, edited=0, removed=0),
            edits=(),
            documents={},
            fields={},
            chunk_rows=none,
            chunk_versions=none,
            chunk_assertions=none,
            chunks=nothing,
            entities=nothing,
            graph=MentionGraph.empty(),
            postings=Postings.empty(),
        )

    @property
    def wasteful(self) -> bool:
        """Whether so many rows are dead that reading everything anew is better."""
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
        if len(self.masks) >= _MASKS:
            self.masks.clear()
        self.masks[kind, name] = mask
        return mask

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
        added: Sequence[Row],
        names: Mapping[int, bytes],
    ) -> Resident:
        """The state after what came and went.

        Args:
            state: What it is the state at.
            edits: In force then.
            changes: Rows of `changes_between`.
            added: Rows of `chunks_between`.
            names: Vectors of the entities that the added chunks mention, new ones at least.
        """
        documents, fields = _versions(dict(self.documents), dict(self.fields), changes)
        gone = [row["row"] for row in changes if row["what"] == "chunk gone"]
        positions = np.flatnonzero(np.isin(self.chunk_rows, np.array(gone, dtype=np.int64)))
        chunks = self.chunks.without(positions).extended(
            _column(added, "id"), self._values([row["vector"] for row in added])
        )
        edges = [np.frombuffer(row["mentions"], dtype=EDGE) for row in added]
        entities = self._with_names(names)
        graph = self.graph
        if added:
            joined = np.concatenate(edges)
            graph = graph.extended(
                np.array([len(one) for one in edges], dtype=np.int64),
                entities.rows(joined["entity"].astype(np.int64)),
                joined["weight"].astype(np.int32),
                chunks.ids,
                len(entities.ids),
            )
        alive = graph.mentioned(chunks.alive, len(entities.ids))
        return Resident(
            state=state,
            edits=edits,
            documents=documents,
            fields=fields,
            chunk_rows=np.concatenate((self.chunk_rows, _column(added, "row"))),
            chunk_versions=np.concatenate((self.chunk_versions, _column(added, "version"))),
            chunk_assertions=np.concatenate((self.chunk_assertions, _column(added, "assertions"))),
            chunks=chunks,
            entities=replace(entities, alive=alive),
            graph=graph,
            postings=self.postings.extended([row["lexemes"] for row in added]),
        )

    def unknown(self, added: Sequence[Row]) -> list[int]:
        """Entities that added chunks mention and whose vectors are not held."""
        edges = [np.frombuffer(row["mentions"], dtype=EDGE)["entity"] for row in added]
        if not edges:
            return []
        ids = np.unique(np.concatenate(edges)).astype(np.int64)
        missing: list[int] = ids[self.entities.rows(ids) < 0].tolist()
        return missing

    def _with_names(self, names: Mapping[int, bytes]) -> VectorTable:
        ids = np.array(sorted(names), dtype=np.int64)
        return self.entities.extended(ids, self._values([names[id] for id in ids.tolist()]))

    def _values(self, vectors: Sequence[bytes]) -> npt.NDArray[np.float16]:
        dimensions = self.chunks.values.shape[1]
        return np.frombuffer(b"".join(vectors), dtype="<f2").reshape(-1, dimensions)


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


def _column(rows: Sequence[Row], name: str) -> Ids:
    return np.array([row[name] for row in rows], dtype=np.int64)


class Residents:
    """The states of one workspace that this process holds."""

    def __init__(self, connection: Connection, workspace: int, dimensions: int) -> None:
        self._connection = connection
        self._workspace = workspace
        self._dimensions = dimensions
        self._lock = asyncio.Lock()
        self._states: OrderedDict[int, Resident] = OrderedDict()

    async def now(self) -> Resident:
        """The newest state."""
        rows = await self._connection.run("state", workspace=self._workspace)
        known = self._states.get(_only(rows).counter)
        if known is not None:
            return known
        # In one transaction, so that all of it comes from one member of a cluster.
        return await self._connection.read(self._now, workspace=self._workspace)

    async def _now(self, transaction: Transaction) -> Resident:
        for _ in range(_ATTEMPTS):
            state = await read_state(transaction)
            if state.counter in self._states:
                return self._states[state.counter]
            async with self._lock:
                if state.counter in self._states:
                    return self._states[state.counter]
                found = await self._followed(transaction, self._base(state), state)
                if found is not None and found.wasteful:
                    found = await self._followed(
                        transaction, Resident.empty(self._dimensions), state
                    )
                if found is not None:
                    self._keep(found)
                    return found
        raise StoreUnavailable(
            "So much is written to the workspace that it could not be read. Try again."
        )

    def _base(self, state: State) -> Resident:
        """The nearest older state from which what is still in the database leads here."""
        older = [one for one in self._states if state.removed <= one <= state.counter]
        return self._states[max(older)] if older else Resident.empty(self._dimensions)

    def _keep(self, found: Resident) -> None:
        self._states[found.state.counter] = found
        while len(self._states) > _KEPT:
            del self._states[min(self._states)]

    async def _followed(
        self, transaction: Transaction, base: Resident, state: State
    ) -> Resident | None:
        """The state made from an older one, or `None` when too much was removed meanwhile."""
        span = {"since": base.state.counter, "upto": state.counter}
        changes = await transaction.rows("changes_between", **span)
        added = await transaction.rows("chunks_between", **span)
        edits = base.edits
        if state.edited > base.state.counter:
            edits = await _edits_at(transaction, state.counter)
        names: dict[int, bytes] = {}
        if unknown := base.unknown(added):
            found = await transaction.rows("name_vectors", ids=unknown)
            names = {row["id"]: row["vector"] for row in found}
            if len(names) < len(unknown):  # gone since: there is a newer state
                return None
        if await self._is_cut(transaction, base, state):
            return None
        return await asyncio.to_thread(base.followed, state, edits, changes, added, names)

    async def _is_cut(self, transaction: Transaction, base: Resident, state: State) -> bool:
        """Whether something was removed for good that had to be read."""
        removed = (await read_state(transaction)).removed
        return removed > (base.state.counter or state.counter)


async def _edits_at(transaction: Transaction, counter: int) -> tuple[ActiveEdit, ...]:
    rows: Sequence[Mapping[str, Any]] = await transaction.rows("edits_at", upto=counter)
    edits = [edit_of(row["edit"]) for row in rows]
    return tuple(sorted(edits, key=lambda one: (one.made_at, one.edit.id)))
