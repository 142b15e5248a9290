"""How fast the embedded store is at 100,000 chunks: `python benchmarks/speed.py [--json FILE]`.

A generated workspace (see `generated.py`) is filled once and kept in the folder for the next run.
Measured: retrieval in mode `graph` with the query vector given, without a filter and with filters
that select 1 % and 20 %; whether filtered results are those of an exact search; adding a document
durably; opening in a fresh process to the first answer; memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
from generated import Corpus, Floats, Shape, add, fill
from machine import machine

from rag_engine.adapters.sqlite import SqliteControl
from rag_engine.core.filters import Filter, parse
from rag_engine.ports.storage import Ids, Reader, Workspace
from rag_engine.retrieval.plan import plan
from rag_engine.retrieval.retrieve import search

MODEL = "benchmark"
K = 20
FILTERS: dict[str, Filter | None] = {
    "none": None,
    "1 %": parse({"eq": {"bucket": 7}}),
    "20 %": parse({"eq": {"fifth": 2}}),
}


def question(corpus: Corpus) -> tuple[str, Floats]:
    """Words of middling rarity, two names, and a vector."""
    words = [word for word in corpus.words(40) if int(word[4:]) > 20][:6]
    return " ".join([*words, *corpus.names(2)]), corpus.vector()


async def ask(reader: Reader, asked: tuple[str, Floats], filter: Filter | None) -> list[int]:
    """The best chunks in mode `graph`."""
    text, vector = asked
    hits = await search(reader, plan(text, "graph", None), vector, k=K, filter=filter)
    found: list[int] = hits.ids.tolist()
    return found


async def _nothing(number: int) -> None:
    pass


async def timed(
    count: int,
    work: Callable[[int], Awaitable[object]],
    after: Callable[[int], Awaitable[object]] = _nothing,
) -> dict[str, float]:
    """Median and 95th percentile of `count` runs, in milliseconds; `after` each is not timed."""
    times = []
    for number in range(count):
        began = time.perf_counter()
        await work(number)
        times.append(1000 * (time.perf_counter() - began))
        await after(number)
    return {"p50_ms": float(np.median(times)), "p95_ms": float(np.quantile(times, 0.95))}


async def measure_queries(workspace: Workspace, count: int) -> list[dict[str, object]]:
    """Retrieval by filter, the filters in turn so that the machine's moods are shared."""
    corpus = Corpus(Shape(), seed=99)
    questions = [question(corpus) for _ in range(count)]
    times: dict[str, list[float]] = {name: [] for name in FILTERS}
    for number, asked in enumerate([questions[0], *questions]):
        for name, filter_ in FILTERS.items():
            began = time.perf_counter()
            async with workspace.store.snapshot() as reader:
                await ask(reader, asked, filter_)
            if number:  # the first one warms up
                times[name].append(1000 * (time.perf_counter() - began))
    return [
        {
            "what": f"graph, filter {name}",
            "p50_ms": float(np.median(one)),
            "p95_ms": float(np.quantile(one, 0.95)),
        }
        for name, one in times.items()
    ]


async def measure_exactness(workspace: Workspace) -> dict[str, object]:
    """Share of the true nearest 10 that dense search finds, by a float32 scan of everything."""
    corpus = Corpus(Shape(), seed=5)
    found = wanted = 0
    async with workspace.store.snapshot() as reader:
        ids = await _all_chunks(reader)
        vectors = await reader.vectors("chunk", ids)
        for _ in range(50):
            query = corpus.vector()
            scores = np.einsum("ij,j->i", vectors, query)
            truth = set(ids[np.lexsort((ids, -scores))[:10]].tolist())
            [hits] = await reader.search_dense("chunk", query[None, :], 10)
            found += len(truth & set(hits.ids.tolist()))
            wanted += 10
    return {"what": "dense recall@10 against a float32 scan", "value": found / wanted}


async def _all_chunks(reader: Reader) -> Ids:
    """Ids of all chunks: the nearest to any vector, as many as there are."""
    [hits] = await reader.search_dense("chunk", np.ones((1, 384), dtype=np.float32), 10**7)
    return hits.ids


async def run(folder: Path, documents: int, queries: int) -> list[dict[str, object]]:
    """Fill what is missing, then measure."""
    control = SqliteControl(folder, model=MODEL, dimensions=384)
    workspace = await control.open("default", create=True)
    corpus = Corpus(Shape(documents=documents))
    async with workspace.store.snapshot() as reader:
        there = (await reader.stats()).documents
    began = time.perf_counter()
    await fill(workspace, corpus, there, documents, _told)
    rows: list[dict[str, object]] = []
    if documents - there >= 1000:
        rate = (documents - there) * 5 / (time.perf_counter() - began)
        rows.append({"what": "filling, chunks a second", "value": rate})
    async with workspace.store.snapshot() as reader:
        stats = await reader.stats()
    print(f"{stats.chunks:,} chunks, {stats.entities:,} entities, {stats.mentions:,} mentions")
    rows += await measure_queries(workspace, queries)
    rows.append(await measure_exactness(workspace))
    adding = await timed(100, lambda n: add(workspace, corpus, 10_000_000 + n))
    rows.append({"what": "adding a document (5 chunks, 40 mentions)", **adding})
    await workspace.store.delete([f"document-{10_000_000 + n}" for n in range(100)])
    await control.aclose()
    rows.append({"what": "peak memory, MB", "value": _peak_megabytes()})
    rows.append({"what": "open to first answer, s", "value": _open_in_a_fresh_process(folder)})
    return rows


def _told(number: int) -> None:
    if number % 1000 == 999:
        print(f"{number + 1:,} documents", file=sys.stderr, flush=True)


def _peak_megabytes() -> float:
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _open_in_a_fresh_process(folder: Path) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, __file__, "--first-answer", str(folder)], check=True)
    return time.perf_counter() - began


async def first_answer(folder: Path) -> None:
    """What a fresh process does for its first question."""
    control = SqliteControl(folder, model=MODEL, dimensions=384)
    workspace = await control.open("default")
    async with workspace.store.snapshot() as reader:
        await ask(reader, question(Corpus(Shape(), seed=99)), None)
    await control.aclose()


def plot(rows: list[dict[str, object]], path: Path) -> None:
    """Bars of the median and the 95th percentile; nothing happens where matplotlib is missing."""
    try:
        from matplotlib import pyplot as plt
    except ImportError:
        print("No plot: matplotlib is not installed (pip install matplotlib).")
        return
    timed_rows = [row for row in rows if "p50_ms" in row]
    figure, axes = plt.subplots(figsize=(8, 0.6 + 0.6 * len(timed_rows)))
    names = [str(row["what"]) for row in timed_rows]
    axes.barh(
        names, [row["p95_ms"] for row in timed_rows], color="#c9d6e8", label="95th percentile"
    )
    axes.barh(names, [row["p50_ms"] for row in timed_rows], color="#33557f", label="median")
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/results/speed"))
    parser.add_argument("--documents", type=int, default=20_000, help="of five chunks each")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--first-answer", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.first_answer:
        asyncio.run(first_answer(arguments.first_answer))
        return
    rows = asyncio.run(run(arguments.folder, arguments.documents, arguments.queries))
    for row in rows:
        values = "  ".join(f"{k} {v:.2f}" for k, v in row.items() if isinstance(v, float))
        print(f"{row['what']:48} {values}")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))
        plot(rows, arguments.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
