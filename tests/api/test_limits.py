"""What is too much, too slow or too long is refused at once, and nothing of it goes on."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import httpx
import pytest

from engines import put, small_engine
from rag_engine.access import Access
from rag_engine.core.keys import Scope
from rag_engine.ports.models import ChatDelta, Message
from rag_engine_api.app import Admission
from serving import LIMITS, asking, served

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence
    from pathlib import Path

    from rag_engine.engine import Engine

ASK = {"question": "Who built the lighthouse?"}
CHAT = {"model": "rag-engine", "messages": [{"role": "user", "content": "Who built it?"}]}


class Hanging:
    """A model that says a little, and then nothing until it is let go on."""

    name = "hanging"

    def __init__(self, first: str = "") -> None:
        self.asked, self.closed, self.go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._first = first

    async def complete(
        self, messages: Sequence[Message], *, max_tokens: int | None = None
    ) -> AsyncGenerator[ChatDelta, None]:
        self.asked.set()
        try:
            if self._first:
                yield ChatDelta(text=self._first)
            await self.go_on.wait()
            yield ChatDelta(text="Ada Brand built it [1].")
        finally:
            self.closed.set()


@pytest.fixture
async def chat() -> Hanging:
    return Hanging()


@pytest.fixture
async def engine(tmp_path: Path, chat: Hanging) -> AsyncIterator[Engine]:
    engine = await small_engine(tmp_path / "data", chat=chat)
    await put(engine, "farne", "# Farne\n\nAda Brand built the lighthouse.")
    yield engine
    await engine.aclose()


@pytest.fixture
def within_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """For those who count requests, it is half past some minute: when it ends, one more may come."""
    moment = time.time() // 60 * 60 + 30
    monkeypatch.setattr("limits.aio.storage.memory.time", SimpleNamespace(time=lambda: moment))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def refused(response: httpx.Response, status: int, code: str) -> None:
    body = response.json()
    assert (response.status_code, body["code"], body["retryable"]) == (status, code, True)
    assert 1 <= int(response.headers["retry-after"]) <= 120


async def test_a_key_has_so_many_requests_at_a_time(engine: Engine, chat: Hanging) -> None:
    keyring = Access(engine.control)
    (_, mine), (_, theirs) = [await keyring.make(name, [Scope.READ]) for name in "ab"]
    limits = replace(LIMITS, requests_per_key=1)
    async with asking(engine, Admission.KEYS, keyring=keyring, limits=limits) as client:
        first = asyncio.create_task(client.post("/api/v1/query", json=ASK, headers=bearer(mine)))
        await chat.asked.wait()
        second = await client.get("/api/v1/stats", headers=bearer(mine))
        refused(second, 429, "too_many_requests")
        assert (await client.get("/api/v1/stats", headers=bearer(theirs))).status_code == 200
        chat.go_on.set()
        assert (await first).status_code == 200
        assert (await client.get("/api/v1/stats", headers=bearer(mine))).status_code == 200


@pytest.mark.usefixtures("within_a_minute")
async def test_a_key_has_so_many_requests_a_minute(engine: Engine) -> None:
    keyring = Access(engine.control)
    (_, mine), (_, theirs) = [await keyring.make(name, [Scope.READ]) for name in "ab"]
    limits = replace(LIMITS, requests_per_minute=3)
    async with asking(engine, Admission.KEYS, keyring=keyring, limits=limits) as client:
        for _ in range(3):
            assert (await client.get("/api/v1/stats", headers=bearer(mine))).status_code == 200
        refused(await client.get("/api/v1/stats", headers=bearer(mine)), 429, "too_many_requests")
        assert (await client.get("/api/v1/stats", headers=bearer(theirs))).status_code == 200
        assert (await client.get("/metrics", headers=bearer(mine))).status_code == 200
        chatting = await client.post("/v1/chat/completions", json=CHAT, headers=bearer(mine))
        refused(chatting, 429, "too_many_requests")
        assert chatting.json()["error"]["code"] == "too_many_requests"


@pytest.mark.usefixtures("within_a_minute")
async def test_strangers_are_told_apart_by_their_addresses(engine: Engine) -> None:
    limits = replace(LIMITS, requests_per_minute=1)
    async with asking(engine, Admission.OPEN, limits=limits) as client:
        app = client._transport.app  # type: ignore[attr-defined]
        for address, statuses in (("10.0.0.1", (200, 429)), ("10.0.0.2", (200, 429))):
            transport = httpx.ASGITransport(app, client=(address, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://a") as stranger:
                for status in statuses:
                    assert (await stranger.get("/api/v1/workspaces")).status_code == status
        for _ in range(3):  # this machine's own programs
            assert (await client.get("/api/v1/workspaces")).status_code == 200


async def test_more_than_the_service_bears_is_refused_and_not_kept(
    engine: Engine, chat: Hanging
) -> None:
    async with asking(engine, limits=replace(LIMITS, requests=1)) as client:
        first = asyncio.create_task(client.post("/api/v1/query", json=ASK))
        await chat.asked.wait()
        for _ in range(5):
            refused(await client.post("/api/v1/search", json=ASK), 503, "overloaded")
        assert (await client.get("/health")).status_code == 200
        chat.go_on.set()
        assert (await first).status_code == 200
        assert (await client.post("/api/v1/search", json=ASK)).status_code == 200


async def test_what_takes_too_long_is_given_up_down_to_the_model(
    engine: Engine, chat: Hanging
) -> None:
    async with asking(engine, limits=replace(LIMITS, request_seconds=0.5)) as client:
        refused(await client.post("/api/v1/query", json=ASK), 504, "timed_out")
        async with asyncio.timeout(10):
            await chat.closed.wait()


async def test_a_stream_that_takes_too_long_ends_with_a_problem(
    engine: Engine,
) -> None:
    chat = Hanging("It was ")
    engine = replace(engine, chat=chat)
    async with asking(engine, limits=replace(LIMITS, request_seconds=1)) as client:
        answer = (await client.post("/api/v1/query/stream", json=ASK)).text
        chat.closed.clear()
        chatting = (await client.post("/v1/chat/completions", json=CHAT | {"stream": True})).text
        async with asyncio.timeout(10):
            await chat.closed.wait()
    assert "It was" in answer
    *_, name, data = answer.strip().splitlines()
    assert name == "event: problem"
    assert json.loads(data.removeprefix("data: "))["code"] == "timed_out"
    *_, problem, _, done = chatting.strip().splitlines()
    assert json.loads(problem.removeprefix("data: "))["error"]["code"] == "timed_out"
    assert done == "data: [DONE]"


@pytest.mark.parametrize(
    ("route", "body"), [("/api/v1/query", ASK), ("/v1/chat/completions", CHAT)]
)
async def test_nothing_goes_on_for_who_left(
    engine: Engine, chat: Hanging, route: str, body: dict[str, object]
) -> None:
    async with served(engine) as (_, client):
        asking = asyncio.create_task(client.post(route, json=body))
        await chat.asked.wait()
        assert not chat.closed.is_set()
        asking.cancel()
        async with asyncio.timeout(10):
            await chat.closed.wait()
        assert (await client.get("/health")).status_code == 200


async def test_events_go_on_beyond_the_time_of_a_request_until_the_server_stops(
    engine: Engine,
) -> None:
    await engine.submit(b"Waits.", document_id="waits", source="waits.md")
    async with (
        served(engine, limits=replace(LIMITS, request_seconds=0.3)) as (server, client),
        client.stream("GET", "/api/v1/documents/waits/events") as events,
    ):
        lines = events.aiter_lines()
        assert await anext(lines) == "event: pending"
        await asyncio.sleep(1)
        server.stop()
        async with asyncio.timeout(10):
            rest = [line async for line in lines]
    assert "problem" not in "".join(rest)


HEAD = b"POST /api/v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


async def told(client: httpx.AsyncClient, *pieces: bytes, pause: float = 0.0) -> bytes:
    """What a server says to one who sends some pieces, until it speaks, and then nothing more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
    said = asyncio.create_task(reader.read())
    try:
        for piece in pieces:
            if reader.at_eof() or said.done():
                break
            writer.write(piece)
            await asyncio.sleep(pause)
        async with asyncio.timeout(20):
            return await said
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_who_falls_silent_is_not_waited_for(engine: Engine) -> None:
    async with served(engine, limits=replace(LIMITS, body_seconds=0.5)) as (_, client):
        body = await told(client, HEAD + b"Content-Length: 100\r\n\r\n", b'{"question"')
        assert body.startswith(b"HTTP/1.1 408 ")
        assert b'"body_too_slow"' in body
        assert b"connection: close" in body.lower()
        assert await told(client) == b""
        assert await told(client, HEAD) == b""
        whole = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        second = await told(client, whole, HEAD, pause=0.2)
        assert second.startswith(b"HTTP/1.1 200 ")
        assert second.count(b"HTTP/1.1") == 1


