"""Promise 6, Isolated: no byte of workspace A influences workspace B.

The oracle is a workspace that is alone in its place: beside another one, whatever that holds and
whatever is done to it, everything observable stays the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from rankings import CORPORA, QUESTIONS

import places
from engines import put, small_engine
from places import opened
from rag_engine import Alias, Engine, Fact, Question, Suppression
from rag_engine.errors import NotFound
from rag_engine.testing import strategies
from rag_engine.testing.drafts import ingest, try_put
from rag_engine.testing.observation import differences, observed

if TYPE_CHECKING:
    from rag_engine.core.edits import Edit
    from rag_engine.testing.drafts import Draft

EXAMPLES = settings(max_examples=max(25, settings.default.max_examples // 4))


@pytest.mark.parametrize("store", places.PROMISED)
@EXAMPLES
@given(
    mine=strategies.corpora(),
    theirs=strategies.corpora(),
    edits=st.lists(strategies.edits(), max_size=3),
    data=st.data(),
)
async def test_a_workspace_is_what_it_would_be_alone(
    store: str, mine: list[Draft], theirs: list[Draft], edits: list[Edit], data: st.DataObject
) -> None:
    """The same ids, names and words on both sides, written turn by turn."""
    async with opened(store, "mine") as [alone], opened(store, "theirs", "mine") as [other, beside]:
        await ingest(alone, *mine)
        turns = data.draw(st.permutations([(beside, one) for one in mine]))
        turns += [(other, one) for one in theirs]
        for workspace, draft in data.draw(st.permutations(turns)):
            await ingest(workspace, draft)
        for edit in edits:
            await try_put(other.store, edit)
        assert differences(await observed(alone), await observed(beside)) == []
        await other.store.delete(data.draw(st.permutations(strategies.IDS)))
        assert differences(await observed(alone), await observed(beside)) == []
        assert await beside.queue.seconds_to_next() is None


@settings(
    max_examples=12, phases=[Phase.explicit, Phase.generate]
)  # an example is too slow to shrink
@given(CORPORA, CORPORA, QUESTIONS)
async def test_an_answer_is_what_it_would_be_alone(
    mine: list[str], theirs: list[str], question: str
) -> None:
    asked = Question(text=question, workspace="mine")
    with tempfile.TemporaryDirectory() as folder:
        async with _engine(Path(folder) / "alone") as alone, _engine(Path(folder) / "two") as two:
            for n, text in enumerate(theirs):
                await put(two, f"d{n}", text, workspace="theirs")
            for n, text in enumerate(mine):
                await put(alone, f"d{n}", text, workspace="mine")
                await put(two, f"d{n}", text, workspace="mine")
            await two.query(Question(text=question, workspace="theirs"))
            one, other = await alone.query(asked), await two.query(asked)
            assert (one.text, one.references, one.context) == (
                other.text,
                other.references,
                other.context,
            )


async def test_the_same_bytes_in_two_workspaces_stay_in_the_one_when_they_go_from_the_other(
    tmp_path: Path,
) -> None:
    async with _engine(tmp_path) as engine:
        for workspace in ("mine", "theirs"):
            await put(engine, "a", "Ann Lee met Bob Day.", workspace=workspace)
        await engine.edit(Alias(source="Bob Day", target="Bob"), "theirs")
        await engine.edit(Suppression(name="Ann Lee"), "theirs")
        await engine.add_fact(Fact(name="Ann Lee", type="spy"), "theirs")
        await engine.work("theirs")
        assert await engine.delete(["a"], "theirs") == 1
        document = await engine.document("a", "mine")
        assert (await engine.parsed(document)).text == "Ann Lee met Bob Day."
        around = await engine.graph("Bob Day", "mine")
        assert (around.aliases, around.entity.mentions) == ((), 1)
        assert (await engine.graph("Ann Lee", "mine")).entity.type == ""
        with pytest.raises(NotFound):
            await engine.document("a", "theirs")


@asynccontextmanager
async def _engine(folder: Path) -> AsyncIterator[Engine]:
    engine = await small_engine(folder)
    yield engine
    await engine.aclose()
