"""The entities of a graph: listed whole by pages, and found by a part of their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import places
import rag_engine.adapters.sqlite  # noqa: F401 - before there is an event loop: it reads its statements
from rag_engine.adapters.models.fake import HashEmbedder
from rag_engine.core.edits import Alias, Suppression
from rag_engine.core.filters import parse
from rag_engine.errors import InvalidRequest
from rag_engine.retrieval.entities import entity_page, search_entities
from rag_engine.testing.drafts import DIMENSIONS, Draft, Passage, ingest, told

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rag_engine.core.filters import Filter
    from rag_engine.ports.storage import Workspace

EMBEDDER = HashEmbedder(dimensions=DIMENSIONS)


def draft(id: str, *names: str, **metadata: str) -> Draft:
    passages = tuple(Passage(text=f"{name} is here.", extraction=told(name)) for name in names)
    return Draft(id=id, passages=passages, metadata=metadata)


@pytest.fixture(params=places.STORES)
async def workspace(request: pytest.FixtureRequest) -> AsyncIterator[Workspace]:
    async with places.opened(request.param, "default") as [one]:
        await ingest(
            one,
            draft("a", "Ada Brand", "Farne", "Anton Berg", kind="letter"),
            draft("b", "Ada Brand", "Farne", "Brand", kind="map"),
            draft("c", "Ada Brand", "Elder Brook", kind="map"),
        )
        yield one


async def listed(
    workspace: Workspace, limit: int = 100, filter: Filter | None = None
) -> list[tuple[str, int]]:
    found, after = [], None
    async with workspace.store.snapshot() as reader:
        while True:
            page = await entity_page(reader, EMBEDDER, None, after, limit=limit, filter=filter)
            assert len(page.entities) <= limit
            found += [(one.name, one.mentions) for one in page.entities]
            if (after := page.next) is None:
                return found


async def searched(workspace: Workspace, name: str, limit: int = 3) -> list[str]:
    async with workspace.store.snapshot() as reader:
        page = await search_entities(reader, name, EMBEDDER, limit=limit, filter=None)
    return [one.name for one in page.entities]


async def test_pages_of_any_size_list_each_once_the_most_mentioned_first(
    workspace: Workspace,
) -> None:
    whole = await listed(workspace)
    assert whole[:2] == [("Ada Brand", 3), ("Farne", 2)]
    assert {*whole[2:]} == {("Anton Berg", 1), ("Brand", 1), ("Elder Brook", 1)}
    for limit in (1, 2, 5):
        assert await listed(workspace, limit) == whole


async def test_what_a_filter_hides_is_neither_listed_nor_counted(workspace: Workspace) -> None:
    maps = await listed(workspace, 2, parse({"eq": {"kind": "map"}}))
    assert maps[0] == ("Ada Brand", 2)
    assert {*maps[1:]} == {("Farne", 1), ("Brand", 1), ("Elder Brook", 1)}


async def test_a_part_of_a_name_finds_it_and_the_name_itself_comes_first(
    workspace: Workspace,
) -> None:
    assert (await searched(workspace, "brand", 2)) == ["Brand", "Ada Brand"]
    assert (await searched(workspace, "  ELDER ", 1)) == ["Elder Brook"]
    assert (await searched(workspace, "ada", 1)) == ["Ada Brand"]


async def test_what_was_merged_is_found_under_its_old_name_and_what_is_hidden_is_not(
    workspace: Workspace,
) -> None:
    vectors = np.eye(2, DIMENSIONS, dtype=np.float32)
    await workspace.store.edit(Alias(source="Brand", target="Anton Berg"), vectors)
    assert (await searched(workspace, "Brand", 1)) == ["Anton Berg"]
    await workspace.store.edit(Suppression(name="Farne"), vectors[:1])
    assert "Farne" not in await searched(workspace, "Farne", 10)
    assert "Farne" not in dict(await listed(workspace))


async def test_what_names_nothing_is_refused(workspace: Workspace) -> None:
    async with workspace.store.snapshot() as reader:
        for name in ("", "  ", "word " * 300):
            with pytest.raises(InvalidRequest):
                await search_entities(reader, name, EMBEDDER, limit=1, filter=None)
        for after in ("", "x", "1", "1.x"):
            with pytest.raises(InvalidRequest):
                await entity_page(reader, EMBEDDER, None, after, limit=1, filter=None)
