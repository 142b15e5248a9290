"""Documents: in, out, looked at, deleted; and where each stands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, File, Form, Header, Query, Request, UploadFile
from fastapi.responses import FileResponse, PlainTextResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import TypeAdapter, ValidationError
from pydantic.json_schema import SkipJsonSchema
from starlette.exceptions import HTTPException

from rag_engine.core.filters import Filter
from rag_engine.core.listing import Order, Sort, VersionSort
from rag_engine.core.models import UNFINISHED, Document, Metadata, Version, VersionStatus
from rag_engine.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    RagEngineError,
    WorldError,
)
from rag_engine.ingest.versions import every_version, version_page
from rag_engine_api.admission import READS, WRITES
from rag_engine_api.calls import Call, Calling, DocumentId, filter_in_query
from rag_engine_api.idempotency import ONCE, Repeatable, has_key, keep_open
from rag_engine_api.problems import problem_of
from rag_engine_api.schemas import (
    Accepted,
    Deleted,
    DocumentBody,
    DocumentPage,
    DocumentState,
    MetadataBody,
    PatchBody,
    Refusal,
    TextBody,
    VersionBody,
    VersionList,
    metadata_of,
)
from rag_engine_api.timing import UNTIMED

router = APIRouter(tags=["documents"], route_class=Repeatable)

_LARGEST_PAGE: Final = 1_000
_EVENT_SECONDS: Final = 0.3
_METADATA: Final = TypeAdapter(MetadataBody)

# Originals are what strangers wrote: nothing in them runs, whatever type they claim.
_UNTRUSTED: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
}

FilterQuery = Annotated[
    str | SkipJsonSchema[None],
    Query(description="Only documents that match, as JSON.", examples=['{"gte": {"year": 2024}}']),
]
AfterQuery = Annotated[
    str | SkipJsonSchema[None],
    Query(description="The `next` of the page before, in the same order."),
]
LimitQuery = Annotated[int, Query(ge=1, le=_LARGEST_PAGE)]
MetadataForm = Annotated[
    str, Form(description="A JSON object, for all files.", examples=['{"year": 2024}'])
]


@router.post("/documents", dependencies=[WRITES, ONCE], status_code=202)
async def upload(
    request: Request,
    call: Calling,
    files: Annotated[list[UploadFile], File(description="One or many.")],
    id: Annotated[str | None, Form(description="Of one file; else it is the file's name.")] = None,
    title: Annotated[str | None, Form(description="Of one file.")] = None,
    metadata: MetadataForm = "{}",
    replace: Annotated[
        bool, Form(description="Whether what has that id already is replaced.")
    ] = False,
) -> Accepted:
    """Accept files. When this answers, they are durable; workers index them.

    The same file once more changes nothing. Of many, those that were not accepted are named.
    """
    if len(files) > 1 and (id is not None or title is not None):
        raise InvalidRequest(
            f"An id or a title is one file's, and there are {len(files)}. Send them one by one."
        )
    names = [file_name(file.filename) for file in files]  # all of them, before any is accepted
    if len({*names}) < len(names):
        raise InvalidRequest(
            "Two of the files have the same name, which would be their id. Send them one by one, "
            "each with an id of its own."
        )
    fields, accepted, refused = _fields(metadata), list[VersionBody](), list[Refusal]()
    for file, name in zip(files, names, strict=True):
        try:
            version = await _submit(call, file, id or name, name, title, fields, replace=replace)
        except RagEngineError as error:
            if len(files) == 1 or (isinstance(error, WorldError) and not accepted):
                raise
            refused.append(Refusal(name=name, problem=problem_of(error)))
            if isinstance(error, WorldError):
                keep_open(request)
        else:
            accepted.append(VersionBody.of(version))
    return Accepted(versions=accepted, refused=refused)


@router.put("/documents/{id}", dependencies=[WRITES, ONCE], status_code=202)
async def put(
    call: Calling,
    id: DocumentId,
    file: UploadFile,
    title: Annotated[str | None, Form()] = None,
    metadata: MetadataForm = "{}",
) -> VersionBody:
    """Accept a file as a new version of a document, or as its first one."""
    name = file_name(file.filename)
    version = await _submit(call, file, id, name, title, _fields(metadata), replace=True)
    return VersionBody.of(version)


@router.post("/documents/text", dependencies=[WRITES, ONCE], status_code=202)
async def write(
    call: Calling,
    body: TextBody,
    replace: Annotated[bool, Query(description="Whether what has that id is replaced.")] = False,
) -> VersionBody:
    """Accept a text as a document."""
    name = file_name(body.name)
    version = await call.engine.submit(
        body.text.encode("utf-8", "surrogatepass"),
        document_id=body.id or name,
        source=name,
        workspace=call.workspace,
        title=body.title,
        metadata=metadata_of(body.metadata),
        replace=replace,
    )
    return VersionBody.of(version)


async def _submit(
    call: Call,
    file: UploadFile,
    id: str,
    name: str,
    title: str | None,
    metadata: Metadata,
    *,
    replace: bool,
) -> Version:
    await file.seek(0)
    return await call.engine.submit(
        file.file,
        document_id=id,
        source=name,
        workspace=call.workspace,
        title=title,
        metadata=metadata,
        replace=replace,
    )


def file_name(given: str | None) -> str:
    """The last part of a name that a client sent, whatever system it is from, without controls.

    Raises:
        InvalidRequest: Nothing is left of it.
    """
    last = PureWindowsPath(PurePosixPath(given or "").name).name
    name = "".join(one for one in last if one.isprintable()).strip()
    if name in ("", ".", ".."):
        raise InvalidRequest(f"{given!r} is no file name. Send one, for example report.pdf.")
    return name


def _fields(text: str) -> Metadata:
    try:
        return metadata_of(_METADATA.validate_json(text, strict=True))
    except ValidationError as error:
        raise InvalidRequest(
            f"The metadata {text[:200]!r} is not understood ({error.errors()[0]['msg']}). "
            'Write a flat JSON object, for example {"year": 2024, "tags": ["a", "b"]}.'
        ) from error


@router.patch("/documents/{id}", dependencies=[WRITES, ONCE], status_code=202)
async def patch(call: Calling, id: DocumentId, body: PatchBody) -> VersionBody:
    """Change a document's title or metadata; the text stays. `null` removes (RFC 7396)."""
    title = body.title or "" if "title" in body.model_fields_set else None
    version = await call.engine.amend(id, call.workspace, title=title, metadata=body.changes())
    return VersionBody.of(version)


