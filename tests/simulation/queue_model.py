"""What each call may do to the versions of a workspace: a pure function from rows to rows.

A third writing down of the ports' words, next to the two stores. After every commit the simulation
asks it what the call that made it should have changed, and nothing else may have changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from eyes import WANTED, Row, Rows

from rag_engine.core.models import VersionStatus
from rag_engine.ports.queue import Lease

if TYPE_CHECKING:
    from collections.abc import Set

    from rag_engine.core.jobs import Decision
    from rag_engine.core.models import Submission

_ALIVE = (*WANTED, VersionStatus.INDEXED)


@dataclass(slots=True, eq=False)
class Call:
    """A call of a store or a queue that is under way.

    Attributes:
        effects: How many commits it made so far.
        gone: Epochs of leases whose holders have ended, for `release_stalled`.
    """

    process: str
    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    effects: int = 0
    gone: Set[int] = frozenset()

    @property
    def lease(self) -> Lease | None:
        """The right it claims to have."""
        first = self.args[0] if self.args else None
        return first if isinstance(first, Lease) else None

    def __str__(self) -> str:
        lease, first = self.lease, self.args[0] if self.args else ""
        if lease is not None:
            first = f"{lease.document_id}.{lease.version} epoch {lease.epoch}"
        elif hasattr(first, "document_id"):
            first = f"{first.document_id} {first.content_hash[:6]}"
        return f"{self.process}: {self.method}({first})"


def is_held(rows: Rows, lease: Lease, now: float) -> bool:
    """Whether a lease gives the right to write."""
    row = rows.get((lease.document_id, lease.version))
    if row is None or row.status is not VersionStatus.RUNNING or row.until is None:
        return False
    return row.epoch == lease.epoch and now < row.until


def expected(call: Call, before: Rows, after: Rows, now: float) -> Rows:
    """The rows as they have to be after a call.

    `after` is asked for nothing but what the ports leave open: the epoch of a new lease, how many
    chunks are staged, and since when a version that was put back has been waiting.
    """
    if call.lease is not None and not is_held(before, call.lease, now):
        return before
    return _MODEL[call.method](call, dict(before), after, now)


def _accept(call: Call, rows: Rows, after: Rows, now: float) -> Rows:
    submission: Submission = call.args[0]
    mine = sorted((row for row in rows.values() if row.id == submission.document_id), key=_number)
    alive = [row for row in mine if row.status in _ALIVE]
    wish = (submission.content_hash, submission.fingerprint)
    if alive and (alive[-1].content, alive[-1].fingerprint) == wish:
        return rows
    for row in alive:
        if row.status in WANTED:
            _put(rows, _ended(row, VersionStatus.SUPERSEDED))
    new = Row(
        id=submission.document_id,
        number=mine[-1].number + 1 if mine else 1,
        content=submission.content_hash,
        fingerprint=submission.fingerprint,
        requested_at=now,
        until=0.0,  # at once, whatever a clock that is set back says
    )
    _put(rows, new)
    return rows


def _claim(call: Call, rows: Rows, after: Rows, now: float) -> Rows:
    ready = [row for row in rows.values() if row.status in WANTED and _due(row, now)]
    if not ready:
        return rows
    row = min(ready, key=lambda one: (one.requested_at, one.id))
    epoch = after[row.id, row.number].epoch if (row.id, row.number) in after else 0
    if epoch <= max(one.epoch for one in rows.values()):
        epoch = -1  # whatever it is, it is wrong
    leased = replace(
        row,
        status=VersionStatus.RUNNING,
        attempt=row.attempt + 1,
        epoch=epoch,
        until=now + call.args[1],
        staged=0,
    )
    _put(rows, leased)
    return rows


def _heartbeat(call: Call, rows: Rows, after: Rows, now: float) -> Rows:
    _put(rows, replace(_leased(call, rows), until=now + call.args[1]))
    return rows


def _checkpoint(call: Call, rows: Rows, after: Rows, now: float) -> Rows:
    return rows


def _stage(call: Call, rows: Rows, after: Rows, now: float) -> Rows:
    row = _leased(call, rows)
    found = after.get((row.id, row.number), row).staged
    _put(rows, replace(row, staged=max(found, row.staged)))
    return rows


def _fail(call: Call, rows: Rows, after: Rows, now: float) -> Rows:
    decision: Decision = call.args[1]
    row = replace(_leased(call, rows), error=decision.reason)
    if decision.retry_in is None:
        _put(rows, _ended(row, VersionStatus.FAILED))
    else:
        _put(rows, replace(row, status=VersionStatus.PENDING, until=now + decision.retry_in))
    return rows


def _release(call: Call, rows: Rows, after: Rows, now: float) -> Rows:
    row = _leased(call, rows)
    until = now if row.error else 0.0
    again = replace(row, status=VersionStatus.PENDING, attempt=row.attempt - 1, until=until)
    _put(rows, again)
    return rows


def _release_stalled(call: Call, rows: Rows, after: Rows, now: float) -> Rows:
    for row in list(rows.values()):
        left = _due(row, now) or row.epoch in call.gone
        if row.status is VersionStatus.RUNNING and left:
            since = after.get((row.id, row.number), row).until
            known = since is not None and since <= now
            until = 0.0 if row.error is None else since if known else now
            _put(rows, replace(row, status=VersionStatus.PENDING, until=until))
    return rows


def _cancel(call: Call, rows: Rows, after: Rows, now: float) -> Rows:
    for row in list(rows.values()):
        if row.id == call.args[0] and row.status in WANTED:
            _put(rows, _ended(row, VersionStatus.CANCELLED))
    return rows


def _finish(call: Call, rows: Rows, after: Rows, now: float) -> Rows:
    row = _leased(call, rows)
    mine = [one for one in rows.values() if one.id == row.id]
    if row.number != max(map(_number, mine)):
        return rows
    for one in mine:
        del rows[one.id, one.number]
    _put(rows, replace(_ended(row, VersionStatus.INDEXED), error=None, visible=True))
    return rows


def _delete(call: Call, rows: Rows, after: Rows, now: float) -> Rows:
    return {key: row for key, row in rows.items() if row.id not in call.args[0]}


_MODEL = {
    "accept": _accept,
    "claim": _claim,
    "heartbeat": _heartbeat,
    "checkpoint": _checkpoint,
    "stage": _stage,
    "stage_names": _checkpoint,
    "fail": _fail,
    "release": _release,
    "release_stalled": _release_stalled,
    "cancel": _cancel,
    "finish": _finish,
    "delete": _delete,
    "edit": _checkpoint,
    "undo": _checkpoint,
}
EDITS = ("edit", "undo")
"""What people change in the graph: nothing that the queue knows of."""

WRITES = frozenset(_MODEL)
"""The calls that may change anything."""


def _leased(call: Call, rows: Rows) -> Row:
    assert call.lease is not None
    return rows[call.lease.document_id, call.lease.version]


def _due(row: Row, now: float) -> bool:
    return row.until is not None and row.until <= now


def _ended(row: Row, status: VersionStatus) -> Row:
    return replace(row, status=status, until=None, staged=0)


def _put(rows: Rows, row: Row) -> None:
    rows[row.id, row.number] = row


def _number(row: Row) -> int:
    return row.number
