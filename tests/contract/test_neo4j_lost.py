"""What Neo4j deletes or forgets under a process: pages read in the middle, answers that are lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

import places
from rag_engine.adapters.neo4j import Neo4jControl
from rag_engine.adapters.neo4j.connection import Connection
from rag_engine.testing.drafts import DIMENSIONS, MODEL, id_of, ingest
from rag_engine.testing.observation import differences, observed
from rag_engine.testing.store_contract import A, B

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rag_engine.adapters.neo4j import Address
    from rag_engine.ports.storage import Workspace


@pytest.fixture
def address() -> Address:
    try:
        return places.neo4j_address()
    except places.MissingStore as error:
        pytest.skip(str(error))


@pytest.fixture
async def opening(address: Address) -> AsyncIterator[Callable[[], Neo4jControl]]:
    """Opens controls over one namespace, and closes them."""
    namespace, controls = uuid4().hex, list[Neo4jControl]()

    def make() -> Neo4jControl:
        given: dict[str, Any] = {"namespace": namespace, "indexed": False}
        controls.append(Neo4jControl(address, model=MODEL, dimensions=DIMENSIONS, **given))
        return controls[-1]

    yield make
    for control in controls:
        await control.aclose()


@pytest.fixture
async def workspace(opening: Callable[[], Neo4jControl]) -> Workspace:
    return await opening().open("default", create=True)


@pytest.mark.parametrize("query", ["names_in_columns", "chunks_between"])
async def test_a_page_of_which_something_was_deleted_while_it_was_read_is_read_again(
    query: str,
    workspace: Workspace,
    opening: Callable[[], Neo4jControl],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A node that is deleted after one of its properties was read: `collect` leaves the rest out."""
    await ingest(workspace, A, B)
    run, torn = Connection.run, list[str]()

    async def tearing(self: Connection, name: str, /, **how: Any) -> list[Any]:
        rows = await run(self, name, **how)
        if name == query and not torn:
            torn.append(name)
            return [{**rows[0], "vector": rows[0]["vector"][1:]}]
        return rows

    monkeypatch.setattr(Connection, "run", tearing)
    seen = await observed(await opening().open("default"))
    assert torn == [query]
    assert differences(await observed(workspace), seen) == []


async def test_names_without_a_vector_are_not_there(
    address: Address, workspace: Workspace, opening: Callable[[], Neo4jControl]
) -> None:
    """So do those look that are deleted while their page is read."""
    await ingest(workspace, A, B)
    number = workspace.store._workspace  # type: ignore[attr-defined]
    database = Connection(address)
    gone = "MATCH (e:Entity {workspace: $workspace, id: $id}) REMOVE e.vector"
    await database.run(gone, write=True, workspace=number, id=id_of("Bob"))
    [page] = await database.run(
        "names_in_columns", workspace=number, ids=[id_of("Ann"), id_of("Bob")]
    )
    await database.aclose()
    assert page["id"] == [id_of("Ann")]
    assert len(page["vector"]) == 1
