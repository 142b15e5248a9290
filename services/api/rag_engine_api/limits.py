"""How much a request may send."""

from __future__ import annotations

from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag_engine_api.problems import OWN_CODES, problem, respond

_TOO_LARGE = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class BodyLimit:
    """Refuses bodies that are too long: by what they say of themselves, else when they become so.

    Args:
        app: What comes after.
        bytes: Of the longest body.
    """

    def __init__(self, app: ASGIApp, *, bytes: int) -> None:
        self._app = app
        self._bytes = bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count what it sends."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > self._bytes:
            body = problem(_TOO_LARGE, OWN_CODES[_TOO_LARGE], self._refusal)
            await respond(scope["path"], body)(scope, receive, send)
            return
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._bytes:
                raise HTTPException(_TOO_LARGE, self._refusal)
            return message

        await self._app(scope, counted, send)

    @property
    def _refusal(self) -> str:
        return (
            f"The request has more than {self._bytes:,} bytes. Send less at a time, or raise "
            "RAG_API_MAX_BODY_BYTES."
        )
