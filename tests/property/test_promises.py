"""Promises that hold for any documents, in any order: purge, idempotence, filter-soundness."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import places
from rag_engine.core import bm25
from rag_engine.core.filters import In, fields_of, matches
from rag_engine.core.tokens import tokenize
from rag_engine.testing import strategies
from rag_engine.testing.drafts import ingest
from rag_engine.testing.observation import (
    OF_THE_WORKSPACE,
    differences,
    list_all,
    observe,
    observed,
    without,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from rag_engine.core.filters import Filter
    from rag_engine.core.ids import ChunkId
    from rag_engine.ports.storage import Reader, Workspace
    from rag_engine.testing.drafts import Draft

EXAMPLES = settings(max_examples=max(25, settings.default.max_examples // 4))

every_store = pytest.mark.parametrize("store", places.STORES)


@asynccontextmanager
async def opened(store: str, name: str = "default") -> AsyncIterator[Workspace]:
    """Open a workspace in a fresh place."""
    with places.folder() as folder:
        try:
            control = places.place(store, folder)()
        except places.MissingStore as error:
            pytest.skip(str(error))
        try:
            yield await control.open(name, create=True)
        finally:
            await control.aclose()


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
    async with opened(store) as alone, opened(store) as purged:
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
    async with opened(store) as one, opened(store) as other:
        await ingest(one, *corpus)
        await ingest(other, *data.draw(st.permutations(corpus)))
        assert differences(await observed(one), await observed(other)) == []


@every_store
@EXAMPLES
@given(corpus=strategies.corpora(), data=st.data())
async def test_adding_the_same_twice_changes_nothing(
    store: str, corpus: list[Draft], data: st.DataObject
) -> None:
    async with opened(store) as workspace:
        versions = await ingest(workspace, *corpus)
        before = await observed(workspace)
        again = data.draw(st.permutations(range(len(corpus))))
        for index in again:
            assert await ingest(workspace, corpus[index]) == [versions[index]]
        assert differences(before, await observed(workspace)) == []


@every_store
@EXAMPLES
@given(corpus=strategies.corpora(), new=strategies.drafts())
async def test_a_replaced_version_leaves_nothing(
    store: str, corpus: list[Draft], new: Draft
) -> None:
    """As if the version that was replaced had been wanted, but never indexed."""
    old = [one for one in corpus if one.id == new.id]
    async with opened(store) as straight, opened(store) as detour:
        for one in old:
            await straight.queue.accept(one.submission)
        await ingest(straight, new, *(one for one in corpus if one not in old))
        await ingest(detour, *corpus, new)
        assert differences(await observed(straight), await observed(detour)) == []


@every_store
@EXAMPLES
@given(corpus=strategies.corpora(), filter=strategies.filters())
async def test_filters_mean_what_matches_says(
    store: str, corpus: list[Draft], filter: Filter
) -> None:
    async with opened(store) as workspace:
        await ingest(workspace, *corpus)
        async with workspace.store.snapshot() as reader:
            documents = await list_all(reader)
            expected = [one.id for one in documents if matches(filter, fields_of(one))]
            assert [one.id for one in await list_all(reader, filter)] == expected


@every_store
@EXAMPLES
@given(corpus=strategies.corpora(max_size=5), filter=strategies.filters())
async def test_what_a_filter_hides_shapes_nothing_by_metadata(
    store: str, corpus: list[Draft], filter: Filter
) -> None:
    async with opened(store) as everything:
        await ingest(everything, *corpus)
        async with everything.store.snapshot() as reader:
            inside = {one.id for one in await list_all(reader) if matches(filter, fields_of(one))}
        await _assert_sound(store, everything, filter, [one for one in corpus if one.id in inside])


@every_store
@EXAMPLES
@given(corpus=strategies.corpora(max_size=5), data=st.data())
async def test_what_a_filter_hides_shapes_nothing_by_id(
    store: str, corpus: list[Draft], data: st.DataObject
) -> None:
    ids = data.draw(st.sets(st.sampled_from(strategies.IDS)))
    async with opened(store) as everything:
        await ingest(everything, *corpus)
        inside = [one for one in corpus if one.id in ids]
        await _assert_sound(store, everything, In("$id", tuple(ids)), inside)


async def _assert_sound(
    store: str, everything: Workspace, filter: Filter, inside: Sequence[Draft]
) -> None:
    """`query(A ∪ B, filter=A) == query(A)`, with word statistics frozen."""
    async with opened(store) as alone:
        await ingest(alone, *inside)
        async with alone.store.snapshot() as few, everything.store.snapshot() as many:
            left = without(await observe(few), *OF_THE_WORKSPACE)
            right = without(await observe(many, filter=filter), *OF_THE_WORKSPACE)
            assert differences(left, right) == []
            await _assert_text_search_sound(many, filter, inside)


async def _assert_text_search_sound(
    reader: Reader, filter: Filter, inside: Sequence[Draft]
) -> None:
    lexemes: dict[ChunkId, str] = {
        one.chunk.id: one.lexemes for draft in inside for one in draft.evidence()
    }
    for tokens in [tokenize(text) for text in (*strategies.WORDS, " ".join(strategies.WORDS))]:
        frozen = await reader.statistics(tokens)
        scores = bm25.score(tokens, list(lexemes.values()), frozen).tolist()
        expected = sorted((-score, id) for id, score in zip(lexemes, scores, strict=True) if score)
        hits = await reader.search_text(tokens, 100, filter=filter)
        assert hits.ids.tolist() == [id for _, id in expected]
        assert hits.scores.tolist() == [-score for score, _ in expected]
