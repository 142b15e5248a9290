"""Promise 4, Durable, at every crash point: nothing acknowledged is lost, nothing half is seen.

A process takes `STEPS` and is killed on the way: at each point, at its first and its last time.
What it had said is checked at once, by a reader; then another process works on, and is checked;
then whoever was not answered asks again, and everything must be as if nothing had been.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

import pytest
from crashing import Ended, Nursery, Task
from survival import STEPS, Twins, assert_ended, assert_old_or_new, assert_whole, look, survive

import places
from rag_engine.adapters.sqlite.queries import SQL
from rag_engine.testing.crash_points import points

if TYPE_CHECKING:
    from collections.abc import Iterator

_READS: Final = "only reads, and no step of these has to read it"
_KEYS: Final = "keys have nothing to do with documents, and each is one statement"
_DELETED: Final = "no workspace is deleted; tests/faults/test_deleted_workspaces.py dies there"
_REPEATED: Final = "no step has a key; test_durable_requests.py dies there"
_UNREACHED_CALLS: Final = {
    "control.delete": _DELETED,
    "control.keys": _KEYS,
    "control.add_key": _KEYS,
    "control.remove_key": _KEYS,
    "control.waiting": _READS,
    "queue.version": _READS,
    "queue.versions": _READS,
    "queue.census": _READS,
    "reader.list_documents": _READS,
    "reader.document_chunks": _READS,
    "reader.entities": _READS,
    "reader.list_entities": _READS,
    "reader.relations": _READS,
    "reader.relations_between": _READS,
    "reader.list_relations": _READS,
    "reader.assertions": _READS,
    "reader.evidence": _READS,
    "reader.extractions": _READS,
    "reader.stats": _READS,
    "reader.edits": _READS,
    "store.contents": _READS,
    "contents.read": _READS,
    "contents.read.piece": _READS,
    "contents.edits": _READS,
    "contents.names": _READS,
    "store.aclose": "the control closes its stores itself",
    "idempotency.reserve": _REPEATED,
    "idempotency.settle": _REPEATED,
    "idempotency.release": _REPEATED,
    "chat.complete": "no answer is written here",
    "chat.complete.piece": "no answer is written here",
}
UNREACHED: Final = {
    f"{call}:{side}": why for call, why in _UNREACHED_CALLS.items() for side in ("before", "after")
} | {
    "sqlite.make_keys": _KEYS,
    "sqlite.add_key": _KEYS,
    "sqlite.remove_key": _KEYS,
    **dict.fromkeys(
        (
            *("sqlite.make_idempotency", "sqlite.make_idempotency_index", "sqlite.reserve_key"),
            *("sqlite.settle_key", "sqlite.release_key", "sqlite.forget_old_keys"),
            "sqlite.forget_keys_of",
        ),
        _REPEATED,
    ),
    "sqlite.forget_workspaces": "only a damaged list of workspaces is made anew",
    "sqlite.forget_number": _DELETED,
    "sqlite.make_deleted": _DELETED,
    "sqlite.add_deleted": _DELETED,
    "sqlite.forget_workspace": "only a workspace that is lost is given up",
}
"""Points that the steps do not come to, and why."""

_WRITES: Final = ("sqlite.", "file.", "folder.", "store.", "queue.")
POINTS: Final = [one for one in points(SQL) if one not in UNREACHED]
TIMES: Final = 8 if "KILLS" in os.environ else 2


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as one:
        yield one


@pytest.fixture(scope="module")
def nurseries(nursery: Nursery) -> Iterator[SimpleQueue[Nursery]]:
    """Two, so that two processors have something to do."""
    free = SimpleQueue[Nursery]()
    free.put(nursery)
    with Nursery() as other:
        free.put(other)
        yield free


@pytest.fixture(scope="module")
def twins() -> Twins:
    return Twins([step[2] for step in STEPS if step[0] == "submit"])


@pytest.fixture(scope="module")
def unkilled(nursery: Nursery) -> Ended:
    with places.folder() as folder:
        return nursery.run(Task(folder=str(folder / "data"), steps=STEPS))


def test_without_a_kill_everything_comes_to_its_end(nursery: Nursery, twins: Twins) -> None:
    with places.folder() as folder:
        ended = nursery.run(Task(folder=str(folder / "data"), steps=STEPS))
        assert ended.code == 0
        seen = look(folder / "data")
    assert_old_or_new(seen, STEPS)
    assert_whole(seen, twins)
    assert_ended(seen)


def test_every_point_is_reached_or_named(unkilled: Ended) -> None:
    assert set(points(SQL)) - unkilled.reached.keys() == UNREACHED.keys()
    assert unkilled.reached.keys() <= set(points(SQL))


@pytest.mark.parametrize("point", POINTS)
def test_killed_there(
    point: str, nurseries: SimpleQueue[Nursery], unkilled: Ended, twins: Twins
) -> None:
    times = unkilled.reached[point] if point.startswith(_WRITES) else 1

    def die(nth: int) -> None:
        nursery = nurseries.get()
        try:
            with places.folder() as folder:
                task = Task(folder=str(folder / "data"), steps=STEPS, point=point, nth=nth)
                survive(task, nursery, twins)
        finally:
            nurseries.put(nursery)

    with ThreadPoolExecutor() as threads:
        list(threads.map(die, {1 + n * (times - 1) // (TIMES - 1) for n in range(TIMES)}))