@router.get("/documents", dependencies=[READS])
async def list_(
    call: Calling,
    sort: Annotated[Sort, Query(description="By what; ties are in the order of ids.")] = Sort.ID,
    order: Annotated[Literal["asc", "desc"], Query(description="Which way.")] = "asc",
    after: AfterQuery = None,
    limit: LimitQuery = 100,
    filter: FilterQuery = None,
) -> DocumentPage:
    """The documents that answer. Pages stay right while documents come and go."""
    page = await call.engine.documents(
        call.workspace,
        order=Order(by=sort, descending=order == "desc"),
        after=after,
        limit=limit,
        filter=filter_in_query(filter),
    )
    return DocumentPage(documents=[DocumentBody.of(one) for one in page.documents], next=page.next)


@router.get("/versions", dependencies=[READS])
async def versions(
    call: Calling,
    status: Annotated[
        VersionStatus | SkipJsonSchema[None], Query(description="Only those that stand there.")
    ] = None,
    sort: Annotated[
        VersionSort,
        Query(description="`requested`: the latest first. `id`: each once, whatever is requested."),
    ] = VersionSort.REQUESTED,
    after: AfterQuery = None,
    limit: LimitQuery = 100,
) -> VersionList:
    """The newest version of each document: what the workers do."""
    queue = (await call.engine.workspace(call.workspace)).queue
    page = await version_page(queue, status=status, sort=sort, after=after, limit=limit)
    return VersionList(versions=[VersionBody.of(one) for one in page.versions], next=page.next)


async def _newest(call: Calling, id: DocumentId) -> Version:
    version = await (await call.engine.workspace(call.workspace)).queue.version(id)
    if version is None:
        raise NotFound(
            f"There is no document {id!r} in workspace {call.workspace!r}. "
            "GET /api/v1/documents lists those there are."
        )
    return version


Newest = Annotated[Version, Depends(_newest)]


@router.get("/documents/{id}", dependencies=[READS])
async def show(call: Calling, newest: Newest) -> DocumentState:
    """A document: the version that answers, and the newest that was asked for."""
    id = newest.document_id
    try:
        answering = DocumentBody.of(await call.engine.document(id, call.workspace))
    except NotFound:
        answering = None
    return DocumentState(id=id, answering=answering, newest=VersionBody.of(newest))


async def _original(call: Calling, id: DocumentId) -> AsyncIterator[tuple[Document, Path]]:
    document = await call.engine.document(id, call.workspace)
    async with call.engine.blobs.local(document.content_hash) as path:
        yield document, path


