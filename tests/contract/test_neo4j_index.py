"""A workspace beyond `NEO4J_EXACT_CHUNKS` keeps the words of the ports, too, as far as they go for it.

The workspaces of tests are so small that Neo4j's index finds everything; that it does not always is
what is measured (docs/explanation/neo4j.md).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import places
from rag_engine.adapters.neo4j import distant, indexing
from rag_engine.adapters.neo4j.connection import Connection
from rag_engine.adapters.neo4j.store import Neo4jStore
from rag_engine.core.filters import In
from rag_engine.core.vectors import canonical
from rag_engine.errors import StoreUnavailable
from rag_engine.testing.drafts import Draft, Passage, ingest, int64, lattice, saying, told
from rag_engine.testing.observation import hits_rows
from rag_engine.testing.search_contract import SearchContract
from rag_engine.testing.store_contract import A2, A, B

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from rag_engine.ports.storage import Control, Workspace

LIMIT = 3
HOUR = 3600.0


@pytest.fixture(params=["indexed at once", "not indexed yet"])
async def control(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[places.Neo4jPlace]:
    """Workspaces that are searched through Neo4j's index, whatever is in them."""
    monkeypatch.setattr(distant, "_FEW", 0)
    monkeypatch.setattr(indexing, "_PAUSE", HOUR)
    if request.param == "indexed at once":
        write = Neo4jStore._shown

        async def indexed(self: Neo4jStore, work: Any) -> Any:
            result = await write(self, work)
            await self.indexing.settle()
            return result

        monkeypatch.setattr(Neo4jStore, "_shown", indexed)
    place = _place(tmp_path, exact_chunks=0)
    yield place
    await _forget_indexes(place)


def _place(folder: Path, *, exact_chunks: int) -> places.Neo4jPlace:
    try:
        return places.Neo4jPlace(folder, places.Clock(), exact_chunks=exact_chunks)
    except places.MissingStore as error:
        pytest.skip(str(error))


async def _forget_indexes(place: places.Neo4jPlace) -> None:
    database = Connection(place.address)
    numbers = await database.run(
        "MATCH (w:Workspace {namespace: $namespace}) RETURN w.number AS number",
        namespace=place.namespace,
    )
    for row in numbers:
        for name in ("rag_words", "rag_chunks"):
            await database.run(f"DROP INDEX {name}_w{row['number']} IF EXISTS", write=True)
    await database.aclose()


class TestSearch(SearchContract):
    pass


@pytest.fixture
async def limited(tmp_path: Path) -> AsyncIterator[Control]:
    place = _place(tmp_path, exact_chunks=LIMIT)
    control = place()
    yield control
    await control.aclose()
    await _forget_indexes(place)


@pytest.fixture
async def limited_workspace(limited: Control) -> Workspace:
    return await limited.open("default", create=True)


async def test_vectors_are_held_up_to_the_limit_and_again_below_it(
    limited_workspace: Workspace,
) -> None:
    held = []
    for number in range(5):
        await ingest(limited_workspace, _numbered(number))
        held.append(await _is_exact(limited_workspace))
    for number in range(3):
        await limited_workspace.store.delete([f"d{number}"])
        held.append(await _is_exact(limited_workspace))
    assert held == [True, True, True, False, False, False, False, True]


def _numbered(number: int) -> Draft:
    return Draft(id=f"d{number}", passages=(Passage(text=f"text {number}"),))


def _indexing_of(workspace: Workspace) -> indexing.Indexing:
    assert isinstance(workspace.store, Neo4jStore)
    return workspace.store.indexing


async def _is_exact(workspace: Workspace) -> bool:
    """Whether the workspace is searched exactly; it finds all it has either way."""
    async with workspace.store.snapshot() as reader:
        chunks = (await reader.stats()).chunks
        [hits] = await reader.search_dense("chunk", lattice("text 4")[None, :], 10)
        assert len(hits.ids) == chunks
        assert hits.scores.tolist() == sorted(hits.scores.tolist(), reverse=True)
        return reader.exact


