"""Who is let in where there are no keys: this machine alone, and no web page that a browser shows.

Without keys the server listens on the loopback interface. A web page can reach that too, through
the browser of whoever looks at it: by a form, or by a name of its own that leads to 127.0.0.1 (DNS
rebinding). So the name that is asked for must be this machine's, and a request that a browser
sends on behalf of a page must come from a page of ours.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from rag_engine_api.problems import own_problem, place_of, respond

_LOCAL: Final = "localhost"
_PASSED_ON: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


def is_loopback(host: str) -> bool:
    """Whether an address or a name is this machine's own, and can be reached from nowhere else."""
    if host.lower().rstrip(".") == _LOCAL:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


CORS: Final[dict[str, Any]] = {
    "allow_methods": ["GET", "POST", "PUT", "PATCH", "DELETE"],
    "allow_headers": [
        *("Authorization", "X-API-Key", "Content-Type", "X-Workspace", "X-Request-ID"),
        *("Idempotency-Key", "Last-Event-ID"),
    ],
    "expose_headers": [
        "X-Request-ID",
        "Retry-After",
        "Content-Disposition",
        "Idempotency-Replayed",
    ],
}
"""What pages of other origins may send and read. There are no cookies, so none are let in."""


class LocalOnly:
    """Refuses requests for another host's name, and those of other hosts' pages.

    Args:
        app: What comes after.
        origins: Whose pages are let in all the same.
    """

    def __init__(self, app: ASGIApp, *, origins: Collection[str] = ()) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if (
            scope["type"] != "http"
            or (refusal := _refusal(Headers(scope=scope), self._origins)) is None
        ):
            await self._app(scope, receive, send)
            return
        body = own_problem(HTTPStatus.FORBIDDEN, refusal)
        await respond(place_of(scope), body)(scope, receive, send)


def _name_in(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:  # brackets that do not match
        return ""


def _refusal(headers: Headers, origins: Collection[str]) -> str | None:
    if passed := next((one for one in _PASSED_ON if one in headers), None):
        return (
            f"This request was passed on by a proxy ({passed!r}), and nobody was asked for a key. "
            "Start the server with --keys, and make one: rag-engine keys create NAME"
        )
    host = headers.get("host", "")
    if not is_loopback(_name_in(f"//{host}")):
        return (
            f"This server answers to this machine's own name, not to {host!r}. "
            "Ask http://127.0.0.1 or http://localhost."
        )
    origin = headers.get("origin")
    if origin is not None and origin not in (f"http://{host}", f"https://{host}", *origins):
        return (
            f"A page of {origin!r} may not use this server. Ask it from another program, or from a "
            "page of its own."
        )
    return None
