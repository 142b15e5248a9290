"""Checking a place from end to end, and repairing what can be repaired.

What the store can tell by itself its `Inspector` finds; what lies between the store and the blobs
is compared here: originals and texts against their hashes, passages against the text they are
spans of. Nothing is held in memory but one document at a time and what is to be repaired.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rag_engine.core.models import UNFINISHED, Submission, Version, VersionStatus
from rag_engine.core.tokens import tokenize
from rag_engine.engine import Engine
from rag_engine.errors import (
    BlobMissing,
    Conflict,
    DocumentRejected,
    ModelMismatch,
    RagEngineError,
    StoreCorrupt,
    StoreUnavailable,
)
from rag_engine.ingest.embed import embed_names, texts_of
from rag_engine.ingest.parse import keep, parse, recall
from rag_engine.ports.inspection import (
    Checking,
    Damage,
    Filling,
    Hollow,
    Inspection,
    Inspector,
    Remedy,
)

ROUNDS: Final = 4
"""Repairs in a row: one may bring to light what is to be repaired next."""

_EMBEDDED: Final = 256
_NAMED: Final = 1000


async def verify(engine: Engine, inspector: Inspector) -> AsyncGenerator[Damage | Checking, None]:
    """Check the list of workspaces and every workspace, each as of one moment.

    Blobs are kept meanwhile, so that what a workspace names is not deleted under the check.
    """
    yield Checking(check="list of workspaces")
    for damage in await inspector.listing():
        yield damage
    async with engine.blobs.keeping():
        for workspace in await inspector.workspaces():
            async with aclosing(_verify_workspace(engine, inspector, workspace)) as found:
                async for one in found:
                    yield one


async def _verify_workspace(
    engine: Engine, inspector: Inspector, workspace: str
) -> AsyncGenerator[Damage | Checking, None]:
    hopeless = False
    try:
        async with inspector.open(workspace) as inspection:
            broken = False
            async for one in inspection.damages():
                if isinstance(one, Damage):
                    if one.remedy is Remedy.SALVAGE and not broken:
                        broken, hopeless = True, not await inspector.can_salvage(workspace)
                    yield _as_far_as_it_goes(replace(one, workspace=workspace), hopeless)
                else:
                    yield replace(one, check=f"{workspace}: {one.check}")
            if not broken:
                yield Checking(check=f"{workspace}: originals and texts")
                async for damage in _compare_blobs(engine, inspection):
                    yield replace(damage, workspace=workspace)
    except StoreCorrupt as error:
        hopeless = not await inspector.can_salvage(workspace)
        found = Damage(check="file", message=str(error), remedy=Remedy.SALVAGE, workspace=workspace)
        yield _as_far_as_it_goes(found, hopeless)
    except StoreUnavailable as error:  # the other workspaces are to be checked all the same
        yield Damage(check="file", message=str(error), remedy=Remedy.NONE, workspace=workspace)


def _as_far_as_it_goes(damage: Damage, hopeless: bool) -> Damage:
    if not hopeless or damage.remedy is not Remedy.SALVAGE:
        return damage
    way_out = (
        "No document can be read from the file: restore it from a backup, or give the workspace up "
        f"with: rag-engine doctor --forget {damage.workspace}"
    )
    return replace(damage, message=f"{damage.message} {way_out}", remedy=Remedy.NONE)


async def forget(engine: Engine, inspector: Inspector, workspace: str) -> None:
    """Give up a workspace whose file is missing, or from which no document can be read.

    Raises:
        Conflict: It is not lost.
    """
    async with aclosing(verify(engine, inspector)) as found:
        async for one in found:
            if (
                isinstance(one, Damage)
                and (one.workspace, one.remedy) == (workspace, Remedy.NONE)
                and one.check in ("file", "pages")
            ):
                await inspector.forget(workspace)
                return
    raise Conflict(
        f"Workspace {workspace!r} is not lost, so it is not forgotten. See what there is with: "
        "rag-engine workspaces list"
    )


async def _compare_blobs(engine: Engine, inspection: Inspection) -> AsyncIterator[Damage]:
    async for version, current in inspection.versions():
        if not current and version.status not in UNFINISHED:
            continue
        whole = await _is_whole(engine, version.submission.content_hash)
        if not whole:
            source = await asyncio.to_thread(_source_of, version.submission)
            yield _lost_original(version, current=current, found=source is not None)
        if not version.parsed_hash:
            continue
        try:
            text = (await recall(version.parsed_hash, engine.blobs)).text
        except BlobMissing:
            yield Damage(
                check="texts",
                message=f"The text of {version.document_id!r} is missing or damaged on the disk.",
                remedy=Remedy.PARSE if whole else Remedy.NONE,
                document_id=version.document_id,
                version=None if current else version.number,
            )
            continue
        for chunk in await inspection.chunks(version.document_id) if current else ():
            if text[chunk.start : chunk.end] != chunk.text:
                yield Damage(
                    check="spans",
                    message=f"Passage {chunk.ordinal + 1} of {chunk.document_id!r} is not what "
                    "stands in its text there.",
                    remedy=Remedy.INGEST if whole else Remedy.NONE,
                    document_id=chunk.document_id,
                )


async def _is_whole(engine: Engine, hash: str) -> bool:
    try:
        async with engine.blobs.local(hash):
            return True
    except BlobMissing:
        return False


def _lost_original(version: Version, *, current: bool, found: bool) -> Damage:
    submission = version.submission
    state = "It goes on answering." if current else "It cannot be ingested."
    remedy = (
        "The file it came from still has it."
        if found
        else f"Restore blob {submission.content_hash} from a backup, or delete the document and "
        "ingest it again."
    )
    return Damage(
        check="originals",
        message=f"The original of {submission.document_id!r} is missing or damaged on the disk. "
        f"{state} {remedy}",
        remedy=Remedy.STORE if found else Remedy.NONE,
        document_id=submission.document_id,
        version=None if current else version.number,
    )


def _source_of(submission: Submission) -> Path | None:
    """The file a document was read from, if it is on this machine and still has the same bytes."""
    for path in (Path(submission.document_id), Path(submission.root or "") / submission.source):
        try:
            if path.is_absolute() and path.stat().st_size == submission.size:
                with path.open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() == submission.content_hash:
                        return path
        except (OSError, ValueError):  # not there, not ours to read, or no path at all
            continue
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What a repair came to.

    Attributes:
        found: How many damages there were, with those that the repair brought to light.
        left: Those that are still there.
    """

    found: int
    left: tuple[Damage, ...]


