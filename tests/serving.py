"""The service, asked by a real HTTP client: as an application without a socket, or as a process."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import httpx

from command_line import started
from rag_engine.access import Access
from rag_engine_api.app import Admission, create_app

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from rag_engine.engine import Engine

MAX_BODY = 1_000_000


@asynccontextmanager
async def asking(
    engine: Engine, admission: Admission = Admission.LOCAL, *, keyring: Access | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application over an engine; what breaks inside is answered, not raised."""
    keyring = keyring or Access(engine.control)
    app = create_app(engine, keyring, admission=admission, max_body_bytes=MAX_BODY)
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
