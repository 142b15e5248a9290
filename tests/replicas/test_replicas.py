"""Three workers and two engines on one store: nothing is lost, nothing is done twice.

Workers are real processes of `rag-engine worker`, killed and frozen by real signals. On Neo4j each
has a data folder of its own, as on a machine of its own, in which the originals alone are shared.
"""

from __future__ import annotations

import asyncio
import re
import time
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import pytest
from fleet import PATIENCE, Fleet, Process, ended, seen, seen_alone, submit, until
from replica import SLOW, Watcher, engine_of

import places
from rag_engine.testing.observation import differences
from rag_engine_lightrag.pool import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from replica import Look

    from rag_engine.engine import Engine

P = TypeVar("P", bound=Process)

DOCUMENTS: Final = {f"d{number}": 1 for number in range(24)}
REPLACED: Final = 8
EXTRACT_SECONDS: Final = 0.05

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


STORES: Final = ("sqlite", "neo4j")
CLAIMED_AGAIN: Final = "LeaseLost: .* was claimed again"
MOMENTS: Final = (
    pytest.param("sqlite", "store.finish", CLAIMED_AGAIN, id="sqlite"),
    pytest.param("neo4j", "store.finish", CLAIMED_AGAIN, id="neo4j"),
    pytest.param("neo4j", "neo4j.commit", f"{CLAIMED_AGAIN}|.* been terminated", id="neo4j-commit"),
)
"""Before what a worker is frozen, and how it is refused afterwards. At the commit it holds locks that
all other writers need, until the server ends its transaction."""


@pytest.fixture
def store(request: pytest.FixtureRequest) -> str:
    if request.param == "neo4j":
        try:
            places.neo4j_address()
        except places.MissingStore as error:
            pytest.skip(str(error))
    return str(request.param)


