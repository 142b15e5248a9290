"""What several workers on one Neo4j bring: `python benchmarks/replicas.py [--json FILE]`.

The server is the one that `NEO4J_URI`, `NEO4J_USERNAME` and `NEO4J_PASSWORD` name. Workers are
processes of `rag-engine worker` with an extractor that takes 200 ms a chunk, as a language model
does, and hashes for vectors, so that the processor is not what they wait for (`slow_worker.py`).

Measured: chunks a second of one worker and of three, from the first document that is submitted to
the last one that is indexed; how long a document waits for an idle worker; how many statements idle
workers send; how many the workers send for a document that comes alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from random import Random
from uuid import uuid4

from load import Load
from machine import machine
from slow_worker import Place, build

from rag_engine import Engine, VersionStatus, load_settings
from rag_engine.ports.queue import JobQueue

WORKER = Path(__file__).with_name("slow_worker.py")
EXTRACT_SECONDS = 0.2
PARAGRAPHS = 20
SUBMITTED_AT_A_TIME = 4
IDLE_SECONDS = 20.0
ALONE = 20
"""Documents that come alone, each to idle workers."""


class Workers:
    """Some workers on one place.

    Args:
        folder: The data folder, which all share.
        place: Where they work.
        count: How many.
    """

    def __init__(self, folder: Path, place: Place, count: int) -> None:
        self._children = []
        self._counts = [folder / f"{uuid4().hex}.json" for _ in range(count)]
        for counts in self._counts:
            its = Place(namespace=place.namespace, seconds=place.seconds, counts=str(counts))
            self._children.append(
                subprocess.Popen(
                    [sys.executable, WORKER, "--data-dir", folder],
                    env=its.environment,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        for child in self._children:
            if child.stderr is None or "Working on" not in child.stderr.readline():
                self.kill()
                raise RuntimeError("A worker did not start: run slow_worker.py to see why.")

    def kill(self) -> None:
        """End them at once, whatever they do."""
        for child in self._children:
            child.kill()
            child.communicate()

    def stop(self) -> Counter[str]:
        """End them; return how often they sent each statement."""
        for child in self._children:
            child.send_signal(signal.SIGTERM)
        for child in self._children:
            _, complaint = child.communicate()
            if child.returncode or complaint:
                raise RuntimeError(complaint)
        sent = Counter[str]()
        for counts in self._counts:
            sent.update(json.loads(counts.read_text()))
        return sent


@contextmanager
def working(folder: Path, place: Place, count: int, sent: Counter[str]) -> Iterator[None]:
    """Have workers at work; count what they sent when they have ended."""
    workers = Workers(folder, place, count)
    try:
        yield
    except BaseException:
        workers.kill()
        raise
    sent.update(workers.stop())


@asynccontextmanager
async def opened(folder: Path, place: Place) -> AsyncIterator[Engine]:
    """An engine of this process, with a workspace that is there."""
    engine = await asyncio.to_thread(
        build, load_settings(data_dir=str(folder)), place, Counter[str]()
    )
    try:
        await engine.control.open("default", create=True)
        yield engine
    finally:
        await engine.aclose()


def text_of(load: Load, random: Random) -> bytes:
    """A Markdown document with names that others mention too."""
    paragraphs = []
    for number in range(PARAGRAPHS):
        sentences = [
            f"{load.name()} wrote to {load.name()} about {random.random():.9f}." for _ in range(12)
        ]
        paragraphs.append(f"## Letter {number}\n\n{' '.join(sentences)}")
    return "\n\n".join(paragraphs).encode()


async def throughput(folder: Path, workers: int, documents: int) -> dict[str, float]:
    """Ingest documents with so many workers."""
    place = Place(namespace=uuid4().hex, seconds=EXTRACT_SECONDS)
    load, random, sent = Load(documents), Random(1), Counter[str]()
    texts = [text_of(load, random) for _ in range(documents)]
    processor = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    gate = asyncio.Semaphore(SUBMITTED_AT_A_TIME)
    async with opened(folder, place) as engine:
        queue = (await engine.workspace()).queue

        async def submit(number: int) -> None:
            async with gate:
                await engine.submit(texts[number], document_id=f"d{number}", source=f"{number}.md")

        with working(folder, place, workers, sent):
            began = time.monotonic()
            await asyncio.gather(*(submit(number) for number in range(documents)))
            submitted = time.monotonic() - began
            await _all_indexed(queue, documents)
            seconds = time.monotonic() - began
        versions = await queue.versions(limit=documents)
    return {
        "workers": workers,
        "documents": documents,
        "chunks": sum(one.chunks for one in versions),
        "seconds": round(seconds, 2),
        "seconds_to_submit": round(submitted, 2),
        "chunks_a_second": round(sum(one.chunks for one in versions) / seconds, 2),
        "most_attempts": max(one.attempt for one in versions),
        "processor_seconds": round(
            resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - processor, 1
        ),
        "statements_a_document": round(sum(sent.values()) / documents, 1),
    }


async def _all_indexed(queue: JobQueue, documents: int) -> None:
    while len(await queue.versions(status=VersionStatus.INDEXED, limit=documents)) < documents:
        for version in await queue.versions(status=VersionStatus.FAILED, limit=1):
            raise RuntimeError(f"{version.document_id!r} failed: {version.error}")
        await asyncio.sleep(0.25)


async def waiting(folder: Path, workers: int) -> dict[str, object]:
    """Let workers idle, then give them documents one by one."""
    place, random, idle, sent = (
        Place(namespace=uuid4().hex),
        Random(1),
        Counter[str](),
        Counter[str](),
    )
    load, waits = Load(ALONE), list[float]()
    async with opened(folder, place) as engine:
        queue = (await engine.workspace()).queue
        with working(folder, place, workers, idle):
            await asyncio.sleep(IDLE_SECONDS)
        with working(folder, place, workers, sent):
            for number in range(ALONE):
                await asyncio.sleep(random.uniform(1.0, 2.0))
                version = await engine.submit(
                    text_of(load, random), document_id=f"d{number}", source=f"{number}.md"
                )
                accepted, newest = time.monotonic(), version
                while newest.status is VersionStatus.PENDING:
                    await asyncio.sleep(0.01)
                    newest = await queue.version(version.document_id) or version
                waits.append(time.monotonic() - accepted)
                await engine.outcome(version)
    return {
        "workers": workers,
        "seconds_until_begun": {
            "median": round(statistics.median(waits), 3),
            "most": round(max(waits), 3),
        },
        "idle_statements_a_second_of_a_worker": round(
            sum(idle.values()) / workers / IDLE_SECONDS, 2
        ),
        "idle_statements": dict(idle),
        "statements_a_document": {
            name: round(times / ALONE, 1) for name, times in sent.most_common()
        },
    }


async def run(documents: int) -> dict[str, object]:
    """All measurements."""
    with tempfile.TemporaryDirectory() as folder:
        waits = await waiting(Path(folder), 3)
        one = await throughput(Path(folder), 1, documents)
        print(json.dumps(one), flush=True)
        three = await throughput(Path(folder), 3, documents)
    return {
        "machine": machine(),
        "extract_seconds_a_chunk": EXTRACT_SECONDS,
        "one": one,
        "three": three,
        "times_as_fast": round(three["chunks_a_second"] / one["chunks_a_second"], 2),
        "waiting": waits,
    }


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=150)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not os.environ.get("NEO4J_URI"):
        parser.error("NEO4J_URI names no server: set it, NEO4J_USERNAME and NEO4J_PASSWORD.")
    seen = asyncio.run(run(arguments.documents))
    print(json.dumps(seen, indent=1))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(seen, indent=1))


if __name__ == "__main__":
    main()