async def test_who_sends_a_byte_now_and_then_is_not_waited_for(engine: Engine) -> None:
    async with served(engine, limits=replace(LIMITS, body_seconds=1.0)) as (_, client):
        drops = [HEAD + b"Content-Length: 1000\r\n\r\n", *[b" "] * 30]
        assert (await told(client, *drops, pause=0.1)).startswith(b"HTTP/1.1 408 ")
        heads = [HEAD, *[b"X-A: 1\r\n"] * 30]
        assert await told(client, *heads, pause=0.1) == b""


async def test_a_slow_upload_that_goes_on_is_taken(engine: Engine) -> None:
    async def slowly() -> AsyncIterator[bytes]:
        yield b'{"name": "a.md", "text": "'
        for _ in range(6):
            await asyncio.sleep(0.3)
            yield b"word " * 400
        yield b'"}'

    async with served(engine, limits=replace(LIMITS, body_seconds=1, request_seconds=1)) as (
        _,
        client,
    ):
        headers = {"Content-Type": "application/json"}
        response = await client.post("/api/v1/documents/text", content=slowly(), headers=headers)
        assert response.status_code == 202, response.text


GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def connected(
    client: httpx.AsyncClient, said: bytes
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which something was said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
    writer.write(said)
    return reader, writer


async def test_connections_that_rest_make_room_for_others(engine: Engine) -> None:
    async with served(engine, limits=replace(LIMITS, requests=1)) as (_, client):
        resting = [await connected(client, GET) for _ in range(4)]
        for reader, _ in resting:
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
        assert (await client.get("/health")).status_code == 200
        closed = [asyncio.create_task(reader.read()) for reader, _ in resting]
        done, waiting = await asyncio.wait(closed, timeout=1)
        assert (len(done), len(waiting)) == (1, 3)
        for _, writer in resting:
            writer.close()


async def test_too_many_connections_are_told_when_to_come_back(engine: Engine) -> None:
    async with served(engine, limits=replace(LIMITS, requests=1)) as (_, client):
        busy = [await connected(client, HEAD) for _ in range(4)]
        await asyncio.sleep(0.2)
        response = await client.get("/health")
        refused(response, 503, "overloaded")
        assert response.headers["connection"] == "close"
        for _, writer in busy:
            writer.close()
        await asyncio.sleep(0.2)
        assert (await client.get("/health")).status_code == 200


async def test_a_connection_outlives_a_proxys_patience(engine: Engine) -> None:
    async with served(engine) as (server, _):
        assert server.config.timeout_keep_alive > 60
