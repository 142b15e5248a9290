"""Promise 2, Purge: add A and B, delete B, and everything equals having added A alone.

In any order, any number, and whatever was merged and hidden by hand meanwhile.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from rankings import CORPORA, QUESTIONS, fill, ranking

import places
from engines import small_engine
from places import opened
from rag_engine.retrieval.plan import MODES
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
@given(corpus=strategies.corpora(max_size=5), data=st.data())
async def test_purge_in_any_order_equals_never_having_added(
    store: str, corpus: list[Draft], data: st.DataObject
) -> None:
    kept = data.draw(st.sets(st.sampled_from(strategies.IDS)))
    added = data.draw(st.permutations(corpus))
    deleted = data.draw(st.permutations([one.id for one in corpus if one.id not in kept]))
    at_once = data.draw(st.booleans())
    async with opened(store, "default") as [alone], opened(store, "default") as [purged]:
        await ingest(alone, *(one for one in corpus if one.id in kept))
        await ingest(purged, *added)
        for ids in [deleted] if at_once else [[id] for id in deleted]:
            assert await purged.store.delete(ids) == len(ids)
        assert differences(await observed(alone), await observed(purged)) == []


@every_store
@EXAMPLES
@given(corpus=strategies.corpora(), data=st.data())
async def test_the_order_of_adding_shapes_nothing(
    store: str, corpus: list[Draft], data: st.DataObject
) -> None:
    async with opened(store, "default") as [one], opened(store, "default") as [other]:
        await ingest(one, *corpus)
        await ingest(other, *data.draw(st.permutations(corpus)))
        assert differences(await observed(one), await observed(other)) == []


@every_store
@EXAMPLES
@given(corpus=strategies.corpora(), new=strategies.drafts())
async def test_a_replaced_version_leaves_nothing(
    store: str, corpus: list[Draft], new: Draft
) -> None:
    """As if the version that was replaced had been wanted, but never indexed."""
    old = [one for one in corpus if one.id == new.id]
    async with opened(store, "default") as [straight], opened(store, "default") as [detour]:
        for one in old:
            await straight.queue.accept(one.submission)
        await ingest(straight, new, *(one for one in corpus if one not in old))
        await ingest(detour, *corpus, new)
        assert differences(await observed(straight), await observed(detour)) == []


@every_store
@EXAMPLES
@given(
    corpus=strategies.corpora(),
    edits=st.lists(strategies.edits(), min_size=1, max_size=5),
    data=st.data(),
)
async def test_edits_undone_and_documents_deleted_leave_nothing_in_any_order(
    store: str, corpus: list[Draft], edits: list[Edit], data: st.DataObject
) -> None:
    """Some documents and some edits stay; the others come and go among them, in any order."""
    kept = data.draw(st.sets(st.sampled_from(strategies.IDS)))
    async with opened(store, "default") as [alone], opened(store, "default") as [purged]:
        staying = [edit for edit in edits[: len(edits) // 2] if await try_put(alone.store, edit)]
        await ingest(alone, *(one for one in corpus if one.id in kept))
        for edit in staying:
            await try_put(purged.store, edit)
        passing = [edit for edit in edits if edit not in staying]
        made: list[Edit] = []
        for one in data.draw(st.permutations([*corpus, *passing])):
            if hasattr(one, "passages"):
                await ingest(purged, one)
            elif await try_put(purged.store, one):
                made.append(one)
        leaving = [*(one.id for one in corpus if one.id not in kept), *made]
        for gone in data.draw(st.permutations(leaving)):
            if isinstance(gone, str):
                await purged.store.delete([gone])
            else:
                assert await purged.store.undo(gone.id)
        assert differences(await observed(alone), await observed(purged)) == []


@pytest.mark.parametrize("mode", MODES)
@settings(
    max_examples=12, phases=[Phase.explicit, Phase.generate]
)  # an example is too slow to shrink
@given(CORPORA, CORPORA, QUESTIONS)
async def test_what_was_deleted_leaves_no_trace_in_an_answer(
    mode: str, kept: list[str], gone: list[str], question: str
) -> None:
    mine = {f"kept{n}": text for n, text in enumerate(kept)}
    theirs = {f"gone{n}": text for n, text in enumerate(gone)}
    with tempfile.TemporaryDirectory() as folder:
        alone = await small_engine(Path(folder) / "alone")
        mixed = await small_engine(Path(folder) / "mixed")
        await fill(alone, mine, "a")
        await fill(mixed, theirs, "b")
        await fill(mixed, dict(reversed(mine.items())), "a")
        await mixed.delete(list(theirs))
        assert await ranking(mixed, question, mode) == await ranking(alone, question, mode)
        await alone.aclose()
        await mixed.aclose()