async def repair(engine: Engine, inspector: Inspector) -> Repaired:
    """Repair what can be repaired, verify again, and go on while that brings more to light.

    Nothing is collected: what cannot be read now may name any original.
    """
    first = left = await _damages(engine, inspector)
    told: list[Damage] = []
    for _ in range(ROUNDS):
        if not any(one.remedy is not Remedy.NONE for one in left):
            break
        before = left
        lost = [one for one in told if one.check == "salvage"]
        told = lost + await _repair(engine, inspector, before)
        left = await _damages(engine, inspector)
        if left == before:
            break
    known = {(one.workspace, one.document_id) for one in left if one.document_id}
    more = [one for one in told if (one.workspace, one.document_id) not in known]
    return Repaired(found=len(first) + len(more), left=(*_explained(left, told), *more))


def _explained(left: Sequence[Damage], told: Sequence[Damage]) -> Iterator[Damage]:
    """Damages with the reason why the documents they belong to could not be ingested again."""
    reasons = {(one.workspace, one.document_id): one for one in told if one.document_id is not None}
    for one in left:
        reason = reasons.get((one.workspace, one.document_id)) if one.document_id else None
        yield replace(one, message=f"{one.message} {reason.message}") if reason else one


async def _damages(engine: Engine, inspector: Inspector) -> list[Damage]:
    async with aclosing(verify(engine, inspector)) as found:
        return [one async for one in found if isinstance(one, Damage)]


async def _repair(engine: Engine, inspector: Inspector, damages: Sequence[Damage]) -> list[Damage]:
    """Repair workspace by workspace, and return what was in the way."""
    if any(one.check == "listing" and one.remedy is Remedy.REBUILD for one in damages):
        await inspector.relist()
    told: list[Damage] = []
    for workspace in dict.fromkeys(one.workspace for one in damages if one.workspace):
        mine = [
            one for one in damages if one.workspace == workspace and one.remedy is not Remedy.NONE
        ]
        try:
            if any(one.remedy is Remedy.SALVAGE for one in mine):
                lost = await inspector.salvage(workspace, engine.pipeline.fingerprint)
                told += [replace(one, workspace=workspace) for one in lost]
                told += await _work_off(engine, workspace)
            elif mine:
                repairing = _Repairing(engine, inspector, workspace)
                told += await repairing.run(mine)
        except RagEngineError as error:  # the next workspace may be repaired all the same
            told.append(
                Damage(check="repair", message=str(error), remedy=Remedy.NONE, workspace=workspace)
            )
    return told


async def _work(engine: Engine, workspace: str) -> None:
    await engine.worker.drain(await engine.control.open(workspace))


async def _work_off(engine: Engine, workspace: str) -> list[Damage]:
    """Ingest what was salvaged, and return what could not be."""
    await _work(engine, workspace)
    queue = (await engine.control.open(workspace)).queue
    failed = await queue.versions(status=VersionStatus.FAILED, limit=_NAMED)
    return [
        Damage(
            check="salvage",
            message=f"{one.document_id!r} could not be ingested again: {one.error}",
            remedy=Remedy.NONE,
            workspace=workspace,
            document_id=one.document_id,
        )
        for one in failed
    ]


