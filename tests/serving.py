"""An application that is asked by a real HTTP client, without a socket between them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx

from rag_engine.access import Access
from rag_engine_api.app import Admission, create_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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
