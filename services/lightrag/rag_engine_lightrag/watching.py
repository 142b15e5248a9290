"""A worker that can be watched: `/metrics` for Prometheus, `/health` for whoever restarts it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rag_engine.engine import Engine
from rag_engine.exposition import CONTENT_TYPE, Exposition

_CONNECTIONS: Final = 16  # of those who watch; one that finds no place comes again anyway
_DRAIN_SECONDS: Final = 1


@asynccontextmanager
async def watched(engine: Engine, door: socket.socket) -> AsyncIterator[None]:
    """Answer on a socket meanwhile, in the event loop of the work: if that hangs, nobody answers.

    Args:
        engine: Which works.
        door: Listens; it stays the caller's to close.
    """
    server = _Server(
        uvicorn.Config(
            _app(engine),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )
    )
    serving = asyncio.create_task(server.serve([door]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving


def _app(engine: Engine) -> Starlette:
    release = version("rag-engine-server")
    exposition = Exposition(engine, release)

    async def metrics(request: Request) -> Response:
        return Response(await exposition.text(), headers={"Content-Type": CONTENT_TYPE})

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok", "version": release})

    return Starlette(routes=[Route("/metrics", metrics), Route("/health", health)])


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to the worker."""
        yield
