"""What indexing real text costs: `python benchmarks/indexing.py DIR... [--documents N] [--json FILE]`.

Each DIR holds a `corpus.jsonl` of {id, title, text}. Passages are put together into documents of
five, which are ingested into a fresh workspace: first N of them, then ten times as many into
another. Printed: the share of the time that the embedding model's forward pass takes, and how many
times longer ten times the documents take.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from machine import machine

from rag_engine import build, load_settings
from rag_engine.engine import Engine
from rag_engine.ports.models import Embedder, TextRole

PER_DOCUMENT = 5


class Timed:
    """An embedder that adds up the time its forward passes take."""

    def __init__(self, inner: Embedder) -> None:
        self._inner = inner
        self._running = 0
        self._began = 0.0
        self.seconds = 0.0
        self.name = inner.name
        self.dimensions = inner.dimensions
        self.max_tokens = inner.max_tokens
        self.scripts = inner.scripts

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See `Embedder`."""
        return self._inner.count_tokens(texts)

    async def embed(self, texts: Sequence[str], kind: TextRole) -> npt.NDArray[np.float32]:
        """See `Embedder`. Calls that overlap are counted once."""
        if not self._running:
            self._began = time.perf_counter()
        self._running += 1
        try:
            return await self._inner.embed(texts, kind)
        finally:
            self._running -= 1
            if not self._running:
                self.seconds += time.perf_counter() - self._began


def documents(folders: Sequence[Path]) -> list[str]:
    """Markdown documents of five passages each, every passage under its title."""
    passages = [
        json.loads(line)
        for folder in folders
        for line in (folder / "corpus.jsonl").read_text("utf-8").splitlines()
    ]
    texts = [f"# {one['title']}\n\n{one['text']}" for one in passages]
    groups = range(0, len(texts) - PER_DOCUMENT + 1, PER_DOCUMENT)
    return ["\n\n".join(texts[start : start + PER_DOCUMENT]) for start in groups]


async def index(texts: Sequence[str]) -> dict[str, float]:
    """Ingest texts into a fresh folder: seconds, and what part of them the forward pass took."""
    with tempfile.TemporaryDirectory() as folder:
        built = await asyncio.to_thread(build, load_settings(data_dir=folder))
        embedder = Timed(built.pipeline.embedder)
        engine: Engine = replace(built, pipeline=replace(built.pipeline, embedder=embedder))
        await embedder.embed(["warm up"], "document")
        embedder.seconds = 0.0
        began = time.perf_counter()
        for number, text in enumerate(texts):
            name = f"{number:06d}.md"
            await engine.submit(text.encode(), document_id=name, source=name)
        await engine.work()
        seconds = time.perf_counter() - began
        chunks = (await engine.stats()).chunks
        await engine.aclose()
    return {
        "documents": len(texts),
        "chunks": chunks,
        "seconds": seconds,
        "forward_share": embedder.seconds / seconds,
    }


async def run(folders: Sequence[Path], count: int) -> list[dict[str, float]]:
    """Index `count` documents, then ten times as many."""
    texts = documents(folders)
    few = await index(texts[:count])
    many = await index(texts[: 10 * count])
    factor = many["documents"] / few["documents"]
    return [
        few,
        many,
        {"documents_factor": factor, "time_factor": many["seconds"] / few["seconds"]},
    ]


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--documents", type=int, default=40)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = asyncio.run(run(arguments.folders, arguments.documents))
    for row in rows:
        print("  ".join(f"{name} {value:.3g}" for name, value in row.items()))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