async def test_what_a_filter_leaves_of_the_index_is_filled_up(
    limited_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is asked for more and more, then what is visible is scored as a whole."""
    for name, value in {"_FEW": 2, "_LEAST": 5, "_FACTOR": 1, "_MOST": 20}.items():
        monkeypatch.setattr(distant, name, value)
    random = np.random.default_rng(3)
    vectors = canonical(random.standard_normal((70, 8)) + 2.0 * np.eye(8)[0])
    query = canonical(np.eye(8)[:1]).astype(np.float32)
    order = np.argsort(-(vectors.astype(np.float32) @ query[0]))
    near = Draft(id="near", passages=tuple(_at(vectors[row]) for row in order[:40]))
    far = Draft(
        id="far", passages=tuple(_at(vectors[row]) for row in order[40:]), metadata={"far": True}
    )
    await ingest(limited_workspace, near, far)
    await _indexing_of(limited_workspace).settle()
    async with limited_workspace.store.snapshot() as reader:
        assert not reader.exact
        [hits] = await reader.search_dense("chunk", query, 5, filter=In("far", (True,)))
        assert hits.ids.tolist() == far.chunk_ids()[:5]
        [hits] = await reader.search_dense("chunk", query, 5)
        assert hits.ids.tolist() == near.chunk_ids()[:5]


def _at(vector: np.ndarray) -> Passage:
    return Passage(text="x", vector=tuple(vector.astype(float).tolist()))


async def test_an_older_view_finds_what_the_index_has_lost(control: places.Neo4jPlace) -> None:
    opened = control()
    workspace = await opened.open("default", create=True)
    await ingest(workspace, A, B, saying("c", told("Cid")))
    queries = np.eye(8, dtype=np.float32)
    async with workspace.store.snapshot() as old:
        before = [hits_rows(one) for one in await old.search_dense("chunk", queries, 2)]
        await ingest(workspace, A2)
        await workspace.store.delete(["b"])
        async with workspace.store.snapshot() as new:
            after = [hits_rows(one) for one in await new.search_dense("chunk", queries, 2)]
        assert before != after
        assert before == [hits_rows(one) for one in await old.search_dense("chunk", queries, 2)]
        assert (
            (await old.vectors("chunk", int64([*A.chunk_ids(), *B.chunk_ids()]))).any(axis=1).all()
        )
    await opened.aclose()


async def test_what_is_removed_for_good_while_it_is_searched_makes_the_question_to_be_asked_again(
    limited_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"_FEW": 2, "_LEAST": 5}.items():
        monkeypatch.setattr(distant, name, value)
    await ingest(limited_workspace, *(_numbered(number) for number in range(5)))
    run = Connection.run

    async def too_late(self: Connection, query: str, /, **given: Any) -> Any:
        rows = await run(self, query, **given)
        if query == "nearest_chunks":
            for one in (*rows[0]["found"], *rows[0]["marked"]):
                one["vector"] = None
        return rows

    async with limited_workspace.store.snapshot() as reader:
        monkeypatch.setattr(Connection, "run", too_late)
        with pytest.raises(StoreUnavailable, match="Try again"):
            await reader.search_dense("chunk", lattice("text 4")[None, :], 2)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Indexing waits until it is told to go on. A workspace begins with it when it is opened."""
    monkeypatch.setattr(indexing, "_PAUSE", HOUR)


@pytest.fixture
async def asked(
    limited_workspace: Workspace, tmp_path: Path
) -> AsyncIterator[Callable[[str], Awaitable[list[str]]]]:
    """Runs a statement about the workspace."""
    database = Connection(places.neo4j_address())
    store = limited_workspace.store
    assert isinstance(store, Neo4jStore)

    async def run(statement: str) -> list[str]:
        rows = await database.run(statement.replace("_w1", f"_w{store._workspace}"))
        return sorted(row["text"] for row in rows)

    yield run
    await database.aclose()


WAITING = "MATCH (c:Marked_w1) RETURN c.text AS text"
FOUND = """CALL db.index.vector.queryNodes('rag_chunks_w1', 10, [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
YIELD node RETURN node.text AS text"""
SPOKEN = (
    "CALL db.index.fulltext.queryNodes('rag_words_w1', 'text') YIELD node RETURN node.text AS text"
)


@pytest.mark.usefixtures("held")
async def test_neo4js_own_indexes_follow_writes(
    limited_workspace: Workspace, asked: Callable[[str], Awaitable[list[str]]]
) -> None:
    """What came and what went, and what came and went before anybody indexed it."""
    store, waiting = limited_workspace.store, _indexing_of(limited_workspace)
    await ingest(limited_workspace, *map(_numbered, range(3)))
    assert await asked(FOUND) == await asked(SPOKEN) == []
    assert await asked(WAITING) == ["text 0", "text 1", "text 2"]
    await waiting.settle()
    assert await asked(FOUND) == await asked(SPOKEN) == ["text 0", "text 1", "text 2"]
    await ingest(limited_workspace, _numbered(3))
    await store.delete(["d0", "d3"])
    assert await asked(FOUND) == await asked(SPOKEN) == ["text 0", "text 1", "text 2"]
    await waiting.settle()
    assert await asked(FOUND) == await asked(SPOKEN) == ["text 1", "text 2"]
    assert await asked(WAITING) == []


@pytest.mark.usefixtures("held")
async def test_what_waits_to_be_indexed_is_indexed_a_moment_later_and_at_the_end(
    limited_workspace: Workspace,
    limited: Control,
    asked: Callable[[str], Awaitable[list[str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(indexing, "_BATCH", 1)
    await ingest(limited_workspace, _numbered(0), _numbered(1))
    await limited.aclose()
    assert await asked(FOUND) == ["text 0", "text 1"]
    monkeypatch.setattr(indexing, "_PAUSE", 0.01)
    await ingest(await limited.open("default"), _numbered(2), _numbered(3))
    async with asyncio.timeout(30):
        while await asked(FOUND) != ["text 0", "text 1", "text 2", "text 3"]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.usefixtures("held")
async def test_what_a_process_did_not_index_before_it_was_gone_the_next_one_does(
    limited_workspace: Workspace,
    limited: Control,
    asked: Callable[[str], Awaitable[list[str]]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also when it fails, which no write fails of."""
    run = Connection.run

    async def away(self: Connection, query: str, /, **given: Any) -> Any:
        if query == "index_chunks":
            raise StoreUnavailable("Neo4j is away. Try again.")
        return await run(self, query, **given)

    monkeypatch.setattr(Connection, "run", away)
    await ingest(limited_workspace, _numbered(0))
    await _indexing_of(limited_workspace).settle()
    assert "Neo4j is away" in caplog.text
    await limited.aclose()
    monkeypatch.setattr(Connection, "run", run)
    assert await asked(FOUND) == []
    monkeypatch.setattr(indexing, "_PAUSE", 0.01)
    await limited.open("default")
    async with asyncio.timeout(30):
        while await asked(FOUND) != ["text 0"]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