@router.get(
    "/documents/{id}/original",
    dependencies=[READS, UNTIMED],
    response_class=FileResponse,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
async def original(
    found: Annotated[tuple[Document, Path], Depends(_original)],
) -> FileResponse:
    """The bytes that were submitted, as an attachment."""
    document, path = found
    return FileResponse(
        path,
        media_type=document.media_type or "application/octet-stream",
        filename=PurePosixPath(document.source).name,
        headers=_UNTRUSTED,
    )


@router.get("/documents/{id}/text", dependencies=[READS], response_class=PlainTextResponse)
async def text(call: Calling, id: DocumentId) -> PlainTextResponse:
    """The text that was found in a document; the spans of references count its characters."""
    parsed = await call.engine.parsed(await call.engine.document(id, call.workspace))
    return PlainTextResponse(parsed.text, headers=_UNTRUSTED)


@router.delete("/documents/{id}", dependencies=[WRITES])
async def delete(call: Calling, newest: Newest) -> Deleted:
    """Delete a document with all that was derived from it."""
    return Deleted(deleted=await call.engine.delete([newest.document_id], call.workspace))


@router.delete("/documents", dependencies=[WRITES])
async def delete_many(
    call: Calling,
    filter: FilterQuery = None,
    all: Annotated[bool, Query(description="Every document, waiting ones too.")] = False,
    confirm: Annotated[
        int | SkipJsonSchema[None], Query(description="How many that will be.")
    ] = None,
) -> Deleted:
    """Delete the documents that match a filter, or all.

    Without `confirm`, or with another number, it only says how many they would be.
    """
    if (filter is None) is not all:
        raise InvalidRequest("Say which documents: give either a filter or all=true.")
    ids = await _ids(call, filter_in_query(filter))
    if confirm != len(ids):
        raise Conflict(
            f"That would delete {len(ids)} documents. To do it, repeat with confirm={len(ids)}."
        )
    return Deleted(deleted=await call.engine.delete(ids, call.workspace) if ids else 0)


async def _ids(call: Call, filter: Filter | None) -> list[str]:
    found, after = set[str](), None
    while True:
        page = await call.engine.documents(
            call.workspace, after=after, limit=_LARGEST_PAGE, filter=filter
        )
        found |= {one.id for one in page.documents}
        if (after := page.next) is None:
            break
    if filter is None:
        queue = (await call.engine.workspace(call.workspace)).queue
        found |= {one.document_id async for one in every_version(queue)}
    return sorted(found)


@router.post("/documents/{id}/cancel", dependencies=[WRITES])
async def cancel(call: Calling, id: DocumentId) -> VersionBody:
    """Cancel the version that waits or is being worked on; an older one goes on answering."""
    return VersionBody.of(await call.engine.cancel(id, call.workspace))


@router.post("/documents/{id}/retry", dependencies=[WRITES, ONCE], status_code=202)
async def retry(request: Request, call: Calling, id: DocumentId) -> VersionBody:
    """Submit once more what failed or was cancelled."""
    try:
        return VersionBody.of(await call.engine.retry(id, call.workspace))
    except Conflict:
        newest = await _newest(call, id)
        if newest.status not in UNFINISHED or not has_key(request):
            raise
        return VersionBody.of(newest)  # this very request may have had it submitted before


async def _unseen(
    newest: Newest, last_event_id: Annotated[str | SkipJsonSchema[None], Header()] = None
) -> None:
    """One who has seen the end is told, without a body, not to come back."""
    if newest.status not in UNFINISHED and last_event_id == _state(newest):
        raise HTTPException(204)


@router.get(
    "/documents/{id}/events",
    dependencies=[READS, UNTIMED, Depends(_unseen)],
    response_class=EventSourceResponse,
    responses={204: {"description": "The end was seen already: `Last-Event-ID` is the last."}},
)
async def events(
    request: Request,
    call: Calling,
    first: Newest,
    last_event_id: Annotated[str | SkipJsonSchema[None], Header()] = None,
) -> AsyncIterator[ServerSentEvent]:
    """What happens to the newest version of a document, until it comes to its end.

    Each event is named by the version's status and is the whole version, so that one who comes back
    with `Last-Event-ID` misses nothing. `deleted` and `problem` are the last ones too.
    """
    seen, version = last_event_id, first
    queue = (await call.engine.workspace(call.workspace)).queue
    while True:
        state = _state(version)
        if state != seen:
            yield ServerSentEvent(id=state, event=version.status, data=VersionBody.of(version))
            seen = state
        if version.status not in UNFINISHED or request.app.state.stopping:
            return  # who comes back to another process, or to the next one, goes on from here
        await asyncio.sleep(_EVENT_SECONDS)
        try:
            found = await queue.version(first.document_id)
        except RagEngineError as error:
            yield ServerSentEvent(event="problem", data=problem_of(error))
            return
        if found is None:
            yield ServerSentEvent(event="deleted", data={"document_id": first.document_id})
            return
        version = found


def _state(version: Version) -> str:
    parts: list[Any] = [version.number, version.attempt, version.status, version.stage or ""]
    return json.dumps(parts)
