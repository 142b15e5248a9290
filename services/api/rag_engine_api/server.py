"""The server: an application on a socket, until it is told to stop; then its streams drain."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from uvicorn.loops.auto import auto_loop_factory
from uvicorn.protocols.http.h11_impl import H11Protocol

from rag_engine.errors import ConfigurationError
from rag_engine_api.limits import SOON_SECONDS, Limits
from rag_engine_api.problems import own_problem, place_of, respond

_BACKLOG: Final = 512
_CONNECTIONS: Final = 4  # for each request at a time: most rest between two requests
_REST_SECONDS: Final = 75
"""How long a connection may rest between two requests. Longer than proxies keep theirs (nginx 60 s):
whoever closes first must not be the server, or a request is under way to a closed connection (502)."""
_FULL: Final = (
    "There are more connections than the service bears. Come back when Retry-After says, or raise "
    "RAG_API_MAX_REQUESTS."
)


class Server(uvicorn.Server):
    """Serves until `stop` is called. Signals are for its caller to handle.

    Args:
        app: What answers.
        limits: What it bears.
        drain_seconds: How long answers that are under way may go on after `stop`.
        proxies: Addresses and networks of those who are believed for whom they ask, and how.
    """

    def __init__(
        self, app: FastAPI, *, limits: Limits, drain_seconds: int, proxies: Sequence[str] = ()
    ) -> None:
        self._app = app
        super().__init__(
            uvicorn.Config(
                app,
                http=partial(  # type: ignore[arg-type]
                    _Connection,
                    header_seconds=limits.body_seconds,
                    most=_CONNECTIONS * limits.requests,
                ),
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=bool(proxies),
                forwarded_allow_ips=list(proxies),
                lifespan="off",
                timeout_keep_alive=_REST_SECONDS,
                timeout_graceful_shutdown=drain_seconds,
            )
        )

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals as they are."""
        yield

    def stop(self) -> None:
        """Accept nothing more, and end when what is under way has been answered."""
        self._app.state.stopping = True
        self.should_exit = True


class _Connection(H11Protocol):
    """A connection that is closed when the head of a request does not come to its end.

    When there are too many, one that rests is closed for each that comes, and what is asked on the
    rest is refused. Uvicorn's own limit counts those that rest, and its 503 has no `Retry-After`.

    Args:
        header_seconds: Longest time of a head.
        most: Connections at a time.
    """

    def __init__(self, *args: Any, header_seconds: float, most: int, **more: Any) -> None:
        super().__init__(*args, **more)
        self._header_seconds = header_seconds
        self._most = most
        self._waiting: asyncio.TimerHandle | None = None
        self._answer = self.app
        self.app = self._bounded

    async def _bounded(self, scope: Any, receive: Any, send: Any) -> None:
        if len(self.connections) <= self._most:
            await self._answer(scope, receive, send)
            return
        headers = {"Retry-After": str(SOON_SECONDS), "Connection": "close"}
        body = own_problem(HTTPStatus.SERVICE_UNAVAILABLE, _FULL)
        await respond(place_of(scope), body, headers)(scope, receive, send)

    def _make_room(self) -> None:
        if len(self.connections) > self._most:
            for one in self.connections:
                if isinstance(one, _Connection) and one.timeout_keep_alive_task is not None:
                    one.transport.close()
                    self.connections.discard(one)
                    break

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._make_room()
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._wait()
        else:
            self._wait_no_more()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._waiting is None:
            self._waiting = self.loop.call_later(self._header_seconds, self.transport.close)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


def event_loop() -> asyncio.AbstractEventLoop:
    """The fastest event loop that can be had: uvloop's, where it is installed."""
    return auto_loop_factory()()


def listening(
    host: str, port: int, *, chosen_by: str = "--host and --port, for example --port 8001"
) -> socket.socket:
    """A socket that listens.

    Args:
        host: The address.
        port: 0 for one that is free.
        chosen_by: The options that choose another.

    Raises:
        ConfigurationError: The address cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        door = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(
            f"Nothing can listen on {host!r}, port {port} ({reason}). Stop whoever does, or choose "
            f"another with {chosen_by}."
        ) from error
    # Connections inherit it. Without, the body of an answer waits until its head is acknowledged,
    # 40 ms later; asyncio sees to that only for sockets whose protocol was named.
    door.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return door
