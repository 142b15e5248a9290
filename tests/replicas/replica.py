"""One of several processes on one store: the command line, or an engine that answers. A script.

`replica.py worker --until-idle` and the like are the command itself, with its signals and its pool;
only the models are stand-ins, and the lease is short. `replica.py ask LOG` asks questions until
SIGTERM, answers what it has in hand, and writes a line of JSON for each to LOG.

The environment variable `REPLICA` says where, as the JSON of a `Place`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import sys
import threading
import time
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rag_engine import wiring
from rag_engine.adapters.blobs import FolderBlobs
from rag_engine.adapters.models.fake import HashEmbedder
from rag_engine.adapters.models.phrases import PhraseExtractor
from rag_engine.adapters.neo4j import Address, Neo4jControl
from rag_engine.adapters.parsers.limits import ParserLimits
from rag_engine.adapters.parsers.sandbox import SandboxedParser
from rag_engine.adapters.sqlite import SqliteControl
from rag_engine.engine import Engine, Question
from rag_engine.ingest.chunk import ChunkSize
from rag_engine.ingest.pipeline import Pipeline
from rag_engine.testing.interception import intercepted
from rag_engine.testing.observation import list_all
from rag_engine_cli.main import main as command_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from rag_engine.core.models import Extraction
    from rag_engine.ports.models import Passage
    from rag_engine.ports.storage import Control, Reader

EMBEDDER: Final = HashEmbedder(dimensions=16)
LEASE_SECONDS: Final = 5.0
ASKED_AT_A_TIME: Final = 2
SENTENCES: Final = 30
KEEPERS: Final = ("Ann Lee", "Bob Ray", "Cid Dane", "Dora May", "Eve Holm")
MARK: Final = re.compile(r"\((\w+) (\d+)\)")
SLOW: Final = "slow"
SLOW_SECONDS: Final = 2.0
_LAST: ContextVar[str] = ContextVar("statement", default="")  # of a task: others go on meanwhile
_HEART: Final = ("queue.heartbeat", "queue.version")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a process works, and what happens to it there.

    Attributes:
        folder: Its data folder.
        namespace: Of the workspaces in Neo4j; "" for the embedded store.
        uri: Of the Neo4j server, with `username` and `password`.
        transaction_seconds: Longest time of a transaction in Neo4j.
        extract_seconds: How long the extractor takes for a chunk.
        freeze: The call (`store.finish`) or statement (`neo4j.commit`) before which it stops once,
            as by SIGSTOP, until somebody sends SIGCONT; "" for never.
        log: Where it says that it is frozen and how each call of the store ended; "" for nowhere.
    """

    folder: str
    namespace: str = ""
    uri: str = ""
    username: str = ""
    password: str = ""
    transaction_seconds: float = 120.0
    extract_seconds: float = 0.0
    freeze: str = ""
    log: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """What a process of this place is started with."""
        return {**os.environ, "REPLICA": json.dumps(asdict(self)), "PYTHONUNBUFFERED": "1"}


class Watcher:
    """Tells how calls of the store end, and freezes the process at one of them.

    Until the call that was frozen has ended, the heart hears nothing: so it is left to the store
    alone to refuse what comes too late.
    """

    def __init__(self, place: Place) -> None:
        self._freeze = place.freeze
        self._log = Path(place.log) if place.log else None
        self._in_time = threading.Event()
        self._in_time.set()

    def sent(self, statement: str) -> None:
        """Hear of a statement that is about to be sent; `commit` counts after `commit_write` alone."""
        if statement != "commit" or _LAST.get() == "commit_write":
            self._reach(f"neo4j.{statement}")
        _LAST.set(statement)

    @asynccontextmanager
    async def around(self, call: str) -> AsyncIterator[None]:
        """See `Interceptor`."""
        if call in _HEART:
            await asyncio.to_thread(self._in_time.wait)
        self._reach(call)
        ended = "returned"
        try:
            yield
        except BaseException as error:
            ended = f"{type(error).__name__}: {error}"
            raise
        finally:
            if call in _HEART:  # one that was under way when the process was frozen
                await asyncio.to_thread(self._in_time.wait)
            if call.startswith("store."):
                self._in_time.set()
                self._say({"call": call, "ended": ended})

    @contextmanager
    def around_blocking(self, call: str) -> Iterator[None]:
        """See `Interceptor`."""
        del call
        yield

    def _reach(self, point: str) -> None:
        if point == self._freeze:
            self._freeze = ""
            self._in_time.clear()
            self._say({"frozen": point})
            os.kill(os.getpid(), signal.SIGSTOP)

    def _say(self, what: dict[str, str]) -> None:
        if self._log is not None:
            with self._log.open("a") as file:
                print(json.dumps(what), file=file)


