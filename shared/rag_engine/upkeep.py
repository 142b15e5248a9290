"""Checking a place from end to end, and repairing what can be repaired.

What the store can tell by itself its `Inspector` finds; what lies between the store and the blobs
is compared here: originals and texts against their hashes, passages against the text they are
spans of. Nothing is held in memory but one document at a time and what is to be repaired.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rag_engine.core.models import Submission, Version, VersionStatus
from rag_engine.core.tokens import tokenize
from rag_engine.engine import Engine
from rag_engine.errors import BlobMissing, DocumentRejected, StoreCorrupt
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

_UNFINISHED: Final = (VersionStatus.PENDING, VersionStatus.RUNNING)
_EMBEDDED: Final = 256


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
    try:
        async with inspector.open(workspace) as inspection:
            broken = False
            async for one in inspection.damages():
                if isinstance(one, Damage):
                    broken = broken or one.remedy is Remedy.SALVAGE
                    yield replace(one, workspace=workspace)
                else:
                    yield Checking(check=f"{workspace}: {one.check}")
            if not broken:
                yield Checking(check=f"{workspace}: originals and texts")
                async for damage in _compare_blobs(engine, inspection):
                    yield replace(damage, workspace=workspace)
    except StoreCorrupt as error:
        yield Damage(check="file", message=str(error), remedy=Remedy.SALVAGE, workspace=workspace)


async def _compare_blobs(engine: Engine, inspection: Inspection) -> AsyncIterator[Damage]:
    async for version, current in inspection.versions():
        if not current and version.status not in _UNFINISHED:
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
        found: How many damages there were at the beginning.
        left: Those that are still there.
    """

    found: int
    left: tuple[Damage, ...]


async def repair(engine: Engine, inspector: Inspector) -> Repaired:
    """Repair what can be repaired, verify again, and go on while that brings more to light."""
    first = left = await _damages(engine, inspector)
    for _ in range(ROUNDS):
        if not any(one.remedy is not Remedy.NONE for one in left):
            break
        before = left
        await _repair(engine, inspector, before)
        left = await _damages(engine, inspector)
        if left == before:
            break
    return Repaired(found=len(first), left=tuple(left))


async def _damages(engine: Engine, inspector: Inspector) -> list[Damage]:
    async with aclosing(verify(engine, inspector)) as found:
        return [one async for one in found if isinstance(one, Damage)]


async def _repair(engine: Engine, inspector: Inspector, damages: Sequence[Damage]) -> None:
    if any(one.check == "listing" and one.remedy is Remedy.REBUILD for one in damages):
        await inspector.relist()
    for workspace in dict.fromkeys(one.workspace for one in damages if one.workspace):
        mine = [one for one in damages if one.workspace == workspace]
        if any(one.remedy is Remedy.SALVAGE for one in mine):
            versions = await inspector.salvage(workspace)
            for version in versions:
                await _submit(engine, workspace, version)
            if not versions:
                continue
        elif any(one.remedy is not Remedy.NONE for one in mine):
            await _repair_workspace(engine, inspector, workspace, mine)
        else:
            continue
        await engine.work(workspace)


async def _repair_workspace(
    engine: Engine, inspector: Inspector, workspace: str, damages: Sequence[Damage]
) -> None:
    queue = (await engine.control.open(workspace)).queue
    wanted, again = [], dict[str, Version]()
    for damage in damages:
        if damage.remedy is Remedy.NONE:
            continue
        one, id = damage, damage.document_id
        if id and damage.remedy is Remedy.STORE:
            await _store_again(engine, await queue.version(id))
            continue
        version = await queue.version(id) if id and damage.remedy in _FROM_ORIGINALS else None
        if version is not None:
            if not await _is_whole(engine, version.submission.content_hash):
                continue  # what is damaged is better than nothing
            if damage.remedy is Remedy.PARSE:
                if await _parse_again(engine, version):
                    continue
                one = replace(damage, remedy=Remedy.INGEST)
            again[version.document_id] = version
        wanted.append(one)
    await inspector.repair(workspace, wanted, lambda hollows: _fill(engine, hollows))
    for version in again.values():
        await _submit(engine, workspace, version)


_FROM_ORIGINALS: Final = (Remedy.PARSE, Remedy.INGEST)


async def _store_again(engine: Engine, version: Version | None) -> None:
    if version is None:  # it was deleted meanwhile
        return
    if path := await asyncio.to_thread(_source_of, version.submission):
        await engine.blobs.put(path)


async def _parse_again(engine: Engine, version: Version) -> bool:
    """Make a text again; whether it is the one that was there before, to the last byte."""
    try:
        parsed = await parse(version, engine.blobs, engine.pipeline.parser)
    except DocumentRejected:
        return False
    return await keep(parsed, engine.blobs) == version.parsed_hash


async def _submit(engine: Engine, workspace: str, version: Version) -> None:
    """Ask for a document again, as it was asked for before."""
    queue = (await engine.control.open(workspace)).queue
    await queue.accept(replace(version.submission, fingerprint=engine.pipeline.fingerprint))


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
