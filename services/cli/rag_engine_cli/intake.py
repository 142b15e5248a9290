"""Documents into the queue and through it, while somebody watches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rag_engine.core.models import UNFINISHED, Stage, Version
from rag_engine.errors import DocumentRejected, InvalidRequest

if TYPE_CHECKING:
    from rag_engine.engine import Engine
    from rag_engine_cli.plan import Plan, Step
    from rag_engine_cli.report import Report

_LOOK_SECONDS: Final = 0.5


class Intake:
    """Takes documents in: each is made durable first, and work begins with the first of them.

    Args:
        engine: What ingests them.
        workspace: Where they go.
        report: Hears of every outcome.
    """

    def __init__(self, engine: Engine, workspace: str, report: Report) -> None:
        self._engine = engine
        self._workspace = workspace
        self._report = report
        self._waiting: dict[str, Version] = {}
        self._told = set[tuple[str, int]]()

    async def run(self, plan: Plan) -> None:
        """Bring all documents of a plan to their end, and what waited in the queue before them.

        What others add meanwhile is worked on too, but not waited for: they may never stop.

        When it is cancelled, what was accepted stays in the queue for the next one who works on it.
        """
        if not plan.steps and not plan.waiting:
            return
        await self._await_all(plan.waiting)
        submitting = asyncio.create_task(self._submit(plan.steps))
        try:
            while True:
                was_last = submitting.done()
                await self._work(submitting)
                if was_last and not await self._elsewhere():
                    break
                await asyncio.wait({submitting}, timeout=_LOOK_SECONDS)
                if was_last:
                    await asyncio.sleep(_LOOK_SECONDS)
        finally:
            submitting.cancel()
            await asyncio.wait({submitting})
        submitting.result()

    async def _await_all(self, ids: Sequence[str]) -> None:
        """Documents that were in the queue before are waited for, whoever holds their lease."""
        if not ids:
            return
        queue = (await self._engine.workspace(self._workspace)).queue
        for id in ids:
            version = await queue.version(id)
            if version is not None and version.status in UNFINISHED:
                self._waiting[id] = version

    async def _submit(self, steps: Sequence[Step]) -> None:
        for step in steps:
            try:
                version = await self._engine.submit(
                    Path(step.file.path),
                    document_id=step.document_id,
                    source=step.source,
                    workspace=self._workspace,
                    root=step.root,
                    title=step.title,
                    metadata=step.metadata,
                )
            except (DocumentRejected, InvalidRequest) as error:
                self._report.refused(step.file.path, str(error))
            else:
                if version.status in UNFINISHED:
                    self._waiting[version.document_id] = version
                self._report.accepted(version)

    async def _work(self, submitting: asyncio.Task[None]) -> None:
        from rag_engine.ingest.worker import Watch

        watch = Watch(
            progress=self._progress,
            ended=self._ended,
            enough=lambda: submitting.done() and not self._waiting,
        )
        following = asyncio.create_task(self._follow())
        try:
            await self._engine.work(self._workspace, watch)
        finally:
            following.cancel()
            await asyncio.wait({following})
        if not following.cancelled():
            following.result()

    async def _follow(self) -> None:
        """See again and again what others have finished."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await self._catch_up()

    def _progress(self, version: Version, stage: Stage) -> None:
        self._report.stage(version, stage)

    def _ended(self, version: Version) -> None:
        if version.status not in UNFINISHED:
            known = self._waiting.get(version.document_id)
            if known is not None and known.number == version.number:
                del self._waiting[version.document_id]
            if (version.document_id, version.number) in self._told:
                return
            self._told.add((version.document_id, version.number))
        self._report.ended(version)

    async def _elsewhere(self) -> bool:
        """Whether another process still works on some; what it has finished is reported."""
        await self._catch_up()
        self._report.elsewhere(len(self._waiting))
        return bool(self._waiting)

    async def _catch_up(self) -> None:
        queue = (await self._engine.workspace(self._workspace)).queue
        for version in list(self._waiting.values()):
            now = await queue.version(version.document_id, version.number)
            if now is not None and now.status not in UNFINISHED:
                self._ended(now)
            elif now is None and self._waiting.get(version.document_id) is version:
                del self._waiting[version.document_id]
