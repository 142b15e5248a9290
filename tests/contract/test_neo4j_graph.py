"""What it costs to look at the graph on Neo4j."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING
from uuid import uuid4

from rag_engine.adapters.models.fake import HashEmbedder
from rag_engine.adapters.neo4j import Neo4jControl
from rag_engine.core.filters import parse
from rag_engine.retrieval.neighbourhood import ego_network
from rag_engine.testing.drafts import DIMENSIONS, MODEL, ingest, saying, told

if TYPE_CHECKING:
    from rag_engine.adapters.neo4j import Address


async def test_a_picture_costs_as_many_round_trips_with_few_neighbours_as_with_many(
    address: Address,
) -> None:
    names = [f"B{n}" for n in range(30)]
    pairs = [("Ann", name) for name in names] + [*itertools.pairwise(names)]
    embedder = HashEmbedder(dimensions=DIMENSIONS)
    in_use = parse({"not": {"exists": "nothing"}})
    sent: list[str] = []
    control = Neo4jControl(
        address,
        model=MODEL,
        dimensions=DIMENSIONS,
        namespace=uuid4().hex,
        indexed=False,
        count=sent.append,
    )
    workspace = await control.open("default", create=True)
    await ingest(workspace, saying("a", told("Ann", *names, pairs=pairs)))
    async with workspace.store.snapshot() as reader:
        await reader.list_documents(filter=in_use)  # what matches is asked for once
        for filter in (None, in_use):
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
    await control.aclose()
