"""A program that ingests documents and is made to be killed. Run it as a script, or see `Nursery`.

It forks a process for each task it reads: importing everything once and forking is ten times
faster than starting Python for each of some hundred processes. A forked process has a whole engine
over real files or a real server (only parser and embedder are doubles, for speed) and takes its steps
in order. What it says of a step, it says after the step has returned: that is what a caller was
promised.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from places import Clock
from rag_engine.adapters.blobs import FolderBlobs
from rag_engine.adapters.models.fake import HashEmbedder
from rag_engine.adapters.models.phrases import PhraseExtractor
from rag_engine.adapters.neo4j import Address, Neo4jControl
from rag_engine.adapters.sqlite import SqliteControl, connection, control
from rag_engine.adapters.sqlite.queries import SQL
from rag_engine.core.edits import Alias, Edit, Suppression
from rag_engine.core.models import Extraction, ParsedDocument
from rag_engine.engine import Engine, Question
from rag_engine.errors import DocumentUnreadable, ModelUnavailable
from rag_engine.ingest.chunk import ChunkSize
from rag_engine.ingest.pipeline import Pipeline
from rag_engine.ingest.worker import LEASE_SECONDS, Watch
from rag_engine.testing.crash_points import CrashPoints
from rag_engine.testing.interception import Interceptor, intercepted
from rag_engine_lightrag.pool import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rag_engine.ports.blobs import Blobs
    from rag_engine.ports.models import ChatModel, Passage
    from rag_engine.ports.queue import JobQueue
    from rag_engine.ports.storage import Control

EMBEDDER = HashEmbedder(dimensions=8)
LIMIT_SECONDS = 60
TICK_SECONDS = 2.5  # by which the clock moves at each look: no retry has to be waited for
UNREADABLE, FLAKY = "unreadable", "flaky"

Step = tuple[str, ...]
"""`submit ID TEXT`, `delete ID`, `cancel ID`, `hold ID`, `alias NAME NAME`, `hide NAME`,
`undo hide NAME`, `search TEXT`, `work` until nothing waits, or `serve` and work for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one process does.

    Attributes:
        folder: The data folder.
        now: What its clock begins with, in seconds, to run ahead; `None` for the true time.
        lease: Seconds for which nobody else works on what it works on, if it dies.
        point: Where it dies, and at which time; `None` to live.
        server: The Neo4j that keeps the workspaces, see `deployed`; `None` for the folder.
        limit: Seconds after which it must have ended.
    """

    folder: str
    steps: Sequence[Step] = ()
    now: float | None = 1_000.0
    lease: float = LEASE_SECONDS
    point: str | None = None
    nth: int = 1
    server: Mapping[str, Any] | None = None
    limit: int = LIMIT_SECONDS

    @property
    def clock(self) -> Callable[[], float]:
        """By which leases run out."""
        if self.now is not None:
            return Clock(tick=TICK_SECONDS, now=self.now)
        return time.time


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a process ended.

    Attributes:
        code: What it exited with, or the signal that killed it, as a negative number.
        said: For each step that returned, what it returned.
        reached: The crash points it passed, if it lived.
    """

    code: int
    said: list[Any]
    reached: dict[str, int] = field(default_factory=dict)


class PlainParser:
    """A text is itself, unless it says that it is unreadable."""

    fingerprint = "plain"

    async def parse(self, path: Path, name: str) -> ParsedDocument:
        """See `Parser`."""
        text = await asyncio.to_thread(path.read_text)
        if text.startswith(UNREADABLE):
            raise DocumentUnreadable(f"{name!r} cannot be read. Repair it.")
        return ParsedDocument(text=text, media_type="text/plain", title=name)


class MoodyExtractor(PhraseExtractor):
    """Fails at the first attempt of a process at a text that says it is flaky."""

    def __init__(self) -> None:
        super().__init__()
        self._tried = False

    async def extract(self, passages: Sequence[Passage]) -> list[Extraction]:
        """See `Extractor`."""
        if not self._tried and any(one.text.startswith(FLAKY) for one in passages):
            self._tried = True
            raise ModelUnavailable("The extractor is in no mood. Try again.")
        return await super().extract(passages)


def engine(
    control: Control,
    blobs: Blobs,
    interceptor: Interceptor | None = None,
    chat: ChatModel | None = None,
) -> Engine:
    """An engine that works on one document at a time, so that it always takes the same way."""
    told = interceptor or CrashPoints()
    blobs = intercepted("blobs", blobs, told)
    embedder = intercepted("embedder", EMBEDDER, told)
    pipeline = Pipeline(
        blobs=blobs,
        parser=intercepted("parser", PlainParser(), told),
        extractor=intercepted("extractor", MoodyExtractor(), told),
        embedder=embedder,
        size=ChunkSize(max_tokens=embedder.max_tokens),
    )
    return Engine(
        control=intercepted("control", control, told),
        blobs=blobs,
        pipeline=pipeline,
        chat=intercepted("chat", chat, told) if chat else None,
        concurrency=1,
    )


def embedded(folder: Path, now: float | None, crash: CrashPoints | None = None) -> Engine:
    """The engine over a data folder. See `Task`."""
    clock = time.time if now is None else Clock(tick=TICK_SECONDS, now=now)
    model = {"model": EMBEDDER.name, "dimensions": EMBEDDER.dimensions}
    store = SqliteControl(folder, clock=clock, **model)  # type: ignore[arg-type]
    return engine(store, FolderBlobs(folder / "blobs"), crash)


