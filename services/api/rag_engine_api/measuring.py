"""Every request measured, and a line in the log for it; and what `/metrics` tells."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.routing import iter_route_contexts
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag_engine.engine import Engine
from rag_engine.errors import RagEngineError
from rag_engine.ports.queue import Census
from rag_engine.telemetry import events, metrics
from rag_engine_api.admission import READS
from rag_engine_api.responses import as_it_begins

logger = logging.getLogger(__name__)

router = APIRouter(tags=["operations"])

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_UNMATCHED: Final = "unmatched"
_UNANSWERED: Final = "none"  # in place of a status: the client went away before there was one
_FRESH_SECONDS: Final = 15.0
_PATIENCE_SECONDS: Final = 5.0
_UNKNOWN: Final = float("nan")

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


@dataclass
class Inventory:
    """What all workspaces hold, counted again when that is some seconds old.

    However often and by however many it is asked, the store is asked by one at a time.
    """

    engine: Engine

    def __post_init__(self) -> None:
        self._counted_at = float("-inf")
        self._alone = asyncio.Lock()

    async def tell(self) -> None:
        """Set the metrics that are the store's."""
        async with self._alone:
            if time.monotonic() - self._counted_at < _FRESH_SECONDS:
                return
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    _show(await self._counted())
            except (RagEngineError, TimeoutError) as error:
                logger.warning("What the store holds is not known: %s", error or "no answer")
                _show(None)
            else:
                self._counted_at = time.monotonic()

    async def _counted(self) -> list[Census]:
        found = []
        for name in await self.engine.control.workspaces():
            try:
                found.append(await (await self.engine.workspace(name)).queue.census())
            except RagEngineError as error:  # the others are told all the same
                logger.warning("Workspace %r is not counted: %s", name, error)
        return found


def _show(found: list[Census] | None) -> None:
    def total(of: Callable[[Census], int]) -> float:
        return _UNKNOWN if found is None else sum(map(of, found))

    metrics.STORE_UP.set(found is not None)
    metrics.WORKSPACES.set(total(lambda one: 1))
    metrics.QUEUE.labels("pending").set(total(lambda one: one.pending))
    metrics.QUEUE.labels("running").set(total(lambda one: one.running))
    ages = (_UNKNOWN,) if found is None else (one.oldest_seconds for one in found)
    metrics.QUEUE_AGE.set(max(ages, default=0.0))
    metrics.HELD.labels("documents").set(total(lambda one: one.indexed))
    metrics.HELD.labels("chunks").set(total(lambda one: one.chunks))


class _Exposition(Response):
    media_type = CONTENT_TYPE_LATEST.partition(";")[0]


@router.get("/metrics", dependencies=[READS], response_class=_Exposition)
async def show(request: Request) -> _Exposition:
    """What this process counts and measures, for Prometheus; a key must be for all workspaces."""
    await request.app.state.inventory.tell()
    text = await asyncio.to_thread(generate_latest, metrics.REGISTRY)  # it reads files of /proc
    return _Exposition(text, headers={"Content-Type": CONTENT_TYPE_LATEST})
