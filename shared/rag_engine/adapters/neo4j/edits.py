"""Edits by hand: which are in force, and what putting one into force changes in the graph.

The graph holds what readers see. An edit changes the chunks that mention what it is about, and no
others: each is copied with what is seen of it now, and the old one goes. So a chunk that was shown
never changes, and whoever reads an older state reads the old one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rag_engine.adapters.neo4j.connection import Row, Transaction, only
from rag_engine.adapters.neo4j.leases import token
from rag_engine.adapters.neo4j.ledger import Change, apply
from rag_engine.adapters.neo4j.records import (
    edit_of,
    edit_properties,
    edit_vectors,
    edited_row,
    extraction_of,
    seen_of,
)
from rag_engine.adapters.neo4j.resident import State, state_of
from rag_engine.core.edits import Edit, Edits
from rag_engine.core.ids import entity_id
from rag_engine.core.names import entity_key


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """The edits in force.

    Attributes:
        nodes: Their `Edit` nodes.
        together: What they make of evidence.
        vectors: Of all keys they are about.
    """

    nodes: Sequence[Mapping[str, Any]] = ()
    together: Edits = field(default_factory=Edits)
    vectors: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Iterable[Row]) -> InForce:
        """Those that `edits` found."""
        nodes = [row["edit"] for row in rows]
        return cls(
            nodes=nodes,
            together=Edits.of(edit_of(node).edit for node in nodes),
            vectors={key: one for node in nodes for key, one in edit_vectors(node).items()},
        )


class KnownEdits:
    """The edits in force as a process read them last.

    A write that rested on older ones, or on newer ones, is refused by `ledger.apply`, so an entry
    is at worst useless.
    """

    def __init__(self) -> None:
        self._edited = 0
        self._known = InForce()

    async def at(self, transaction: Transaction, state: State) -> InForce:
        """Those in force at a state."""
        if state.edited == self._edited:
            return self._known
        found = InForce.of(await transaction.rows("edits"))
        if all(node["shown_at"] <= state.edited for node in found.nodes):
            self._edited, self._known = state.edited, found
        return found


class Editor:
    """Puts edits into force and takes them back, within one write transaction.

    It locks the workspace first: writes that are under way wait, find that edits have changed, and
    are run again.
    """

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def put(self, edit: Edit, vectors: Sequence[bytes], now: float, attempt: str) -> bool:
        """Put an edit into force; return whether it is new, or was put there by this attempt.

        Raises:
            InvalidRequest: It makes no sense beside the others.
            Conflict: The name already is an alias of another one.
        """
        state, before = await self._begin()
        for node in before.nodes:
            if node["id"] == edit.id:
                return bool(node.get("made_by") == attempt)
        before.together.check(edit)
        properties = {**edit_properties(edit, vectors), "made_by": attempt}
        chunks = await self._chunks(edit, before.together, entity_id(edit.keys[0]))
        await self._transaction.rows(
            "add_edit", properties=properties, made_at=now, counter=state.counter + 1
        )
        after = InForce.of([*_rows(before), {"edit": {**properties, "made_at": now}}])
        await self._look_again(chunks, after.together, after.vectors, state)
        return True

    async def take_back(self, edit_id: str) -> bool:
        """Take an edit out of force; return whether it was in force."""
        state, before = await self._begin()
        node = next((one for one in before.nodes if one["id"] == edit_id), None)
        if node is None:
            return False
        chunks = await self._chunks(edit_of(node).edit, before.together, None)
        await self._transaction.rows("remove_edit", id=edit_id, counter=state.counter + 1)
        after = InForce.of(row for row in _rows(before) if row["edit"]["id"] != edit_id)
        await self._look_again(chunks, after.together, before.vectors, state)
        return True

    async def _begin(self) -> tuple[State, InForce]:
        row = only(await self._transaction.rows("lock_workspace", token=token()))
        return state_of(row["state"]), InForce.of(await self._transaction.rows("edits"))

    async def _chunks(self, edit: Edit, before: Edits, entity: int | None) -> list[Row]:
        """The chunks that mention what an edit is about, seen or not."""
        keys = _aliases_to(edit.keys[0], before)
        hidden = [entity_id(key) for key in sorted(keys)]
        return await self._transaction.rows("chunks_of_edit", entity=entity, hidden=hidden)

    async def _look_again(
        self,
        chunks: Sequence[Row],
        edits: Edits,
        vectors: Mapping[str, bytes],
        state: State,
    ) -> None:
        """See the evidence of chunks as edits let it be seen now."""
        change = Change(edits=edits, names=vectors)
        copies: list[dict[str, int]] = []
        for chunk in sorted(chunks, key=lambda one: int(one["row"])):
            found, seen = extraction_of(chunk["extraction"]), seen_of(chunk)
            visible = edits.applied(found)
            if visible == seen:
                continue
            row = edited_row(state.counter + 1, len(copies))
            copies.append({"from": chunk["row"], "row": row})
            change.appear(row, chunk["document"], found)
            change.vanish(chunk["row"], seen)
        if copies:
            await self._transaction.rows("copy_chunks", chunks=copies)
        await apply(self._transaction, change, state, edits=True)


def _rows(edits: InForce) -> list[Row]:
    return [{"edit": node} for node in edits.nodes]


def _aliases_to(key: str, before: Edits) -> set[str]:
    """A key, and those whose aliases lead to it."""
    found, new = {key}, {key}
    while new:
        new = {
            source for source, target in before.aliases.items() if entity_key(target) in new
        } - found
        found |= new
    return found