def deployed(
    folder: Path,
    server: Mapping[str, Any],
    clock: Callable[[], float],
    crash: CrashPoints | None = None,
) -> Engine:
    """The engine over workspaces in Neo4j; every round trip is a crash point.

    Args:
        folder: Where blobs are.
        server: What an `Address` is made of, and the `namespace` of the workspaces.
        clock: See `Task.clock`.
        crash: Where it dies.
    """
    told = crash or CrashPoints()
    address = Address(**{name: server[name] for name in server if name != "namespace"})

    def round_trip(name: str) -> None:
        told.reach(f"neo4j.{name}")
        told.reach("neo4j")

    store = Neo4jControl(
        address,
        model=EMBEDDER.name,
        dimensions=EMBEDDER.dimensions,
        namespace=server["namespace"],
        clock=clock,
        indexed=False,
        count=round_trip,
    )
    return engine(store, FolderBlobs(folder / "blobs"), told)


def engine_of(task: Task, crash: CrashPoints | None = None) -> Engine:
    """The engine that a task is about."""
    folder = Path(task.folder)
    if task.server is not None:
        one = deployed(folder, task.server, task.clock, crash)
        return replace(one, lease_seconds=task.lease)
    return embedded(folder, task.now, crash)


async def take(step: Step, engine: Engine, crash: CrashPoints) -> object:
    """One step; what it returns is what its caller was promised."""
    match step:
        case ("hold", id):
            return await hold(id, (await engine.workspace()).queue)
        case ("search", text):
            found = await engine.search(Question(text=text))
            return len(found.context.passages)
        case ("serve",):
            return await WorkerPool(engine=engine, concurrency=4).run()
        case ("work",):
            return await engine.work(watch=Watch(progress=crash.progress))
    return await change(step, engine)


async def change(step: Step, engine: Engine) -> object:
    """One step that changes documents or the graph."""
    match step:
        case ("submit", id, text):
            version = await engine.submit(text.encode(), document_id=id, source=f"{id}.txt")
            return version.number
        case ("delete", id):
            return await engine.delete([id])
        case ("cancel", id):
            cancelled = await (await engine.workspace()).queue.cancel(id)
            return cancelled and cancelled.number
        case ("undo", *edit):
            return await (await engine.workspace()).store.undo(edit_of(edit).id)
        case ("alias" | "hide", *_):
            return await engine.edit(edit_of(step))
    raise ValueError(step)


def edit_of(step: Sequence[str]) -> Edit:
    """What a step changes in the graph by hand."""
    if step[0] == "alias":
        return Alias(source=step[1], target=step[2])
    return Suppression(name=step[1])


async def hold(id: str, queue: JobQueue) -> None:
    """Claim a version, keep it for longer than was said at first, and give it back."""
    job = await queue.claim("holder", 600.0, document_id=id)
    if job is not None:
        await queue.heartbeat(job.lease, 600.0)
        await queue.release(job.lease)
    await queue.release_stalled()


async def live(task: Task) -> None:
    """Take all steps of a task, telling of each, or die on the way."""
    crash = CrashPoints(task.point, task.nth)
    connection.connect = control.connect = crash.connecting(connection.connect, SQL)
    with crash.files():
        one = engine_of(task, crash)
        for step in task.steps:
            say(await take(step, one, crash))
        await one.aclose()
    say({"reached": crash.reached})


def say(what: object) -> None:
    print(json.dumps(what), flush=True)


def be_born(task: Task, output: str) -> None:
    """Be the forked process. Whoever hangs is ended by the alarm, which counts as a failure."""
    signal.alarm(task.limit)
    os.dup2(os.open(output, os.O_WRONLY), 1)
    asyncio.run(live(task))
    os._exit(0)


def serve() -> None:
    """Fork a process for each line of standard input; say its id, and then how it ended."""
    logging.disable()
    for line in sys.stdin:
        task, output = json.loads(line)
        child = os.fork()
        if child == 0:
            be_born(Task(**task), output)
        say(child)
        _, status = os.waitpid(child, 0)
        say(os.waitstatus_to_exitcode(status))


class Nursery:
    """Starts processes that may be killed, one at a time, for the time of a `with` block."""

    def __enter__(self) -> Nursery:
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._output = tempfile.NamedTemporaryFile()
        self._alive: int | None = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._alive is not None:  # a test has failed
            os.kill(self._alive, signal.SIGKILL)
        self._server.communicate()
        self._output.close()

    def start(self, task: Task) -> int:
        """Start a task and return the id of its process."""
        self._output.truncate(0)
        assert self._server.stdin
        print(json.dumps([asdict(task), self._output.name]), file=self._server.stdin, flush=True)
        self._alive = self._heard()
        return self._alive

    def said(self) -> list[Any]:
        """What the process has said so far, step by step."""
        lines = Path(self._output.name).read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def wait(self) -> Ended:
        """Wait for the end of the process, whatever that is."""
        code, said = self._heard(), self.said()
        self._alive = None
        reached = said.pop()["reached"] if code == 0 else {}
        return Ended(code=code, said=said, reached=reached)

    def run(self, task: Task) -> Ended:
        """Run a task to its end."""
        self.start(task)
        return self.wait()

    def _heard(self) -> int:
        assert self._server.stdout
        return int(self._server.stdout.readline())


if __name__ == "__main__":
    serve()
