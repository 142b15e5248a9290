"""Every request measured, and a line in the log for it; and what `/metrics` tells."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag_engine.exposition import CONTENT_TYPE
from rag_engine.telemetry import events, metrics
from rag_engine_api.admission import READS
from rag_engine_api.responses import as_it_begins

logger = logging.getLogger(__name__)

router = APIRouter(tags=["operations"])

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_UNMATCHED: Final = "unmatched"
_UNANSWERED: Final = "none"  # in place of a status: the client went away before there was one

Templates = Mapping[tuple[Any, frozenset[str]], str]
"""The template of each route's path, by its endpoint and the names of its parameters."""


def templates_of(routes: Iterable[BaseRoute]) -> Templates:
    """The templates of routes, included ones too."""
    found = {}
    for one in iter_route_contexts(list(routes)):
        path = getattr(one, "path_format", None)
        if path is not None:
            names = frozenset(getattr(one, "param_convertors", None) or ())
            found[one.endpoint, names] = path
    return found


class Measured:
    """Measures requests by the template of their route, and logs each.

    Args:
        app: What comes after; it leaves in the scope which route it chose.
        templates: Of the routes.
        clock: Seconds that only grow.
    """

    def __init__(
        self, app: ASGIApp, *, templates: Templates, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._app = app
        self._templates = templates
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and see how it ends."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, path, status = self._clock(), scope["path"], _UNANSWERED

        def see(start: Message) -> None:
            nonlocal status
            status = str(start["status"])

        try:
            with metrics.REQUESTS_UNDER_WAY.track_inprogress():
                await self._app(scope, receive, as_it_begins(send, see))
        except Exception:
            status = "500"
            raise
        finally:
            self._tell(scope, path, status, self._clock() - began)

    def _tell(self, scope: Scope, path: str, status: str, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        chosen = scope.get("endpoint"), frozenset(scope.get("path_params", ()))
        route = self._templates.get(chosen, _UNMATCHED)
        metrics.REQUESTS.labels(method, route, status).observe(seconds)
        key = scope.get("state", {}).get("key")
        said = {
            "action": events.REQUEST,
            "method": method,
            "path": path,
            "status": int(status) if status.isdecimal() else None,
            "seconds": round(seconds, 4),
            "key": key.id if key else None,
        }
        logger.info("%s %s %s (%.0f ms)", method, path, status, seconds * 1000, extra=said)


class _Exposition(Response):
    media_type = CONTENT_TYPE.partition(";")[0]


@router.get("/metrics", dependencies=[READS], response_class=_Exposition)
async def show(request: Request) -> _Exposition:
    """What this process counts and measures, for Prometheus; a key must be for all workspaces."""
    text = await request.app.state.exposition.text()
    return _Exposition(text, headers={"Content-Type": CONTENT_TYPE})
