"""What nobody waits for any more ends on the Neo4j server, too: its transaction, not only our wait."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

import places
from engines import put, small_engine
from rag_engine.adapters.models.fake import HashEmbedder
from rag_engine.adapters.neo4j import Neo4jControl, queries
from rag_engine.adapters.neo4j.connection import Connection
from serving import LIMITS, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rag_engine.adapters.neo4j import Address
    from rag_engine.engine import Engine

ASK = {"question": "Who built the lighthouse?"}
SECONDS = 5.0
"""Longest time for which the server may go on with what was given up."""

_RUNNING = (
    "SHOW TRANSACTIONS YIELD currentQuery WHERE currentQuery CONTAINS $mark "
    "AND NOT currentQuery STARTS WITH 'SHOW' RETURN currentQuery"
)


class Endless:
    """A statement that ends only when somebody ends it, and a look at what the server runs."""

    def __init__(self, address: Address) -> None:
        self._other = Connection(address)
        self._mark = f"mark{uuid4().hex}"
        self.text = f"UNWIND range(1, 1000000000000) AS {self._mark} RETURN sum({self._mark} % 7)"

    async def is_running(self) -> bool:
        return bool(await self._other.run(_RUNNING, mark=self._mark))

    async def begins(self) -> None:
        async with asyncio.timeout(20):
            while not await self.is_running():  # noqa: ASYNC110 - the server can only be asked
                await asyncio.sleep(0.05)

    async def ends(self) -> float:
        """Seconds until the server runs it no more."""
        began = time.monotonic()
        while time.monotonic() < began + 2 * SECONDS:
            if not await self.is_running():
                break
            await asyncio.sleep(0.05)
        return time.monotonic() - began

    async def aclose(self) -> None:
        await self._other.aclose()


@pytest.fixture
def address() -> Address:
    try:
        return places.neo4j_address()
    except places.MissingStore as error:
        pytest.skip(str(error))


@pytest.fixture
async def endless(address: Address) -> AsyncIterator[Endless]:
    statement = Endless(address)
    yield statement
    await statement.aclose()


@pytest.fixture
async def connection(address: Address) -> AsyncIterator[Connection]:
    # Longer than the test: the server itself must not be who ends it.
    connection = Connection(replace(address, transaction_seconds=120.0))
    yield connection
    await connection.aclose()


@pytest.mark.parametrize("how", ["run", "read", "write"])
async def test_a_transaction_ends_with_the_task_that_wanted_it(
    connection: Connection, endless: Endless, how: str
) -> None:
    wanted = {
        "run": lambda: connection.run(endless.text),
        "read": lambda: connection.read(lambda transaction: transaction.rows(endless.text)),
        "write": lambda: connection.write(lambda transaction: transaction.rows(endless.text)),
    }
    asking = asyncio.create_task(wanted[how]())
    await endless.begins()
    asking.cancel()
    assert await endless.ends() < SECONDS
    assert asking.cancelled()
    assert await connection.run("RETURN 1 AS one") == [{"one": 1}]


@pytest.fixture
async def engine(
    tmp_path_factory: pytest.TempPathFactory, address: Address
) -> AsyncIterator[Engine]:
    embedder = HashEmbedder()
    control = Neo4jControl(
        address,
        model=embedder.name,
        dimensions=embedder.dimensions,
        namespace=uuid4().hex,
        indexed=False,
    )
    folder = tmp_path_factory.mktemp("data")
    engine = await small_engine(folder, embedder=embedder, control=control)
    await put(engine, "farne", "# Farne\n\nAda Brand built the lighthouse.")
    yield engine
    await engine.aclose()


@pytest.mark.parametrize("why", ["left", "late"])
async def test_a_question_that_is_given_up_runs_no_longer_on_the_server(
    engine: Engine, endless: Endless, why: str
) -> None:
    limits = replace(LIMITS, request_seconds=5.0 if why == "late" else 60.0)
    async with served(engine, limits=limits) as (_, client):
        assert (await client.post("/api/v1/search", json=ASK)).json()["passages"]
        with pytest.MonkeyPatch.context() as patched:
            slow = {**queries.CYPHER, "chunk_records": endless.text}
            patched.setattr(queries, "CYPHER", slow)
            asking = asyncio.create_task(client.post("/api/v1/search", json=ASK))
            await endless.begins()
            if why == "left":
                asking.cancel()
            else:
                assert (await asking).status_code == 504
            assert await endless.ends() < SECONDS
        assert (await client.post("/api/v1/search", json=ASK)).json()["passages"]
