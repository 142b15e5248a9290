"""What a request is about: the engine, and the workspace that its header or its path names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import Depends, Header, Path, Request
from pydantic import AfterValidator
from starlette.types import ASGIApp, Receive, Scope, Send

from rag_engine.core.filters import Filter, parse
from rag_engine.core.models import DEFAULT_WORKSPACE
from rag_engine.engine import Engine
from rag_engine.errors import InvalidFilter


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a route works with."""

    engine: Engine
    workspace: str


# What is at hand is looked up by coroutines: FastAPI runs functions in threads, for a millisecond each.


async def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


async def _call(request: Request) -> Call:
    return Call(engine=request.app.state.engine, workspace=request.state.workspace)


async def workspace_by_header(
    request: Request,
    x_workspace: Annotated[
        str, Header(description="Name of the workspace.", examples=[DEFAULT_WORKSPACE])
    ] = DEFAULT_WORKSPACE,
) -> None:
    """Let the routes of a router work on the workspace that a header names."""
    request.state.workspace = x_workspace


async def workspace_by_path(
    request: Request, workspace: Annotated[str, Path(description="Name of the workspace.")]
) -> None:
    """Let the routes of a router work on the workspace that stands in their path."""
    request.state.workspace = workspace


Calling = Annotated[Call, Depends(_call)]
"""Of a parameter: what the route works with."""

ServingEngine = Annotated[Engine, Depends(_engine)]
"""Of a parameter of a route that belongs to no workspace: the engine."""


class WholeSegments:
    """Keeps a slash that is written `%2F` inside its segment of the path, for ids are often paths.

    Servers decode the path before it is matched with routes. Here each segment is decoded by itself
    and then has `%` and `/` written as `%25` and `%2F`, which `segment` takes back.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its path written anew."""
        raw = scope.get("raw_path")
        if scope["type"] == "http" and raw is not None:
            segments = raw.decode("latin-1").partition("?")[0].split("/")
            # In place: those outside look into the scope for the route that was chosen.
            scope["path"] = "/".join(map(_rewritten, segments))
        await self._app(scope, receive, send)


class UnderRoot:
    """Lets all paths begin with where a proxy shows the server, also when that took it off.

    Args:
        app: What comes after.
        root: Where it is shown, for example `/rag`.
    """

    def __init__(self, app: ASGIApp, *, root: str) -> None:
        self._app = app
        self._root = root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its path as the client sent it."""
        if scope["type"] == "http":
            scope["root_path"] = self._root
            path = scope["path"]
            if path != self._root and not path.startswith(f"{self._root}/"):
                scope["path"] = self._root + path
                scope["raw_path"] = self._root.encode() + (scope.get("raw_path") or path.encode())
        await self._app(scope, receive, send)


def _rewritten(segment: str) -> str:
    return unquote(segment).replace("%", "%25").replace("/", "%2F")


def segment(written: str) -> str:
    """A path's segment as it was meant. See `WholeSegments`."""
    return written.replace("%2F", "/").replace("%25", "%")


DocumentId = Annotated[
    str,
    AfterValidator(segment),
    Path(
        description="The document's id; a `/` in it is written `%2F`.",
        examples=["notes-on-the-lens.md"],
    ),
]
"""Of a parameter: the id of a document in the path."""


def filter_of(value: dict[str, Any] | None) -> Filter | None:
    """A filter of a request's body."""
    return None if value is None else parse(value)


def filter_in_query(text: str | None) -> Filter | None:
    """A filter of a request's query, as JSON.

    Raises:
        InvalidFilter: It is no JSON, or no filter.
    """
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidFilter(
            f'{text[:200]!r} is not JSON ({error}). Write for example {{"eq": {{"year": 2024}}}}.'
        ) from error
    return parse(value)
