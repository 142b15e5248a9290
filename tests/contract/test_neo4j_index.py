"""A workspace beyond `NEO4J_EXACT_CHUNKS` keeps the words of the ports, too, as far as they go for it.

The workspaces of tests are so small that Neo4j's index finds everything; that it does not always is
what is measured (docs/explanation/neo4j.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import places
from rag_engine.adapters.neo4j import distant
from rag_engine.adapters.neo4j.connection import Connection
from rag_engine.core.filters import In
from rag_engine.core.vectors import canonical
from rag_engine.errors import StoreUnavailable
from rag_engine.testing.drafts import Draft, Passage, ingest, int64, lattice, saying, told
from rag_engine.testing.observation import hits_rows
from rag_engine.testing.search_contract import SearchContract
from rag_engine.testing.store_contract import A2, A, B

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from rag_engine.ports.storage import Control, Workspace

LIMIT = 3


@pytest.fixture
async def control(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[places.Neo4jPlace]:
    """Workspaces that are searched through Neo4j's index, whatever is in them."""
    monkeypatch.setattr(distant, "_FEW", 0)
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
            rows = [
                {**row, "found": [{**one, "vector": None} for one in row["found"]]} for row in rows
            ]
        return rows

    async with limited_workspace.store.snapshot() as reader:
        monkeypatch.setattr(Connection, "run", too_late)
        with pytest.raises(StoreUnavailable, match="Try again"):
            await reader.search_dense("chunk", lattice("text 4")[None, :], 2)
