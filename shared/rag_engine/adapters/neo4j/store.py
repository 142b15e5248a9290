"""A workspace's store in Neo4j."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from rag_engine.adapters.neo4j.connection import Connection, Row, Transaction, Work, only
from rag_engine.adapters.neo4j.contents import opened_contents
from rag_engine.adapters.neo4j.edits import Editor, InForce, KnownEdits
from rag_engine.adapters.neo4j.filters import Matches
from rag_engine.adapters.neo4j.indexing import Indexing
from rag_engine.adapters.neo4j.leases import (
    Clock,
    Locked,
    StoredVersion,
    stored,
    time_of,
    token,
    while_held,
)
from rag_engine.adapters.neo4j.ledger import Change, apply
from rag_engine.adapters.neo4j.orders import Orders
from rag_engine.adapters.neo4j.outdated import Outdated
from rag_engine.adapters.neo4j.reader import Neo4jReader
from rag_engine.adapters.neo4j.records import (
    chunk_properties,
    chunk_row,
    document_of,
    extraction_of,
    field_properties,
    pack_vector,
    seen_of,
    usage_properties,
)
from rag_engine.adapters.neo4j.resident import Residents, State, state_of
from rag_engine.core.edits import Edit
from rag_engine.core.evidence import canonical
from rag_engine.core.ids import entity_id
from rag_engine.core.models import Stage, Usage, Version, VersionStatus
from rag_engine.core.names import entity_key
from rag_engine.errors import LeaseLost, ModelMismatch
from rag_engine.ports.queue import Lease
from rag_engine.ports.storage import ChunkEvidence, Contents, Reader, Vectors

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Basis:
    """What a write rests on.

    Attributes:
        state: Of the workspace.
        edits: In force at it.
        chunks: Rows of the versions asked for.
        names: Vectors of the entity keys that these versions staged.
    """

    state: State
    edits: InForce
    chunks: Sequence[Mapping[str, Any]]
    names: Mapping[str, bytes | None]


class Neo4jStore:
    """See `Store`. Staged chunks are records without the labels that people and readers look for.

    Args:
        connection: To the database.
        workspace: Number of the workspace.
        dimensions: Of its vectors.
        clock: Of leases.
        kept_seconds: How long what is gone can still be read by who began before.
        exact_chunks: Up to how many passages vectors are held in memory, and searched exactly.

    Attributes:
        indexing: Of what is visible, by Neo4j's own indexes.
    """

    def __init__(
        self,
        connection: Connection,
        workspace: int,
        *,
        dimensions: int,
        clock: Clock,
        kept_seconds: float,
        exact_chunks: int,
    ) -> None:
        self._connection = connection
        self._workspace = workspace
        self._dimensions = dimensions
        self._clock = clock
        self._residents = Residents(connection, workspace, dimensions, exact_chunks)
        self._matches = Matches()
        self._orders = Orders()
        self._edits = KnownEdits()
        self._outdated = Outdated(connection, workspace, kept_seconds)
        self.indexing = Indexing(connection, workspace)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Reader]:
        """See `Store.snapshot`."""
        resident = await self._residents.now()
        yield Neo4jReader(self._connection, self._workspace, resident, self._matches, self._orders)

    async def look(self, work: Callable[[Reader], Coroutine[Any, Any, T]]) -> T:
        """See `Store.look`."""
        async with self.snapshot() as reader:
            return await work(reader)

    @asynccontextmanager
    async def contents(self) -> AsyncIterator[Contents]:
        """See `Store.contents`."""
        async with opened_contents(self._connection, self._workspace, self._dimensions) as contents:
            yield contents

    async def stage(self, lease: Lease, evidence: Sequence[ChunkEvidence]) -> list[str]:
        """See `Store.stage`."""
        chunks: list[dict[str, Any]] = []
        keys: set[str] = set()
        for one in evidence:
            self._check(one.vector)
            extraction = canonical(one.extraction)
            keys.update(entity_key(mention.name) for mention in extraction.mentions)
            row = chunk_row(lease.epoch, one.chunk.ordinal)
            chunks.append({"row": row, "properties": chunk_properties(one, extraction)})
        names = [{"id": entity_id(key), "key": key} for key in sorted(keys)]

        staged = await self._staged("stage", lease, chunks=chunks, names=names)
        return sorted(staged["missing"])

    async def stage_names(self, lease: Lease, keys: Sequence[str], vectors: Vectors) -> None:
        """See `Store.stage_names`."""
        for vector in vectors:
            self._check(vector)
        names = [
            {"id": entity_id(key), "vector": pack_vector(vector)}
            for key, vector in zip(keys, vectors, strict=True)
        ]

        await self._staged("stage_names", lease, names=names)

    async def _staged(self, query: str, lease: Lease, **parameters: Any) -> Row:
        return await while_held(
            self._connection, self._workspace, self._clock, query, lease, **parameters
        )

    async def finish(self, lease: Lease, *, usage: Usage | None = None) -> Version:
        """See `Store.finish`."""
        attempt = token()

        async def work(transaction: Transaction) -> Version:
            rows = await transaction.rows(
                "finish_basis", document=lease.document_id, version=lease.epoch, token=token()
            )
            versions = tuple(stored(node) for row in rows for node in row["versions"])
            document = Locked(versions=versions, now=time_of(self._clock, rows))
            done = document.number(lease.version)
            if done is not None and done.node.get("finished_by") == attempt:
                return done.version  # an earlier run was committed, only its answer was lost
            found = _newest(document, lease)
            basis = await self._basis_of(transaction, rows[0])
            if usage is not None:
                found = replace(found, version=replace(found.version, usage=usage))
            return await self._finish(transaction, document, found, basis, attempt)

        version = await self._shown(work)
        await self._outdated.remove_some()
        return version

    async def _finish(
        self,
        transaction: Transaction,
        document: Locked,
        found: StoredVersion,
        basis: _Basis,
        attempt: str,
    ) -> Version:
        before, row = document.shown, found.epoch
        change = Change(edits=basis.edits.together, names={**basis.names, **basis.edits.vectors})
        staged = [one for one in basis.chunks if one["version"] == row]
        for one in sorted(staged, key=lambda one: one["ordinal"]):
            change.appear(one["row"], found.version.document_id, extraction_of(one["extraction"]))
        for one in basis.chunks:
            if one["version"] != row:
                change.vanish(one["row"], seen_of(one))
        change.shown = [row]
        change.gone = [before.row] if before is not None and before.row is not None else []
        version = replace(
            found.version,
            status=VersionStatus.INDEXED,
            stage=Stage.WRITE,
            error=None,
            error_code=None,
            chunks=len(staged),
            finished_at=document.now,
        )
        await self._show(transaction, version, before, row, attempt)
        await apply(transaction, change, basis.state)
        return version

    async def _show(
        self,
        transaction: Transaction,
        version: Version,
        before: StoredVersion | None,
        row: int,
        attempt: str,
    ) -> None:
        """Make a version the one that its document shows, and forget those before it."""
        now = version.finished_at
        properties: dict[str, Any] = {
            "row": row,
            "status": str(version.status),
            "stage": str(version.stage),
            "error": None,
            "error_code": None,
            "chunks": version.chunks,
            "claimable_at": None,
            "process": None,
            "finished_at": now,
            "finished_by": attempt,
            "created_at": before.node["created_at"] if before else now,
            **usage_properties(version.usage),
        }
        node = {
            "document_id": version.document_id,
            "source": version.submission.source,
            "root": version.submission.root,
            "submitted_title": version.submission.title,
            "title": version.title,
            "media_type": version.media_type,
            "metadata": "{}",
            "number": version.number,
            "content_hash": version.submission.content_hash,
            "size": version.submission.size,
            **properties,
        }
        document = replace(document_of(node), metadata=version.submission.metadata)
        properties |= field_properties(document)
        await transaction.rows(
            "show_version",
            document=version.document_id,
            number=version.number,
            properties=properties,
        )

    async def _basis(self, transaction: Transaction, versions: Sequence[int]) -> _Basis:
        row = only(await transaction.rows("write_basis", versions=versions))
        return await self._basis_of(transaction, row)

    async def _basis_of(self, transaction: Transaction, row: Row) -> _Basis:
        state = state_of(row["state"])
        edits = await self._edits.at(transaction, state)
        names = {one["key"]: one["vector"] for one in row["names"]}
        return _Basis(state=state, edits=edits, chunks=row["chunks"], names=names)

    def _check(self, vector: Vectors) -> None:
        if vector.shape != (self._dimensions,):
            raise ModelMismatch(
                f"A vector has shape {vector.shape}, the workspace's have ({self._dimensions},). "
                "Embed with the model that made them."
            )

    async def delete(self, document_ids: Sequence[str]) -> int:
        """See `Store.delete`."""
        asked = sorted(set(document_ids))
        forgotten: list[str] = []

        async def work(transaction: Transaction) -> int:
            rows = await transaction.rows("lock_documents", documents=asked, token=token())
            found = [row["id"] for row in rows]
            if not found and forgotten:
                return len(forgotten)  # an earlier run was committed, only its answer was lost
            forgotten[:] = found
            if found:
                await self._delete(transaction, found)
            return len(found)

        count = await self._shown(work)
        await self._outdated.remove_some()
        return count

    async def _delete(self, transaction: Transaction, documents: Sequence[str]) -> None:
        versions = await transaction.rows("versions_of_documents", documents=documents)
        shown = [row["row"] for row in versions if row["row"] is not None]
        waiting = [row["epoch"] for row in versions if row["row"] is None]
        if waiting:
            await transaction.rows("unstage", versions=waiting)
        if not shown:
            await transaction.rows("forget_documents", documents=documents)
            return
        basis = await self._basis(transaction, shown)
        change = Change(gone=shown)
        for one in basis.chunks:
            change.vanish(one["row"], seen_of(one))
        await transaction.rows("forget_documents", documents=documents)
        await apply(transaction, change, basis.state)

    async def edit(self, edit: Edit, vectors: Vectors) -> bool:
        """See `Store.edit`."""
        for vector in vectors:
            self._check(vector)
        packed = [pack_vector(vector) for vector in vectors]
        attempt = token()

        async def work(transaction: Transaction) -> bool:
            now = time_of(self._clock, await transaction.rows("server_time"))
            return await Editor(transaction).put(edit, packed, now, attempt)

        return await self._shown(work)

    async def undo(self, edit_id: str) -> bool:
        """See `Store.undo`."""

        found = False

        async def work(transaction: Transaction) -> bool:
            # An earlier run may have been committed, and only its answer lost.
            nonlocal found
            found = await Editor(transaction).take_back(edit_id) or found
            return found

        return await self._shown(work)

    async def aclose(self) -> None:
        """See `Store.aclose`. The connection belongs to the `Control`."""
        await self._residents.aclose()
        await self.indexing.aclose()

    async def _shown(self, work: Work[T]) -> T:
        """Run a transaction that changes what is visible."""
        result = await self._connection.write(work, workspace=self._workspace)
        self.indexing.marked()
        return result


def _newest(document: Locked, lease: Lease) -> StoredVersion:
    found = document.held(lease)
    newest = document.versions[-1].version.number
    if newest != lease.version:
        raise LeaseLost(
            f"Version {newest} of {lease.document_id!r} was requested after version "
            f"{lease.version}. Stop working on the older one."
        )
    return found
