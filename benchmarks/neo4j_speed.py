"""How fast the store on Neo4j is at 100,000 chunks: `python benchmarks/neo4j_speed.py [--json FILE]`.

A generated workspace (see `generated.py`; 200,000 entities) is filled once, in documents of a hundred
chunks, and kept for the next run: in the server that `NEO4J_URI` names, or in one that is started on
a folder of its own (Java 17 and Maven are needed). An interrupted filling is gone on with.

Measured: retrieval in mode `graph` with the query vector given, without a filter and with filters
that select 1 % and 20 %; adding a document of five chunks, once a few hundred of them have let the
server compile what it runs; the first question after that; how many
round trips each takes; opening in a fresh process to the first answer, and the memory it takes; what
the server takes in memory and on disk; recall of Neo4j's own vector index.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from footprint import resident_mb
from generated import Corpus, Shape, add, fill
from machine import machine
from servers import Server, serving, vectors_indexed
from speed import ask, measure_queries, question, timed

from rag_engine.adapters.neo4j import Address, Neo4jControl
from rag_engine.adapters.neo4j.connection import Connection
from rag_engine.ports.storage import Workspace

ROOT: Final = Path(__file__).parents[1]
MODEL: Final = "benchmark"
DIMENSIONS: Final = 384
LOADED: Final = Shape(documents=1_000, chunks_per_document=100)
ADDED: Final = Shape()
MEASURED: Final = 100
WARM: Final = 1_000
"""Documents that are added before any is measured: a Java server is slow at what it does first."""

NEW: Final = 10_000_000
"""Number of the first of the documents that are added for measuring, and deleted again."""

TARGETS: Final = {
    "graph, filter none": (80.0, 200.0),
    "adding a document (5 chunks, 40 mentions)": (None, 150.0),
}
"""Milliseconds of the median and of the 95th percentile that are wanted at most."""

Row = dict[str, Any]


class Counted:
    """How many round trips there were, but for those that nobody waits for."""

    def __init__(self) -> None:
        self.trips = 0

    def __call__(self, name: str) -> None:
        if name not in ("marked_chunks", "index_chunks"):
            self.trips += 1

    def taken(self) -> int:
        """Those since the last call."""
        trips, self.trips = self.trips, 0
        return trips


async def run(server: Server, documents: int, queries: int) -> list[Row]:
    """Fill what is missing, then measure."""
    counted = Counted()
    rows = await _filled(server.address, documents)
    control = Neo4jControl(server.address, model=MODEL, dimensions=DIMENSIONS, count=counted)
    workspace = await control.open("default")
    async with workspace.store.snapshot() as reader:
        stats = await reader.stats()
    print(f"{stats.chunks:,} chunks, {stats.entities:,} entities, {stats.mentions:,} mentions")
    rows += await measure_queries(workspace, queries)
    rows += await measure_writes(workspace, counted)
    rows += await measure_index(server.address, workspace)
    await control.aclose()
    if server.home:
        rows += measure_server(server.home)
    rows.append(_opened_in_a_fresh_process(server.address))
    return rows


async def _filled(address: Address, documents: int) -> list[Row]:
    """Write what is missing, then have the indexes made of all at once, which is faster."""
    control = Neo4jControl(address, model=MODEL, dimensions=DIMENSIONS, indexed=False)
    workspace = await control.open("default", create=True)
    there = len(await workspace.queue.versions(limit=10 * documents))
    began = time.perf_counter()
    await fill(workspace, Corpus(LOADED, seed=7 + there), there, documents, _told)
    filled = time.perf_counter()
    await control.aclose()
    control = Neo4jControl(address, model=MODEL, dimensions=DIMENSIONS)
    await control.open("default")
    await control.aclose()
    connection = Connection(replace(address, transaction_seconds=3600.0))
    await vectors_indexed(connection, "")
    await connection.aclose()
    if documents - there < 50:
        return []
    chunks = (documents - there) * LOADED.chunks_per_document
    return [
        {"what": "filling, chunks a second", "value": chunks / (filled - began)},
        {"what": "making the indexes, s", "value": time.perf_counter() - filled},
    ]


def _told(number: int) -> None:
    if number % 50 == 49:
        print(f"{number + 1:,} documents", file=sys.stderr, flush=True)


async def measure_writes(workspace: Workspace, counted: Counted) -> list[Row]:
    """Adding a document, and the first question afterwards, which reads what is new."""
    corpus = Corpus(ADDED, seed=11)
    asked = question(Corpus(ADDED, seed=99))
    first: list[float] = []
    trips: list[tuple[int, int]] = []

    async def write(number: int) -> None:
        counted.taken()
        await add(workspace, corpus, NEW + number)

    async def after(number: int) -> None:
        written = counted.taken()
        began = time.perf_counter()
        async with workspace.store.snapshot() as reader:
            await ask(reader, asked, None)
        first.append(1000 * (time.perf_counter() - began))
        trips.append((written, counted.taken()))

    for number in range(WARM):
        await write(MEASURED + number)
    times = await timed(MEASURED, write, after)
    added = [f"document-{NEW + number}" for number in range(MEASURED + WARM)]
    for at in range(0, len(added), 100):
        await workspace.store.delete(added[at : at + 100])
    most = [max(one) for one in zip(*trips, strict=True)]
    return [
        {"what": "adding a document (5 chunks, 40 mentions)", **times},
        {
            "what": "the first question after that",
            "p50_ms": statistics.median(first),
            "p95_ms": statistics.quantiles(first, n=20)[-1],
        },
        {"what": "round trips of adding a document, at most", "value": float(most[0])},
        {"what": "round trips of the first question after it, at most", "value": float(most[1])},
    ]


async def measure_index(address: Address, workspace: Workspace) -> list[Row]:
    """Share of the nearest 10 of an exact search that Neo4j's own vector index finds."""
    connection = Connection(address)
    name = await vectors_indexed(connection, "")
    corpus = Corpus(ADDED, seed=5)
    found = 0
    spent: list[float] = []
    async with workspace.store.snapshot() as reader:
        for _ in range(100):
            vector = corpus.vector()
            [hits] = await reader.search_dense("chunk", vector[None, :], 10)
            began = time.perf_counter()
            rows = await connection.run(
                "CALL db.index.vector.queryNodes($name, 10, $vector) YIELD node RETURN node.id AS id",
                name=name,
                vector=vector.tolist(),
            )
            spent.append(1000 * (time.perf_counter() - began))
            found += len({row["id"] for row in rows} & set(hits.ids.tolist()))
    await connection.aclose()
    return [
        {"what": "recall@10 of Neo4j's vector index", "value": found / 1000},
        {
            "what": "a search in Neo4j's vector index",
            "p50_ms": statistics.median(spent),
            "p95_ms": statistics.quantiles(spent, n=20)[-1],
        },
    ]


