"""Several processes on one store: workers and engines that are started, killed, frozen, replaced."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import neo4j
from replica import Look, Place, engine_of, text_of

import neo4j_server
from rag_engine.core.models import Version, VersionStatus
from rag_engine.testing.observation import Observed, observe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from rag_engine.engine import Engine

PROGRAM: Final = Path(__file__).with_name("replica.py")
PATIENCE: Final = 150.0
FROZEN_SECONDS: Final = 8.0
"""When Neo4j ends what a frozen process had begun."""


class Process:
    """A worker or an engine in a process of its own.

    Args:
        place: Where it works.
        words: What it is told on its command line.
        output: The beginning of the names of the files it writes to.
    """

    def __init__(self, place: Place, words: Sequence[str], output: Path) -> None:
        self._log = output.with_suffix(".log")
        self._out, self._err = output.with_suffix(".out"), output.with_suffix(".err")
        with self._out.open("w") as out, self._err.open("w") as err:
            self._child = subprocess.Popen(
                [sys.executable, PROGRAM, *words],
                stdout=out,
                stderr=err,
                env=replace(place, log=str(self._log)).environment,
            )

    @property
    def errors(self) -> str:
        """What it complained of."""
        return self._err.read_text()

    @property
    def calls(self) -> list[dict[str, str]]:
        """How its calls of the store ended, and where it was frozen."""
        return _lines(self._log)

    @property
    def ended_documents(self) -> list[dict[str, Any]]:
        """What a worker said of each document that came to its end."""
        return _lines(self._out)

    @property
    def is_up(self) -> bool:
        """Whether it does what it is for. A process that is no more never will."""
        assert self._child.poll() is None, self.errors
        return "Working on" in self.errors or bool(self._out.read_text())

    @property
    def is_frozen(self) -> bool:
        """Whether it stopped where it was told to."""
        assert self._child.poll() is None, self.errors
        return any("frozen" in one for one in self.calls)

    def late_calls(self) -> list[dict[str, str]]:
        """How the calls ended that were under way when it was frozen, or came later."""
        calls = self.calls
        at = next(n for n, one in enumerate(calls) if "frozen" in one)
        return calls[at + 1 :]

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self._child.kill()
        assert self._child.wait() == -signal.SIGKILL

    def thaw(self) -> None:
        """Let a frozen one go on."""
        self._child.send_signal(signal.SIGCONT)

    async def stop(self) -> None:
        """Tell it to end, and see that it ends well."""
        self._child.terminate()
        await self.end()

    async def end(self) -> None:
        """See that it ends well by itself."""
        code = await asyncio.to_thread(self._child.wait, PATIENCE)
        assert code == 0, self.errors
        assert "Traceback" not in self.errors
        assert "neo4j.io" not in self.errors

    def abandon(self) -> None:
        """End it if it still runs, whatever it does."""
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()


class Asking(Process):
    """An engine that asks until it is stopped."""

    def __init__(self, place: Place, output: Path) -> None:
        self._looks = output.with_suffix(".looks")
        super().__init__(place, ("ask", str(self._looks)), output)

    @property
    def is_up(self) -> bool:
        """Whether it has had answers."""
        assert self._child.poll() is None, self.errors
        return self._looks.exists() and len(self._looks.read_text()) > 0

    @property
    def looks(self) -> list[Look]:
        """What it asked and saw."""
        return [Look(**one) for one in _lines(self._looks)]


class Fleet:
    """The processes on one store; close it with `abandon`.

    On the embedded store all share a data folder. On Neo4j each is on a machine of its own: of the
    data folder they share the originals alone.
    """

    def __init__(self, store: str, folder: Path, *, extract_seconds: float = 0.0) -> None:
        self.store = store
        folder.mkdir()
        self._folder = folder
        self._processes: list[Process] = []
        self._machines = 0
        self._base = Place(folder=str(folder / "data"), extract_seconds=extract_seconds)
        if store == "neo4j":
            server = neo4j_server.server()
            self._base = replace(
                self._base,
                namespace=uuid4().hex,
                uri=server.uri,
                username=server.username,
                password=server.password,
            )

    def place(self) -> Place:
        """Where the next process works."""
        if self.store != "neo4j":
            return self._base
        self._machines += 1
        machine = self._folder / f"machine-{self._machines}"
        machine.mkdir(parents=True)
        originals = self._folder / "originals"
        originals.mkdir(exist_ok=True)
        (machine / "blobs").symlink_to(originals)
        return replace(self._base, folder=str(machine))

    @property
    def machines(self) -> list[Path]:
        """The data folders of all processes on Neo4j."""
        return list(self._folder.glob("machine-*"))

    def worker(self, *words: str, freeze: str = "") -> Process:
        """Start a worker."""
        place = replace(self.place(), freeze=freeze)
        if freeze:
            place = replace(place, transaction_seconds=FROZEN_SECONDS)
        command = ("--data-dir", place.folder, "worker", "--json", *words)
        return self._started(Process(place, command, self._output()))

    def asking(self) -> Asking:
        """Start an engine that is asked."""
        one = Asking(self.place(), self._output())
        self._started(one)
        return one

    def _started(self, process: Process) -> Process:
        self._processes.append(process)
        return process

    def _output(self) -> Path:
        return self._folder / f"process-{len(self._processes)}"

    def abandon(self) -> None:
        """End whatever still runs."""
        for process in self._processes:
            process.abandon()

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[Engine]:
        """An engine in this process."""
        engine = await asyncio.to_thread(engine_of, self.place())
        try:
            yield engine
        finally:
            await engine.aclose()

    def left_over(self) -> int:
        """How many nodes Neo4j keeps of work that is done or given up."""
        place = self._base
        with (
            neo4j.GraphDatabase.driver(place.uri, auth=(place.username, place.password)) as driver,
            driver.session() as session,
        ):
            [record] = session.run(
                "MATCH (w:Workspace {namespace: $namespace}) MATCH (n {workspace: w.number}) "
                "WHERE n:StagedName OR n:Job OR (n:ChunkRecord AND n.shown_at IS NULL) "
                "RETURN count(n) AS nodes",
                namespace=place.namespace,
            )
        nodes: int = record["nodes"]
        return nodes


async def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def submit(engine: Engine, id: str, number: int) -> Version:
    """Put a text into the queue."""
    text = text_of(id, number).encode()
    return await engine.submit(text, document_id=id, source=f"{id}.txt")


async def ended(engine: Engine) -> dict[str, Version]:
    """Wait until every document's newest version has come to its end."""
    queue = (await engine.workspace()).queue
    deadline = time.monotonic() + PATIENCE
    while True:
        versions = await queue.versions(limit=10_000)
        unfinished = (VersionStatus.PENDING, VersionStatus.RUNNING)
        if not any(one.status in unfinished for one in versions):
            return {one.document_id: one for one in versions}
        assert time.monotonic() < deadline, versions
        await asyncio.sleep(0.2)


async def seen(engine: Engine) -> tuple[int, Observed]:
    """How many writes there have been, and all that they left."""
    async with (await engine.workspace()).store.snapshot() as reader:
        return reader.counter, await observe(reader)


async def seen_alone(fleet: Fleet, texts: Mapping[str, int]) -> Observed:
    """What one worker leaves that had a store to itself, and was never disturbed.

    Args:
        fleet: A fresh one.
        texts: How many texts each document has had; all but the last were never indexed.
    """
    async with fleet.engine() as engine:
        for id, last in texts.items():
            for number in range(1, last + 1):
                await submit(engine, id, number)
        await fleet.worker("--until-idle", "--concurrency", "1").end()
        _, observed = await seen(engine)
    return observed


def _lines(path: Path) -> list[Any]:
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
