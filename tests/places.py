"""Where the stores under test keep their workspaces, each with a clock that a test moves."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

import neo4j_server
from rag_engine.adapters.memory import MemoryControl
from rag_engine.adapters.neo4j import Address, Neo4jControl
from rag_engine.testing.drafts import DIMENSIONS, MODEL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from rag_engine.adapters.memory.tables import Tables
    from rag_engine.core.keys import Key
    from rag_engine.ports.storage import Control, Workspace

EMBEDDED = ("memory", "sqlite")
STORES = (*EMBEDDED, "neo4j")
PROMISED = STORES if os.environ.get("HYPOTHESIS_PROFILE") == "few" else EMBEDDED
"""On which stores any documents are tried. A hundred each time would take a server half an hour."""


class MissingStore(Exception):
    """The adapter, or what it needs, is not there."""


class Clock:
    """Seconds that pass when they are told to, and a little at every look."""

    def __init__(self, *, tick: float = 0.001, now: float = 1_000_000.0) -> None:
        self.now = now
        self._tick = tick

    def __call__(self) -> float:
        self.now += self._tick
        return self.now


class MemoryPlace:
    """Workspaces in one mapping, which outlives the controls that open it."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        del folder
        self._clock = clock
        self._tables: dict[str, Tables] = {}
        self._keys: dict[str, Key] = {}

    def __call__(self, *, model: str = MODEL, dimensions: int = DIMENSIONS) -> Control:
        return MemoryControl(self._clock, model, dimensions, tables=self._tables, keys=self._keys)

    async def pass_time(self, seconds: float) -> None:
        self._clock.now += seconds


class SqlitePlace:
    """Workspaces in a folder."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        try:
            from rag_engine.adapters.sqlite import SqliteControl
        except ImportError as error:
            raise MissingStore(f"No store 'sqlite': {error}") from error
        self._control = SqliteControl
        self._clock = clock
        self._folder = folder / "data"

    def __call__(self, *, model: str = MODEL, dimensions: int = DIMENSIONS) -> Control:
        return self._control(self._folder, model=model, dimensions=dimensions, clock=self._clock)

    async def pass_time(self, seconds: float) -> None:
        self._clock.now += seconds


class Neo4jPlace:
    """Workspaces in a namespace of their own on the server of this run.

    With `exact_chunks` they have indexes and, beyond so many passages, are searched through these.
    """

    def __init__(self, folder: Path, clock: Clock, *, exact_chunks: int | None = None) -> None:
        del folder
        self.address = neo4j_address()
        self.namespace = uuid4().hex
        self._clock = clock
        self._how: dict[str, Any] = {"indexed": False}
        if exact_chunks is not None:
            self._how = {"indexed": True, "exact_chunks": exact_chunks}

    def __call__(self, *, model: str = MODEL, dimensions: int = DIMENSIONS) -> Control:
        return Neo4jControl(
            self.address,
            model=model,
            dimensions=dimensions,
            namespace=self.namespace,
            clock=self._clock,
            **self._how,
        )

    async def pass_time(self, seconds: float) -> None:
        self._clock.now += seconds


def neo4j_address() -> Address:
    """The address of the server of this run.

    Raises:
        MissingStore: There is none.
    """
    try:
        server = neo4j_server.server()
    except neo4j_server.NoServer as error:
        raise MissingStore(f"No store 'neo4j': {error}.") from error
    return Address(uri=server.uri, username=server.username, password=server.password)


def neo4j_machine() -> neo4j_server.Machine:
    """What the server of this run runs on, for who restarts it.

    Raises:
        MissingStore: There is no server, or it is not ours to restart.
    """
    neo4j_address()
    machine = neo4j_server.server().machine
    if machine is None:
        raise MissingStore(
            "No store 'neo4j' that tests may restart: NEO4J_URI names a server of somebody else. "
            "Unset it, and set RAG_TEST_NEO4J=5.26.30 to have one started"
        )
    return machine


Fixed = MemoryPlace | SqlitePlace | Neo4jPlace


def place(store: str, folder: Path, clock: Clock | None = None) -> Fixed:
    """Make a fresh place.

    Raises:
        MissingStore: It cannot be made here.
    """
    kind = {"memory": MemoryPlace, "sqlite": SqlitePlace, "neo4j": Neo4jPlace}[store]
    return kind(folder, clock or Clock())


@contextmanager
def folder() -> Iterator[Path]:
    """Make a folder for tests that need one for every example; in memory where that is possible."""
    shm = Path("/dev/shm")  # noqa: S108
    path = Path(tempfile.mkdtemp(prefix="rag-engine-", dir=shm if shm.is_dir() else None))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@asynccontextmanager
async def opened(store: str, *names: str) -> AsyncIterator[list[Workspace]]:
    """Open workspaces in one fresh place; a store that is missing here is skipped."""
    with folder() as path:
        try:
            control = place(store, path)()
        except MissingStore as error:
            pytest.skip(str(error))
        try:
            yield [await control.open(name, create=True) for name in names]
        finally:
            await control.aclose()
