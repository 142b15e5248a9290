"""The network between the store and its Neo4j server breaks, at the worst moments: real sockets.

Whatever breaks, a call ends in time, either in what was asked for or in an error that names the
server and says what to do. What had been committed is not done twice, what had not is not half
there, and when the network is back everything goes on by itself.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from dataclasses import replace
from itertools import cycle
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

import places
from rag_engine.adapters.neo4j import Neo4jControl, connection
from rag_engine.adapters.neo4j.queries import CYPHER
from rag_engine.core.edits import Alias
from rag_engine.core.jobs import Decision
from rag_engine.core.models import Stage, VersionStatus
from rag_engine.errors import StoreUnavailable
from rag_engine.testing.drafts import (
    DIMENSIONS,
    LEASE,
    MEDIA_TYPE,
    MODEL,
    WORKER,
    claim,
    ingest,
    put,
    stage,
)
from rag_engine.testing.observation import Observed, differences, observed
from rag_engine.testing.store_contract import A2, A, B
from tcp_proxy import Break, Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from rag_engine.adapters.neo4j import Address
    from rag_engine.ports.storage import Workspace

COMMIT = b"\x00\x02\xb0\x12\x00\x00"
BEGIN = b"\xb1\x11"
MOMENTS = [
    "begin",
    "finish_basis",
    "show_version",
    "write_evidence",
    "label",
    "commit_write",
]
SLACK = 15.0  # seconds, on a busy machine; without limits of ours it would be 120


def said(moment: str) -> bytes:
    """What a client says then."""
    return {"begin": BEGIN, "commit": COMMIT}.get(moment) or CYPHER[moment][:60].encode()


@contextmanager
def takes_at_most(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds + SLACK


@pytest.fixture
def server() -> Address:
    try:
        return places.neo4j_address()
    except places.MissingStore as error:
        pytest.skip(str(error))


@pytest.fixture
def proxy(server: Address) -> Iterator[Proxy]:
    port = urlsplit(server.uri).port
    assert port
    with Proxy(port) as one:
        yield one


@pytest.fixture
def address(server: Address, proxy: Proxy) -> Address:
    """Through the proxy."""
    uri = f"bolt://127.0.0.1:{proxy.port}"
    return replace(server, uri=uri, connect_seconds=3.0, retry_seconds=90.0)


@pytest.fixture
async def opening(address: Address) -> AsyncIterator[Callable[..., Neo4jControl]]:
    """Opens controls over one namespace, and closes them."""
    namespace, controls = uuid4().hex, list[Neo4jControl]()

    def make(to: Address = address) -> Neo4jControl:
        made_with = {"namespace": namespace, "model": MODEL, "dimensions": DIMENSIONS}
        controls.append(Neo4jControl(to, indexed=False, **made_with))
        return controls[-1]

    yield make
    for control in controls:
        await control.aclose()


@pytest.fixture
async def direct(opening: Callable[..., Neo4jControl], server: Address) -> Workspace:
    """The workspace over a network that holds."""
    return await opening(server).open("default", create=True)


@pytest.fixture
async def workspace(direct: Workspace, opening: Callable[..., Neo4jControl]) -> Workspace:
    return await opening().open("default")


@pytest.fixture
async def expected() -> Observed:
    """What a store shows that took A, B and another A, and never met a fault."""
    async with places.opened("memory", "default") as [alone]:
        await ingest(alone, A, B, A2)
        return await observed(alone)


# Nobody there


@pytest.mark.parametrize("how", ["refused", "never answered"])
async def test_a_server_that_cannot_be_spoken_with_is_named_in_time(
    how: str,
    opening: Callable[..., Neo4jControl],
    address: Address,
    workspace: Workspace,
    proxy: Proxy,
) -> None:
    hasty = replace(address, retry_seconds=1.0)
    unlucky = await opening(hasty).open("default")
    if how == "refused":
        proxy.close()
    proxy.dumb = True
    proxy.cut()
    with takes_at_most(4.0), pytest.raises(StoreUnavailable) as caught:
        await unlucky.queue.accept(A.submission)
    assert hasty.uri in str(caught.value)
    assert str(caught.value).endswith(("then try again.", "NEO4J_MAX_CONNECTIONS."))
    with takes_at_most(4.0), pytest.raises(StoreUnavailable, match=hasty.uri):
        await observed(unlucky)
    if how == "refused":
        proxy.open()
    proxy.cut()
    proxy.heal()
    assert len(await ingest(workspace, A)) == 1


async def test_who_closes_does_not_wait_for_a_server_that_is_gone(
    opening: Callable[..., Neo4jControl], proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    for silent in (False, True):
        control = opening()
        await control.open("default", create=True)
        if silent:
            proxy.dumb = True  # or else another try, on a new connection, succeeds
            proxy.swallow()
        else:
            proxy.close()
            proxy.cut()
        with takes_at_most(4.0):
            await control.aclose()
        proxy.cut()
        proxy.heal()
        if not silent:
            proxy.open()
    ours = [one for one in caplog.messages if "bolt://" in one]  # the driver may add its own
    assert len(ours) == 2


# Cut in the middle


@pytest.mark.parametrize("what", [Break.CUT, Break.LOSE_THE_ANSWER])
async def test_a_write_that_is_cut_anywhere_is_run_again_and_adds_up(
    what: Break, workspace: Workspace, proxy: Proxy, expected: Observed
) -> None:
    """At each statement of a write, and at its commit."""
    await ingest(workspace, A, B)
    for moment, draft in zip([*MOMENTS, "commit"], cycle((A2, A)), strict=False):
        await workspace.queue.accept(draft.submission)
        lease = (await claim(workspace)).lease
        await stage(workspace.store, lease, draft.evidence(lease.version))
        proxy.break_at(said(moment), what)
        version = await workspace.store.finish(lease)
        assert (proxy.sprung, version.number) == (1, lease.version), moment
    assert await workspace.store.delete(["a"]) == 1
    await ingest(workspace, A, A2)
    assert differences(expected, await observed(workspace)) == []


async def test_a_commit_whose_answer_is_lost_is_made_once(
    workspace: Workspace, proxy: Proxy
) -> None:
    queue, store = workspace.queue, workspace.store

    @contextmanager
    def losing(said: bytes = COMMIT) -> Iterator[None]:
        proxy.break_at(said, Break.LOSE_THE_ANSWER)
        yield
        assert proxy.sprung == 1

    with losing(said("accept")):
        assert (await queue.accept(A.submission)).number == 1
    with losing(said("claim")):
        job = await queue.claim(WORKER, LEASE)
    assert job is not None
    assert (job.version.attempt, job.version.status) == (1, VersionStatus.RUNNING)
    assert await queue.claim(WORKER, LEASE) is None
    with losing(said("set_held")):
        await queue.checkpoint(job.lease, Stage.PARSE, warnings=["w"])
    with losing(said("set_held")):
        await queue.heartbeat(job.lease, LEASE)
    with losing(said("stage")):
        await stage(store, job.lease, A.evidence())
    with losing():
        assert (await store.finish(job.lease)).warnings == ("w",)
    with losing():
        assert await put(store, Alias(source="Bob", target="Rob")) == [True]
    with losing():
        assert await store.undo(Alias(source="Bob", target="Rob").id)
    await queue.accept(A2.submission)
    job = await claim(workspace)
    with losing():
        failed = await queue.fail(job.lease, Decision(reason="It broke. Try another."))
    assert (failed.status, failed.attempt) == (VersionStatus.FAILED, 1)
    await queue.accept(B.submission)
    with losing():
        cancelled = await queue.cancel("b")
    assert cancelled is not None
    assert cancelled.status is VersionStatus.CANCELLED
    assert await queue.cancel("b") is None
    with losing():
        assert await store.delete(["a"]) == 1
    async with store.snapshot() as reader:
        assert (reader.counter, (await reader.stats()).mentions) == (4, 0)


# Silence


@pytest.mark.parametrize("what", [Break.SWALLOW, Break.SWALLOW_THE_ANSWER])
async def test_a_commit_that_nobody_answers_is_given_up_and_made_once(
    what: Break,
    opening: Callable[..., Neo4jControl],
    address: Address,
    direct: Workspace,
    proxy: Proxy,
    expected: Observed,
) -> None:
    """What was locked stays so until the server's own time for the transaction is over."""
    await ingest(direct, A, B)
    await direct.queue.accept(A2.submission)
    lease = (await claim(direct)).lease
    parsed = {"media_type": MEDIA_TYPE, "title": "Parsed", "parsed_hash": "of a"}
    await direct.queue.checkpoint(lease, Stage.PARSE, **parsed)
    await stage(direct.store, lease, A2.evidence(lease.version))
    workspace = await opening(replace(address, transaction_seconds=5.0)).open("default")
    proxy.break_at(COMMIT, what)
    assert (await workspace.store.finish(lease)).number == 2
    assert proxy.sprung == 1
    assert differences(expected, await observed(direct)) == []


