"""What every response says to browsers: take nothing for more than it is, and show it in no frame."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag_engine_api.responses import as_it_begins

_UNLESS_SAID: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class WaryHeaders:
    """Adds these headers to responses that do not say otherwise themselves."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its response with the headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, as_it_begins(send, _complete))


def _complete(start: Message) -> None:
    headers = MutableHeaders(scope=start)
    for name, value in _UNLESS_SAID.items():
        headers.setdefault(name, value)