class SlowExtractor(PhraseExtractor):
    """Takes its time for each chunk, as a model on another machine does, and more for one document."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def extract(self, passages: Sequence[Passage]) -> list[Extraction]:
        """See `Extractor`."""
        slow = any(id == SLOW for passage in passages for id, _ in marks(passage.text))
        await asyncio.sleep(self._seconds * len(passages) + (SLOW_SECONDS if slow else 0))
        return await super().extract(passages)


def control_of(place: Place, watcher: Watcher) -> Control:
    """The workspaces of a place."""
    model = {"model": EMBEDDER.name, "dimensions": EMBEDDER.dimensions}
    if not place.namespace:
        return SqliteControl(Path(place.folder), **model)  # type: ignore[arg-type]
    address = Address(
        uri=place.uri,
        username=place.username,
        password=place.password,
        transaction_seconds=place.transaction_seconds,
    )
    return Neo4jControl(
        address,
        namespace=place.namespace,
        indexed=False,
        count=watcher.sent,
        **model,  # type: ignore[arg-type]
    )


def engine_of(place: Place, watcher: Watcher | None = None) -> Engine:
    """An engine of a place, whose stand-ins are the models alone."""
    watcher = watcher or Watcher(place)
    parser = SandboxedParser(ParserLimits(ocr=False))
    blobs = FolderBlobs(Path(place.folder) / "blobs")
    return Engine(
        control=intercepted("control", control_of(place, watcher), watcher),
        blobs=blobs,
        pipeline=Pipeline(
            blobs=blobs,
            parser=parser,
            extractor=SlowExtractor(place.extract_seconds),
            embedder=EMBEDDER,
            size=ChunkSize(max_tokens=EMBEDDER.max_tokens, target_tokens=64, overlap_tokens=8),
        ),
        lease_seconds=LEASE_SECONDS,
        closers=(parser.aclose,),
    )


def given_place() -> Place:
    """The place that the environment names."""
    return Place(**json.loads(os.environ["REPLICA"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was asked between two moments of the monotonic clock, which all processes share.

    Attributes:
        whole: Whether all documents were looked at, and not what an answer rests on.
        seen: The number of the text of each document that was seen.
    """

    began: float
    ended: float
    whole: bool
    seen: dict[str, int]


class Asker:
    """Asks, and looks at whole snapshots, until it is told to stop.

    Every sentence names its document and which text of it it is from: no answer may mix two texts
    of a document, and no snapshot may show a part of one.
    """

    def __init__(self, engine: Engine, log: Path) -> None:
        self._engine = engine
        self._log = log.open("w", buffering=1)
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Ask until SIGTERM comes; what is being asked then is answered."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stopping.set)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._again(self._snapshot, whole=True))
            for _ in range(ASKED_AT_A_TIME):
                tasks.create_task(self._again(self._ask, whole=False))

    async def _again(self, see: Callable[[], Awaitable[dict[str, int]]], *, whole: bool) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            seen = await see()
            look = Look(began=began, ended=time.monotonic(), whole=whole, seen=seen)
            print(json.dumps(asdict(look)), file=self._log)

    async def _ask(self) -> dict[str, int]:
        found = await self._engine.search(Question(text="Who lit the lamp of Farne at dusk?"))
        seen: dict[str, int] = {}
        for passage in found.context.passages:
            for id, number in marks(passage.text):
                assert (
                    seen.setdefault(id, number) == number
                ), "two texts of a document in one answer"
        return seen

    async def _snapshot(self) -> dict[str, int]:
        store = (await self._engine.workspace()).store
        async with store.snapshot() as reader:
            return {one.id: await whole(reader, one.id) for one in await list_all(reader)}


async def whole(reader: Reader, id: str) -> int:
    """The number of the text that a document shows, all of which is there."""
    chunks = await reader.document_chunks(id)
    [(named, number)] = {mark for chunk in chunks for mark in marks(chunk.text)}
    text = text_of(id, number)
    assert named == id
    assert all(text[one.start : one.end] == one.text for one in chunks)
    assert (chunks[0].start, chunks[-1].end) == (0, len(text))
    return number


def text_of(id: str, number: int) -> str:
    """A text of several chunks, every sentence of which says what it is from."""
    return "\n\n".join(
        f"Keeper {KEEPERS[(n + number) % len(KEEPERS)]} lit lamp {n} of Farne at dusk ({id} {number})."
        for n in range(SENTENCES)
    )


def marks(text: str) -> list[tuple[str, int]]:
    """Which texts of which documents a passage is from."""
    return [(id, int(number)) for id, number in MARK.findall(text)]


async def ask(place: Place, log: Path) -> None:
    """Be an engine that answers, until SIGTERM."""
    engine = await asyncio.to_thread(engine_of, place)
    try:
        await Asker(engine, log).run()
    finally:
        await engine.aclose()


def main() -> None:
    """Be what the command line says."""
    place = given_place()
    if sys.argv[1] == "ask":
        logging.disable()
        asyncio.run(ask(place, Path(sys.argv[2])))
    else:
        wiring.build = lambda settings, **more: engine_of(place)
        command_line()


if __name__ == "__main__":
    main()
