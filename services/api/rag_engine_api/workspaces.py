"""Workspaces: made, listed, deleted."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from rag_engine.errors import Conflict
from rag_engine_api.admission import ADMINISTERS, KnownKey
from rag_engine_api.calls import ServingEngine
from rag_engine_api.schemas import Body

router = APIRouter(prefix="/workspaces", tags=["workspaces"])


class WorkspaceList(Body):
    """Names of all workspaces, sorted."""

    workspaces: list[str]


class WorkspaceBody(Body):
    """A workspace: a collection of documents that knows nothing of the others."""

    name: str = Field(
        description="1 to 64 letters, digits, `-`, `_` or `.`.", examples=["contracts"]
    )


class DeletedWorkspace(Body):
    """What was deleted."""

    name: str
    documents: int = Field(description="How many answered there.")


@router.get("")
async def list_(engine: ServingEngine, key: KnownKey) -> WorkspaceList:
    """The workspaces there are, as far as the key is for them."""
    names = await engine.control.workspaces()
    return WorkspaceList(workspaces=[one for one in names if key is None or key.sees(one)])


@router.post("", dependencies=[ADMINISTERS], status_code=201)
async def create(engine: ServingEngine, body: WorkspaceBody) -> WorkspaceBody:
    """Make a workspace, as the first document would; one that is there stays as it is."""
    await engine.control.open(body.name, create=True)
    return body


@router.delete("/{workspace}", dependencies=[ADMINISTERS])
async def delete(
    engine: ServingEngine,
    workspace: str,
    confirm: Annotated[str | SkipJsonSchema[None], Query(description="Its name once more.")] = None,
) -> DeletedWorkspace:
    """Delete a workspace with all it holds, for good.

    Without `confirm` it only says how many documents that would be. Keys that are bound to it stay.
    """
    documents = (await engine.stats(workspace)).documents
    if confirm != workspace:
        raise Conflict(
            f"That would delete the workspace {workspace!r} with {documents} documents. To do it, "
            f"repeat with confirm={workspace}."
        )
    await engine.delete_workspace(workspace)
    return DeletedWorkspace(name=workspace, documents=documents)