@pytest.fixture
def fleet(store: str, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(store, tmp_path / "together", extract_seconds=EXTRACT_SECONDS)
    yield fleet
    fleet.abandon()


@pytest.fixture
def alone(store: str, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(store, tmp_path / "alone")
    yield fleet
    fleet.abandon()


@pytest.mark.parametrize(("store", "moment", "refusal"), MOMENTS, indirect=["store"])
async def test_a_worker_dies_and_another_comes_back_too_late(
    fleet: Fleet, alone: Fleet, moment: str, refusal: str
) -> None:
    async with fleet.engine() as engine:
        await submit(engine, SLOW, 1)
        asking = [fleet.asking(), fleet.asking()]
        await until(lambda: all(one.is_up for one in asking))
        late = fleet.worker("--concurrency", "1", freeze=moment)
        await until(lambda: late.is_frozen)
        frozen = time.monotonic()
        dying = fleet.worker(freeze="store.finish")
        await asyncio.gather(*(submit(engine, *one) for one in DOCUMENTS.items()))
        await until(lambda: dying.is_frozen)
        dying.kill()
        spared = fleet.worker()
        await claimed_again(engine, SLOW)
        thawed = time.monotonic()
        late.thaw()
        await until(lambda: bool(late.late_calls()))
        versions = await ended(engine)
        for one in (late, spared, *asking):
            await one.stop()
        writes, together = await seen(engine)

    texts = {SLOW: 1, **DOCUMENTS}
    refused = late.late_calls()[0]
    assert refused["call"] == "store.finish"
    assert re.match(refusal, refused["ended"]), refused
    assert versions.keys() == texts.keys()
    assert {one.status for one in versions.values()} == {"indexed"}
    assert writes == len(texts)  # each was written once
    assert differences(together, await seen_alone(alone, texts), tolerance=1e-6) == []
    for one in asking:  # nobody who asked had to wait for the frozen one
        assert any(frozen < look.began and look.ended < thawed for look in one.looks)
    if fleet.store == "neo4j":
        assert fleet.left_over() == 0
        assert all([path.name for path in one.iterdir()] == ["blobs"] for one in fleet.machines)


async def claimed_again(engine: Engine, id: str) -> None:
    """Wait until somebody works on a document for the second time."""
    queue, deadline = (await engine.workspace()).queue, time.monotonic() + PATIENCE
    while True:
        version = await queue.version(id)
        if version is not None and version.attempt > 1 and version.status == "running":
            return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


class Load:
    """Submits texts of a few documents, again and again, and remembers which were indexed when."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._stopping = asyncio.Event()
        self.texts = dict.fromkeys(list(DOCUMENTS)[:REPLACED], 0)
        self.settled: list[tuple[float, str, int]] = []

    async def run(self) -> None:
        """Submit until it is stopped; every fifth text is waited for until it is indexed."""
        for turn, id in enumerate(cycle(self.texts)):
            if self._stopping.is_set():
                return
            self.texts[id] += 1
            version = await submit(self._engine, id, self.texts[id])
            if turn % 5 == 4:
                await self._engine.outcome(version)
                self.settled.append((time.monotonic(), id, self.texts[id]))
            await asyncio.sleep(0.2)

    def stop(self) -> None:
        """Submit no more."""
        self._stopping.set()


@pytest.mark.parametrize("store", STORES, indirect=True)
async def test_workers_and_engines_are_replaced_one_by_one_under_load(
    fleet: Fleet, alone: Fleet
) -> None:
    async with fleet.engine() as engine:
        load = Load(engine)
        loading = asyncio.create_task(load.run())
        workers = [fleet.worker("--grace", "20"), fleet.worker(), fleet.worker()]
        await until(lambda: bool(load.settled))
        asking = [fleet.asking(), fleet.asking()]
        await until(lambda: all(one.is_up for one in (*workers, *asking)))
        new_workers = [await replaced(one, fleet.worker) for one in workers]
        new_asking = [await replaced(one, fleet.asking) for one in asking]
        load.stop()
        await loading
        versions = await ended(engine)
        for one in (*new_workers, *new_asking):
            await one.stop()
        _, together = await seen(engine)

    assert {(one.status, one.attempt) for one in versions.values()} == {("indexed", 1)}
    assert {id: one.number for id, one in versions.items()} == load.texts
    assert differences(together, await seen_alone(alone, load.texts), tolerance=1e-6) == []
    for one in (*asking, *new_asking):
        check(one.looks, load)


async def replaced(old: Process, start: Callable[[], P]) -> P:
    """Start a new process, and end the old one when that is up."""
    new = start()
    await until(lambda: new.is_up)
    await old.stop()
    return new


def check(looks: list[Look], load: Load) -> None:
    """Whoever asked saw what was indexed by then, or newer texts."""
    assert {look.whole for look in looks} == {True, False}
    for look in looks:
        indexed = {id: number for at, id, number in load.settled if at < look.began}
        for id in indexed if look.whole else look.seen:
            assert look.seen[id] >= indexed.get(id, 1), (id, look)


class Sent(Watcher):
    """The statements that were sent."""

    names: list[str]

    def sent(self, statement: str) -> None:
        """See `Watcher`."""
        self.names.append(statement)


@pytest.mark.parametrize("store", ["neo4j"], indirect=True)
async def test_an_idle_worker_asks_one_thing_twice_a_second(fleet: Fleet) -> None:
    place = fleet.place()
    sent = Sent(place)
    sent.names = []
    engine = await asyncio.to_thread(engine_of, place, sent)
    await submit(engine, "d0", 1)
    await engine.work()
    async with asyncio.timeout(30):  # Neo4j's own indexes follow a moment later
        while "index_chunks" not in sent.names:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    pool = WorkerPool(engine=engine)
    idling = asyncio.create_task(pool.run())
    sent.names.clear()
    await asyncio.sleep(3)
    names = list(sent.names)
    pool.stop()
    await idling
    await engine.aclose()
    assert set(names) == {"waiting"}
    assert len(names) <= 7
