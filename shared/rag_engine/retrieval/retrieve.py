"""A question to ranked chunks, within one view of the store.

question -> plan -> candidates -> expand -> rank. Planning needs no view; after it everything is read
through one `Reader`, so that nothing mixes two versions of a document, and with the filter, so that
nothing outside it shapes the result except the word statistics of the workspace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from rag_engine.ports.storage import Hits, Reader, Vectors
from rag_engine.retrieval.candidates import NOTHING, candidates
from rag_engine.retrieval.context import RankedChunk, ranked
from rag_engine.retrieval.expand import expand
from rag_engine.retrieval.plan import Plan, plan
from rag_engine.retrieval.rank import rank

if TYPE_CHECKING:
    from rag_engine.core.filters import Filter
    from rag_engine.ports.models import Embedder


APPROXIMATE: Final = (
    "The workspace is so large that an approximate index gave the passages nearest in meaning: some "
    "may be missing."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question as it is looked for.

    Attributes:
        plan: What to look for.
        vector: The question's, shape `(dimensions,)`; zeros unless `plan.dense`.
    """

    plan: Plan
    vector: Vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved:
    """What was found.

    Attributes:
        chunks: With their documents, best first.
        warnings: What the reader of the answer should know, in sentences.
    """

    chunks: list[RankedChunk]
    warnings: tuple[str, ...] = ()


async def ask(question: str, *, embedder: Embedder, mode: str = "graph") -> Asked:
    """Plan a question and embed it, which needs no view of the store.

    Raises:
        InvalidRequest: There is no such mode.
    """
    asked = plan(question, mode, embedder.scripts)
    vector = np.zeros(embedder.dimensions, dtype=np.float32)
    if asked.dense:
        [vector] = await embedder.embed([_fitting(question, embedder)], "query")
    return Asked(plan=asked, vector=vector)


async def retrieve(reader: Reader, asked: Asked, *, k: int, filter: Filter | None) -> Retrieved:
    """The `k` chunks that fit a question best, with their documents."""
    hits = await search(reader, asked.plan, asked.vector, k=k, filter=filter)
    warnings = asked.plan.warnings
    if asked.plan.dense and not reader.exact:
        warnings = (*warnings, APPROXIMATE)
    return Retrieved(chunks=await ranked(reader, hits), warnings=warnings)


async def search(
    reader: Reader, asked: Plan, vector: Vectors, *, k: int, filter: Filter | None
) -> Hits:
    """The `k` chunks that fit a planned question best.

    Args:
        reader: The view to search.
        asked: What to look for.
        vector: The question's, shape `(dimensions,)`; not looked at unless `asked.dense`.
        k: How many.
        filter: What may be seen.
    """
    if asked.mode == "naive":
        [dense] = await reader.search_dense("chunk", vector[None, :], k, filter=filter)
        return dense
    statistics = await reader.statistics(asked.tokens)
    hits = await candidates(reader, asked, vector, statistics, filter)
    if asked.mode == "graph" and len(hits.ids):
        around = await expand(reader, asked, hits, statistics, filter)
        hits = await rank(reader, asked, hits, around, vector, statistics, filter)
    return Hits(ids=hits.ids[:k], scores=hits.scores[:k]) if len(hits.ids) else NOTHING


def _fitting(question: str, embedder: Embedder) -> str:
    """The question, or as much of its beginning as the model takes."""
    written = question.encode("utf-8", "surrogatepass")
    # No tokenizer makes more tokens than bytes.
    if (
        len(written) <= embedder.max_tokens
        or embedder.count_tokens([question])[0] <= embedder.max_tokens
    ):
        return question
    return written[: embedder.max_tokens].decode("utf-8", "ignore")
