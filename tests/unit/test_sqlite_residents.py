"""What a process holds in memory of a SQLite workspace follows the file, however far it fell behind."""

from __future__ import annotations

import sqlite3
from contextlib import closing
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


async def test_what_a_repair_changed_is_followed_by_no_log(tmp_path: Path) -> None:
    place = places.place("sqlite", tmp_path)
    writing, lagging = place(), place()
    mine = await writing.open("default", create=True)
    await ingest(mine, _named("old"))
    theirs = await lagging.open("default")
    await observed(theirs)
    with closing(sqlite3.connect(tmp_path / "data" / "workspaces" / "0001.sqlite")) as repairing:
        # As a repair does it: something no log tells of, and a counter from which to begin anew.
        repairing.execute("DELETE FROM removed")
        repairing.execute("UPDATE chunk_vector SET length = 77")
        repairing.execute("UPDATE meta SET value = value + 1 WHERE key = 'counter'")
        repairing.execute(
            "UPDATE meta SET value = (SELECT value FROM meta WHERE key = 'counter') "
            "WHERE key = 'removed_from'"
        )
        repairing.commit()
    await ingest(mine, _named("new"))
    await _assert_up_to_date(place, theirs)
    await writing.aclose()
    await lagging.aclose()


async def test_what_the_release_before_wrote_without_checksums_is_read(tmp_path: Path) -> None:
    place = places.place("sqlite", tmp_path)
    control = place()
    workspace = await control.open("default", create=True)
    await ingest(workspace, _named("old"))
    before = await observed(workspace)
    await control.aclose()
    with closing(sqlite3.connect(tmp_path / "data" / "workspaces" / "0001.sqlite")) as older:
        older.execute("DELETE FROM chunk_checksum")
        older.execute("DELETE FROM entity_checksum")
        older.commit()
    control = place()
    assert differences(before, await observed(await control.open("default"))) == []
    await control.aclose()
