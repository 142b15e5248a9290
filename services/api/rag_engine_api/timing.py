"""How long a request may take, and what ends it before: its time, or that nobody waits any more.

Either cancels whatever is done for it, down to the store and to the language model.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final, TypeVar

from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag_engine_api.problems import as_openai, for_openai, own_problem, place_of, respond
from rag_engine_api.responses import as_it_begins

T = TypeVar("T")

_STATUS: Final = HTTPStatus.GATEWAY_TIMEOUT
_LAST_WORD_SECONDS: Final = 1.0
_RETRY: Final = {"Retry-After": "5"}


async def within(seconds: float, waiting: Awaitable[T]) -> T:
    """What is waited for.

    Raises:
        TimeoutError: It has not come by then.
    """
    async with asyncio.timeout(seconds):
        return await waiting


class Deadline:
    """Ends what takes too long, or what its client no longer waits for.

    Args:
        app: What comes after. Its routes may say `UNTIMED` and `FOR_ITS_CLIENT_ALONE`.
        seconds: From the end of a request's body to the end of its response.
    """

    def __init__(self, app: ASGIApp, *, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on for as long as it may take."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        course = _Course(receive, send, self._seconds)
        scope.setdefault("state", {})["course"] = course
        try:
            async with asyncio.timeout(self._seconds) as course.limit:
                await self._app(scope, course.receive, course.send)
        except TimeoutError:
            if not course.limit.expired():
                raise
            if not course.left:
                await self._say(scope, course)
        finally:
            await course.end()

    async def _say(self, scope: Scope, course: _Course) -> None:
        """Tell the client, unless its response is one that can only break off."""
        detail = (
            f"It took longer than {self._seconds:g} s and was given up. Ask for less, try again "
            "later, or raise RAG_API_REQUEST_SECONDS."
        )
        body = own_problem(_STATUS, detail)
        path = place_of(scope)
        if not course.started:
            await respond(path, body, _RETRY)(scope, course.receive, course.send)
        elif course.streams:
            with suppress(TimeoutError):  # one who reads nothing is left alone
                last = {"type": "http.response.body", "body": _last_event(path, body)}
                await within(_LAST_WORD_SECONDS, course.send(last))


def _last_event(path: str, body: Mapping[str, Any]) -> bytes:
    if for_openai(path):
        return f"data: {json.dumps(as_openai({**body}))}\n\ndata: [DONE]\n\n".encode()
    return f"event: problem\ndata: {json.dumps(body)}\n\n".encode()


class _Course:
    """How far one request has come.

    Attributes:
        limit: When it ends.
        started: Whether its response has begun.
        streams: Whether that consists of server-sent events.
        left: Whether its client went away.
    """

    limit: asyncio.Timeout

    def __init__(self, receive: Receive, send: Send, seconds: float) -> None:
        self._receive = receive
        self.send = as_it_begins(send, self._begin)
        self._seconds = seconds
        self._leaving: asyncio.Task[Message] | None = None
        self._whole = False
        self.started = self.streams = self.left = False

    async def receive(self) -> Message:
        if self._leaving is not None:
            return await asyncio.shield(self._leaving)
        message = await self._receive()
        if message["type"] == "http.request" and not self._whole:
            self._whole = not message.get("more_body", False)
            if self.limit.when() is not None:
                self.limit.reschedule(asyncio.get_running_loop().time() + self._seconds)
        return message

    def _begin(self, start: Message) -> None:
        self.started = True
        self.streams = "event-stream" in Headers(scope=start).get("content-type", "")

    def watch(self) -> None:
        """End when the client goes away before there is a response."""
        if self._whole and self._leaving is None:
            self._leaving = asyncio.create_task(self._left())

    async def _left(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self.started:
            self.left = True
            self.limit.reschedule(asyncio.get_running_loop().time())
        return message

    async def end(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
            await asyncio.gather(self._leaving, return_exceptions=True)


async def _untimed(request: Request) -> None:
    course: _Course = request.state.course
    course.limit.reschedule(None)


async def _for_its_client(request: Request) -> None:
    course: _Course = request.state.course
    course.watch()


UNTIMED: Final = Depends(_untimed)
"""Among a route's dependencies: it takes as long as there is something to tell."""

FOR_ITS_CLIENT_ALONE: Final = Depends(_for_its_client)
"""Among a route's dependencies: nothing is left of it when its client goes away."""
