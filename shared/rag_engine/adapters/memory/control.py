"""Workspaces, each with tables of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag_engine.adapters.memory.idempotency import MemoryIdempotency
from rag_engine.adapters.memory.queue import MemoryQueue
from rag_engine.adapters.memory.store import MemoryStore
from rag_engine.adapters.memory.tables import Tables
from rag_engine.core.keys import Key
from rag_engine.core.submissions import check_workspace
from rag_engine.errors import NotFound
from rag_engine.ports.storage import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping, Sequence


class MemoryControl:
    """Workspaces in memory; see `rag_engine.ports.storage.Control`.

    Args:
        clock: Seconds since the epoch.
        model: Name of the embedding model.
        dimensions: Length of its vectors.
        tables: Where the rows live, by workspace. Give several controls the same mapping to open
            the same workspaces again, as if it were a folder.
        keys: Where the keys are kept, likewise.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        model: str,
        dimensions: int,
        *,
        tables: MutableMapping[str, Tables] | None = None,
        keys: MutableMapping[str, Key] | None = None,
    ) -> None:
        self._clock = clock
        self._model = model
        self._dimensions = dimensions
        self._tables: MutableMapping[str, Tables] = {} if tables is None else tables
        self._open: dict[str, tuple[Tables, Workspace]] = {}
        self._begun: dict[str, float] = {}
        self._keys: MutableMapping[str, Key] = {} if keys is None else keys
        self.idempotency = MemoryIdempotency(self._tables, clock)

    async def workspaces(self) -> list[str]:
        return sorted(self._tables)

    async def open(self, name: str, *, create: bool = False) -> Workspace:
        check_workspace(name)
        if name not in self._tables and not create:
            raise NotFound(f"There is no workspace {name!r}. Create it by adding a document to it.")
        tables, workspace = self._open.get(name, (None, None))
        if workspace is None or tables is not self._tables.get(name):
            workspace = self._opened(name)
            self._open[name] = (self._tables[name], workspace)
        return workspace

    async def delete(self, name: str) -> bool:
        check_workspace(name)
        tables = self._tables.pop(name, None)
        if tables is None:
            return False
        tables.deleted = True
        return True

    async def referenced(self, hashes: Sequence[str]) -> set[str]:
        versions = [row.version for one in self._tables.values() for row in one.versions.values()]
        named = {one.submission.content_hash for one in versions}
        return set(hashes) & (named | {one.parsed_hash for one in versions if one.parsed_hash})

    async def due(self, chore: str, seconds: float) -> bool:
        now = self._clock()
        if not self._tables or now - self._begun.get(chore, -seconds) < seconds:
            return False
        self._begun[chore] = now
        return True

    async def waiting(self) -> dict[str, float]:
        now = self._clock()
        waits = {name: tables.seconds_to_work(now) for name, tables in sorted(self._tables.items())}
        return {name: wait for name, wait in waits.items() if wait is not None}

    async def keys(self) -> list[Key]:
        return sorted(self._keys.values(), key=lambda one: (one.made_at, one.id))

    async def add_key(self, key: Key) -> None:
        self._keys[key.id] = key

    async def remove_key(self, id: str) -> bool:
        return self._keys.pop(id, None) is not None

    async def aclose(self) -> None:
        self._open.clear()
        for tables in self._tables.values():
            tables.processes.discard(self)

    def _opened(self, name: str) -> Workspace:
        tables = self._tables.setdefault(
            name, Tables(model=self._model, dimensions=self._dimensions)
        )
        tables.adopt(self._model, self._dimensions)
        tables.processes.add(self)
        store = MemoryStore(
            tables, clock=self._clock, model=self._model, dimensions=self._dimensions
        )
        queue = MemoryQueue(tables, clock=self._clock, process=self)
        return Workspace(name=name, store=store, queue=queue)
