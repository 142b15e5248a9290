"""What must hold of a data folder after any kill, checked against stores that were never killed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from crashing import EMBEDDER, TICK_SECONDS, UNREADABLE, Step, embedded, engine

from places import Clock
from rag_engine.adapters.memory import MemoryBlobs, MemoryControl
from rag_engine.core.models import VersionStatus
from rag_engine.errors import NotFound
from rag_engine.testing.observation import Observed, differences, list_all, observe

if TYPE_CHECKING:
    from rag_engine.core.models import Version
    from rag_engine.ports.storage import Workspace

Shown = frozenset[tuple[str, int, str]]
"""Visible documents: id, number of the version, SHA-256 of its bytes."""

_FINAL = (VersionStatus.INDEXED, VersionStatus.FAILED, VersionStatus.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A data folder, looked at by a process that was not there before."""

    shown: Shown
    observed: Observed
    newest: Mapping[str, Version]

    @property
    def numbers(self) -> dict[str, int]:
        """The visible version of each document."""
        return {id: number for id, number, _ in self.shown}


def look(folder: Path) -> Seen:
    """Read a data folder: all there is to read of it, in one snapshot."""

    async def read() -> Seen:
        one = embedded(folder, 0.0)
        try:
            return await _seen(await one.workspace())
        except NotFound:
            return Seen(shown=frozenset(), observed=await _twin(frozenset(), {}), newest={})
        finally:
            await one.aclose()

    return asyncio.run(read())


async def _seen(workspace: Workspace) -> Seen:
    newest = await workspace.queue.versions(limit=1_000)
    async with workspace.store.snapshot() as reader:
        documents = await list_all(reader)
        return Seen(
            shown=frozenset((one.id, one.version, one.content_hash) for one in documents),
            observed=await observe(reader),
            newest={one.document_id: one for one in newest},
        )


class Twins:
    """Stores that were given the documents that another shows, and nothing else."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = {hash_of(text): text for text in texts}
        self._known: dict[Shown, Observed] = {}

    def of(self, shown: Shown) -> Observed:
        """Everything that a store shows which shows these documents."""
        if shown not in self._known:
            self._known[shown] = asyncio.run(_twin(shown, self._texts))
        return self._known[shown]


async def _twin(shown: Shown, texts: Mapping[str, str]) -> Observed:
    control = MemoryControl(Clock(tick=TICK_SECONDS), EMBEDDER.name, EMBEDDER.dimensions)
    one = engine(control, MemoryBlobs())
    for id, number, hash in sorted(shown):
        drafts = [f"draft {n}" for n in range(1, number)]  # wanted once, and never indexed
        for text in (*drafts, texts[hash]):
            await one.submit(text.encode(), document_id=id, source=f"{id}.txt")
    await one.work()
    workspace = await one.workspace()
    async with workspace.store.snapshot() as reader:
        return await observe(reader)


def assert_whole(seen: Seen, twins: Twins) -> None:
    """Each visible document is there whole, and nothing besides: counters, vectors, words, edges."""
    assert differences(twins.of(seen.shown), seen.observed, tolerance=1e-6) == []


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


def assert_old_or_new(seen: Seen, *histories: Sequence[Step]) -> None:
    """Each document is as one of the histories leaves it; which one may differ by document."""
    possible = [visible_after(steps) for steps in histories]
    shown: dict[str, str | None] = {id: hash for id, _, hash in seen.shown}
    for id in {id for visible in possible for id in visible} | shown.keys():
        assert shown.get(id) in {visible.get(id) for visible in possible}, id


def assert_ended(
    seen: Seen, done: Sequence[Step], said: Sequence[object], begun: Sequence[Step] = ()
) -> None:
    """After a worker went on: everything acknowledged came to its end, and nothing waits.

    Args:
        seen: The folder.
        done: The steps that returned.
        said: What each of them returned.
        begun: The step that was cut off, if one was.
    """
    assert [one for one in seen.newest.values() if one.status not in _FINAL] == []
    for version in seen.newest.values():
        if version.status is VersionStatus.INDEXED:
            assert seen.numbers[version.document_id] == version.number
        elif version.status is VersionStatus.FAILED:
            assert version.error
    promised: dict[str, int] = {}
    for step, answer in zip((*done, *begun), (*said, *begun), strict=True):
        if step[0] in ("delete", "cancel"):
            promised.pop(step[1], None)
        elif step[0] == "submit" and isinstance(answer, int):
            promised[step[1]] = answer
    for id, number in promised.items():
        assert id in seen.newest, f"{id!r} was acknowledged, and is lost"
        newest = seen.newest[id]
        assert newest.number >= number, f"version {number} of {id!r} was acknowledged, and is lost"
        assert newest.status is not VersionStatus.CANCELLED, f"{id!r} was never cancelled"


def hash_of(text: str) -> str:
    """What identifies the bytes of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
