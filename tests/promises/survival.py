"""What must hold of a workspace after any kill, checked against stores that were never killed."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from crashing import (
    EMBEDDER,
    TICK_SECONDS,
    UNREADABLE,
    Nursery,
    Step,
    Task,
    edit_of,
    engine,
    engine_of,
)

from places import Clock
from rag_engine.adapters.memory import MemoryBlobs, MemoryControl
from rag_engine.core.edits import Edit
from rag_engine.core.models import VersionStatus
from rag_engine.errors import NotFound
from rag_engine.testing.observation import Observed, differences, list_all, observe

if TYPE_CHECKING:
    from rag_engine.core.models import Version
    from rag_engine.ports.storage import Workspace

Shown = frozenset[tuple[str, int, str]]
"""Visible documents: id, number of the version, SHA-256 of its bytes."""

Edits = frozenset[Edit]

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

_FINAL = (VersionStatus.INDEXED, VersionStatus.FAILED, VersionStatus.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A workspace, looked at by a process that was not there before."""

    shown: Shown
    edits: Edits
    observed: Observed
    newest: Mapping[str, Version]

    @property
    def numbers(self) -> dict[str, int]:
        """The visible version of each document."""
        return {id: number for id, number, _ in self.shown}


def look(folder: Path, server: Mapping[str, Any] | None = None) -> Seen:
    """Read a data folder, or a Neo4j: all there is to read of it, in one snapshot."""

    async def read() -> Seen:
        one = engine_of(Task(folder=str(folder), now=0.0, server=server))
        try:
            return await observe_workspace(await one.workspace())
        except NotFound:
            none = await _twin(frozenset(), frozenset(), {})
            return Seen(shown=frozenset(), edits=frozenset(), observed=none, newest={})
        finally:
            await one.aclose()

    return asyncio.run(read())


async def observe_workspace(workspace: Workspace) -> Seen:
    """See a workspace: its versions, then one snapshot."""
    newest = await workspace.queue.versions(limit=1_000)
    async with workspace.store.snapshot() as reader:
        documents = await list_all(reader)
        return Seen(
            shown=frozenset((one.id, one.version, one.content_hash) for one in documents),
            edits=frozenset(one.edit for one in await reader.edits()),
            observed=await observe(reader),
            newest={one.document_id: one for one in newest},
        )


