"""The application: which routes there are, and what stands around them."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Final

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware

from rag_engine.access import Access
from rag_engine.engine import Engine
from rag_engine.exposition import Exposition
from rag_engine_api import (
    documents,
    graph,
    keys,
    measuring,
    openai,
    operations,
    questions,
    workspaces,
)
from rag_engine_api.admission import AskForKeys, show_keys
from rag_engine_api.calls import UnderRoot, WholeSegments, workspace_by_header, workspace_by_path
from rag_engine_api.doors import CORS, LocalOnly
from rag_engine_api.examples import show_examples
from rag_engine_api.headers import WaryHeaders
from rag_engine_api.limits import BodyLimit, Limits, Throttle
from rag_engine_api.measuring import Measured, templates_of
from rag_engine_api.pages import describe_routes, show_console
from rag_engine_api.problems import DESCRIBED, explain_errors
from rag_engine_api.readiness import Checks
from rag_engine_api.timing import Deadline
from rag_engine_api.tracing import RequestIds

PREFIX: Final = "/api/v1"

_DESCRIPTION: Final = """\
Documents in, cited answers out.

Every route under `/api/v1` works on the workspace that the header `X-Workspace` names (without
one, `default`), or stands in the path: `/api/v1/workspaces/{workspace}/…`. Errors are
`application/problem+json` (RFC 9457) with a stable `code`.
"""


class Admission(StrEnum):
    """Who is let in."""

    KEYS = "keys"  # whoever brings a key
    LOCAL = "local"  # programs on this machine, without a key
    OPEN = "open"  # whoever reaches it


def create_app(
    engine: Engine,
    keyring: Access,
    *,
    admission: Admission,
    limits: Limits,
    root_path: str = "",
    origins: Collection[str] = (),
) -> FastAPI:
    """An application over an engine, which stays the caller's to close.

    Args:
        engine: What answers.
        keyring: The keys.
        admission: Who is let in.
        limits: What it bears.
        root_path: Where a proxy shows it.
        origins: Whose pages may use it from a browser, besides its own.
    """
    app = FastAPI(
        title="RAG Engine",
        version=operations.VERSION,
        description=_DESCRIPTION,
        generate_unique_id_function=_operation_id,
        docs_url=None,
        redoc_url=None,
        responses=DESCRIBED,
    )
    app.state.engine = engine
    app.state.keyring = keyring
    app.state.stopping = False
    app.state.exposition = Exposition(engine, operations.VERSION)
    app.state.checks = Checks(engine)
    # They are tried one after the other: what is asked most comes first.
    routes = APIRouter()
    for part in (questions, documents, graph):
        routes.include_router(part.router)
    app.include_router(routes, prefix=PREFIX, dependencies=[Depends(workspace_by_header)])
    app.include_router(openai.router)
    app.include_router(
        routes,
        prefix=f"{PREFIX}/workspaces/{{workspace}}",
        dependencies=[Depends(workspace_by_path)],
    )
    for everywhere in (keys, workspaces):
        app.include_router(everywhere.router, prefix=PREFIX)
    app.include_router(measuring.router)
    app.include_router(operations.router)
    describe_routes(app)
    show_keys(app)
    show_examples(app)
    show_console(app)
    explain_errors(app)
    _surround(app, admission, limits, root_path, origins)
    return app


def _surround(
    app: FastAPI, admission: Admission, limits: Limits, root_path: str, origins: Collection[str]
) -> None:
    """What each request goes through before its route, the innermost first."""
    app.add_middleware(WholeSegments)
    app.add_middleware(Deadline, seconds=limits.request_seconds)
    app.add_middleware(BodyLimit, limits=limits)
    app.add_middleware(Throttle, limits=limits)
    if admission is Admission.KEYS:
        app.add_middleware(AskForKeys, access=app.state.keyring)
    if admission is Admission.LOCAL:
        app.add_middleware(LocalOnly, origins=origins)
    app.add_middleware(WaryHeaders)
    if origins:
        app.add_middleware(CORSMiddleware, allow_origins=list(origins), **CORS)
    app.add_middleware(Measured, templates=templates_of(app.routes))
    app.add_middleware(RequestIds)
    if root_path:
        app.add_middleware(UnderRoot, root=root_path)


def _operation_id(route: APIRoute) -> str:
    place = "in_workspace_" if "{workspace}" in route.path_format else ""
    tag = route.tags[0] if route.tags else "other"
    return f"{tag}_{place}{route.name.rstrip('_')}"
