"""Whether SQLite and Neo4j answer alike: `python benchmarks/congruence.py DIR... [--json FILE]`.

Each DIR is a folder in the common form (`question_sets.py`). Its passages are ingested by the real
engine into a data folder and into a Neo4j server (that `NEO4J_URI` names, or one that is started for
this: Java 17 and Maven are needed); every question is asked of both in every mode. Printed for each mode: overlap@10, the share of the first ten passages that
both found, and the share of questions with the same ids in the same order and the same scores (to
1e-6). Then a third is replaced and a third deleted, and all is asked again.

Before and after that: recall@10 of Neo4j's own vector index, which people can query, against the
exact scan that answers rest on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from machine import machine
from quality import PlainText
from question_sets import Passage, QuestionSet, read
from servers import serving, vectors_indexed

from rag_engine import Engine, build, load_settings
from rag_engine.adapters.neo4j import Address, Neo4jControl
from rag_engine.adapters.neo4j.connection import Connection
from rag_engine.adapters.sqlite import SqliteControl
from rag_engine.ports.storage import Vectors
from rag_engine.retrieval.plan import MODES, plan
from rag_engine.retrieval.retrieve import search
from rag_engine.testing.remembered import Remembered

K = 10
SAME = 1e-6

Row = dict[str, Any]
Ranking = list[tuple[int, float]]


async def submit(engine: Engine, passages: Sequence[Passage]) -> None:
    """Ingest passages, or new versions of them."""
    for one in passages:
        await engine.submit(
            one.text.encode(), document_id=one.id, source=one.id, title=one.title or None
        )
    await engine.work()


async def rankings(
    engine: Engine, asked: QuestionSet, vectors: Vectors, mode: str
) -> list[Ranking]:
    """The first ten chunks for each question, with their scores."""
    scripts, found = engine.pipeline.embedder.scripts, []
    async with (await engine.workspace()).store.snapshot() as reader:
        for question, vector in zip(asked.questions, vectors, strict=True):
            hits = await search(
                reader, plan(question.text, mode, scripts), vector, k=K, filter=None
            )
            found.append(list(zip(hits.ids.tolist(), hits.scores.tolist(), strict=True)))
    return found


async def compared(
    engines: Sequence[Engine], asked: QuestionSet, vectors: Vectors, when: str
) -> list[Row]:
    """How alike both answer, a row for each mode."""
    rows = []
    for mode in MODES:
        left, right = [await rankings(engine, asked, vectors, mode) for engine in engines]
        overlaps = [_overlap(one, other) for one, other in zip(left, right, strict=True)]
        same = [_same(one, other) for one, other in zip(left, right, strict=True)]
        rows.append(
            {
                "set": asked.name,
                "when": when,
                "what": mode,
                "questions": len(left),
                "overlap@10": float(np.mean(overlaps)),
                "identical": float(np.mean(same)),
            }
        )
    return rows


def _overlap(left: Ranking, right: Ranking) -> float:
    """Share of the found that both found; all of it where neither found anything."""
    most = max(len(left), len(right))
    return len({id for id, _ in left} & {id for id, _ in right}) / most if most else 1.0


def _same(left: Ranking, right: Ranking) -> bool:
    if [id for id, _ in left] != [id for id, _ in right]:
        return False
    return all(abs(a - b) <= SAME for (_, a), (_, b) in zip(left, right, strict=True))


async def index_recall(
    engine: Engine, connection: Connection, namespace: str, vectors: Vectors
) -> float:
    """Share of the nearest ten of an exact search that Neo4j's vector index finds."""
    name = await vectors_indexed(connection, namespace)
    shares = []
    async with (await engine.workspace()).store.snapshot() as reader:
        for vector, hits in zip(
            vectors, await reader.search_dense("chunk", vectors, K), strict=True
        ):
            rows = await connection.run(
                "CALL db.index.vector.queryNodes($name, $k, $vector) YIELD node "
                "RETURN node.id AS id",
                name=name,
                k=K,
                vector=vector.tolist(),
            )
            shares.append(len({one["id"] for one in rows} & set(hits.ids.tolist())) / len(hits.ids))
    return float(np.mean(shares))


async def measure(folder: Path, limit: int | None, address: Address, data: Path) -> list[Row]:
    """All rows of one set."""
    asked = await asyncio.to_thread(read, folder)
    passages = [one for one in asked.passages if one.text.strip()][:limit]
    namespace = uuid4().hex
    built = await asyncio.to_thread(build, load_settings(data_dir=data))
    model = Remembered(built.pipeline.embedder)
    pipeline = replace(built.pipeline, parser=PlainText(), embedder=model)
    width = model.dimensions
    embedded = SqliteControl(data, model=model.name, dimensions=width)
    left = replace(built, pipeline=pipeline, control=embedded)
    control = Neo4jControl(address, model=model.name, dimensions=width, namespace=namespace)
    right = replace(left, control=control, closers=())
    connection = Connection(address)
    vectors = await model.embed([one.text for one in asked.questions], "query")
    rows: list[Row] = []
    for when in ("as ingested", "after churn"):
        for engine in (left, right):
            if when == "as ingested":
                await submit(engine, passages)
            else:
                await _churn(engine, passages)
        rows += await compared((left, right), asked, vectors, when)
        recall = await index_recall(right, connection, namespace, vectors)
        chunks = (await right.stats()).chunks
        rows.append(
            {"set": asked.name, "when": when, "what": "vector index", "recall@10": recall}
            | {"chunks": chunks, "questions": len(vectors)}
        )
    for engine in (left, right):
        await engine.aclose()
    await connection.aclose()
    return rows


async def _churn(engine: Engine, passages: Sequence[Passage]) -> None:
    """Replace a third, each by the text of the passage after it, and delete those."""
    pairs = zip(passages[1::3], passages[2::3], strict=False)
    await submit(engine, [replace(one, text=other.text) for one, other in pairs])
    await engine.delete([one.id for one in passages[2::3]])


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    names = ("set", "when", "what", "questions", "overlap@10", "identical", "recall@10", "chunks")
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        cells = [row.get(name, "") for name in names]
        told = [f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in cells]
        lines.append("| " + " | ".join(told) + " |")
    return "\n".join(lines)


async def run(folders: Sequence[Path], limit: int | None, address: Address) -> list[Row]:
    """All rows, each set's as soon as it is done."""
    rows: list[Row] = []
    for folder in folders:
        with tempfile.TemporaryDirectory() as data:
            found = await measure(folder, limit, address, Path(data))
        print(table(found), flush=True)
        rows += found
    return rows


def main() -> None:
    """Parse the command line, measure, print; exit code 1 when some overlap is less than .95."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR")
    parser.add_argument("--limit", type=int, help="ingest only so many passages of each set")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as home,
        serving("5.26.30", Path(home), port=17697, heap="1g", pagecache="512m") as server,
    ):
        rows = asyncio.run(run(arguments.folders, arguments.limit, server.address))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))
    if min(row.get("overlap@10", 1.0) for row in rows) < 0.95:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
