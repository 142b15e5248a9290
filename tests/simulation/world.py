"""A simulated installation: one data folder, and the processes that come and go over it."""

from __future__ import annotations

import asyncio
import hashlib
import os
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyes import MemoryEyes, SqliteEyes
from oracle import Broken, Oracle, read
from queue_model import Call
from texts import EMBEDDER, SIZES, SLOW, NameExtractor, PlainParser
from watched import WatchedControl

from rag_engine.adapters.blobs import FolderBlobs
from rag_engine.adapters.memory import MemoryControl
from rag_engine.adapters.sqlite import SqliteControl
from rag_engine.core.models import DEFAULT_WORKSPACE, Submission
from rag_engine.engine import Engine
from rag_engine.ingest.embed import embed_names
from rag_engine.ingest.heartbeat import TaskHeart
from rag_engine.ingest.parse import recall
from rag_engine.ingest.pipeline import Pipeline
from rag_engine.testing.faults import Fault, FaultKind, Faults, drawn, faulty
from rag_engine.testing.observation import differences, observed

if TYPE_CHECKING:
    from collections.abc import Callable

    from rag_engine.adapters.memory.tables import Tables
    from rag_engine.core.models import Document
    from rag_engine.ingest.chunk import ChunkSize
    from rag_engine.ports.storage import Control, Workspace
    from rag_engine.testing.simulation import Process, SimulatedLoop

LEASE = 20.0
"""Seconds for which workers lease a version."""

FAULTS = [
    Fault(kind=FaultKind.ERROR),
    Fault(kind=FaultKind.TIMEOUT, seconds=3.0),
    Fault(kind=FaultKind.SLOW, seconds=1.0),
    Fault(kind=FaultKind.SLOW, seconds=LEASE),
    Fault(kind=FaultKind.APPLIED_THEN_TIMEOUT, seconds=0.1),
    Fault(kind=FaultKind.APPLIED_THEN_TIMEOUT, seconds=LEASE),
]
LONGEST_PAUSE = 10.0
"""Seconds that a call takes now and then, a bit before it is made or a bit after."""

CALM = 0.004
"""The chance of a fault of any one call while nothing special is going on."""


class World:
    """The data folder, what is watched of it, and the faults everybody meets.

    Args:
        loop: Whose seed decides.
        store: `memory` or `sqlite`.
        folder: Where the data lives.
    """

    def __init__(self, loop: SimulatedLoop, store: str, folder: Path) -> None:
        self.loop = loop
        self.nodes: list[Node] = []
        self.longest_pause = LONGEST_PAUSE
        self.chances = dict.fromkeys(
            ("control", "store", "reader", "queue", "blobs", "parser", "embedder"), CALM
        )
        self.current: ContextVar[Call | None] = ContextVar("current call", default=None)
        self._store = store
        self._folder = folder
        self._tables: dict[str, Tables] = {}
        self._blobs = FolderBlobs(folder / "blobs", clock=loop.clock)
        self._control = self.control()

    async def open(self) -> None:
        """Make the workspace, and begin to watch it."""
        self.workspace = await self._control.open(DEFAULT_WORKSPACE, create=True)
        if self._store == "memory":
            eyes: MemoryEyes | SqliteEyes = MemoryEyes(self._tables[DEFAULT_WORKSPACE])
        else:
            eyes = SqliteEyes(next((self._folder / "workspaces").glob("*.sqlite")))
        self.oracle = Oracle(self.loop, self.current, eyes, self.workspace)
        self.loop.watchers.append(self.oracle.watch)

    def control(self, folder: str = "") -> Control:
        """Open the data folder, or another one for comparison, as one more process would."""
        clock, name, width = self.loop.clock, EMBEDDER.name, EMBEDDER.dimensions
        if self._store == "memory":
            tables = {} if folder else self._tables
            return MemoryControl(clock, name, width, tables=tables)
        return SqliteControl(self._folder / folder, model=name, dimensions=width, clock=clock)

    def start(self, name: str, main: Callable[[Node], Any]) -> Node:
        """Start a process that runs `main`."""
        node = Node(self, name, main)
        self.nodes.append(node)
        node.start()
        return node

    def engine(self, process: Process, control: Control, size: ChunkSize) -> Engine:
        """All that a process has of the engine, with faults drawn for it."""
        plan = drawn(self.loop.random, self.chances, FAULTS)
        faults = Faults(plan)
        blobs = faulty("blobs", self._blobs, faults)
        pipeline = Pipeline(
            blobs=blobs,
            parser=faulty("parser", PlainParser(), faults),
            extractor=NameExtractor(self.loop.random),
            embedder=faulty("embedder", EMBEDDER, faults),
            size=size,
        )
        return Engine(
            control=faulty("control", WatchedControl(self, process, control), faults),
            blobs=blobs,
            pipeline=pipeline,
            worker_name=process.name,
            heart=TaskHeart(),
            closers=(control.aclose,),
        )

    def close_fronts(self) -> None:
        """Take no more requests."""
        for node in self.nodes:
            if node.name.startswith("front"):
                node.close()

    async def settle(self) -> None:
        """Let faults end and everybody work until nothing is left to be done."""
        self.loop.note("calm")
        self.longest_pause = 0.0
        for port in self.chances:
            self.chances[port] = 0.0
        for node in self.nodes:
            if not node.closed:
                node.heal()
        await self._quiet()
        self.start("last front", _submit_the_last)
        await asyncio.sleep(LEASE)  # whoever woke up late must find out that it is fenced
        await self._quiet()
        await self.oracle.check_end()

    async def _quiet(self) -> None:
        for _ in range(1000):
            if self.oracle.is_quiet:
                return
            await asyncio.sleep(2.0)

    async def compare(self) -> None:
        """Compare what there is to be seen with a store that only ever saw what is left of it."""
        async with self.workspace.store.snapshot() as reader:
            reading = await read(reader)
        control = self.control("twin")
        twin = await control.open(DEFAULT_WORKSPACE, create=True)
        try:
            for document in reading.documents:
                size = self.oracle.size_of(document, reading.chunks[document.id])
                pipeline = self._twin_pipeline(size)
                await _replay(twin, document, self.oracle.texts[document.content_hash], pipeline)
                await self._check_blobs(document)
            for one in reading.edits:
                await twin.store.edit(one, await embed_names(one.keys, EMBEDDER))
            found = differences(await observed(twin), await observed(self.workspace))
        finally:
            await control.aclose()
        if found:
            self.oracle.fail(f"A fresh store of the same documents differs: {found[:3]}")

    async def _check_blobs(self, document: Document) -> None:
        """The original and the parsed text of a visible document are there."""
        original = await self._blobs.read(document.content_hash)
        text = await recall(document.parsed_hash, self._blobs)
        if not original.decode() == text.text == self.oracle.texts[document.content_hash]:
            self.oracle.fail(f"Another text comes back than went in: {document}.")

    def _twin_pipeline(self, size: Any) -> Pipeline:
        return Pipeline(
            blobs=self._blobs,
            parser=PlainParser(),
            extractor=NameExtractor(),
            embedder=EMBEDDER,
            size=size,
        )

    def let_go(self, control: Control | None) -> None:
        """Free the locks of a process that ended."""
        if isinstance(control, SqliteControl):
            if control._presence._mine is not None:
                os.close(control._presence._mine[1])
                control._presence._mine = None
        else:
            for tables in self._tables.values():
                tables.processes.discard(control)

    async def close(self) -> None:
        """Close what the processes opened, those that were killed too."""
        self.oracle.eyes.close()
        for node in self.nodes:
            for engine in node.engines:
                for closer in engine.closers:
                    await closer()
        await self._control.aclose()