class Twins:
    """Stores that were given the documents and edits that another shows, and nothing else."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = {hash_of(text): text for text in texts}
        self._known: dict[tuple[Shown, Edits], Observed] = {}

    async def of(self, shown: Shown, edits: Edits) -> Observed:
        """Everything that a store shows which shows these documents under these edits."""
        if (shown, edits) not in self._known:
            self._known[shown, edits] = await _twin(shown, edits, self._texts)
        return self._known[shown, edits]


async def _twin(shown: Shown, edits: Edits, texts: Mapping[str, str]) -> Observed:
    control = MemoryControl(Clock(tick=TICK_SECONDS), EMBEDDER.name, EMBEDDER.dimensions)
    one = engine(control, MemoryBlobs())
    workspace = await control.open("default", create=True)
    for id, number, hash in sorted(shown):
        drafts = [f"draft {n}" for n in range(1, number)]  # wanted once, and never indexed
        for text in (*drafts, texts[hash]):
            await one.submit(text.encode(), document_id=id, source=f"{id}.txt")
    await one.work()
    for edit in edits:
        await one.edit(edit)
    async with workspace.store.snapshot() as reader:
        return await observe(reader)


def assert_whole(seen: Seen, twins: Twins) -> None:
    """Each visible document is there whole, and nothing besides: counters, vectors, words, edges."""
    assert asyncio.run(differing(seen, twins)) == []


async def differing(seen: Seen, twins: Twins) -> list[str]:
    """In what it differs from a store that was given what it shows, and nothing else."""
    twin = await twins.of(seen.shown, seen.edits)
    return differences(twin, seen.observed, tolerance=1e-6)


def visible_after(steps: Sequence[Step]) -> dict[str, str | None]:
    """What is visible of each document after these steps: the hash of its bytes, or nothing."""
    visible: dict[str, str | None] = {}
    wanted: dict[str, str] = {}
    for step in steps:
        match step:
            case ("submit", id, text):
                visible.setdefault(id, None)
                wanted[id] = text
            case ("delete", id):
                visible[id] = None
                wanted.pop(id, None)
            case ("cancel", id):
                wanted.pop(id, None)
            case ("work",):
                readable = {id: t for id, t in wanted.items() if not t.startswith(UNREADABLE)}
                visible |= {id: hash_of(text) for id, text in readable.items()}
                wanted.clear()
    return visible


def edits_after(steps: Sequence[Step], *, before: Edits = frozenset()) -> Edits:
    """The edits in force after these steps, where `before` were."""
    edits = set(before)
    for step in steps:
        if step[0] in ("alias", "hide"):
            edits.add(edit_of(step))
        elif step[0] == "undo":
            edits.discard(edit_of(step[1:]))
    return frozenset(edits)


def assert_old_or_new(seen: Seen, *histories: Sequence[Step]) -> None:
    """Each document is as one of the histories leaves it; which one may differ by document."""
    assert seen.edits in [edits_after(steps) for steps in histories]
    possible = [visible_after(steps) for steps in histories]
    shown: dict[str, str | None] = {id: hash for id, _, hash in seen.shown}
    for id in {id for visible in possible for id in visible} | shown.keys():
        assert shown.get(id) in {visible.get(id) for visible in possible}, id


def assert_acknowledged(seen: Seen, steps: Sequence[Step], said: Sequence[object]) -> None:
    """Every version whose number was told is known, or a newer one is.

    Args:
        seen: The workspace.
        steps: What was done, or at least begun.
        said: What each of them returned; `None` if it was cut off.
    """
    promised: dict[str, int] = {}
    for step, answer in zip(steps, said, strict=True):
        if step[0] in ("delete", "cancel"):
            promised.pop(step[1], None)
        elif step[0] == "submit" and isinstance(answer, int):
            promised[step[1]] = answer
    for id, number in promised.items():
        assert id in seen.newest, f"{id!r} was acknowledged, and is lost"
        newest = seen.newest[id]
        assert newest.number >= number, f"version {number} of {id!r} was acknowledged, and is lost"
        assert newest.status is not VersionStatus.CANCELLED, f"{id!r} was never cancelled"


def assert_ended(seen: Seen) -> None:
    """After a worker went on: nothing waits, and what failed says why."""
    assert [one for one in seen.newest.values() if one.status not in _FINAL] == []
    for version in seen.newest.values():
        if version.status is VersionStatus.INDEXED:
            assert seen.numbers[version.document_id] == version.number
        elif version.status is VersionStatus.FAILED:
            assert version.error


def survive(task: Task, nursery: Nursery, twins: Twins) -> None:
    """See a process die that takes `STEPS`, and the next ones put everything right.

    Args:
        task: Which process, and where it dies.
        nursery: Where it and the next ones are born.
        twins: Stores to compare with.
    """
    folder, server = Path(task.folder), task.server
    killed = nursery.run(task)
    assert killed.code == -signal.SIGKILL
    answered = len(killed.said)
    done, begun = STEPS[:answered], STEPS[answered : answered + 1]

    seen = look(folder, server)
    assert_acknowledged(seen, (*done, *begun), [*killed.said, *(None for _ in begun)])
    assert_old_or_new(seen, done, (*done, *begun))
    assert_whole(seen, twins)

    work: Step = ("work",)
    alive = replace(task, point=None)
    assert nursery.run(replace(alive, steps=[work], now=LONG_AFTER)).code == 0
    seen = look(folder, server)
    assert_old_or_new(seen, (*done, work), (*done, *begun, work))
    assert_whole(seen, twins)
    assert_ended(seen)

    again = nursery.run(replace(alive, steps=STEPS[answered:], now=2 * LONG_AFTER))
    assert again.code == 0
    seen = look(folder, server)
    assert_old_or_new(seen, STEPS)
    assert_whole(seen, twins)
    assert_ended(seen)


def hash_of(text: str) -> str:
    """What identifies the bytes of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
