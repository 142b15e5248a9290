"""Promises seen from a question: what it finds, ids and scores, on an engine with real parts."""

from __future__ import annotations

from hypothesis import strategies as st

from rag_engine import Engine, parse_filter
from rag_engine.core.bm25 import Statistics
from rag_engine.retrieval.plan import plan
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
