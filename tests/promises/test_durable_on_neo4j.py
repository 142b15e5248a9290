"""Promise 4, Durable, on Neo4j: workers, the server and the network between them may break anywhere.

`KILLS=200 SEED=1` sets how often and from which seed; `make soak` does.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from campaign import WHOEVER, Campaign, check
from crashing import Nursery, Task, deployed
from survival import (
    STEPS,
    Twins,
    assert_ended,
    assert_old_or_new,
    assert_whole,
    differing,
    look,
    observe_workspace,
    survive,
)

import places
from rag_engine.core.models import VersionStatus
from rag_engine.engine import Engine, Question
from rag_engine.errors import StoreUnavailable
from rag_engine_lightrag.pool import WorkerPool
from tcp_proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from neo4j_server import Machine

KILLS: Final = int(os.environ.get("KILLS", "6"))
SERVER_KILLS: Final = max(2, KILLS // 10)
SEED: Final = int(os.environ.get("SEED", "1"))
LEASE: Final = 8.0  # seconds, for which what a dead worker held is waited for
LIMIT: Final = 3_600
REST_SECONDS: Final = 240
LATE_SECONDS: Final = 60  # the times that are set are 8, and without any it would be 120
UNFINISHED: Final = (VersionStatus.PENDING, VersionStatus.RUNNING)


@pytest.fixture
def server() -> dict[str, Any]:
    """See `deployed`: workspaces of their own."""
    try:
        address = places.neo4j_address()
    except places.MissingStore as error:
        pytest.skip(str(error))
    names = ("uri", "username", "password")
    return {name: getattr(address, name) for name in names} | {"namespace": uuid4().hex}


@pytest.fixture
def machine() -> Machine:
    try:
        return places.neo4j_machine()
    except places.MissingStore as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as one:
        yield one


@pytest.fixture(scope="module")
def twins() -> Twins:
    return Twins([step[2] for step in STEPS if step[0] == "submit"])


@pytest.mark.timeout(120 + 20 * KILLS)
def test_killed_between_any_two_round_trips_to_neo4j(
    server: dict[str, Any], nursery: Nursery, twins: Twins, tmp_path: Path
) -> None:
    """What had been said to the server and not been committed is as if it had never been said."""
    whole = Task(folder=str(tmp_path / "unkilled"), steps=STEPS, server=server)
    unkilled = nursery.run(whole)
    assert unkilled.code == 0
    seen = look(tmp_path / "unkilled", server)
    assert_old_or_new(seen, STEPS)
    assert_whole(seen, twins)
    assert_ended(seen)
    for number in range(KILLS):
        point = ("neo4j.commit", "neo4j")[number % 2]
        nth = 1 + unkilled.reached[point] * (2 * number + 1) // (2 * KILLS + 2)
        print(f"killed before {point} number {nth} of {unkilled.reached[point]}", flush=True)
        elsewhere = {**server, "namespace": uuid4().hex}
        task = replace(whole, folder=str(tmp_path / str(number)), server=elsewhere)
        survive(replace(task, point=point, nth=nth), nursery, twins)


@pytest.mark.timeout(300 + 10 * KILLS + 60 * SERVER_KILLS)
def test_killed_at_any_moment_with_the_neo4j_server_killed_too(
    server: dict[str, Any], machine: Machine
) -> None:
    """A worker that lives while the server dies goes on by itself when it is back.

    By the scheme that routes, as users have it.
    """
    server = {**server, "uri": server["uri"].replace("bolt:", "neo4j:")}
    print(f"SEED={SEED} KILLS={KILLS} and {SERVER_KILLS} of the server")
    random = Random(SEED)
    victims: list[tuple[str, ...]] = [("worker",), ("writer",), WHOEVER]
    kills = [random.choice(victims) for _ in range(KILLS)]
    for number in range(SERVER_KILLS):
        kills.insert((number + 1) * len(kills) // (SERVER_KILLS + 1), ("server", "writer"))
    with places.folder() as folder, Nursery() as writer, Nursery() as worker:
        where = Task(folder=str(folder), now=None, lease=LEASE, server=server, limit=LIMIT)
        campaign = Campaign(where, random, writer, worker)
        for killed in kills:
            campaign.start()
            time.sleep(random.uniform(0.5, 1.5))
            if "server" in killed:
                machine.kill()
            campaign.kill(*(one for one in killed if one != "server"))
            if "server" in killed:
                machine.start()
            check(*campaign.look(), ended=False)
        campaign.start()
        time.sleep(0.5)
        campaign.kill("writer")
        _wait_for_rest(campaign)
        campaign.kill("worker")
        seen, history = campaign.look()
    check(seen, history, ended=True)
    assert_ended(seen)
    assert len(history.steps) > KILLS


def _wait_for_rest(campaign: Campaign) -> None:
    """Wait until the worker has come to the end of everything."""
    until = time.monotonic() + REST_SECONDS
    while True:
        seen, _ = campaign.look()
        if not any(one.status in UNFINISHED for one in seen.newest.values()):
            return
        assert time.monotonic() < until, seen.newest
        time.sleep(0.5)


async def test_work_goes_on_by_itself_when_the_network_to_neo4j_is_back(
    server: dict[str, Any], tmp_path: Path
) -> None:
    """What is asked for meanwhile ends in an error that names the server."""
    port = urlsplit(server["uri"]).port
    assert port
    texts = {
        f"d{n}": f"Ann met Keeper {n} in Rome. Keeper {n} lit lamp {n % 3}." for n in range(12)
    }
    direct = deployed(tmp_path, server, time.time)
    for id, text in texts.items():
        await direct.submit(text.encode(), document_id=id, source=f"{id}.txt")
    with Proxy(port) as proxy:
        uri = f"bolt://127.0.0.1:{proxy.port}"
        through = {**server, "uri": uri, "connect_seconds": 3.0}
        hasty = {**through, "retry_seconds": 0.0, "transaction_seconds": 5.0}
        asking = deployed(tmp_path, hasty, time.time)
        working = deployed(tmp_path, {**through, "transaction_seconds": 20.0}, time.time)
        pool = WorkerPool(engine=replace(working, lease_seconds=LEASE), concurrency=3)
        run = asyncio.create_task(pool.run())
        for silently in (False, True, False):
            await asyncio.sleep(1.0)
            proxy.dumb = silently
            if silently:
                proxy.swallow()
            else:
                proxy.close()
                proxy.cut()
            await _cannot(asking, uri)
            proxy.heal()
            if not silently:
                proxy.open()
        async with asyncio.timeout(REST_SECONDS):
            queue = (await direct.workspace()).queue
            for id in texts:
                version = await queue.version(id)
                assert version is not None
                assert (await direct.outcome(version)).status is VersionStatus.INDEXED
        pool.stop()
        await run
        await working.aclose()
        await asking.aclose()
    seen = await observe_workspace(await direct.workspace())
    assert {id for id, _, _ in seen.shown} == texts.keys()
    assert await differing(seen, Twins(list(texts.values()))) == []
    await direct.aclose()


async def _cannot(engine: Engine, uri: str) -> None:
    """Ask for something and submit something, to hear that the server cannot be reached."""
    asked = (
        engine.search(Question(text="Who met Ann?")),
        engine.submit(b"Nobody.", document_id="lost", source="lost.txt"),
    )
    async with asyncio.timeout(LATE_SECONDS):
        errors = await asyncio.gather(*asked, return_exceptions=True)
    for error in errors:
        assert isinstance(error, StoreUnavailable), error
        assert uri in str(error)
