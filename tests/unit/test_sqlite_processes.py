"""The embedded store beside other processes, and when callers go away early."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from rag_engine.adapters.sqlite import SqliteControl
from rag_engine.adapters.sqlite import connection as connections
from rag_engine.errors import InvalidRequest, ModelMismatch, StoreTooNew
from rag_engine.testing.drafts import Draft, Passage, ingest

DRAFT = Draft(id="a", passages=(Passage(text="Ann met Bob"),))


def control(folder: Path) -> SqliteControl:
    return SqliteControl(folder, model="m", dimensions=8)


def path_of(folder: Path) -> Path:
    return folder / "workspaces" / "0001.sqlite"


@pytest.fixture
async def filled(tmp_path: Path) -> Path:
    first = control(tmp_path)
    await ingest(await first.open("default", create=True), DRAFT)
    await first.aclose()
    return tmp_path


async def test_a_question_waits_for_nobody_who_writes(filled: Path) -> None:
    other = sqlite3.connect(path_of(filled), isolation_level=None)
    listing = sqlite3.connect(filled / "control.sqlite", isolation_level=None)
    with closing(other), closing(listing):
        other.execute("BEGIN IMMEDIATE")
        listing.execute("BEGIN IMMEDIATE")
        one = control(filled)
        async with asyncio.timeout(5):
            assert await one.workspaces() == ["default"]
            async with (await one.open("default")).store.snapshot() as reader:
                assert (await reader.stats()).documents == 1
        await one.aclose()


async def test_a_snapshot_that_nobody_waits_for_is_taken_back(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = 0
    hold = threading.Event()
    real = connections.connect

    def slow(path: Path) -> sqlite3.Connection:
        nonlocal opened
        opened += 1
        hold.wait(5)
        return real(path)

    one = control(filled)
    store = (await one.open("default")).store
    monkeypatch.setattr(connections, "connect", slow)

    async def look() -> None:
        async with store.snapshot():
            pass

    tasks = [asyncio.create_task(look()) for _ in range(3)]
    await asyncio.sleep(0.05)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    hold.set()
    for _ in range(3):
        await look()
    await one.aclose()
    assert opened <= 4
    gc.collect()  # a connection that nobody closed would warn here, and warnings are errors


async def test_closing_waits_for_no_open_snapshot(filled: Path) -> None:
    one = control(filled)
    async with (await one.open("default")).store.snapshot() as reader:
        assert (await reader.stats()).documents == 1
        await one.aclose()


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("tokeniser", 0, ModelMismatch),
        ("normaliser", 99, StoreTooNew),
        ("model", "other", ModelMismatch),
    ],
)
async def test_an_index_made_in_another_way_is_refused_and_left_as_it_is(
    filled: Path, key: str, value: object, error: type[Exception]
) -> None:
    with closing(sqlite3.connect(path_of(filled))) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))
        connection.commit()
        one = control(filled)
        with pytest.raises(error):
            await one.open("default")
        await one.aclose()
        kept = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    assert kept == (value,)


async def test_a_name_that_is_no_unicode_is_the_callers_mistake(filled: Path) -> None:
    one = control(filled)
    with pytest.raises(InvalidRequest, match="valid Unicode"):
        await (await one.open("default")).queue.version("\udcff")
    await one.aclose()


async def test_the_log_stays_short_under_questions_that_overlap(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_LONG_LOG", 1 << 18)
    monkeypatch.setattr(connections, "_SHORTEN_SECONDS", 0.0)
    one = control(filled)
    workspace = await one.open("default")
    done = False

    async def ask(before: float) -> None:
        await asyncio.sleep(before)
        while not done:
            async with workspace.store.snapshot() as reader:
                counted = await reader.stats()
                await asyncio.sleep(0.1)
                assert await reader.stats() == counted

    askers = [asyncio.create_task(ask(0.05 * number)) for number in range(3)]
    log = path_of(filled).with_name("0001.sqlite-wal")
    sizes = []
    for number in range(25):
        await ingest(
            workspace, Draft(id=f"{number % 5}", passages=(Passage(text=f"{number} Ann"),))
        )
        sizes.append(log.stat().st_size)
    done = True
    await asyncio.gather(*askers)
    await one.aclose()
    assert max(sizes) < 1 << 19
    assert sizes.count(0) > 1  # it was emptied


async def test_a_snapshot_that_is_held_for_long_delays_writers_little(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_LONG_LOG", 1)
    monkeypatch.setattr(connections, "_SHORT_PATIENCE", "PRAGMA busy_timeout = 50")
    one = control(filled)
    workspace = await one.open("default")
    async with asyncio.timeout(10), workspace.store.snapshot() as reader:
        await ingest(workspace, Draft(id="b", passages=(Passage(text="Bob"),)))
        assert (await reader.stats()).documents == 1
    await one.aclose()
