"""Promise 4, Durable, at random moments: documents come, change and go while workers die.

`KILLS=200 SEED=1` sets how often and from which seed; `make soak` does.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final

import pytest
from crashing import UNREADABLE, Nursery, Step, Task
from survival import (
    Seen,
    Twins,
    assert_acknowledged,
    assert_ended,
    assert_whole,
    edits_after,
    hash_of,
    look,
)

import places
from rag_engine.core.models import VersionStatus

if TYPE_CHECKING:
    from pathlib import Path

    from rag_engine.core.edits import Edit

KILLS: Final = int(os.environ.get("KILLS", "30"))
SEED: Final = int(os.environ.get("SEED", "1"))
STEPS: Final = 5_000  # more than a process has time for
IDS: Final = [f"document {n}" for n in range(8)]
HIDDEN: Final = ["Ann Lee", "Bob", "Cid Dane"]  # an alias cannot be hidden, nor the other way round
NAMES: Final = ["Ann Lee", "Bob", "Cid Dane", "Dora", "Eve", "Robert", "Paris", "Rome", "Oslo"]
FIRST: Final[Step] = ("submit", IDS[0], "Ann Lee met Bob in Rome.")
SERVE: Final[Step] = ("serve",)
WHOEVER: Final = ("writer", "worker")


def draw(random: Random) -> Step:
    """A step of somebody who has the folder to himself."""
    kind = random.choices(
        ["submit", "delete", "cancel", "alias", "hide", "undo"], [70, 12, 6, 2, 4, 6]
    )[0]
    match kind:
        case "submit":
            sentences = [
                "{} met {} in {}.".format(*random.sample(NAMES, 3))
                for _ in range(random.randint(1, 4))
            ]
            text = UNREADABLE if random.random() < 0.05 else " ".join(sentences)
            return ("submit", random.choice(IDS), text)
        case "alias":
            return ("alias", "Robert", "Bob")
        case "hide":
            return ("hide", random.choice(HIDDEN))
        case "undo":
            edit = random.choice([("alias", "Robert", "Bob"), ("hide", random.choice(HIDDEN))])
            return ("undo", *edit)
    return (kind, random.choice(IDS))


@dataclass
class History:
    """What was done to a folder.

    Attributes:
        steps: In order, those that were cut off too.
        said: What each returned.
        answered: Whether it returned.
    """

    steps: list[Step] = field(default_factory=list)
    said: list[object] = field(default_factory=list)
    answered: list[bool] = field(default_factory=list)

    def then(self, steps: list[Step], said: list[object], begun: int) -> History:
        """With what a process did of its steps: of those it had begun, it answered the first."""
        missing = begun - len(said)
        return History(
            steps=[*self.steps, *steps[:begun]],
            said=[*self.said, *said, *[None] * missing],
            answered=[*self.answered, *[True] * len(said), *[False] * missing],
        )

    def visible(self, *, ended: bool) -> dict[str, set[str | None]]:
        """What may be visible of each document.

        Args:
            ended: Whether workers have come to the end of everything.
        """
        known: dict[str, set[str | None]] = {id: {None} for id in IDS}  # since the last delete
        now: dict[str, set[str | None]] = {id: {None} for id in IDS}
        for step, answered in zip(self.steps, self.answered, strict=True):
            match step:
                case ("submit", id, text):
                    new = {None if text == UNREADABLE else hash_of(text)}
                    now[id] = new if answered and text != UNREADABLE else known[id] | new
                    known[id] = known[id] | new
                case ("delete", id):
                    now[id] = {None} if answered else now[id] | {None}
                    known[id] = {None} if answered else known[id] | {None}
                case ("cancel", id):
                    now[id] = known[id]
        return now if ended else known

    def edits(self) -> list[frozenset[Edit]]:
        """Which edits may be in force: all that were answered, with or without the last one."""
        done = [step for step, sure in zip(self.steps, self.answered, strict=True) if sure]
        return [edits_after(done), edits_after(self.steps)]


class Campaign:
    """Two processes over one folder: one that puts documents in, and one that works."""

    def __init__(self, folder: Path, random: Random, writer: Nursery, worker: Nursery) -> None:
        self._folder = folder
        self._random = random
        self._nurseries = {"writer": writer, "worker": worker}
        self._pids: dict[str, int] = {}
        self._steps: list[Step] = []
        self.history = History()

    def start(self) -> None:
        """Start whoever does not run."""
        for role in self._nurseries.keys() - self._pids.keys():
            steps = [SERVE]
            if role == "writer":
                # First a submission: it makes the workspace that everything else needs.
                steps = [FIRST, *(draw(self._random) for _ in range(STEPS))]
                self._steps = steps
            task = Task(folder=str(self._folder), steps=steps, now=None)
            self._pids[role] = self._nurseries[role].start(task)

    def kill(self, *roles: str) -> None:
        """Kill processes, and hear what they had said."""
        for role in roles:
            os.kill(self._pids.pop(role), signal.SIGKILL)
            ended = self._nurseries[role].wait()
            assert ended.code == -signal.SIGKILL
            if role == "writer":
                self.history = self.history.then(self._steps, ended.said, len(ended.said) + 1)

    def look(self) -> tuple[Seen, History]:
        """See the folder as it is at some moment, and what may have been done to it by then."""
        if "writer" not in self._pids:
            return look(self._folder), self.history
        before = self._nurseries["writer"].said()
        seen = look(self._folder)
        after = self._nurseries["writer"].said()
        return seen, self.history.then(self._steps, before, len(after) + 1)


@pytest.mark.timeout(60 + 4 * KILLS)
def test_killed_at_any_moment() -> None:
    print(f"SEED={SEED} KILLS={KILLS}")
    random = Random(SEED)
    with places.folder() as folder, Nursery() as writer, Nursery() as worker:
        campaign = Campaign(folder / "data", random, writer, worker)
        for _ in range(KILLS):
            campaign.start()
            time.sleep(random.uniform(0.01, 0.4))
            campaign.kill(*random.choice([("worker",), ("worker",), ("writer",), WHOEVER]))
            _check(*campaign.look(), ended=False)
        campaign.start()
        time.sleep(0.2)
        campaign.kill(*WHOEVER)
        # By the true time, at which all leases are held: whose process is gone must be noticed.
        last = Task(folder=str(folder / "data"), steps=[("work",)], now=None)
        assert worker.run(last).code == 0
        seen, history = campaign.look()
    _check(seen, history, ended=True)
    assert_ended(seen)
    assert len(history.steps) > KILLS


def _check(seen: Seen, history: History, *, ended: bool) -> None:
    assert_acknowledged(seen, history.steps, history.said)
    shown: dict[str, str | None] = {id: hash for id, _, hash in seen.shown}
    failed = {id for id, one in seen.newest.items() if one.status is VersionStatus.FAILED}
    anything, last = history.visible(ended=False), history.visible(ended=True)
    for id in IDS:  # a version that was killed again and again fails in the end, and says so
        assert shown.get(id) in (last if ended and id not in failed else anything)[id], id
    assert_whole(seen, Twins([step[2] for step in history.steps if step[0] == "submit"]))
    assert seen.edits in history.edits() or not ended
