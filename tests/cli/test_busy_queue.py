"""Documents are taken in beside others who never stop adding some: it ends with one's own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from engines import small_engine
from rag_engine_cli.intake import Intake
from rag_engine_cli.plan import Plan

if TYPE_CHECKING:
    from pathlib import Path

    from rag_engine.core.models import Stage, Version
    from rag_engine.engine import Engine


class Crowd:
    """A report that has two more documents added for each that ends, so that some always wait."""

    def __init__(self, engine: Engine) -> None:
        self.ends: list[str] = []
        self._engine = engine
        self._adding = set[asyncio.Task[None]]()
        self._count = 0

    async def add(self) -> None:
        for _ in range(2):
            self._count += 1
            id = f"other {self._count}"
            await self._engine.submit(b"Other text.", document_id=id, source="other.txt")

    def ended(self, version: Version) -> None:
        self.ends.append(version.document_id)
        task = asyncio.create_task(self.add())
        self._adding.add(task)
        task.add_done_callback(self._adding.discard)

    def stage(self, version: Version, stage: Stage) -> None:
        pass

    def elsewhere(self, count: int) -> None:
        pass

    async def settle(self) -> None:
        await asyncio.gather(*self._adding)


async def test_it_does_not_wait_for_what_others_add_meanwhile(tmp_path: Path) -> None:
    engine = await small_engine(tmp_path / "data")
    crowd = Crowd(engine)
    for id in ("mine 1", "mine 2"):
        await engine.submit(f"Text of {id}.".encode(), document_id=id, source="mine.txt")
    intake = Intake(engine, "default", crowd)  # type: ignore[arg-type]  # all it asks of a report
    async with asyncio.timeout(60):
        await intake.run(Plan(waiting=["mine 1", "mine 2"]))
    await crowd.settle()
    assert sorted(one for one in crowd.ends if one.startswith("mine")) == ["mine 1", "mine 2"]
    queue = (await engine.workspace()).queue
    assert await queue.seconds_to_next() is not None  # others' documents wait, for others
    await engine.aclose()