async def test_what_is_never_answered_ends_in_an_error_that_names_the_server(
    opening: Callable[..., Neo4jControl], address: Address, direct: Workspace, proxy: Proxy
) -> None:
    hasty = replace(address, retry_seconds=0.0, transaction_seconds=1.0)
    await ingest(direct, A)
    workspace = await opening(hasty).open("default")
    asked = {
        "accept": lambda: workspace.queue.accept(B.submission),
        "newest_version": lambda: workspace.queue.version("a"),
        "state": lambda: observed(workspace),
    }
    for moment, ask in asked.items():
        proxy.break_at(said(moment), Break.SWALLOW)
        never = pytest.raises(StoreUnavailable, match="did not answer within 4 s")
        with takes_at_most(4.0), never as caught:
            await ask()
        assert hasty.uri in str(caught.value), moment
        assert str(caught.value).endswith("try again."), moment
    assert await direct.queue.version("b") is None


async def test_connections_that_a_firewall_forgot_are_noticed_before_they_are_used(
    opening: Callable[..., Neo4jControl], proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the time for a connection, not that for a transaction."""
    monkeypatch.setattr(connection, "_IDLE_SECONDS", 0.0)
    workspace = await opening().open("default", create=True)
    await workspace.queue.version("a")
    proxy.swallow()
    before = proxy.lines
    with takes_at_most(3.0):
        assert await workspace.queue.version("a") is None
    assert proxy.lines > before


async def test_a_heartbeat_on_a_dead_connection_takes_another_in_time(
    workspace: Workspace, proxy: Proxy
) -> None:
    """From the event loop of heartbeats, whose connections are closed when it ends."""
    await workspace.queue.accept(A.submission)
    lease = (await claim(workspace)).lease

    async def beats() -> None:
        await workspace.queue.heartbeat(lease, 60.0)
        proxy.break_at(said("set_held"), Break.SWALLOW)
        with takes_at_most(30.0):
            await workspace.queue.heartbeat(lease, 60.0)
        assert proxy.sprung == 1
        proxy.break_at(said("version"), Break.SWALLOW)
        looking = asyncio.ensure_future(workspace.queue.version("a"))
        await asyncio.wait({looking}, timeout=0.3)
        looking.cancel()
        await workspace.queue.heartbeat(lease, 60.0)

    await asyncio.to_thread(asyncio.run, beats())
