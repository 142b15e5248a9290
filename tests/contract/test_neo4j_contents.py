"""Copying from Neo4j: what is gone is kept for as long as somebody copies, and no longer."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from rag_engine.adapters.neo4j import Neo4jControl, contents
from rag_engine.adapters.neo4j.connection import Connection
from rag_engine.errors import StoreUnavailable
from rag_engine.testing.drafts import DIMENSIONS, MODEL, ingest, mentioning

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rag_engine.adapters.neo4j import Address
    from rag_engine.ports.storage import Contents, Workspace


@pytest.fixture
async def database(address: Address) -> AsyncIterator[Connection]:
    database = Connection(address)
    yield database
    await database.aclose()


@pytest.fixture
async def workspace(address: Address) -> AsyncIterator[Workspace]:
    """One that keeps nothing that is gone, unless it is pinned."""
    control = Neo4jControl(
        address,
        model=MODEL,
        dimensions=DIMENSIONS,
        namespace=uuid4().hex,
        indexed=False,
        kept_seconds=0.0,
    )
    yield await control.open("default", create=True)
    await control.aclose()


async def read(contents: Contents) -> list[str]:
    async with aclosing(contents.read()) as found:
        return [one.chunks[0].text async for one in found]


async def records(database: Connection, workspace: Workspace) -> int:
    number = workspace.store._workspace  # type: ignore[attr-defined]
    query = "MATCH (c:ChunkRecord) WHERE c.workspace = $workspace RETURN count(c) AS count"
    [row] = await database.run(query, workspace=number)
    return int(row["count"])


async def test_what_is_gone_is_kept_while_it_is_copied(
    workspace: Workspace, database: Connection
) -> None:
    await ingest(workspace, *(mentioning(f"d{n}", f"Name {n}") for n in range(5)))
    async with workspace.store.contents() as copied:
        await ingest(workspace, mentioning("d0", "Other"))
        await workspace.store.delete([f"d{n}" for n in range(1, 5)])
        await ingest(workspace, mentioning("e", "More"), mentioning("f", "More"))
        assert await read(copied) == [f"Name {n}" for n in range(5)]
    for name in ("More", "And more", "And yet more"):  # a write removes some of what is outdated
        await ingest(workspace, mentioning("e", name))
    assert await records(database, workspace) <= 4


async def test_what_was_gone_before_is_removed_all_the_same(
    workspace: Workspace, database: Connection
) -> None:
    await ingest(workspace, mentioning("a", "Ann"), mentioning("b", "Bob"))
    await workspace.store.delete(["b"])
    async with workspace.store.contents() as copied:
        await ingest(workspace, mentioning("c", "Cid"), mentioning("d", "Dan"))
        assert await records(database, workspace) == 3
        assert await read(copied) == ["Ann"]


async def test_a_pin_that_nobody_renews_runs_out(
    workspace: Workspace, database: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "_PINNED", 0.0)
    await ingest(workspace, mentioning("a", "Ann"), mentioning("b", "Bob"))
    async with workspace.store.contents() as copied:
        await workspace.store.delete(["b"])
        await ingest(workspace, mentioning("c", "Cid"), mentioning("d", "Dan"))
        with pytest.raises(StoreUnavailable, match="Try again"):
            await read(copied)


async def test_a_pin_is_renewed_while_somebody_reads(
    workspace: Workspace, database: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "_RENEWED", 0.0)
    number = workspace.store._workspace  # type: ignore[attr-defined]
    query = "MATCH (p:Pin) WHERE p.workspace = $workspace RETURN p.until AS until, p.counter AS at"
    await ingest(workspace, mentioning("a", "Ann"))
    async with workspace.store.contents() as copied:
        [before] = await database.run(query, workspace=number)
        await ingest(workspace, mentioning("b", "Bob"))
        assert await read(copied) == ["Ann"]
        [after] = await database.run(query, workspace=number)
        assert after["until"] > before["until"]
        assert after["at"] == before["at"] == 1
    assert await database.run(query, workspace=number) == []


async def test_pins_of_those_who_died_are_cleared_away(
    workspace: Workspace, database: Connection
) -> None:
    number = workspace.store._workspace  # type: ignore[attr-defined]
    left = "CREATE (:Pin {workspace: $workspace, id: 'left', counter: 0, until: 1})"
    await database.run(left, workspace=number, write=True)
    query = "MATCH (p:Pin) WHERE p.workspace = $workspace RETURN p.id AS id"
    async with workspace.store.contents():
        assert "left" not in [row["id"] for row in await database.run(query, workspace=number)]
