"""A question that is given up is given up in SQLite, too; what others wait for is read to its end."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

import places
from rag_engine.adapters.sqlite.connection import READ_SECONDS
from rag_engine.adapters.sqlite.views import Looking, Readers, View
from rag_engine.errors import StoreUnavailable
from rag_engine.testing.drafts import ingest
from rag_engine.testing.observation import observed
from rag_engine.testing.store_contract import A

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from rag_engine.ports.storage import Reader, Workspace

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
LONG = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 300000) SELECT max(i) FROM n"


class Asked:
    """A statement on a reader thread, and what became of it."""

    def __init__(self, readers: Readers, sql: str, *, for_all: bool, look: bool = False) -> None:
        self._readers = readers
        self._sql = sql
        self._for_all = for_all
        self._look = look
        self.begun, self.ended = threading.Event(), threading.Event()
        self.outcome: object = None

    async def ask(self) -> None:
        if self._look:
            await self._readers.look(self._read)
            return
        async with self._readers.view() as view:
            await self._readers.run(lambda: self._read(view))

    def _read(self, view: View) -> None:
        try:
            with view.exclusive(for_all=self._for_all) as connection:
                self.begun.set()
                [(self.outcome,)] = connection.execute(self._sql).fetchall()
        except StoreUnavailable as error:
            self.outcome = error
        finally:
            self.ended.set()


@pytest.fixture
async def workspace(tmp_path: Path) -> AsyncIterator[Workspace]:
    control = places.place("sqlite", tmp_path)()
    workspace = await control.open("default", create=True)
    yield workspace
    await observed(workspace)  # whatever was given up, the next one is answered
    await control.aclose()


@pytest.fixture
def readers(workspace: Workspace) -> Readers:
    found: Readers = workspace.store._readers  # type: ignore[attr-defined]
    return found


async def _given_up(asked: Asked) -> None:
    asking = asyncio.create_task(asked.ask())
    await asyncio.to_thread(asked.begun.wait)
    asking.cancel()
    await asyncio.wait([asking], timeout=READ_SECONDS / 2)
    assert asking.cancelled()
    assert await asyncio.to_thread(asked.ended.wait, READ_SECONDS / 2)


@pytest.mark.parametrize("look", [False, True])
async def test_a_statement_whose_reader_has_gone_is_stopped(readers: Readers, look: bool) -> None:
    asked = Asked(readers, ENDLESS, for_all=False, look=look)
    await _given_up(asked)
    assert isinstance(asked.outcome, StoreUnavailable)


@pytest.mark.parametrize("look", [False, True])
async def test_what_is_read_for_all_is_read_to_its_end(readers: Readers, look: bool) -> None:
    asked = Asked(readers, LONG, for_all=True, look=look)
    await _given_up(asked)
    assert asked.outcome == 300_000


@pytest.mark.parametrize("look", [False, True])
async def test_a_view_does_not_end_under_work_that_was_left_behind(
    workspace: Workspace, look: bool
) -> None:
    """Or it would read what was written since, and take it for what it was to read."""
    begun, going_on, ended = threading.Event(), threading.Event(), threading.Event()
    seen: list[object] = []

    def slow(view: View) -> None:
        begun.set()
        going_on.wait()
        seen.extend(view.rows("SELECT value FROM meta WHERE key = 'documents'"))
        ended.set()

    async def ask() -> None:
        if look:
            await workspace.store._readers.look(slow)  # type: ignore[attr-defined]
            return
        async with workspace.store.snapshot() as reader:
            await reader._run(lambda: slow(reader._view))  # type: ignore[attr-defined]

    asking = asyncio.create_task(ask())
    await asyncio.to_thread(begun.wait)
    asking.cancel()
    await asyncio.sleep(0.05)  # its view would be given back meanwhile
    await ingest(workspace, A)
    going_on.set()
    await asyncio.wait([asking])
    assert await asyncio.to_thread(ended.wait, READ_SECONDS)
    assert seen == []  # no document was there


async def test_who_gives_up_too_late_stops_nobody_who_has_the_view_next(readers: Readers) -> None:
    look = Looking()
    async with readers.view() as view:
        with look.at(view):
            pass
        look.give_up()
        assert await asyncio.to_thread(view.rows, LONG) == [(300_000,)]


async def test_who_has_gone_before_the_view_begins_reads_nothing_long(readers: Readers) -> None:
    look = Looking()
    look.give_up()
    async with readers.view() as view:
        with look.at(view), pytest.raises(StoreUnavailable):
            await asyncio.to_thread(view.rows, LONG)


async def test_work_that_begins_when_its_view_has_ended_reads_nothing(
    workspace: Workspace,
) -> None:
    async with workspace.store.snapshot() as reader:
        pass
    with pytest.raises(StoreUnavailable, match="was closed"):
        await reader.stats()
    async with workspace.store.snapshot():  # the same connection, perhaps
        await ingest(workspace, A)
    async with workspace.store.snapshot() as now:
        with pytest.raises(StoreUnavailable, match="was closed"):
            await reader.stats()
        assert (await now.stats()).documents == 1


async def test_who_looks_waits_for_nothing_else(workspace: Workspace) -> None:
    async def wait(_: Reader) -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="waits for something else"):
        await workspace.store.look(wait)
