"""The knowledge graph: what surrounds a name, and what people change by hand."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from rag_engine.core.edits import Alias, Edit, Fact, Suppression
from rag_engine_api.admission import READS, WRITES
from rag_engine_api.calls import Calling, filter_in_query
from rag_engine_api.documents import AfterQuery, FilterQuery, LimitQuery
from rag_engine_api.idempotency import ONCE, Repeatable
from rag_engine_api.schemas import (
    Body,
    ConnectionBody,
    JoinedBody,
    NeighbourhoodBody,
    NetworkBody,
    PlaceBody,
    StatsBody,
    VersionBody,
    moment,
    shown,
)

router = APIRouter(tags=["graph"], route_class=Repeatable)

NameQuery = Annotated[str, Query(min_length=1, description="Case and spacing do not matter.")]


class AliasBody(Body):
    """Whatever names `source` names `target`."""

    source: str
    target: str


class SuppressionBody(Body):
    """An entity that nobody wants to see; with `other`, only what joins it to that one."""

    name: str
    other: str | None = None


class FactBody(Body):
    """Something a person knows: of an entity, or of what joins two."""

    name: str
    type: str = ""
    description: str = ""
    target: str | None = None
    keywords: str = ""


class Made(Body):
    """A change, by whose id it is undone."""

    id: str
    new: bool = Field(description="Whether it was not in force already.")


class MadeFact(Body):
    """A fact that workers will index, by whose id it is undone."""

    id: str
    version: VersionBody


class EditBody(Body):
    """A change in force."""

    id: str
    alias: AliasBody | None = None
    suppression: SuppressionBody | None = None
    made_at: datetime | None


class KnownFact(FactBody):
    """A fact in force."""

    id: str


class EntityBody(Body):
    """An entity, without what surrounds it."""

    key: str = Field(description="Its name without case and spacing; what `name` may be.")
    name: str
    type: str
    mentions: int = Field(description="How many passages mention it.")
    descriptions: list[str]


class EntityList(Body):
    """A page of entities."""

    entities: list[EntityBody]
    next: str | None = Field(description="Pass it as `after` for the next page.")


class RelationList(Body):
    """A page of what joins entities."""

    relations: list[JoinedBody]
    next: str | None = Field(description="Pass it as `after` for the next page.")


class Changes(Body):
    """All that was changed by hand and not undone."""

    edits: list[EditBody]
    facts: list[KnownFact]
    lost: list[str] = Field(description="Ids of facts whose text is gone. They can be undone.")


@router.get("/graph/entities", dependencies=[READS])
async def entities(
    call: Calling,
    search: Annotated[
        str | SkipJsonSchema[None],
        Query(description="Part of a name, or what one means.", examples=["Ada"]),
    ] = None,
    after: AfterQuery = None,
    limit: LimitQuery = 100,
    filter: FilterQuery = None,
) -> EntityList:
    """The entities that most passages mention, or with `search` those that come closest to a name."""
    page = await call.engine.entities(
        call.workspace, search=search, after=after, limit=limit, filter=filter_in_query(filter)
    )
    return EntityList(entities=[shown(EntityBody, one) for one in page.entities], next=page.next)


@router.get("/graph/entity", dependencies=[READS])
async def entity(
    call: Calling,
    name: NameQuery,
    filter: FilterQuery = None,
) -> NeighbourhoodBody:
    """An entity with where it is mentioned and what it is joined to."""
    found = await call.engine.graph(name, call.workspace, filter=filter_in_query(filter))
    return NeighbourhoodBody.of(found)


@router.get("/graph/relations", dependencies=[READS])
async def relations(
    call: Calling,
    search: Annotated[
        str | SkipJsonSchema[None],
        Query(description="Only what joins entities that this names.", examples=["Ada"]),
    ] = None,
    after: AfterQuery = None,
    limit: LimitQuery = 100,
    filter: FilterQuery = None,
) -> RelationList:
    """What joins entities, strongest first; with `search` only those that have it in their names."""
    page = await call.engine.relations(
        call.workspace, search=search, after=after, limit=limit, filter=filter_in_query(filter)
    )
    return RelationList(relations=[JoinedBody.of(one) for one in page.relations], next=page.next)


@router.get("/graph/relation", dependencies=[READS])
async def relation(
    call: Calling,
    name: NameQuery,
    other: Annotated[str, Query(min_length=1, description="The name of the other entity.")],
    limit: LimitQuery = 50,
    filter: FilterQuery = None,
) -> ConnectionBody:
    """What joins two entities, with the passages that say so."""
    found = await call.engine.relation(
        name, other, call.workspace, limit=limit, filter=filter_in_query(filter)
    )
    return ConnectionBody(
        relation=JoinedBody.of(found.joined), places=[PlaceBody.of(one) for one in found.places]
    )


@router.get("/graph/network", dependencies=[READS])
async def network(
    call: Calling,
    name: NameQuery,
    limit: Annotated[int, Query(ge=1, le=100, description="Neighbours at most.")] = 24,
    filter: FilterQuery = None,
) -> NetworkBody:
    """An entity, its strongest neighbours, and what joins any two of them: enough for a picture."""
    found = await call.engine.ego_network(
        name, call.workspace, limit=limit, filter=filter_in_query(filter)
    )
    return NetworkBody.of(found)


@router.get("/graph/edits", dependencies=[READS])
async def edits(call: Calling) -> Changes:
    """What was changed by hand."""
    changes = await call.engine.edits(call.workspace)
    return Changes(
        edits=[_edit_body(one.edit, one.made_at) for one in changes.edits],
        facts=[shown(KnownFact, one) for one in changes.facts],
        lost=list(changes.lost),
    )


def _edit_body(edit: Edit, made_at: float) -> EditBody:
    if isinstance(edit, Alias):
        return EditBody(id=edit.id, alias=shown(AliasBody, edit), made_at=moment(made_at))
    suppression = shown(SuppressionBody, edit)
    return EditBody(id=edit.id, suppression=suppression, made_at=moment(made_at))


@router.post("/graph/aliases", dependencies=[WRITES, ONCE])
async def merge(call: Calling, body: AliasBody) -> Made:
    """Let one name stand for another, in what is there and in what will come."""
    alias = Alias(source=body.source, target=body.target)
    return Made(id=alias.id, new=await call.engine.edit(alias, call.workspace))


@router.post("/graph/suppressions", dependencies=[WRITES, ONCE])
async def hide(call: Calling, body: SuppressionBody) -> Made:
    """Hide an entity, or what joins two."""
    suppression = Suppression(name=body.name, other=body.other)
    return Made(id=suppression.id, new=await call.engine.edit(suppression, call.workspace))


@router.post("/graph/facts", dependencies=[WRITES, ONCE], status_code=202)
async def add(call: Calling, body: FactBody) -> MadeFact:
    """Add what a person knows, as a document of its own."""
    fact = Fact(**body.model_dump())
    version = await call.engine.add_fact(fact, call.workspace)
    return MadeFact(id=fact.id, version=VersionBody.of(version))


@router.delete("/graph/edits/{id}", dependencies=[WRITES], status_code=204)
async def undo(call: Calling, id: str) -> None:
    """Take an edit or a fact back, as if it had never been made."""
    await call.engine.undo(id, call.workspace)


@router.get("/stats", dependencies=[READS])
async def stats(call: Calling) -> StatsBody:
    """What the workspace holds."""
    return shown(StatsBody, await call.engine.stats(call.workspace))
