"""The description of the routes and what they do are one: `schemathesis` compares them.

It makes requests from the description, good and bad ones, and sends them over loopback to a server
with workers on the embedded store. None may end in a 5xx, or in what the description does not tell.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, cast

import pytest
import schemathesis
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, settings
from schemathesis.checks import positive_data_acceptance
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    negative_data_rejection,
)

from engines import put, small_engine
from rag_engine.access import Access
from rag_engine_api.app import Admission, create_app
from rag_engine_api.server import Server, listening
from rag_engine_lightrag.pool import WorkerPool
from serving import LIMITS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from rag_engine.engine import Engine

TOKEN = "a key for all of this server"  # noqa: S105 - of this test alone
FARNE = "# Farne\n\nThe lighthouse of Farne was built by Ada Brand in 1843."


def described() -> dict[str, Any]:
    """The description of an application without an engine, which none of it needs."""
    nobody = cast("Engine", None)
    app = create_app(nobody, cast("Access", None), admission=Admission.LOCAL, limits=LIMITS)
    return app.openapi()


DESCRIPTION: Final = described()
# Each route of a workspace stands twice, with one function: by header and by path.
schema = schemathesis.openapi.from_dict(DESCRIPTION).exclude(path_regex="^/api/v1/workspaces/.*/")


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[str]:
    """The address of a server with workers, whose workspace `default` holds a document."""
    engine = await small_engine(folder)
    await put(engine, "notes-on-the-lens.md", FARNE)
    keyring = Access(engine.control, admin_token=TOKEN)
    app = create_app(engine, keyring, admission=Admission.KEYS, limits=LIMITS)
    door = listening("127.0.0.1", 0)
    server, pool = Server(app, limits=LIMITS, drain_seconds=1), WorkerPool(engine=engine)
    serving, working = asyncio.create_task(server.serve([door])), asyncio.create_task(pool.run())
    try:
        yield f"http://127.0.0.1:{door.getsockname()[1]}"
    finally:
        server.stop()
        pool.stop()
        await asyncio.gather(serving, working)
        await engine.aclose()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("described") / "data"
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(served(folder)) as address,
    ):
        yield address


@schema.parametrize()
@settings(max_examples=10, suppress_health_check=list(HealthCheck))
def test_no_request_ends_in_what_is_not_described(case: schemathesis.Case, address: str) -> None:
    # What a filter or a name must be is more than a schema can say: good data may be refused.
    excluded = [positive_data_acceptance]
    if case.operation.path == "/api/v1/documents/text":  # which also is the document of that id
        excluded.append(allow_header_conformance)
    if "multipart/form-data" in str(case.operation.definition.raw.get("requestBody")):
        excluded.append(negative_data_rejection)  # a number in a form is a text like any other
    headers = {"Authorization": f"Bearer {TOKEN}"}
    case.call_and_validate(address, headers=headers, excluded_checks=excluded, timeout=20)
