"""A name for each request, by which its lines in the log are found."""

from __future__ import annotations

import re
import uuid
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag_engine.telemetry.logging import REQUEST_ID
from rag_engine_api.responses import as_it_begins

HEADER: Final = "X-Request-ID"

_USABLE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestIds:
    """Gives each request an id: the one it brings, if that can stand in a log, else a new one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its id, which its response has as a header."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        brought = Headers(scope=scope).get(HEADER, "")
        id = brought if _USABLE.fullmatch(brought) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = id

        def name(start: Message) -> None:
            MutableHeaders(scope=start)[HEADER] = id

        token = REQUEST_ID.set(id)
        try:
            await self._app(scope, receive, as_it_begins(send, name))
        finally:
            REQUEST_ID.reset(token)
