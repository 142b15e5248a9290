"""How much a client may send, how slowly, how often and how much of it at a time.

Nothing waits in memory for its turn: what is too much is refused at once, and told when to come back.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag_engine.settings import Settings
from rag_engine_api.doors import is_loopback
from rag_engine_api.problems import own_problem, place_of, respond
from rag_engine_api.timing import within

_UNLIMITED: Final = frozenset({"/health", "/ready", "/metrics"})
"""What those ask who see to it that the service lives, also when it is overloaded."""

_SLOWEST: Final = 1_000  # bytes a second, over all of a body that takes longer than a silence may
SOON_SECONDS: Final = 1
"""After which who was refused for want of room may come again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the service bears. The settings explain each.

    Attributes:
        body_bytes: Of a request.
        body_seconds: Of silence within a request.
        request_seconds: From a whole request to the end of its response.
        requests: At a time.
        requests_per_key: At a time.
        requests_per_minute: Of a key; 0 for any number.
    """

    body_bytes: int
    body_seconds: float
    request_seconds: float
    requests: int
    requests_per_key: int
    requests_per_minute: int


def limits_of(settings: Settings) -> Limits:
    """What the settings say."""
    return Limits(
        body_bytes=settings.api_max_body_bytes,
        body_seconds=settings.api_body_seconds,
        request_seconds=settings.api_request_seconds,
        requests=settings.api_max_requests,
        requests_per_key=settings.api_max_requests_per_key,
        requests_per_minute=settings.api_requests_per_minute,
    )


class Throttle:
    """Refuses requests beyond what a caller may send, or the service bears.

    A caller is a key; without keys it is an address. This machine's own programs, where they need
    no key, share what there is.

    Args:
        app: What comes after.
        limits: How many.
    """

    def __init__(self, app: ASGIApp, *, limits: Limits) -> None:
        self._app = app
        self._limits = limits
        self._under_way = Counter[str]()
        self._window = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._rate = (
            RateLimitItemPerMinute(limits.requests_per_minute)
            if limits.requests_per_minute
            else None
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it at once."""
        if scope["type"] != "http" or place_of(scope) in _UNLIMITED:
            await self._app(scope, receive, send)
            return
        caller = _caller(scope)
        refusal = await self._refusal(caller)
        if refusal is not None:
            body, seconds = refusal
            await respond(place_of(scope), body, {"Retry-After": str(seconds)})(
                scope, receive, send
            )
            return
        self._under_way[caller] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way[caller] -= 1
            if not self._under_way[caller]:
                del self._under_way[caller]

    async def _refusal(self, caller: str) -> tuple[dict[str, object], int] | None:
        """Why a request is refused, and after how many seconds it may come again."""
        if self._under_way.total() >= self._limits.requests:
            detail = (
                f"{self._limits.requests} requests are being answered already. Come back when "
                "Retry-After says, or raise RAG_API_MAX_REQUESTS."
            )
            return own_problem(HTTPStatus.SERVICE_UNAVAILABLE, detail), SOON_SECONDS
        if not caller:
            return None
        if self._under_way[caller] >= self._limits.requests_per_key:
            detail = (
                f"{self._limits.requests_per_key} requests of yours are being answered already. "
                "Wait for one of them, or raise RAG_API_MAX_REQUESTS_PER_KEY."
            )
            return own_problem(HTTPStatus.TOO_MANY_REQUESTS, detail), SOON_SECONDS
        if self._rate is not None and not await self._window.hit(self._rate, caller):
            detail = (
                f"You have sent {self._rate.amount} requests within a minute. Come back when "
                "Retry-After says, or raise RAG_API_REQUESTS_PER_MINUTE."
            )
            window = await self._window.get_window_stats(self._rate, caller)
            seconds = max(1, math.ceil(window.reset_time - time.time()))
            return own_problem(HTTPStatus.TOO_MANY_REQUESTS, detail), seconds
        return None


def _caller(scope: Scope) -> str:
    """Who sends a request; "" for this machine's own programs without a key."""
    key = scope.get("state", {}).get("key")
    if key is not None:
        return f"key {key.id}"
    host = (scope.get("client") or ("",))[0]
    return "" if is_loopback(host) else f"address {host}"


class BodyLimit:
    """Refuses bodies that are too long: by what they say of themselves, else when they become so.

    And those that come too slowly, which would keep a place from others for as long as they like.

    Args:
        app: What comes after.
        limits: How long, in bytes and in seconds.
    """

    def __init__(self, app: ASGIApp, *, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count what it sends."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > self._limits.body_bytes:
            body = own_problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_long)
            await respond(place_of(scope), body)(scope, receive, send)
            return
        await self._app(scope, _Body(receive, self._limits, self._too_long).receive, send)

    @property
    def _too_long(self) -> str:
        return (
            f"The request has more than {self._limits.body_bytes:,} bytes. Send less at a time, or "
            "raise RAG_API_MAX_BODY_BYTES."
        )


class _Body:
    """What one request sends."""

    def __init__(self, receive: Receive, limits: Limits, too_long: str) -> None:
        self._receive = receive
        self._limits = limits
        self._too_long = too_long
        self._began = time.monotonic()
        self._taken = 0
        self._whole = False

    async def receive(self) -> Message:
        if self._whole:  # what follows is that the client leaves, whenever it likes
            return await self._receive()
        try:
            message = await within(self._limits.body_seconds, self._receive())
        except TimeoutError as error:
            raise self._too_slow() from error
        self._taken += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._taken > self._limits.body_bytes:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_long)
        late = time.monotonic() - self._began - self._limits.body_seconds
        if not self._whole and self._taken < late * _SLOWEST:
            raise self._too_slow()
        return message

    def _too_slow(self) -> HTTPException:
        detail = (
            f"Nothing came for {self._limits.body_seconds:g} s, or less than {_SLOWEST:,} bytes a "
            "second for longer. Send it again over a better line, or raise RAG_API_BODY_SECONDS."
        )
        return HTTPException(HTTPStatus.REQUEST_TIMEOUT, detail, {"Connection": "close"})