_FROM_ORIGINALS: Final = (Remedy.PARSE, Remedy.INGEST)
_WITH_MODEL: Final = (Remedy.EMBED, Remedy.INGEST)


class _Repairing:
    """The repair of one workspace whose file can be read."""

    def __init__(self, engine: Engine, inspector: Inspector, workspace: str) -> None:
        self._engine = engine
        self._inspector = inspector
        self._workspace = workspace
        self._again: dict[str, Version] = {}
        self._told: list[Damage] = []

    async def run(self, damages: Sequence[Damage]) -> list[Damage]:
        """Repair what these damages need, and return what was in the way."""
        wanted = [one for damage in damages if (one := await self._prepared(damage))]
        if any(one.remedy in _WITH_MODEL for one in wanted):
            try:
                await self._engine.control.open(self._workspace)
            except ModelMismatch as error:  # what is counted needs no model
                self._tell(str(error))
                wanted = [one for one in wanted if one.remedy not in _WITH_MODEL]
                self._again.clear()
        if wanted:
            await self._inspector.repair(
                self._workspace, wanted, lambda hollows: _fill(self._engine, hollows)
            )
        if self._again:
            await self._ingest_again()
        return self._told

    async def _prepared(self, damage: Damage) -> Damage | None:
        """What is left to do of a damage after what needs no database; `None` for nothing.

        What is damaged is better than nothing: it stays where its document cannot be read again.
        """
        if damage.document_id is None or damage.remedy not in (*_FROM_ORIGINALS, Remedy.STORE):
            return damage
        async with self._inspector.open(self._workspace) as inspection:
            version = await inspection.version(damage.document_id, damage.version)
        if damage.remedy is Remedy.STORE:
            await _store_again(self._engine, version)
            return None
        if version is None:  # nothing answers: what is left of it goes away
            return damage
        if version.document_id in self._again:
            return replace(damage, remedy=Remedy.INGEST)
        try:
            hash = await _parse_again(self._engine, version)
        except (DocumentRejected, BlobMissing) as error:
            self._tell(f"It cannot be ingested again: {error}", version.document_id)
            return None
        if damage.version is not None or (
            damage.remedy is Remedy.PARSE and hash == version.parsed_hash
        ):
            return None  # what waits is parsed when its turn comes
        self._again[version.document_id] = version
        return replace(damage, remedy=Remedy.INGEST)

    async def _ingest_again(self) -> None:
        """Ask for documents as they were asked for when they were ingested, and see it done."""
        queue = (await self._engine.control.open(self._workspace)).queue
        fingerprint = self._engine.pipeline.fingerprint
        for version in self._again.values():
            newest = await queue.version(version.document_id)
            if newest is None or newest.status not in UNFINISHED:  # else a newer one is to come
                await queue.accept(replace(version.submission, fingerprint=fingerprint))
        await _work(self._engine, self._workspace)
        for id in self._again:
            newest = await queue.version(id)
            if newest is not None and newest.error:
                self._tell(f"It could not be ingested again: {newest.error}", id)

    def _tell(self, message: str, document_id: str | None = None) -> None:
        self._told.append(
            Damage(
                check="repair",
                message=message,
                remedy=Remedy.NONE,
                workspace=self._workspace,
                document_id=document_id,
            )
        )


async def _store_again(engine: Engine, version: Version | None) -> None:
    if version is None:  # it was deleted meanwhile
        return
    if path := await asyncio.to_thread(_source_of, version.submission):
        await engine.blobs.put(path)


async def _parse_again(engine: Engine, version: Version) -> str:
    """Make a text again; return its hash."""
    return await keep(await parse(version, engine.blobs, engine.pipeline.parser), engine.blobs)


async def _fill(engine: Engine, hollows: Sequence[Hollow]) -> list[Filling]:
    """Vectors and words of chunks and names, as ingestion makes them."""
    filled: list[Filling] = []
    for start in range(0, len(hollows), _EMBEDDED):
        batch = hollows[start : start + _EMBEDDED]
        texts = [
            texts_of([one.chunk], one.title, engine.pipeline.size)[0] for one in batch if one.chunk
        ]
        vectors = list(await engine.pipeline.embedder.embed(texts, "document")) if texts else []
        passages = iter(zip(vectors, texts, strict=True))
        keys = [one.key for one in batch if one.chunk is None]
        names = iter(await embed_names(keys, engine.pipeline.embedder))
        for one in batch:
            if one.chunk is None:
                filled.append(Filling(vector=next(names)))
            else:
                vector, text = next(passages)
                filled.append(Filling(vector=vector, lexemes=" ".join(tokenize(text))))
    return filled
