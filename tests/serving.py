"""The service, asked by a real HTTP client: as an application without a socket, or as a process."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import httpx

from command_line import started
from rag_engine.access import Access
from rag_engine_api.app import Admission, create_app
from rag_engine_api.limits import Limits
from rag_engine_api.server import Server, listening

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from rag_engine.engine import Engine

MAX_BODY = 1_000_000
LIMITS = Limits(
    body_bytes=MAX_BODY,
    body_seconds=30,
    request_seconds=60,
    requests=100,
    requests_per_key=100,
    requests_per_minute=0,
)


@asynccontextmanager
async def asking(
    engine: Engine,
    admission: Admission = Admission.LOCAL,
    *,
    keyring: Access | None = None,
    limits: Limits = LIMITS,
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application over an engine; what breaks inside is answered, not raised."""
    keyring = keyring or Access(engine.control)
    app = create_app(engine, keyring, admission=admission, limits=limits)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


@contextmanager
def serving(data: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """A server on a port that is free, and a client of it."""
    with started(data, "serve", "--port", "0", *words) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"at (http://\S+) ", line)
        assert found, line
        with httpx.Client(base_url=found[1], timeout=30) as client:
            yield process, client


@asynccontextmanager
async def served(
    engine: Engine,
    admission: Admission = Admission.LOCAL,
    *,
    keyring: Access | None = None,
    limits: Limits = LIMITS,
) -> AsyncIterator[tuple[Server, httpx.AsyncClient]]:
    """A real server on a socket in this process, and a client of it."""
    keyring = keyring or Access(engine.control)
    app = create_app(engine, keyring, admission=admission, limits=limits)
    with listening("127.0.0.1", 0) as door:
        server = Server(app, limits=limits, drain_seconds=1)
        serving = asyncio.create_task(server.serve([door]))
        address = f"http://127.0.0.1:{door.getsockname()[1]}"
        try:
            async with httpx.AsyncClient(base_url=address, timeout=30) as client:
                yield server, client
        finally:
            server.stop()
            await serving