async def _replay(twin: Workspace, document: Any, text: str, pipeline: Pipeline) -> None:
    """Ingest a document under the number its version has: chunk ids are made from it."""
    wanted = Submission(
        document_id=document.id,
        source=document.source,
        content_hash=document.content_hash,
        size=document.size,
        metadata=document.metadata,
        fingerprint=pipeline.fingerprint,
    )
    for number in range(1, document.version):
        await twin.queue.accept(replace(wanted, source=f"before {number}"))
    await twin.queue.accept(wanted)
    job = await twin.queue.claim("twin", 1e6)
    assert job is not None
    if job.version.number != document.version:
        raise Broken(f"the newest wish for {document.id!r} is not the one that is claimed")
    await pipeline.run(twin, job, lambda version, stage: None)


class Node:
    """One process, from start to start: a worker, or a front that takes requests.

    Attributes:
        engines: Of this start and of those before.
        closed: Whether it is not to be started again.
    """

    def __init__(self, world: World, name: str, main: Callable[[Node], Any]) -> None:
        self.world = world
        self.name = name
        self.engines: list[Engine] = []
        self.control: Control | None = None
        self.closed = False
        self._main = main
        self._starts = 0

    @property
    def engine(self) -> Engine:
        """That of the last start."""
        return self.engines[-1]

    async def open(self) -> Workspace:
        """The workspace, as this process has it."""
        return await self.engine.control.open(DEFAULT_WORKSPACE)

    async def submit(self, id: str, text: str) -> None:
        """Submit a text."""
        content = text.encode()
        self.world.oracle.texts[hashlib.sha256(content).hexdigest()] = text
        await self.engine.submit(
            content, document_id=id, source="notes.txt", metadata={"length": len(text)}
        )

    def start(self) -> None:
        """Start it, perhaps with another release than the last time."""
        self._starts += 1
        loop = self.world.loop
        self.process = loop.process(f"{self.name}#{self._starts}")
        self.control = self.world.control()
        size = loop.random.choice(SIZES)
        self.engines.append(self.world.engine(self.process, self.control, size))
        loop.note(f"start {self.process.name}")
        self.task = self.process.start(self._main(self))
        self.task.add_done_callback(_must_not_fail)

    def kill(self) -> None:
        """As SIGKILL does."""
        if self.process.alive:
            self.process.kill()
            self._exit()

    async def stop(self) -> None:
        """As Ctrl-C does."""
        self.world.loop.note(f"stop {self.process.name}")
        self.task.cancel()
        await asyncio.wait([self.task], timeout=120.0)
        self.kill()

    def _exit(self) -> None:
        """What the operating system does for a process that ended: it lets go of its locks."""
        self.world.oracle.note_end(self.process.name)
        self.world.let_go(self.control)

    def close(self) -> None:
        """End it for good."""
        self.kill()
        self.closed = True

    def heal(self) -> None:
        """See that it is running, at full speed."""
        self.process.slowness = 1.0
        if self.process.paused:
            self.process.resume()
        if not self.process.alive or self.task.done():
            self.start()


async def _submit_the_last(node: Node) -> None:
    """With nothing in its way, a long document is indexed at the first attempt."""
    await node.submit("last", SLOW)


def _must_not_fail(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.result()
