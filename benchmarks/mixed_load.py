"""A day of mixed load in minutes: `python benchmarks/mixed_load.py [--minutes 40] [--plot FILE]`.

One process does what a server would: it takes documents in (five formats, some broken), replaces
and deletes them, changes the graph by hand and takes that back, answers questions in all modes with
and without filters, holds snapshots for a while, exports now and then. A second process, the command
line, writes the same data folder now and then. There are as many documents at the end as after the
warm-up, so whatever grows is a leak. Models, parsers, store and blobs are the real ones.

The clock by which blobs age runs fast, so that a day of theirs passes five times in a run.

Printed: what was done, and a verdict over memory, file handles, threads, write-ahead log, database
and blobs (`footprint.py`). The exit code is 1 if one of them grew, or a document or question failed
that should not have.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from footprint import WARM_UP, Footprint, plot, verdict
from load import Load
from machine import machine

from rag_engine import Engine, VersionStatus, Watch, build, load_settings
from rag_engine.adapters.blobs import FolderBlobs
from rag_engine.adapters.models.fake import HashEmbedder
from rag_engine.adapters.sqlite import SqliteControl
from rag_engine.archive import export_workspace
from rag_engine.errors import Conflict, InvalidRequest
from rag_engine_cli.memory import share_heaps

EDITS_IN_FORCE = 20
DAY_SECONDS = 24 * 3600
DAYS_IN_A_RUN = 5
SNAPSHOT_SECONDS = 20.0


class Run:
    """One run: all who act, on one engine."""

    def __init__(self, engine: Engine, load: Load, footprint: Footprint) -> None:
        self._engine = engine
        self._load = load
        self._footprint = footprint
        self._undoable = deque[str]()
        self._broken = deque[str]()
        self.done = Counter[str]()

    async def take(self) -> None:
        """Take a document in; the oldest goes when there are enough."""
        id = self._load.next_id()
        await self._submit(id)
        self._load.ids.append(id)
        if len(self._load.ids) > self._load.documents:
            await self._engine.delete([self._load.ids.popleft()])
            self.done["deleted"] += 1
        self.done["added"] += 1

    async def replace(self) -> None:
        """Give a known document another text."""
        await self._submit(self._load.known_id())
        self.done["replaced"] += 1

    async def _submit(self, id: str) -> None:
        content, ending = self._load.document()
        metadata = self._load.metadata()
        await self._engine.submit(
            content, document_id=id, source=f"{id}{ending}", metadata=metadata
        )

    async def take_broken(self) -> None:
        """Take something in that no parser can read; what failed long ago is deleted."""
        id = f"broken-{self.done['broken']}"
        await self._engine.submit(self._load.broken(), document_id=id, source=f"{id}.pdf")
        self._broken.append(id)
        if len(self._broken) > 5:
            await self._engine.delete([self._broken.popleft()])
        self.done["broken"] += 1

    async def edit(self) -> None:
        """Change the graph by hand; the oldest change is taken back when there are enough."""
        with suppress(
            Conflict, InvalidRequest
        ):  # a name is an alias already, or would go in circles
            edit = self._load.edit()
            if await self._engine.edit(edit):
                self._undoable.append(edit.id)
        if self.done["edited"] % 4 == 0:
            fact = self._load.fact()
            await self._engine.add_fact(fact)
            self._undoable.append(fact.id)
        while len(self._undoable) > EDITS_IN_FORCE:
            await self._engine.undo(self._undoable.popleft())
            self.done["undone"] += 1
        self.done["edited"] += 1

    async def search(self) -> None:
        """Find passages for a question."""
        began = time.perf_counter()
        found = await self._engine.search(self._load.question())
        self._footprint.answered(time.perf_counter() - began)
        self.done["searched" if found.context.passages else "searched in vain"] += 1

    async def answer(self) -> None:
        """Have a question answered, which also embeds the sentences of what was found."""
        await self._engine.query(self._load.question())
        self.done["answered"] += 1

    async def hold(self) -> None:
        """Hold a snapshot for a while: it must not change."""
        store = (await self._engine.workspace()).store
        async with store.snapshot() as reader:
            before = await reader.stats()
            await asyncio.sleep(SNAPSHOT_SECONDS)
            if await reader.stats() != before:
                raise RuntimeError("A snapshot changed while it was held.")
        self.done["snapshots held"] += 1

    async def export(self) -> None:
        """Write the workspace to a file, and delete that."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "default.zip"
            await export_workspace(self._engine, "default", path, lambda *_: None)
        self.done["exported"] += 1

    async def collect(self) -> None:
        """Delete the blobs that nothing names any more."""
        count = await self._engine.collect()
        self.done["blobs collected"] += count

    async def work(self) -> None:
        """Ingest what is pending."""

        def ended(version: object) -> None:
            self.done[f"versions {version.status}"] += 1  # type: ignore[attr-defined]

        self.done["attempts"] += await self._engine.work(watch=Watch(ended=ended))


