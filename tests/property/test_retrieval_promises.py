"""Purge, isolation by filter, and order, seen from a question: same ids, same scores.

The store's own promises are tested on every method of a Reader; here the whole of `retrieval/`
stands on it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from engines import small_engine
from rag_engine import Engine, parse_filter
from rag_engine.core.bm25 import Statistics
from rag_engine.retrieval.plan import MODES, plan
from rag_engine.retrieval.retrieve import search

NAMES = ["Ada Brand", "Farne", "Whitby Abbey", "Jonas Reed", "Lady Vane", "North Sea Company"]
WORDS = ["built", "sold", "painted", "the", "old", "lighthouse", "of", "bees", "in", "harbour"]
SENTENCES = st.lists(st.sampled_from(NAMES + WORDS), min_size=3, max_size=9).map(
    lambda words: f"{' '.join(words)}."
)
TEXTS = st.tuples(st.sampled_from(NAMES), st.lists(SENTENCES, min_size=1, max_size=4)).map(
    lambda parts: f"# {parts[0]}\n\n{' '.join(parts[1])}"
)
CORPORA = st.lists(TEXTS, min_size=1, max_size=5)
QUESTIONS = st.lists(st.sampled_from(NAMES + WORDS), min_size=1, max_size=5).map(" ".join)


async def fill(engine: Engine, texts: dict[str, str], side: str) -> None:
    for id, text in texts.items():
        await engine.submit(
            text.encode(), document_id=id, source=f"{id}.md", metadata={"side": side}
        )
    await engine.work()


async def ranking(
    engine: Engine, question: str, mode: str, *, frozen: Statistics | None = None, side: str = ""
) -> list[tuple[int, float]]:
    """Chunk ids and scores; with `frozen`, word statistics are those and not the workspace's."""
    embedder = engine.pipeline.embedder
    [vector] = await embedder.embed([question], "query")
    filter = parse_filter({"eq": {"side": side}}) if side else None
    opened = await engine.workspace()
    async with opened.store.snapshot() as reader:
        if frozen:
            vars(reader)["_statistics"] = lambda tokens: frozen
        hits = await search(
            reader, plan(question, mode, embedder.scripts), vector, k=10, filter=filter
        )
    return list(zip(hits.ids.tolist(), hits.scores.tolist(), strict=True))


async def statistics(engine: Engine) -> Statistics:
    words = [word.lower() for name in [*NAMES, *WORDS] for word in name.split()]
    async with (await engine.workspace()).store.snapshot() as reader:
        return await reader.statistics(words)


@pytest.mark.parametrize("mode", MODES)
@settings(
    max_examples=12, phases=[Phase.explicit, Phase.generate]
)  # an example is too slow to shrink
@given(CORPORA, CORPORA, QUESTIONS)
async def test_what_was_deleted_leaves_no_trace_in_any_order(
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


@pytest.mark.parametrize("mode", MODES)
@settings(
    max_examples=12, phases=[Phase.explicit, Phase.generate]
)  # an example is too slow to shrink
@given(CORPORA, CORPORA, QUESTIONS)
async def test_nothing_outside_a_filter_shapes_a_ranking(
    mode: str, inside: list[str], outside: list[str], question: str
) -> None:
    mine = {f"in{n}": text for n, text in enumerate(inside)}
    theirs = {f"out{n}": text for n, text in enumerate(outside)}
    with tempfile.TemporaryDirectory() as folder:
        alone = await small_engine(Path(folder) / "alone")
        mixed = await small_engine(Path(folder) / "mixed")
        await fill(alone, mine, "a")
        await fill(mixed, mine | theirs, "a")
        await fill(mixed, theirs, "b")
        words = await statistics(mixed)
        filtered = await ranking(mixed, question, mode, frozen=words, side="a")
        assert filtered == await ranking(alone, question, mode, frozen=words)
        await alone.aclose()
        await mixed.aclose()
