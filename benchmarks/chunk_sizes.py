"""Which size of chunks finds best? `python benchmarks/chunk_sizes.py DIR [--sizes 200/0 200/40 …]`.

DIR holds `corpus.jsonl` (long documents) and `queries.jsonl` whose `spans` are the characters that
answer a question, as `chunking_eval` does. Each size `target/overlap` in tokens is measured over the
first `--characters` of each document: chunks are ranked half by cosine and half by BM25, and the
best are read until they fill 1,000 tokens, or the best five. Printed: which share of the answering
characters they hold, and the intersection over the union of both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rag_engine.adapters.models.onnx import OnnxEmbedder
from rag_engine.core.bm25 import Statistics, score
from rag_engine.core.fusion import normalised
from rag_engine.core.models import Chunk, ParsedDocument
from rag_engine.core.tokens import tokenize
from rag_engine.ingest.chunk import ChunkSize, chunk, embedded_text

if TYPE_CHECKING:
    from collections.abc import Sequence

TOKENS = 1000
Spans = list[tuple[str, int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Chunks with what they are found by."""

    chunks: Sequence[Chunk]
    vectors: npt.NDArray[np.float32]
    lexemes: Sequence[str]
    statistics: Statistics

    def best(self, question: str, vector: npt.NDArray[np.float32]) -> list[Chunk]:
        """All chunks, best first."""
        words = score(tokenize(question), self.lexemes, self.statistics)
        meaning = (self.vectors @ vector).astype(np.float64)
        order = np.argsort(-(normalised(meaning) + normalised(words)), kind="stable")
        return [self.chunks[i] for i in order]


async def index(
    documents: Sequence[dict[str, Any]], embedder: OnnxEmbedder, size: ChunkSize
) -> Index:
    """Cut documents and make them findable."""
    chunks: list[Chunk] = []
    texts: list[str] = []
    for row in documents:
        parsed = ParsedDocument(text=row["text"], media_type="text/plain", title=row["title"])
        found = chunk(
            parsed,
            document_id=row["id"],
            version=1,
            count_tokens=embedder.count_tokens,
            size=size,
        )
        chunks += found
        texts += [embedded_text(row["title"], one.heading_path, one.text) for one in found]
    tokens = [tokenize(text) for text in texts]
    return Index(
        chunks=chunks,
        vectors=await embedder.embed(texts, "document"),
        lexemes=[" ".join(words) for words in tokens],
        statistics=Statistics(
            documents=len(chunks),
            average_length=sum(map(len, tokens)) / len(tokens),
            frequency=Counter(word for words in tokens for word in set(words)),
        ),
    )


def held(gold: Spans, chunks: Sequence[Chunk]) -> tuple[float, float]:
    """Share of the gold characters in the chunks, and intersection over union."""
    wanted = {(id, at) for id, start, end in gold for at in range(start, end)}
    got = {(c.document_id, at) for c in chunks for at in range(c.start, c.end)}
    both = len(wanted & got)
    return both / len(wanted), both / len(wanted | got)


def within(chunks: Sequence[Chunk], tokens: int) -> list[Chunk]:
    """The first chunks that fit."""
    used = np.cumsum([one.tokens for one in chunks])
    return list(chunks[: int(np.searchsorted(used, tokens, side="right"))])


async def run(folder: Path, sizes: Sequence[str], characters: int) -> None:
    """Measure and print one row for each size."""
    documents = [row | {"text": row["text"][:characters]} for row in _rows(folder / "corpus.jsonl")]
    questions = [
        row
        for row in _rows(folder / "queries.jsonl")
        if all(span["end"] < characters for span in row["spans"])
    ]
    embedder = await asyncio.to_thread(OnnxEmbedder.bundled)
    asked = await embedder.embed([row["question"] for row in questions], "query")
    print(
        f"{len(questions)} questions\ntarget/overlap  chunks  mean  recall@5  iou@5  recall@1000t"
    )
    for name in sizes:
        target, overlap = map(int, name.split("/"))
        size = ChunkSize(
            max_tokens=embedder.max_tokens, target_tokens=target, overlap_tokens=overlap
        )
        found = await index(documents, embedder, size)
        rows = []
        for row, vector in zip(questions, asked, strict=True):
            [id] = row["supporting_ids"]
            gold = [(id, span["start"], span["end"]) for span in row["spans"]]
            best = found.best(row["question"], vector)
            rows.append((*held(gold, best[:5]), held(gold, within(best, TOKENS))[0]))
        recall, iou, filled = np.mean(rows, axis=0)
        mean = np.mean([one.tokens for one in found.chunks])
        print(
            f"{name:>14} {len(found.chunks):7} {mean:5.0f} {recall:9.3f} {iou:6.3f} {filled:13.3f}",
            flush=True,
        )
    embedder.close()


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument(
        "--sizes", nargs="+", default=["120/0", "160/0", "200/0", "200/40", "240/0"]
    )
    parser.add_argument("--characters", type=int, default=120_000)
    arguments = parser.parse_args()
    asyncio.run(run(arguments.folder, arguments.sizes, arguments.characters))
