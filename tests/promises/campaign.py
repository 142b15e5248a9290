"""Documents that come, change and go in one process while another works, and both may be killed."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from crashing import UNREADABLE, Nursery, Step, Task
from survival import Seen, Twins, assert_acknowledged, assert_whole, edits_after, hash_of, look

from rag_engine.core.models import VersionStatus

if TYPE_CHECKING:
    from random import Random

    from rag_engine.core.edits import Edit

STEPS: Final = 5_000  # more than a process has time for
IDS: Final = [f"document {n}" for n in range(8)]
HIDDEN: Final = ["Ann Lee", "Bob", "Cid Dane"]  # an alias cannot be hidden, nor the other way round
NAMES: Final = ["Ann Lee", "Bob", "Cid Dane", "Dora", "Eve", "Robert", "Paris", "Rome", "Oslo"]
FIRST: Final[Step] = ("submit", IDS[0], "Ann Lee met Bob in Rome.")
SERVE: Final[Step] = ("serve",)
WHOEVER: Final = ("writer", "worker")


def draw(random: Random) -> Step:
    """A step of somebody who has the workspace to himself."""
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
    """What was done to a workspace.

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

    def edits(self) -> set[frozenset[Edit]]:
        """Which edits may be in force: all that were answered, each of the others or not."""
        possible = {edits_after([])}
        for step, answered in zip(self.steps, self.answered, strict=True):
            done = {edits_after([step], before=edits) for edits in possible}
            possible = done if answered else possible | done
        return possible


class Campaign:
    """Two processes over one workspace: one that puts documents in, and one that works.

    Args:
        where: What both do besides their steps: where it is, by which time.
        random: Where chance comes from.
        writer: Where the one is born.
        worker: Where the other is.
    """

    def __init__(self, where: Task, random: Random, writer: Nursery, worker: Nursery) -> None:
        self._where = where
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
            task = replace(self._where, steps=steps)
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
        """See the workspace at some moment, and what may have been done to it by then."""
        folder, server = Path(self._where.folder), self._where.server
        if "writer" not in self._pids:
            return look(folder, server), self.history
        before = self._nurseries["writer"].said()
        seen = look(folder, server)
        after = self._nurseries["writer"].said()
        return seen, self.history.then(self._steps, before, len(after) + 1)


def check(seen: Seen, history: History, *, ended: bool) -> None:
    """What must hold at that moment.

    Args:
        seen: The workspace.
        history: What may have been done to it.
        ended: Whether workers have come to the end of everything.
    """
    assert_acknowledged(seen, history.steps, history.said)
    shown: dict[str, str | None] = {id: hash for id, _, hash in seen.shown}
    failed = {id for id, one in seen.newest.items() if one.status is VersionStatus.FAILED}
    anything, last = history.visible(ended=False), history.visible(ended=True)
    for id in IDS:  # a version that was killed again and again fails in the end, and says so
        assert shown.get(id) in (last if ended and id not in failed else anything)[id], id
    assert_whole(seen, Twins([step[2] for step in history.steps if step[0] == "submit"]))
    assert seen.edits in history.edits() or not ended
