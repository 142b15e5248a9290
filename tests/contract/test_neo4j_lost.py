"""What Neo4j deletes or forgets under a process: pages read in the middle, answers that are lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from neo4j import exceptions

from rag_engine.adapters.neo4j import Neo4jControl
from rag_engine.adapters.neo4j.connection import Connection
from rag_engine.core.edits import Alias
from rag_engine.core.jobs import Decision
from rag_engine.core.keys import Key, Scope
from rag_engine.core.models import Stage, VersionStatus
from rag_engine.errors import StoreUnavailable
from rag_engine.testing.drafts import (
    DIMENSIONS,
    LEASE,
    MODEL,
    WORKER,
    claim,
    id_of,
    ingest,
    put,
    stage,
)
from rag_engine.testing.observation import differences, observed
from rag_engine.testing.store_contract import A2, A, B

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rag_engine.adapters.neo4j import Address
    from rag_engine.ports.storage import Workspace


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


@pytest.fixture
def losing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Loses the answer of the next committed transaction, once it is switched on by an entry."""
    losing = list[str]()

    def lost(plain: Any) -> Any:
        async def lose_the_answer(self: Any, *how: Any) -> Any:
            result = await plain(self, *how)
            if "WRITE" in how and losing:
                losing.pop()
                raise exceptions.IncompleteCommit("The connection broke.")
            return result

        return lose_the_answer

    for kind in ("_once", "_single"):
        monkeypatch.setattr(Connection, kind, lost(getattr(Connection, kind)))
    return losing


async def test_a_write_whose_answer_was_lost_is_not_done_twice(
    workspace: Workspace, losing: list[str]
) -> None:
    losing.append("accept")
    version = await workspace.queue.accept(A.submission)
    assert (losing, version.number) == ([], 1)
    losing.append("claim")
    job = await claim(workspace)
    assert (losing, job.version.attempt) == ([], 1)
    assert await workspace.queue.claim(WORKER, LEASE) is None
    lease = job.lease
    losing.append("checkpoint")
    await workspace.queue.checkpoint(lease, Stage.PARSE, warnings=["w"])
    await stage(workspace.store, lease, A.evidence())
    losing.append("finish")
    version = await workspace.store.finish(lease)
    assert (version.status, version.chunks) == (VersionStatus.INDEXED, 3)
    assert version.warnings == ("w",)
    losing.append("edit")
    assert await put(workspace.store, Alias(source="Bob", target="Rob")) == [True]
    assert await put(workspace.store, Alias(source="Bob", target="Rob")) == [False]
    losing.append("undo")
    assert await workspace.store.undo(Alias(source="Bob", target="Rob").id)
    assert not await workspace.store.undo(Alias(source="Bob", target="Rob").id)
    async with workspace.store.snapshot() as reader:
        assert (reader.counter, (await reader.stats()).mentions) == (3, 3)
    losing.append("accept")
    assert (await workspace.queue.accept(A2.submission)).number == 2
    lease = (await claim(workspace)).lease
    losing.append("fail")
    failed = await workspace.queue.fail(lease, Decision(reason="It broke. Try another."))
    assert failed.status is VersionStatus.FAILED
    losing.append("delete")
    assert await workspace.store.delete(["a"]) == 1
    async with workspace.store.snapshot() as reader:
        assert (reader.counter, (await reader.stats()).mentions) == (4, 0)
    assert losing == []


async def test_a_key_and_a_chore_whose_answer_was_lost_are_this_callers(
    opening: Callable[[], Neo4jControl], losing: list[str]
) -> None:
    control = opening()
    await control.open("default", create=True)
    await control.add_key(Key(id="k", name="n", hash="h", scopes=frozenset(Scope)))
    losing.append("remove_key")
    assert await control.remove_key("k")
    assert (losing, await control.remove_key("k")) == ([], False)
    losing.append("due")
    assert await control.due("clean", 60.0)
    assert (losing, await control.due("clean", 60.0)) == ([], False)


async def test_an_index_of_another_models_width_gives_way(
    address: Address, opening: Callable[[], Neo4jControl]
) -> None:
    """As a process leaves one that ends after it took another model and before it made the index."""
    control = opening()
    number = (await control.open("default", create=True)).store._workspace  # type: ignore[attr-defined]
    database = Connection(address)
    await database.run("make_vector_index", write=True, workspace=number, dimensions=2)
    for _ in range(2):
        await control._index(number)
        [row] = await database.run("width_of_vector_index", workspace=number)
        assert row["width"] == DIMENSIONS
    for name in ("rag_words", "rag_chunks"):
        await database.run(f"DROP INDEX {name}_w{number}", write=True)
    await database.aclose()


async def test_what_somebody_began_to_read_and_gave_up_is_not_read_again(
    workspace: Workspace,
    opening: Callable[[], Neo4jControl],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await ingest(workspace, A, B)
    other = await opening().open("default")
    run, begun, goes_on, asked = Connection.run, asyncio.Event(), asyncio.Event(), list[str]()

    async def held_up(self: Connection, query: str, /, **given: Any) -> Any:
        asked.append(query)
        if query == "changes_between":
            begun.set()
            await goes_on.wait()
        return await run(self, query, **given)

    monkeypatch.setattr(Connection, "run", held_up)
    impatient = asyncio.create_task(observed(other))
    await begun.wait()
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    goes_on.set()
    seen = await observed(other)
    assert asked.count("changes_between") == 1
    monkeypatch.undo()
    assert differences(seen, await observed(workspace)) == []


async def test_a_control_is_closed_while_a_workspace_is_read(
    workspace: Workspace,
    opening: Callable[[], Neo4jControl],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await ingest(workspace, A)
    control = opening()
    other = await control.open("default")
    run, begun = Connection.run, asyncio.Event()

    async def held_up(self: Connection, query: str, /, **given: Any) -> Any:
        if query == "changes_between":
            begun.set()
            await asyncio.Event().wait()
        return await run(self, query, **given)

    monkeypatch.setattr(Connection, "run", held_up)
    asking = asyncio.create_task(observed(other))
    await begun.wait()
    await control.aclose()
    with pytest.raises(StoreUnavailable, match="Open it again"):
        await asking
