"""What a statement on Neo4j costs does not depend on how much there is: its plan uses an index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from neo4j import AsyncGraphDatabase

import places
from rag_engine.adapters.neo4j import Neo4jControl
from rag_engine.adapters.neo4j.queries import CYPHER, for_workspace
from rag_engine.testing.drafts import DIMENSIONS, MODEL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

SCANS = ("AllNodesScan", "NodeByLabelScan", "DirectedAllRelationshipsScan")
FEW = ("Migration", "Workspace", "Key", "Pin", "DeletedWorkspace", "Marked_w1")
"""Labels of which there are so few nodes that a statement may look at all."""


def _operators(plan: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield plan["operatorType"].split("@")[0], plan["args"].get("Details", "")
    for child in plan.get("children", ()):
        yield from _operators(child)


@pytest.fixture
async def operators() -> AsyncIterator[Callable[[str], Awaitable[list[tuple[str, str]]]]]:
    """What the plan of a statement is made of: operators and what they look at."""
    try:
        address = places.neo4j_address()
    except places.MissingStore as error:
        pytest.skip(str(error))
    control = Neo4jControl(address, model=MODEL, dimensions=DIMENSIONS, indexed=False)
    await control.open("plans", create=True)
    await control.aclose()
    credentials = (address.username, address.password)
    async with (
        AsyncGraphDatabase.driver(
            address.uri, auth=credentials, notifications_min_severity="OFF"
        ) as driver,
        driver.session() as session,
    ):

        async def planned(name: str) -> list[tuple[str, str]]:
            result = await session.run(f"EXPLAIN {for_workspace(name, 1)}")  # type: ignore[arg-type]
            plan = (await result.consume()).plan
            assert plan is not None
            return list(_operators(plan))

        yield planned


async def test_statements_find_nodes_by_an_index_and_not_by_looking_at_all(
    operators: Callable[[str], Awaitable[list[tuple[str, str]]]],
) -> None:
    scans = {}
    for name in CYPHER:
        if CYPHER[name].startswith(("CREATE VECTOR", "CREATE FULLTEXT", "SHOW", "DROP")):
            continue
        scans[name] = [
            details
            for operator, details in await operators(name)
            if operator in SCANS and not details.endswith(FEW)
        ]
    assert {name: found for name, found in scans.items() if found} == {}


async def test_what_went_is_found_by_when_it_went_and_not_among_all_that_came(
    operators: Callable[[str], Awaitable[list[tuple[str, str]]]],
) -> None:
    seeks = [one for name, one in await operators("changes_between") if name == "NodeIndexSeek"]
    assert [seek[seek.index(":") + 1 : seek.index(")")] for seek in seeks] == [
        "ChunkRecord(workspace, gone_at",
        "VersionRecord(workspace, gone_at",
        "VersionRecord(workspace, shown_at",
    ]
