"""Exporting and importing a workspace: how long it takes, and how much memory.

`python benchmarks/moving.py [--chunks 10000 100000] [--json FILE]` fills a workspace of each size
(see `generated.py`; kept in the folder for the next run), exports it, and imports the archive into an
empty one, each in a process of its own whose peak memory is read. With NEO4J_URI, NEO4J_USERNAME and
NEO4J_PASSWORD set, the archive also goes into that server and out again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from generated import Corpus, Shape, stage_and_finish
from machine import machine

from rag_engine.adapters.blobs import FolderBlobs
from rag_engine.adapters.models.fake import HashEmbedder
from rag_engine.adapters.models.phrases import PhraseExtractor
from rag_engine.adapters.parsers.limits import ParserLimits
from rag_engine.adapters.parsers.sandbox import SandboxedParser
from rag_engine.adapters.sqlite import SqliteControl
from rag_engine.archive import export_workspace, import_workspace
from rag_engine.core.models import Stage
from rag_engine.engine import Engine
from rag_engine.ingest.chunk import ChunkSize
from rag_engine.ingest.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rag_engine.ports.storage import Control

PER_DOCUMENT = 20
SHAPE = Shape(documents=0, chunks_per_document=PER_DOCUMENT)


@asynccontextmanager
async def opened(folder: Path, namespace: str = "") -> AsyncIterator[Engine]:
    """An engine over a data folder, or over a namespace of the server."""
    embedder = HashEmbedder(dimensions=SHAPE.dimensions)
    names = {"model": embedder.name, "dimensions": embedder.dimensions}
    control: Control
    if namespace:
        from rag_engine.adapters.neo4j import Address, Neo4jControl

        address = Address(
            uri=os.environ["NEO4J_URI"],
            username=os.environ.get("NEO4J_USERNAME", "neo4j"),
            password=os.environ.get("NEO4J_PASSWORD", ""),
        )
        control = Neo4jControl(address, namespace=namespace, **names)  # type: ignore[arg-type]
    else:
        control = SqliteControl(folder, **names)  # type: ignore[arg-type]
    blobs = FolderBlobs(folder / "blobs")
    parser = SandboxedParser(ParserLimits())
    pipeline = Pipeline(
        blobs=blobs,
        parser=parser,
        extractor=PhraseExtractor(),
        embedder=embedder,
        size=ChunkSize(max_tokens=embedder.max_tokens),
    )
    engine = Engine(control=control, blobs=blobs, pipeline=pipeline, closers=(parser.aclose,))
    try:
        yield engine
    finally:
        await engine.aclose()


async def fill(folder: Path, documents: int) -> None:
    """Write documents with originals and texts, as far as they are not there yet."""
    corpus = Corpus(replace(SHAPE, documents=documents))
    async with opened(folder) as engine:
        workspace = await engine.control.open("default", create=True)
        for number in range(documents):
            evidence = corpus.document(number)
            if await workspace.queue.version(evidence[0].chunk.document_id):
                continue
            text = "\n".join(one.chunk.text for one in evidence)
            content_hash, size = await engine.blobs.put(text.encode())
            parsed_hash, _ = await engine.blobs.put(json.dumps({"text": text}).encode())
            submission = replace(corpus.submission(number), content_hash=content_hash, size=size)
            await workspace.queue.accept(submission)
            job = await workspace.queue.claim("benchmark", 600)
            if job is None:
                raise RuntimeError("Nothing to claim: is another process at work here?")
            await workspace.queue.checkpoint(
                job.lease, Stage.PARSE, media_type="text/plain", parsed_hash=parsed_hash
            )
            await stage_and_finish(workspace, corpus, job.lease, evidence)


async def step(what: str, folder: Path, archive: Path, namespace: str) -> None:
    """One export or import; prints what it took."""
    began = time.monotonic()
    context: AbstractAsyncContextManager[Engine] = opened(folder, namespace)
    async with context as engine:
        if what == "export":
            await export_workspace(engine, "default", archive, _silent)
        else:
            await import_workspace(engine, "default", archive, _silent)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": round(time.monotonic() - began, 1), "peak_mb": peak // 1024}))


def _silent(doing: str, done: int, total: int) -> None:
    pass


def alone(*words: str) -> dict[str, Any]:
    """A step in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--step", *words], check=True, capture_output=True, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(folder: Path, chunks: int) -> list[dict[str, Any]]:
    """All steps at one size."""
    place = folder / f"moving-{chunks}"
    asyncio.run(fill(place / "first", chunks // PER_DOCUMENT))
    namespace, run = uuid4().hex, uuid4().hex
    archive = place / f"{run}.zip"
    steps = [("export", "SQLite", place / "first", ""), ("import", "SQLite", place / run, "")]
    if os.environ.get("NEO4J_URI"):
        steps.append(("import", "Neo4j", place / f"{run}-n", namespace))
        steps.append(("export", "Neo4j", place / f"{run}-n", namespace))
    rows = []
    for what, store, data, space in steps:
        target = (
            archive.with_suffix(".again.zip") if (what, store) == ("export", "Neo4j") else archive
        )
        row = {
            "chunks": chunks,
            "step": f"{what} {store}",
            **alone(what, str(data), str(target), space),
        }
        print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        rows.append(row)
    return rows


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--step", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        what, folder, archive, namespace = arguments.step
        asyncio.run(step(what, Path(folder), Path(archive), namespace))
        return
    rows = [row for chunks in arguments.chunks for row in measure(arguments.folder, chunks)]
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
