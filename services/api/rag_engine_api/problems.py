"""Every error as one shape: `application/problem+json` (RFC 9457) with a stable `code`.

A problem's `code` is the error's class name in snake case, or one of those in `OWN_CODES`. What
goes wrong inside is said in the log, with the request's id, and not to the client.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from rag_engine import errors
from rag_engine.telemetry import metrics
from rag_engine_api.tracing import HEADER

logger = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"

STATUSES: Final[dict[type[errors.RagEngineError], HTTPStatus]] = {
    errors.ConfigurationError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.InvalidRequest: HTTPStatus.BAD_REQUEST,
    errors.InvalidFilter: HTTPStatus.BAD_REQUEST,
    errors.InvalidCursor: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.IdempotencyKeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.ModelMismatch: HTTPStatus.CONFLICT,
    errors.ArchiveRejected: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.DocumentRejected: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.DocumentUnreadable: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.DocumentEmpty: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.DocumentTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StoreFull: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.StoreCorrupt: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.StoreTooNew: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.BlobMissing: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.LeaseLost: HTTPStatus.CONFLICT,
    errors.ModelUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ModelOverloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.ModelMisbehaved: HTTPStatus.BAD_GATEWAY,
}
"""The status of every error that RAG Engine raises on purpose; a subclass has its own line."""

OWN_CODES: Final = {
    HTTPStatus.BAD_REQUEST: "bad_request",
    HTTPStatus.UNAUTHORIZED: "unauthorized",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.NOT_FOUND: "no_such_route",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.REQUEST_TIMEOUT: "body_too_slow",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "body_too_large",
    HTTPStatus.UNPROCESSABLE_ENTITY: "malformed",
    HTTPStatus.TOO_MANY_REQUESTS: "too_many_requests",
    HTTPStatus.INTERNAL_SERVER_ERROR: "internal_error",
    HTTPStatus.SERVICE_UNAVAILABLE: "overloaded",
    HTTPStatus.GATEWAY_TIMEOUT: "timed_out",
}
"""Codes of what HTTP itself refuses."""

_PASSING: Final = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)

_BOUNDING: Final = _PASSING | {HTTPStatus.REQUEST_ENTITY_TOO_LARGE}
"""What is refused to bound load, and counted."""

_RETRY_SECONDS: Final = 2


def code_of(kind: type[errors.RagEngineError]) -> str:
    """The stable code of a class of errors: `NotFound` is `not_found`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()


class Problem(BaseModel):
    """What went wrong, and what to do about it."""

    type: str
    title: str
    status: int
    detail: str = Field(description="A sentence that ends with the remedy.")
    code: str = Field(description="Stable; see the table of errors in the documentation.")
    retryable: bool = Field(description="Whether the same request may succeed later.")


DESCRIBED: Final[dict[int | str, dict[str, Any]]] = {
    "default": {
        "description": "What went wrong, and what to do about it (RFC 9457).",
        "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}},
    }
}
"""How the description of the routes tells of errors."""


def problem(
    status: int, code: str, detail: str, *, retryable: bool = False, **more: object
) -> dict[str, Any]:
    """A problem as JSON."""
    return {
        "type": f"urn:rag-engine:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
        "code": code,
        "retryable": retryable,
        **more,
    }


def own_problem(status: HTTPStatus, detail: str, **more: object) -> dict[str, Any]:
    """What HTTP itself refuses, as JSON; what bounds load is counted."""
    code = OWN_CODES.get(status, status.name.lower())
    if status in _BOUNDING:
        metrics.REFUSED.labels(code).inc()
    return problem(status, code, detail, retryable=status in _PASSING, **more)


def problem_of(error: errors.RagEngineError) -> dict[str, Any]:
    """An error of the engine as a problem."""
    status = STATUSES[type(error)]
    return problem(status, code_of(type(error)), str(error), retryable=error.retryable)


def as_openai(body: dict[str, Any]) -> dict[str, Any]:
    """A problem that clients of the OpenAI protocol understand too: they look into `error`."""
    error = {"message": body["detail"], "type": body["title"], "code": body["code"], "param": None}
    return {**body, "error": error}


def place_of(scope: Scope) -> str:
    """The path of a request as it is here, whatever proxies have put before it."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.removeprefix(root) if path.startswith(f"{root}/") else path


def for_openai(path: str) -> bool:
    """Whether clients of the OpenAI protocol use it."""
    return path.startswith("/v1/")


def respond(
    path: str, body: dict[str, Any], headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """A problem as the response to a request for a path."""
    told = as_openai(body) if for_openai(path) else body
    return JSONResponse(told, status_code=body["status"], headers=headers, media_type=MEDIA_TYPE)


def _told(
    request: Request, body: dict[str, Any], headers: Mapping[str, str] | None = None
) -> JSONResponse:
    return respond(place_of(request.scope), body, headers)


async def _engine_error(request: Request, error: Exception) -> JSONResponse:
    error = cast("errors.RagEngineError", error)
    body = problem_of(error)
    if body["status"] >= HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.warning("%s %r: %s", request.method, request.url.path, error)
    if not error.retryable:
        return _told(request, body)
    seconds = getattr(error, "retry_after", None) or _RETRY_SECONDS
    return _told(request, body, {"Retry-After": str(max(1, round(seconds)))})


async def _http_error(request: Request, error: Exception) -> Response:
    error = cast("HTTPException", error)
    status = HTTPStatus(error.status_code)
    if status is HTTPStatus.NO_CONTENT:
        return Response(status_code=status)
    detail = str(error.detail)
    if detail == status.phrase:
        detail = _EXPLAINED.get(status, f"{detail}. See /docs for what there is.")
    headers = dict(error.headers or {})
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = _allowed(request)
    return _told(request, own_problem(status, detail), headers)


def _allowed(request: Request) -> str:
    """The methods of an address: whoever refuses one knows only those of the first of its routes."""
    routes = (route for route in iter_route_contexts(request.app.routes))
    matching = (one for one in routes if one.matches(request.scope)[0] is not Match.NONE)
    return ", ".join(sorted({method for one in matching for method in one.methods or ()}))


_EXPLAINED: Final = {
    HTTPStatus.NOT_FOUND: "There is nothing at this address. See /docs for what there is.",
    HTTPStatus.METHOD_NOT_ALLOWED: "This address does not take that method. See /docs.",
}


async def _malformed(request: Request, error: Exception) -> JSONResponse:
    error = cast("RequestValidationError", error)
    found = [
        {"where": [str(part) for part in one["loc"]], "message": one["msg"]}
        for one in error.errors()
    ]
    first = found[0]
    detail = f"{'.'.join(first['where'])}: {first['message']}. See /docs for what is understood."
    return _told(request, own_problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=found))


async def _internal(request: Request, error: Exception) -> JSONResponse:
    id = request.state.request_id
    what = f"{type(error).__name__}: {error}"
    logger.error("Request %s broke: %s %r (%s)", id, request.method, request.url.path, what)
    detail = f"Something went wrong inside RAG Engine. The log says more, under request {id}."
    # This goes out past all middleware, that which names requests included.
    return _told(request, own_problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail), {HEADER: id})


def explain_errors(app: FastAPI) -> None:
    """Let an application answer with problems, whatever goes wrong."""
    app.add_exception_handler(errors.RagEngineError, _engine_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(Exception, _internal)
