"""Promise 4, Durable, at every crash point: nothing acknowledged is lost, nothing half is seen.

A process takes `STEPS` and is killed on the way: at each point, at its first and its last time.
What it had said is checked at once, by a reader; then another process works on, and is checked;
then whoever was not answered asks again, and everything must be as if nothing had been.
"""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

import pytest
from crashing import Ended, Nursery, Step, Task
from survival import Twins, assert_acknowledged, assert_ended, assert_old_or_new, assert_whole, look

import places
from rag_engine.adapters.sqlite.queries import SQL
from rag_engine.testing.crash_points import points

if TYPE_CHECKING:
    from collections.abc import Iterator

STEPS: Final[tuple[Step, ...]] = (
    ("submit", "kept", "Ann met Bob in Paris."),
    ("submit", "replaced", "Bob met Cid Dane in Rome, and Cid Dane met Ann."),
    ("submit", "deleted", "Cid Dane met Eve in Oslo."),
    ("work",),
    ("alias", "Cid Dane", "Eve"),
    ("hide", "Rome"),
    ("submit", "new", "Eve met Ann in Paris."),
    ("submit", "replaced", "Bob met Eve in Rome."),
    ("submit", "broken", "unreadable"),
    ("submit", "flaky", "flaky Dora met Bob in Oslo."),
    ("submit", "withdrawn", "Nobody met Ann."),
    ("cancel", "withdrawn"),
    ("delete", "deleted"),
    ("hold", "new"),
    ("work",),
    ("search", "Who met Bob in Rome?"),
    ("submit", "new", "Eve was to meet Bob."),
    ("submit", "new", "Eve met Bob in Lima."),
    ("submit", "replaced", "Ann met Eve in Rome."),
    ("delete", "withdrawn"),
    ("undo", "hide", "Rome"),
    ("work",),
)
LONG_AFTER: Final = 1_000_000.0  # by then no lease of a killed process is held

_READS: Final = "only reads, and no step of these has to read it"
_KEYS: Final = "keys have nothing to do with documents, and each is one statement"
_UNREACHED_CALLS: Final = {
    "control.keys": _KEYS,
    "control.add_key": _KEYS,
    "control.remove_key": _KEYS,
    "control.waiting": _READS,
    "queue.version": _READS,
    "queue.versions": _READS,
    "reader.list_documents": _READS,
    "reader.document_chunks": _READS,
    "reader.entities": _READS,
    "reader.relations": _READS,
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
    "chat.complete": "no answer is written here",
    "chat.complete.piece": "no answer is written here",
}
UNREACHED: Final = {
    f"{call}:{side}": why for call, why in _UNREACHED_CALLS.items() for side in ("before", "after")
} | {
    "sqlite.make_keys": _KEYS,
    "sqlite.add_key": _KEYS,
    "sqlite.remove_key": _KEYS,
    "sqlite.forget_workspaces": "only a damaged list of workspaces is made anew",
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

    def survive(nth: int) -> None:
        nursery = nurseries.get()
        try:
            with places.folder() as folder:
                _survive(folder / "data", point, nth, nursery, twins)
        finally:
            nurseries.put(nursery)

    with ThreadPoolExecutor() as threads:
        list(threads.map(survive, {1 + n * (times - 1) // (TIMES - 1) for n in range(TIMES)}))


def _survive(data: Path, point: str, nth: int, nursery: Nursery, twins: Twins) -> None:
    killed = nursery.run(Task(folder=str(data), steps=STEPS, point=point, nth=nth))
    assert killed.code == -signal.SIGKILL
    answered = len(killed.said)
    done, begun = STEPS[:answered], STEPS[answered : answered + 1]

    seen = look(data)
    assert_acknowledged(seen, (*done, *begun), [*killed.said, *(None for _ in begun)])
    assert_old_or_new(seen, done, (*done, *begun))
    assert_whole(seen, twins)

    work: Step = ("work",)
    assert nursery.run(Task(folder=str(data), steps=[work], now=LONG_AFTER)).code == 0
    seen = look(data)
    assert_old_or_new(seen, (*done, work), (*done, *begun, work))
    assert_whole(seen, twins)
    assert_ended(seen)

    again = nursery.run(Task(folder=str(data), steps=STEPS[answered:], now=2 * LONG_AFTER))
    assert again.code == 0
    seen = look(data)
    assert_old_or_new(seen, STEPS)
    assert_whole(seen, twins)
    assert_ended(seen)
