"""`Idempotency-Key`: a request that is sent twice is answered twice, and done once.

A client that does not know whether its request arrived sends it again with the same key, and is told
what the first one was told, whatever has happened since. The key stands for its request before
anything is done, so that another request with it changes nothing. Accepting the same document twice
changes nothing by itself: two at once need no lock, and who is killed before the answer is kept leaves
a key under which the same request is done again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic.json_schema import SkipJsonSchema
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from rag_engine.errors import CallerError, IdempotencyKeyReused, InvalidRequest
from rag_engine.ports.idempotency import IdempotencyRecord, IdempotencyRecords
from rag_engine_api.admission import KnownKey
from rag_engine_api.calls import Calling
from rag_engine_api.problems import place_of

REPLAYED: Final = "Idempotency-Replayed"
"""Of a response: it is the one that an earlier request with the same key was given."""

_LONGEST: Final = 255
_PIECE: Final = 1 << 20


@dataclass(slots=True, kw_only=True)
class _Reservation:
    """A key that stands for the request which is being answered."""

    records: IdempotencyRecords
    workspace: str
    key: str
    record: IdempotencyRecord
    final: bool = True


class _Replay(Exception):
    """The request was answered before."""

    def __init__(self, answer: str) -> None:
        super().__init__(answer)
        self.answer = answer


class Repeatable(APIRoute):
    """A route that keeps its answers to requests with a key, if it depends on `ONCE`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request."""
        handle = super().get_route_handler()
        status = self.status_code or HTTPStatus.OK

        async def handling(request: Request) -> Response:
            try:
                response = await handle(request)
                await _keep(request, response)
            except _Replay as replay:
                headers = {REPLAYED: "true"}
                return Response(replay.answer, status, headers, media_type="application/json")
            except (CallerError, HTTPException, RequestValidationError):
                await _release(request)
                raise
            return response

        return handling


async def _reserve(
    request: Request,
    call: Calling,
    api_key: KnownKey,
    idempotency_key: Annotated[
        str | SkipJsonSchema[None],
        Header(
            description="Any text that no other request of this client has, for example a UUID. "
            "The same request again within 24 hours is given the same answer, marked "
            f"`{REPLAYED}: true`, and does nothing else.",
            min_length=1,
            max_length=_LONGEST,
            examples=["8e03978e-40d5-43dd-bc93-6894a57f9324"],
        ),
    ] = None,
) -> None:
    if idempotency_key is None:
        return
    records, workspace = call.engine.control.idempotency, call.workspace
    # A key is its client's own: nobody learns what another one was answered, or is in its way.
    whose = api_key.id if api_key is not None else ""
    key = _hash([whose, _meant(idempotency_key)])
    fingerprint = _hash(await _asked(request))
    record = await records.reserve(workspace, key, fingerprint)
    _check(record, fingerprint)
    if record.answer is not None:
        raise _Replay(record.answer)
    request.state.reservation = _Reservation(
        records=records, workspace=workspace, key=key, record=record
    )


ONCE: Final = Depends(_reserve)
"""Among a route's dependencies, after who may use it: `Idempotency-Key` is honoured."""


def has_key(request: Request) -> bool:
    """Whether a request may be one that was sent, and perhaps done, before."""
    return _reservation(request) is not None


def keep_open(request: Request) -> None:
    """Have a request that was answered in part done again when it is repeated."""
    if (reservation := _reservation(request)) is not None:
        reservation.final = False


def _reservation(request: Request) -> _Reservation | None:
    return getattr(request.state, "reservation", None)


async def _keep(request: Request, response: Response) -> None:
    mine = _reservation(request)
    if mine is None or not mine.final:
        return
    answered = replace(mine.record, answer=bytes(response.body).decode())
    kept = await mine.records.settle(mine.workspace, mine.key, answered)
    _check(kept, answered.fingerprint)
    if kept != answered and kept.answer is not None:
        raise _Replay(kept.answer)  # of two at once, the other one was first


async def _release(request: Request) -> None:
    """Let go of the key of a request that was refused: it may be put right and sent again."""
    if (mine := _reservation(request)) is not None:
        await mine.records.release(mine.workspace, mine.key, mine.record.fingerprint)


def _check(record: IdempotencyRecord, fingerprint: str) -> None:
    if record.fingerprint != fingerprint:
        raise IdempotencyKeyReused(
            "This Idempotency-Key was sent with another request within the last 24 hours. Send a "
            "new key with every new request, and the same one only to repeat a request as it was."
        )


def _meant(given: str) -> str:
    """A key without the quotes that RFC 8941 has around it.

    Raises:
        InvalidRequest: Nothing is left.
    """
    quoted = len(given) > 1 and given[0] == given[-1] == '"'
    key = given[1:-1] if quoted else given
    if not key.strip():
        raise InvalidRequest("The Idempotency-Key is empty. Send one, for example a UUID.")
    return key


async def _asked(request: Request) -> list[object]:
    """What a request asks for, wherever the workspace stands and however its body is written."""
    given = {**request.path_params}
    workspace = given.pop("workspace", None)
    path = place_of(request.scope)
    if workspace is not None:
        path = path.replace(f"/workspaces/{workspace}", "", 1)
    return [request.method, path, sorted(request.query_params.multi_items()), await _body(request)]


async def _body(request: Request) -> object:
    if "form" in request.headers.get("content-type", ""):
        return [(name, await _field(value)) for name, value in (await request.form()).multi_items()]
    body = await request.body()
    try:
        return json.dumps(json.loads(body), sort_keys=True) if body else None
    except (ValueError, RecursionError):
        return hashlib.sha256(body).hexdigest()


async def _field(value: str | UploadFile) -> object:
    if isinstance(value, str):
        return value

    def digest() -> str:
        value.file.seek(0)
        digest = hashlib.sha256()
        while piece := value.file.read(_PIECE):
            digest.update(piece)
        return digest.hexdigest()

    return [value.filename, await asyncio.to_thread(digest)]


def _hash(what: object) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
