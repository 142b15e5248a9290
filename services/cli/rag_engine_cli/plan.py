"""Files against what a workspace holds: what is new, what changed, what needs no work.

A known document keeps what it was given before (its source, root, title and metadata) unless the
command line gives it anew: to ingest a file again changes nothing but what changed in it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rag_engine.core.models import UNFINISHED, Metadata, Version, VersionStatus
from rag_engine.errors import NotFound
from rag_engine_cli.files import File, Found
from rag_engine_cli.terminal import in_words

if TYPE_CHECKING:
    from rag_engine.engine import Engine
    from rag_engine.ports.queue import JobQueue

ALL: Final = 1 << 31
"""More versions than a workspace has."""


class Change(StrEnum):
    """What a file is to the workspace."""

    NEW = "new"  # no document of that id
    CHANGED = "changed"  # other bytes, other metadata, or other settings of the parser
    RETRIED = "retried"  # the same as before, which failed
    WAITING = "waiting"  # accepted before and still in the queue


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the command line wants of the documents it brings in.

    Attributes:
        root: The folder that is kept in step, or `None`.
        document_id: The id of the one document, or `None` for each file's path.
        title: A title for the one document.
        metadata: Metadata for all; `None` leaves what there is.
        retry: Whether what failed before is tried again although nothing changed.
    """

    root: str | None = None
    document_id: str | None = None
    title: str | None = None
    metadata: Metadata | None = None
    retry: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One document to bring in."""

    file: File
    change: Change
    document_id: str
    source: str
    root: str | None
    title: str | None
    metadata: Metadata


@dataclass(slots=True, kw_only=True)
class Plan:
    """What is to be done.

    Attributes:
        steps: Documents to bring in, in the order of their paths.
        refused: Files that cannot be documents, each with the reason in a sentence.
        skipped: How many files were left aside, by the reason in words.
        unchanged: How many files are indexed as they are.
        failed_before: How many failed before and are as they were.
        waiting: Ids of documents that are in the queue already, whichever files they are.
        delete: Ids of documents whose files are gone.
    """

    steps: list[Step] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    unchanged: int = 0
    failed_before: int = 0
    waiting: list[str] = field(default_factory=list)
    delete: list[str] = field(default_factory=list)


async def known_versions(engine: Engine, workspace: str) -> dict[str, Version]:
    """The newest version of each document of a workspace that may not exist yet."""
    try:
        opened = await engine.workspace(workspace)
    except NotFound:
        return {}
    return {version.document_id: version for version in await opened.queue.versions(limit=ALL)}


async def unfinished(queue: JobQueue) -> int:
    """How many documents wait in the queue, or are being worked on by some process."""
    return sum([len(await queue.versions(status=status, limit=ALL)) for status in UNFINISHED])


def waiting_in(known: Mapping[str, Version]) -> list[str]:
    """Ids of the documents that are in the queue."""
    return [id for id, version in known.items() if version.status in UNFINISHED]


async def compare(
    found: Found,
    known: Mapping[str, Version],
    wish: Wish,
    *,
    fingerprint: str,
    max_bytes: int,
    looked: Callable[[int], None] = lambda count: None,
) -> Plan:
    """Decide for each file what is to be done with it.

    Args:
        found: The files.
        known: The newest version of each document.
        wish: What the command line says of them.
        fingerprint: The pipeline's: documents that another one made are made again.
        max_bytes: Largest document that is accepted.
        looked: Told after each file how many were looked at.
    """
    plan = Plan(
        refused=dict(found.problems), skipped=Counter(found.skipped), waiting=waiting_in(known)
    )
    for count, file in enumerate(found.files.values(), start=1):
        version = known.get(wish.document_id or file.path)
        try:
            await asyncio.to_thread(_decide, plan, file, version, wish, fingerprint, max_bytes)
        except OSError as error:
            plan.refused[file.path] = (
                f"{file.path!r} cannot be read ({error.strerror}). Check its permissions."
            )
        looked(count)
    return plan


def _decide(
    plan: Plan,
    file: File,
    version: Version | None,
    wish: Wish,
    fingerprint: str,
    max_bytes: int,
) -> None:
    if file.size > max_bytes:
        plan.refused[file.path] = (
            f"{file.source!r} has {in_words(file.size)}, and the limit is {in_words(max_bytes)}. "
            "Split it, or raise RAG_PARSER_MAX_BYTES."
        )
        return
    if version is None and not file.named and (reason := _not_a_document(file)):
        plan.skipped[reason] += 1
        return
    if version is not None and wish.root and version.submission.root not in (None, wish.root):
        plan.skipped[f"kept in step by: rag-engine sync {version.submission.root}"] += 1
        return
    step = _step(file, version, wish)
    if version is None or not _same(step, version, fingerprint):
        plan.steps.append(step)
    elif version.status is VersionStatus.INDEXED:
        plan.unchanged += 1
    elif version.status is VersionStatus.FAILED and not wish.retry:
        plan.failed_before += 1
    else:
        plan.steps.append(_again(step, version))


def _not_a_document(file: File) -> str | None:
    from rag_engine.wiring import is_document

    if file.size == 0:
        return "empty"
    return None if is_document(Path(file.path)) else "of no type that is read"


def _step(file: File, version: Version | None, wish: Wish) -> Step:
    before = version.submission if version else None
    metadata = wish.metadata
    if metadata is None:
        metadata = before.metadata if before else {}
    source = file.source
    if before and not wish.root:
        source = before.source
    return Step(
        file=file,
        change=Change.CHANGED if before else Change.NEW,
        document_id=wish.document_id or file.path,
        source=source,
        root=wish.root or (before.root if before else None),
        title=wish.title or (before.title if before else None),
        metadata=metadata,
    )


def _again(step: Step, version: Version) -> Step:
    waits = version.status in UNFINISHED
    return Step(
        file=step.file,
        change=Change.WAITING if waits else Change.RETRIED,
        document_id=step.document_id,
        source=step.source,
        root=step.root,
        title=step.title,
        metadata=step.metadata,
    )


def _same(step: Step, version: Version, fingerprint: str) -> bool:
    """Whether a version already is what a step would make of its file."""
    before = version.submission
    wanted = (step.source, step.root, step.title, step.metadata, step.file.size, fingerprint)
    there = (
        *(before.source, before.root, before.title, before.metadata),
        *(before.size, before.fingerprint),
    )
    return wanted == there and _hash(step.file.path) == before.content_hash


def _hash(path: str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
