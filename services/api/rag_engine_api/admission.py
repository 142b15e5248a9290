"""Who is let in where there are keys: whoever brings one that may do what a route does.

A key comes as `Authorization: Bearer …` or as `X-API-Key`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from rag_engine.access import Access
from rag_engine.core.keys import Key
from rag_engine.core.keys import Scope as Permission
from rag_engine.errors import RagEngineError
from rag_engine_api.description import amend
from rag_engine_api.problems import own_problem, place_of, problem_of, respond

_OPEN: Final = frozenset({"/", "/health", "/ready", "/docs", "/openapi.json"})
"""What is for everybody: it tells nothing of what is stored."""


class AskForKeys:
    """Lets in who brings a key that is known, before anything of the request's body is read.

    Args:
        app: What comes after; it finds the key in the request's state.
        access: The keys.
    """

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its key, or refuse it."""
        if scope["type"] != "http" or _is_open(place_of(scope)):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        token = _token(headers)
        try:
            key = await self._access.key_of(token) if token else None
        except RagEngineError as error:
            await respond(place_of(scope), problem_of(error))(scope, receive, send)
            return
        if key is None:
            refusal = own_problem(HTTPStatus.UNAUTHORIZED, _UNKNOWN if token else _MISSING)
            how = {"WWW-Authenticate": "Bearer"}
            await respond(place_of(scope), refusal, how)(scope, receive, send)
            return
        if _uploads(headers) and not key.may(Permission.WRITE):
            refusal = own_problem(HTTPStatus.FORBIDDEN, _refusal(key, Permission.WRITE, None))
            await respond(place_of(scope), refusal)(scope, receive, send)
            return
        scope.setdefault("state", {})["key"] = key
        await self._app(scope, receive, send)


def _uploads(headers: Headers) -> bool:
    """Whether a request sends files, which are taken in before its route is asked."""
    return headers.get("content-type", "").lower().startswith("multipart/")


def _is_open(path: str) -> bool:
    return path in _OPEN or path.startswith(("/docs/", "/console/"))


_MISSING: Final = "This server asks for a key. Bring one, as Authorization: Bearer …"
_UNKNOWN: Final = "The key is not known, or was revoked. Bring another one."


def _token(headers: Headers) -> str:
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "")


_SCHEMES: Final = (
    HTTPBearer(auto_error=False, description="A key: `rag-…`."),
    APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key."),
)
"""The two ways to send a key, for the description of the routes: as dependencies they would be looked
at four times a request, though `AskForKeys` has done it."""


def show_keys(app: FastAPI) -> None:
    """Let an application's description of itself say where a key may be sent, and how."""

    def change(whole: dict[str, Any]) -> None:
        schemes = {
            one.scheme_name: jsonable_encoder(one.model, exclude_none=True) for one in _SCHEMES
        }
        whole["components"]["securitySchemes"] = schemes
        for path, methods in whole["paths"].items():
            for operation in methods.values() if not _is_open(path) else ():
                operation["security"] = [{name: []} for name in schemes]

    amend(app, change)


def _brought(request: Request) -> Key | None:
    """The key of a request, where `AskForKeys` asked for one."""
    return getattr(request.state, "key", None)


async def _key(request: Request) -> Key | None:
    return _brought(request)


KnownKey = Annotated[Key | None, Depends(_key)]
"""Of a parameter: the key of a request, of whatever scope; `None` where none is asked for."""


def _refusal(key: Key, needed: Permission, workspace: str | None) -> str:
    may = " and ".join(sorted(key.scopes))
    where = f" in {', '.join(sorted(key.workspaces))}" if key.workspaces else ""
    there = f" in workspace {workspace!r}" if workspace is not None else ""
    return (
        f"This needs the scope {str(needed)!r}{there}; the key {key.name!r} has {may}{where}. "
        "Bring another one."
    )


async def _reads(request: Request) -> None:
    _check(request, Permission.READ)


async def _writes(request: Request) -> None:
    _check(request, Permission.WRITE)


async def _administers(request: Request) -> None:
    _check(request, Permission.ADMIN)


def _check(request: Request, needed: Permission) -> None:
    key = _brought(request)
    workspace = getattr(request.state, "workspace", None)
    if key is not None and not key.allows(needed, workspace):
        raise HTTPException(HTTPStatus.FORBIDDEN, _refusal(key, needed, workspace))


READS: Final = Depends(_reads)
"""Among a route's dependencies: it reads a workspace."""

WRITES: Final = Depends(_writes)
"""Among a route's dependencies: it writes to a workspace."""

ADMINISTERS: Final = Depends(_administers)
"""Among a route's dependencies: it is the operator's."""
