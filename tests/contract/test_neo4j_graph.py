"""What it costs to look at the graph on Neo4j."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import pytest

from rag_engine.adapters.models.fake import HashEmbedder
from rag_engine.adapters.neo4j import Neo4jControl, indexing
from rag_engine.core.filters import parse
from rag_engine.retrieval.neighbourhood import ego_network
from rag_engine.testing.drafts import DIMENSIONS, MODEL, ingest, saying, told

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rag_engine.adapters.neo4j import Address
    from rag_engine.ports.storage import Workspace

IN_USE: Final = parse({"not": {"exists": "nothing"}})


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that were sent, without those that go on in the background."""
    monkeypatch.setattr(indexing, "_PAUSE", 3600.0)
    return []


@pytest.fixture
async def workspace(address: Address, sent: list[str]) -> AsyncIterator[Workspace]:
    control = Neo4jControl(
        address,
        model=MODEL,
        dimensions=DIMENSIONS,
        namespace=uuid4().hex,
        indexed=False,
        count=sent.append,
    )
    opened = await control.open("default", create=True)
    names = [f"B{n}" for n in range(30)]
    pairs = [("Ann", name) for name in names] + [*itertools.pairwise(names)]
    await ingest(opened, saying("a", told("Ann", *names, pairs=pairs)))
    yield opened
    await control.aclose()


async def test_a_picture_costs_as_many_round_trips_with_few_neighbours_as_with_many(
    workspace: Workspace, sent: list[str]
) -> None:
    embedder = HashEmbedder(dimensions=DIMENSIONS)
    async with workspace.store.snapshot() as reader:
        await reader.list_documents(filter=IN_USE)  # what matches is asked for once
        for filter in (None, IN_USE):
            costs = []
            for limit in (1, 24):
                sent.clear()
                found = await ego_network(
                    reader, "ann", embedder=embedder, filter=filter, limit=limit
                )
                costs.append([*sent])
            print(costs)
            assert len(found.relations) > 40
            assert len(costs[0]) == len(costs[1]) <= 8


async def test_a_page_of_relations_costs_as_many_round_trips_whatever_it_shows(
    workspace: Workspace, sent: list[str]
) -> None:
    async with workspace.store.snapshot() as reader:
        await reader.list_relations(filter=IN_USE)  # the order is worked out once
        for filter in (None, IN_USE):
            costs = []
            for limit in (1, 50):
                sent.clear()
                page = await reader.list_relations(limit=limit, filter=filter)
                costs.append([*sent])
            print(costs)
            assert len(page.relations) == 50
            assert len(costs[0]) == len(costs[1]) <= 5