def measure_server(home: Path) -> list[Row]:
    """What the server takes, in megabytes."""
    pid = int((home / "run/neo4j.pid").read_text("utf-8"))
    store = home / "data/databases/neo4j"
    indexes = store / "schema"
    return [
        {"what": "memory of the server, MB", "value": resident_mb(pid)},
        {"what": "store without indexes, MB", "value": _size(store) - _size(indexes)},
        {"what": "indexes, MB", "value": _size(indexes)},
        {"what": "of these, vector and full-text, MB", "value": _lucene(indexes)},
        {"what": "transaction logs, MB", "value": _size(home / "data/transactions/neo4j")},
    ]


def _size(folder: Path) -> float:
    return sum(one.stat().st_size for one in folder.rglob("*") if one.is_file()) / 1e6


def _lucene(indexes: Path) -> float:
    kinds = [
        one
        for one in indexes.rglob("*")
        if one.is_dir() and one.name.startswith(("vector", "fulltext"))
    ]
    return sum(_size(one) for one in kinds)


def _opened_in_a_fresh_process(address: Address) -> Row:
    given = {
        "NEO4J_URI": address.uri,
        "NEO4J_USERNAME": address.username,
        "NEO4J_PASSWORD": address.password,
    }
    done = subprocess.run(
        [sys.executable, __file__, "--first-answer"],
        env={**os.environ, **given},
        check=True,
        capture_output=True,
        text=True,
    )
    seen: Row = json.loads(done.stdout)
    return {"what": "a fresh process to its first answer", **seen}


async def first_answer(address: Address) -> Row:
    """What a fresh process takes for its first question: seconds, and memory in megabytes."""
    control = Neo4jControl(address, model=MODEL, dimensions=DIMENSIONS)
    began = time.perf_counter()
    workspace = await control.open("default")
    before = resident_mb()
    async with workspace.store.snapshot() as reader:
        await ask(reader, question(Corpus(ADDED, seed=99)), None)
    seconds = time.perf_counter() - began
    gc.collect()
    row = {
        "seconds": seconds,
        "before_mb": before,
        "held_mb": resident_mb() - before,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    }
    await control.aclose()
    return row


def verdict(rows: Sequence[Row]) -> list[str]:
    """What was slower than it should be, in words."""
    missed = []
    for row in rows:
        wanted = TARGETS.get(row["what"], (None, None))
        for name, most in zip(("p50_ms", "p95_ms"), wanted, strict=True):
            if most is not None and row[name] > most:
                missed.append(f"{row['what']}: {name} {row[name]:.0f}, wanted {most:.0f}")
    return missed


def main() -> None:
    """Parse the command line, measure, print; exit code 1 if a target is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", default="5.26.30", help="of the server to be started")
    parser.add_argument("--home", type=Path, default=ROOT / "benchmarks/results/neo4j")
    parser.add_argument("--port", type=int, default=17687)
    parser.add_argument("--heap", default="1g")
    parser.add_argument("--pagecache", default="1g")
    parser.add_argument("--documents", type=int, default=1_000, help="of a hundred chunks each")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--first-answer", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = {"heap": arguments.heap, "pagecache": arguments.pagecache}
    with serving(arguments.version, arguments.home, port=arguments.port, **sizes) as server:
        if arguments.first_answer:
            print(json.dumps(asyncio.run(first_answer(server.address))))
            return
        rows = asyncio.run(run(server, arguments.documents, arguments.queries))
    for row in rows:
        values = "  ".join(f"{k} {v:,.2f}" for k, v in row.items() if isinstance(v, float))
        print(f"{row['what']:54} {values}")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        told = {"version": arguments.version, **sizes}
        arguments.json.write_text(
            json.dumps({"machine": machine(), "neo4j": told, "rows": rows}, indent=1)
        )
    if missed := verdict(rows):
        print("Missed: " + "; ".join(missed))
        sys.exit(1)


if __name__ == "__main__":
    main()
