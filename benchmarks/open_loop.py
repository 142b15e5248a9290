"""Requests that are sent when they are due, whether or not earlier ones were answered (an open loop).

The connections are the standard library's, on threads: what shares its cores with the server that it
measures is to cost as little of them as can be.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection, HTTPException
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import numpy as np

Row = dict[str, Any]

_AT_ONCE: Final = 512
_TIMEOUT: Final = 60.0
_KEPT: Final = 2.0
"""Seconds after which an idle connection is not used again: the server is about to close it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said."""

    status: int
    body: bytes

    @property
    def failure(self) -> str:
        """Why it is not what was asked for; empty if it is."""
        return "" if self.status < 400 else f"{self.status} {self.body[:200].decode()}"


class Client:
    """Connections to one server, kept for the next request; close it by leaving the context."""

    def __init__(self, address: str) -> None:
        self._host = urlsplit(address).netloc
        self._threads = ThreadPoolExecutor(_AT_ONCE)
        self._idle: list[tuple[float, HTTPConnection]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._threads.shutdown()
        for _, connection in self._idle:
            connection.close()

    async def send(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] = b"",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Answer:
        """Send a request and read the answer.

        Raises:
            OSError, HTTPException: There is none.
        """
        work = partial(self._send, method, path, body, headers)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _send(
        self, method: str, path: str, body: bytes | Iterable[bytes], headers: Mapping[str, str]
    ) -> Answer:
        connection = self._connection()
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            answer = Answer(response.status, response.read())
        except BaseException:
            connection.close()
            raise
        self._idle.append((time.monotonic(), connection))
        return answer

    def _connection(self) -> HTTPConnection:
        while self._idle:
            since, connection = self._idle.pop()
            if time.monotonic() - since < _KEPT:
                return connection
            connection.close()
        return HTTPConnection(self._host, timeout=_TIMEOUT)


Request = Callable[[int], Awaitable[Answer]]


@dataclass(slots=True)
class Answers:
    """Milliseconds from when each request was due, and what went wrong."""

    times: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    async def take(self, due: float, request: Awaitable[Answer]) -> None:
        """Wait for an answer."""
        try:
            answer = await request
        except (OSError, HTTPException) as error:
            self.failures.append(repr(error))
            return
        self.times.append(1e3 * (time.perf_counter() - due))
        if answer.failure:
            self.failures.append(answer.failure)

    def row(self, what: str) -> Row:
        """What was seen."""
        p50, p95, p99 = np.percentile(self.times, [50, 95, 99]).tolist()
        told = {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "most_ms": max(self.times)}
        return {"what": what, "requests": len(self.times), **told, "failures": self.failures[:5]}


async def open_loop(request: Request, *, rate: float, seconds: float) -> Answers:
    """Send requests when they are due."""
    answers, began = Answers(), time.perf_counter()
    async with asyncio.TaskGroup() as together:
        for number in range(int(rate * seconds)):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            together.create_task(answers.take(due, request(number)))
    return answers