async def ingest_elsewhere(data: Path, load: Load, done: Counter[str]) -> None:
    """Replace a document from another process, by the command line."""
    path = data.parent / "elsewhere.md"
    await asyncio.to_thread(path.write_bytes, b"# From elsewhere\n\n" + load.document()[0])
    words = ["-m", "rag_engine_cli", "--data-dir", str(data), "ingest", str(path)]
    child = await asyncio.create_subprocess_exec(
        sys.executable, *words, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, complaint = await asyncio.shield(asyncio.ensure_future(child.communicate()))
    finally:
        await child.wait()  # it holds versions, which it works on to the end
    if child.returncode not in (0, 1):  # 1: it met one of the broken documents
        raise RuntimeError(complaint.decode())
    done["ingested by another process"] += 1


async def again(seconds: float, action: Callable[[], Awaitable[None]]) -> None:
    """Do something every so many seconds, as long as it lasts, whatever it takes itself."""
    due = time.monotonic()
    while True:
        due = max(due + seconds, time.monotonic())
        await action()
        await asyncio.sleep(max(0.0, due - time.monotonic()))


def built(data: Path, *, hashed: bool, seconds: float) -> Engine:
    """The engine of an embedded server, with blobs that age fast."""
    engine = build(load_settings(data_dir=str(data)))
    began, speed = time.time(), DAYS_IN_A_RUN * DAY_SECONDS / seconds
    blobs = FolderBlobs(data / "blobs", lambda: began + speed * (time.time() - began))
    pipeline = replace(engine.pipeline, blobs=blobs)
    if not hashed:
        return replace(engine, blobs=blobs, pipeline=pipeline)
    hashes = HashEmbedder(dimensions=384)
    control = SqliteControl(data, model=hashes.name, dimensions=hashes.dimensions)
    return replace(
        engine, control=control, blobs=blobs, pipeline=replace(pipeline, embedder=hashes)
    )


async def run(
    data: Path, *, minutes: float, documents: int, rate: float, hashed: bool
) -> dict[str, object]:
    """Run for so many minutes; return what was seen and done."""
    seconds = 60 * minutes
    engine = await asyncio.to_thread(built, data, hashed=hashed, seconds=seconds)
    load = Load(documents)
    footprint = Footprint(data)
    one = Run(engine, load, footprint)
    for _ in range(documents):
        await one.take()
    await one.work()
    schedule: list[tuple[float, Callable[[], Awaitable[None]]]] = [
        (1 / rate, one.take),
        (2 / rate, one.replace),
        (20 / rate, one.take_broken),
        (4 / rate, one.edit),
        (0.25 / rate, one.search),
        (4 / rate, one.answer),
        (0.2, one.work),
        (60, one.hold),
        (90, one.hold),
        (seconds / 4, one.export),
        (seconds / 20, one.collect),
        (2, footprint.measure),
    ]
    if not hashed:  # the command line would embed with another model
        schedule.append((seconds / 20, lambda: ingest_elsewhere(data, load, one.done)))
    one.done.clear()
    acting = [asyncio.create_task(again(*entry)) for entry in schedule]
    await asyncio.wait(acting, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in acting:
        task.cancel()
    failures = await asyncio.gather(*acting, return_exceptions=True)
    errors = [error for error in failures if not isinstance(error, asyncio.CancelledError)]
    await one.work()
    newest = await (await engine.workspace()).queue.versions(limit=10 * documents)
    failed = [one for one in newest if one.status is not VersionStatus.INDEXED]
    await engine.aclose()
    for error in errors:
        raise RuntimeError("The load came to an early end.") from error
    unexpected = [one for one in failed if not one.document_id.startswith("broken-")]
    if unexpected:
        raise RuntimeError(f"Not indexed: {unexpected!r}")
    return {
        "machine": machine(),
        "minutes": minutes,
        "warm_up": WARM_UP,
        "done": dict(sorted(one.done.items())),
        "verdict": verdict(footprint.samples),
        "samples": [asdict(sample) for sample in footprint.samples],
    }


def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--documents", type=int, default=400, help="that are there all the time")
    parser.add_argument("--rate", type=float, default=1.0, help="new documents a second")
    parser.add_argument(
        "--hashes", action="store_true", help="for vectors: more documents in the same time"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    share_heaps()
    with tempfile.TemporaryDirectory() as folder:
        seen = asyncio.run(
            run(
                Path(folder) / "data",
                minutes=arguments.minutes,
                documents=arguments.documents,
                rate=arguments.rate,
                hashed=arguments.hashes,
            )
        )
    print(json.dumps({"done": seen["done"], "verdict": seen["verdict"]}, indent=1))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(seen, indent=1))
    if arguments.plot:
        plot(seen, arguments.plot)
    sys.exit(0 if all(row["holds"] for row in seen["verdict"].values()) else 1)  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
