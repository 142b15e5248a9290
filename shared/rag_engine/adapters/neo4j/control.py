"""The workspaces of a Neo4j database."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from uuid import uuid4

from rag_engine.adapters.neo4j.connection import Address, Connection, Row, Transaction
from rag_engine.adapters.neo4j.idempotency import Neo4jIdempotency
from rag_engine.adapters.neo4j.leases import Clock, time_of, token
from rag_engine.adapters.neo4j.migrations import migrate
from rag_engine.adapters.neo4j.queue import Neo4jQueue
from rag_engine.adapters.neo4j.store import Neo4jStore
from rag_engine.core.keys import Key, Scope
from rag_engine.core.names import NORMALISER_VERSION
from rag_engine.core.submissions import check_workspace
from rag_engine.core.tokens import TOKENISER_VERSION
from rag_engine.errors import (
    ModelMismatch,
    NotFound,
    RagEngineError,
    StoreTooNew,
)
from rag_engine.ports.storage import Workspace
from rag_engine.telemetry import events

logger = logging.getLogger(__name__)

KEPT_SECONDS: Final = 600.0
EXACT_CHUNKS: Final = 1_000_000
_BATCH: Final = 1_000
"""Nodes that are removed in one transaction."""

_SETTLED_MS: Final = 600_000
"""Longer than any transaction that began before a workspace was deleted can take."""

_LEAVE_SECONDS: Final = 4.0
"""Nobody who ends a process waits for a server that is not there for longer."""


class Neo4jControl:
    """See `Control`.

    Args:
        address: Of the server.
        model: Name of the embedding model.
        dimensions: Length of its vectors.
        namespace: Sets workspaces of several installations in one database apart.
        clock: Seconds since the epoch, by which leases run out; by default the database's.
        kept_seconds: How long what was replaced or deleted can still be read by who began before.
        exact_chunks: Up to how many passages of a workspace a process holds vectors in memory, and
            searches them exactly. Beyond, Neo4j's vector index gives the candidates.
        indexed: Whether workspaces get a vector index and a full-text index, for people's own
            Cypher and for workspaces beyond `exact_chunks`. No other answer depends on them.
        count: Called with the name of each statement that is sent, for measurements.
    """

    def __init__(
        self,
        address: Address,
        *,
        model: str,
        dimensions: int,
        namespace: str = "",
        clock: Clock = None,
        kept_seconds: float = KEPT_SECONDS,
        exact_chunks: int = EXACT_CHUNKS,
        indexed: bool = True,
        count: Callable[[str], object] = lambda name: None,
    ) -> None:
        self._connection = Connection(address, count=count)
        self._model = model
        self._dimensions = dimensions
        self._namespace = namespace
        self._clock = clock
        self._kept_seconds = kept_seconds
        self._exact_chunks = exact_chunks
        self._indexed = indexed
        self._process = uuid4().hex
        self._opened: dict[str, tuple[int, Workspace]] = {}
        self._lock = asyncio.Lock()
        self._ready = False
        self.idempotency = Neo4jIdempotency(self._connection, namespace, clock, self._prepare)

    async def workspaces(self) -> list[str]:
        """See `Control.workspaces`."""
        return [row["name"] for row in await self._read("workspaces")]

    async def open(self, name: str, *, create: bool = False) -> Workspace:
        """See `Control.open`."""
        check_workspace(name)
        async with self._lock:
            number, workspace = self._opened.get(name, (0, None))
            if workspace is None or number in self._connection.deleted:
                self._opened.pop(name, None)
                number, workspace = self._opened[name] = await self._open(name, create=create)
            return workspace

    async def delete(self, name: str) -> bool:
        """See `Control.delete`."""
        check_workspace(name)
        await self._prepare()
        attempt = {"namespace": self._namespace, "attempt": token()}

        async def work(transaction: Transaction) -> list[Row]:
            await transaction.rows("lock_system", token=token())
            # An earlier run may have been committed, and only its answer lost.
            rows = await transaction.rows("deleted_by", **attempt)
            return rows or await transaction.rows("delete_workspace", name=name, **attempt)

        async with self._lock:
            self._opened.pop(name, None)
            rows = await self._connection.write(work)
        await self._remove_deleted()
        return bool(rows)

    async def _remove_deleted(self) -> None:
        """Remove what is left of workspaces that were deleted: it is in nobody's way.

        Who wrote into one at that moment may leave something behind, which goes later.
        """
        try:
            for row in await self._read("deleted_workspaces"):
                await self._remove(int(row["number"]), last=row["milliseconds"] > _SETTLED_MS)
        except RagEngineError as error:
            logger.warning(str(error), extra={"action": events.OUTDATED_KEPT})

    async def _remove(self, number: int, *, last: bool) -> None:
        run = self._connection.run
        await run("drop_vector_index", write=True, workspace=number)
        await run("drop_text_index", write=True, workspace=number)
        while (await run("remove_some", write=True, workspace=number, limit=_BATCH))[0]["removed"]:
            pass
        if last:
            await run("forget_deleted", write=True, namespace=self._namespace, number=number)

    async def referenced(self, hashes: Sequence[str]) -> set[str]:
        """See `Control.referenced`."""
        rows = await self._read("named_blobs", hashes=sorted(set(hashes)))
        return {row["hash"] for row in rows}

    async def waiting(self) -> dict[str, float]:
        """See `Control.waiting`."""

        now = None if self._clock is None else self._clock()
        rows = await self._read("waiting", now=now)
        return {row["name"]: max(0.0, row["at"] - row["now"]) for row in rows}

    async def due(self, chore: str, seconds: float) -> bool:
        """See `Control.due`."""
        if not await self._read("any_workspace"):
            return False
        await self._remove_deleted()
        attempt = token()

        async def work(transaction: Transaction) -> bool:
            chores = {"namespace": self._namespace, "name": chore}
            rows = await transaction.rows("lock_chore", token=token(), **chores)
            now = time_of(self._clock, rows)
            if rows[0]["begun_by"] == attempt:
                return True  # an earlier run was committed, only its answer was lost
            begun = rows[0]["begun_at"]
            if begun is not None and begun > now - seconds:
                return False
            await transaction.rows("begin_chore", now=now, attempt=attempt, **chores)
            return True

        return await self._connection.write(work)

    async def keys(self) -> list[Key]:
        """See `Control.keys`."""
        return [_key_of(row["key"]) for row in await self._read("keys")]

    async def add_key(self, key: Key) -> None:
        """See `Control.add_key`."""
        await self._prepare()
        values = {
            "name": key.name,
            "hash": key.hash,
            "scopes": sorted(key.scopes),
            "workspaces": sorted(key.workspaces),
            "made_at": key.made_at,
        }
        await self._connection.run(
            "add_key", write=True, namespace=self._namespace, id=key.id, values=values
        )

    async def remove_key(self, id: str) -> bool:
        """See `Control.remove_key`."""
        found = False

        async def work(transaction: Transaction) -> bool:
            # An earlier run may have been committed, and only its answer lost.
            nonlocal found
            rows = await transaction.rows("remove_key", namespace=self._namespace, id=id)
            found = bool(rows) or found
            return found

        return await self._connection.write(work)

    async def aclose(self) -> None:
        """See `Control.aclose`."""
        async with self._lock:
            try:
                stores = [workspace.store for _, workspace in self._opened.values()]
                await asyncio.gather(*(store.aclose() for store in stores))
                if self._opened:
                    await self._leave()
            finally:
                self._opened.clear()
                await self._connection.aclose()

    async def _leave(self) -> None:
        """Give back what this process holds. Where that fails, leases run out by themselves."""
        try:
            await self._connection.run(
                "leave", write=True, within=_LEAVE_SECONDS, process=self._process
            )
        except RagEngineError as error:
            logger.warning(str(error), extra={"action": events.LEASES_KEPT})

    async def _read(self, query: str, **parameters: Any) -> list[Row]:
        return await self._connection.run(query, namespace=self._namespace, **parameters)

    async def _prepare(self) -> None:
        if not self._ready:
            await migrate(self._connection)
            self._ready = True

    async def _open(self, name: str, *, create: bool) -> tuple[int, Workspace]:
        await self._prepare()
        node = await self._node(name, create=create)
        number = int(node["number"])
        await self._adopt(name, node)
        store = Neo4jStore(
            self._connection,
            number,
            dimensions=self._dimensions,
            clock=self._clock,
            kept_seconds=self._kept_seconds,
            exact_chunks=self._exact_chunks,
        )
        if self._indexed:
            await self._index(number)
            store.indexing.begin()  # one that was killed may have left something
        queue = Neo4jQueue(self._connection, number, clock=self._clock, process=self._process)
        return number, Workspace(name=name, store=store, queue=queue)

    async def _node(self, name: str, *, create: bool) -> Mapping[str, Any]:
        rows = await self._read("workspace", name=name)
        if not rows and create:
            rows = await self._connection.write(lambda transaction: self._added(transaction, name))
        if not rows:
            raise NotFound(
                f"There is no workspace {name!r}. Create it by ingesting a document into it: "
                f"rag-engine ingest --workspace {name} FILE"
            )
        node: Mapping[str, Any] = rows[0]["workspace"]
        return node

    async def _added(self, transaction: Transaction, name: str) -> list[Row]:
        names = {"namespace": self._namespace, "name": name}
        await transaction.rows("lock_system", token=token())
        if rows := await transaction.rows("workspace", **names):
            return rows
        return await transaction.rows("add_workspace", made_with=self._made_with(), **names)

    async def _adopt(self, name: str, node: Mapping[str, Any]) -> None:
        """Take vectors of the configured model from now on, if there are no others."""
        mine = self._made_with()
        if all(node.get(key) == value for key, value in mine.items()):
            return

        async def work(transaction: Transaction) -> None:
            await transaction.rows("lock_workspace", token=token())
            if await transaction.rows("holds_vectors"):
                raise self._mismatch(name, node)
            await transaction.rows("set_made_with", made_with=mine)

        await self._connection.write(work, workspace=int(node["number"]))

    async def _index(self, number: int) -> None:
        """Make the indexes for people's own Cypher; one of another model's width gives way."""
        [row] = await self._connection.run("components")
        exact = _version(row["version"]) >= (5, 18)
        name = "make_exact_vector_index" if exact else "make_vector_index"
        width = self._dimensions
        found = await self._connection.run("width_of_vector_index", workspace=number)
        if any(one["width"] != width for one in found):
            await self._connection.run("drop_vector_index", write=True, workspace=number)
        await self._connection.run(name, write=True, workspace=number, dimensions=width)
        await self._connection.run("make_text_index", write=True, workspace=number)

    def _made_with(self) -> dict[str, str | int]:
        """What a workspace's index was made with, and must have been to be read."""
        return {
            "model": self._model,
            "dimensions": self._dimensions,
            "normaliser": NORMALISER_VERSION,
            "tokeniser": TOKENISER_VERSION,
        }

    def _mismatch(self, name: str, node: Mapping[str, Any]) -> RagEngineError:
        model, dimensions = node.get("model"), node.get("dimensions")
        if (model, dimensions) != (self._model, self._dimensions):
            return ModelMismatch(
                f"The vectors of workspace {name!r} were made by {model!r} ({dimensions} "
                f"dimensions), not by {self._model!r} ({self._dimensions} dimensions). Set "
                "RAG_EMBEDDING_MODEL back, or ingest the documents into a new workspace."
            )
        mine = self._made_with()
        newer = [key for key in ("normaliser", "tokeniser") if node[key] > mine[key]]
        if newer:
            return StoreTooNew(
                f"Workspace {name!r} was written with {newer[0]} {node[newer[0]]}; this release "
                f"has {mine[newer[0]]}. Upgrade with: pip install --upgrade "
                "'rag-engine-server[neo4j]'"
            )
        return ModelMismatch(
            f"The index of workspace {name!r} was made by an earlier release, whose words and "
            "names are not those of this one. Ingest the documents into a new workspace."
        )


def _key_of(node: Mapping[str, Any]) -> Key:
    return Key(
        id=node["id"],
        name=node["name"],
        hash=node["hash"],
        scopes=frozenset(map(Scope, node["scopes"])),
        workspaces=frozenset(node["workspaces"]),
        made_at=node["made_at"],
    )


def _version(text: str) -> tuple[int, ...]:
    """`5.26.30` as numbers."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])
