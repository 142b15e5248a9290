"""What a process holds in memory of a SQLite workspace follows the file, however far it fell behind."""

from __future__ import annotations

from pathlib import Path

import pytest

import places
from rag_engine.adapters.sqlite import resident, store
from rag_engine.ports.storage import Workspace
from rag_engine.testing.drafts import Draft, Passage, ingest, told
from rag_engine.testing.observation import differences, observed


@pytest.mark.parametrize("logged", [0, 1, 2, 10_000])
@pytest.mark.parametrize("many", [0, 10_000])
async def test_a_process_that_fell_behind_catches_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: int, many: int
) -> None:
    monkeypatch.setattr(store, "_LOGGED", logged)
    monkeypatch.setattr(resident, "_MANY", many)
    place = places.place("sqlite", tmp_path)
    writing, lagging = place(), place()
    mine = await writing.open("default", create=True)
    theirs = await lagging.open("default")
    await ingest(mine, *(_named(f"old {number}") for number in range(3)))
    await _assert_up_to_date(place, theirs)
    await mine.store.delete(["old 0", "old 2"])
    await ingest(mine, *(_named(f"new {number}") for number in range(4)))
    await _assert_up_to_date(place, theirs)
    await mine.store.delete(["old 1", "new 3"])
    await _assert_up_to_date(place, theirs)
    await _assert_up_to_date(place, mine)
    await writing.aclose()
    await lagging.aclose()


async def _assert_up_to_date(place: places.Fixed, workspace: Workspace) -> None:
    """It shows what a process shows that has just begun."""
    fresh = place()
    expected = await observed(await fresh.open("default"))
    await fresh.aclose()
    assert differences(expected, await observed(workspace)) == []


def _named(id: str) -> Draft:
    passages = [Passage(text=f"{id} {word}", extraction=told(id, word)) for word in ("one", "two")]
    return Draft(id=id, passages=tuple(passages))
