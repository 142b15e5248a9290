"""Promise 1, Idempotent: the same content under the same id twice changes nothing the second time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import places
from engines import put, small_engine
from places import opened
from rag_engine import Alias, Fact, Suppression
from rag_engine.testing import strategies
from rag_engine.testing.drafts import ingest, try_put
from rag_engine.testing.observation import differences, observed

if TYPE_CHECKING:
    from rag_engine.core.edits import Edit
    from rag_engine.testing.drafts import Draft

EXAMPLES = settings(max_examples=max(25, settings.default.max_examples // 4))

every_store = pytest.mark.parametrize("store", places.PROMISED)


@every_store
@EXAMPLES
@given(corpus=strategies.corpora(), data=st.data())
async def test_adding_the_same_twice_changes_nothing(
    store: str, corpus: list[Draft], data: st.DataObject
) -> None:
    async with opened(store, "default") as [workspace]:
        versions = await ingest(workspace, *corpus)
        before = await observed(workspace)
        again = data.draw(st.permutations(range(len(corpus))))
        for index in again:
            assert await ingest(workspace, corpus[index]) == [versions[index]]
        assert differences(before, await observed(workspace)) == []


@every_store
@EXAMPLES
@given(corpus=strategies.corpora(), edits=st.lists(strategies.edits(), max_size=4))
async def test_the_same_edit_twice_changes_nothing(
    store: str, corpus: list[Draft], edits: list[Edit]
) -> None:
    async with opened(store, "default") as [workspace]:
        await ingest(workspace, *corpus)
        made = [edit for edit in edits if await try_put(workspace.store, edit)]
        before = await observed(workspace)
        for edit in reversed(made):
            assert not await try_put(workspace.store, edit)
        assert differences(before, await observed(workspace)) == []


async def test_a_whole_engine_that_is_told_everything_twice_does_nothing_twice(
    tmp_path: Path,
) -> None:
    async def tell() -> int:
        engine = await small_engine(tmp_path)
        await put(engine, "a", "Ann Lee met Bob Day in York.", metadata={"year": 1843})
        await put(engine, "b", "Bob Day left York for Leeds.")
        await engine.edit(Alias(source="Bob", target="Bob Day"))
        await engine.edit(Suppression(name="Leeds"))
        await engine.add_fact(Fact(name="York", type="city"))
        await engine.work()
        async with (await engine.workspace()).store.snapshot() as reader:
            counter = reader.counter
        await engine.aclose()
        return counter

    assert await tell() == await tell()
