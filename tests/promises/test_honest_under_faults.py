"""Promise 9, Honest, under faults: any call may fail, hang, dawdle or lose its answer.

What is asked then ends in the right answer or in a named error, never in an empty or a partial
answer, and never hangs. Once the fault is over the same request succeeds, pending documents are
ingested, and the store shows what one shows that never met a fault.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final

import pytest
from crashing import EMBEDDER, TICK_SECONDS, engine
from survival import Twins, assert_ended, differing, observe_workspace

from places import Clock
from rag_engine.adapters.memory import MemoryBlobs, MemoryControl
from rag_engine.adapters.models.fake import ScriptedChat
from rag_engine.core.edits import Alias
from rag_engine.core.models import VersionStatus
from rag_engine.engine import Engine, Question
from rag_engine.errors import RagEngineError
from rag_engine.ingest import worker
from rag_engine.testing.faults import Fault, FaultKind, Faults, Plan, always, no_faults, scripted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rag_engine.ports.storage import Workspace

    Request = Callable[["World"], Awaitable[object]]

BEFORE: Final = {
    "a": "Ann met Bob in Paris. Bob lives in Rome.",
    "b": "Bob met Cid Dane in Rome, and Cid Dane met Ann.",
}
AFTER: Final = {"a": "Ann met Eve in Oslo.", "c": "Eve met Bob in Lima.", "d": "unreadable"}
QUESTION: Final = Question(text="Who met Bob in Rome?")
LIMIT_SECONDS: Final = 10
LONG: Final = 1_000.0  # seconds of the store's clock, after which a lease that nobody knows ran out


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """An engine over a store, with faults between them, and the store without."""

    engine: Engine
    faults: Faults
    workspace: Workspace
    clock: Clock

    @classmethod
    async def made(cls) -> World:
        clock, faults = Clock(tick=TICK_SECONDS), Faults()
        control = MemoryControl(clock, EMBEDDER.name, EMBEDDER.dimensions)
        one = engine(control, MemoryBlobs(), faults, ScriptedChat(["Bob met Ann [1]."]))
        workspace = await control.open("default", create=True)
        world = cls(engine=one, faults=faults, workspace=workspace, clock=clock)
        await world.submit(BEFORE)
        await one.work()
        await world.submit(AFTER)
        return world

    async def submit(self, texts: dict[str, str]) -> list[int]:
        return [
            (await self.engine.submit(text.encode(), document_id=id, source=f"{id}.txt")).number
            for id, text in texts.items()
        ]


async def submit(world: World) -> object:
    return await world.submit({"e": "Fay met Ann.", "b": "Bob met Fay in Rome."})


async def work(world: World) -> object:
    await world.engine.work()
    return None


async def delete(world: World) -> object:
    await world.engine.delete(["b", "c"])
    return None


async def search(world: World) -> object:
    return [asdict(one) for one in (await world.engine.search(QUESTION)).context.passages]


async def query(world: World) -> object:
    answer = await world.engine.query(QUESTION)
    assert not answer.extractive
    return asdict(replace(answer, timings={}))


async def quote(world: World) -> object:
    answer = await replace(world.engine, chat=None).query(QUESTION)
    assert answer.extractive
    return asdict(replace(answer, timings={}))


async def graph(world: World) -> object:
    return asdict(await world.engine.graph("Bob"))


async def documents(world: World) -> object:
    return [one.id for one in (await world.engine.documents()).documents]


async def edit(world: World) -> object:
    await world.engine.edit(Alias(source="Cid Dane", target="Bob"))
    return None


async def collect(world: World) -> object:
    return await world.engine.collect()


REQUESTS: Final = [submit, work, delete, search, query, quote, graph, documents, edit, collect]


@pytest.fixture(autouse=True)
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's clock runs ahead; a worker that looks again at once finds a retry due."""
    monkeypatch.setattr(worker, "_POLL_SECONDS", 0.001)


@pytest.fixture(scope="module")
def twins() -> Twins:
    more = ["Fay met Ann.", "Bob met Fay in Rome."]
    return Twins([*BEFORE.values(), *AFTER.values(), *more])


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("kind", FaultKind)
@pytest.mark.parametrize("request_", REQUESTS, ids=lambda one: one.__name__)
async def test_whatever_fails(
    request_: Request, kind: FaultKind, lasting: bool, twins: Twins
) -> None:
    calls, right, final = await _without_faults(request_)
    assert calls
    fault = Fault(kind=kind, seconds=0.0)
    for call, times in calls.items():
        for number in {1} if lasting else {1, times}:
            world = await World.made()
            nth = world.faults.calls[call] + number
            plan = always(call, fault) if lasting else scripted({call: {nth: fault}})
            answer = await _asked(request_, world, plan)
            if isinstance(answer, RagEngineError):
                assert kind is not FaultKind.SLOW, call
            else:
                assert answer == right, (call, number)
            assert world.faults.injected, call
            assert lasting or await _given_up(world) == [], call
            assert await _over(request_, world, right) == final, call
            seen = await observe_workspace(world.workspace)
            assert_ended(seen)
            assert await differing(seen, twins) == [], call
            await world.engine.aclose()


async def _without_faults(
    request: Request,
) -> tuple[Counter[str], object, dict[str, str]]:
    """The calls that a request makes, what it returns, and what is visible in the end."""
    world = await World.made()
    before = world.faults.calls.copy()
    right = await request(world)
    calls = world.faults.calls - before
    await world.engine.work()
    final = await _visible(world)
    await world.engine.aclose()
    return calls, right, final


async def _asked(request: Request, world: World, plan: Plan) -> object:
    """What comes of a request that meets faults."""
    world.faults.plan = plan
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            return await request(world)
    except RagEngineError as error:
        return error
    finally:
        world.faults.plan = no_faults


async def _over(request: Request, world: World, right: object) -> dict[str, str]:
    """Ask again when the fault is over, and let the worker come to its end."""
    world.clock.now += LONG
    async with asyncio.timeout(LIMIT_SECONDS):
        answer = await request(world)
        assert answer == right
        for id in await _given_up(world):
            await world.submit({id: AFTER[id]})
        await world.engine.work()
    return await _visible(world)


async def _given_up(world: World) -> list[str]:
    """Documents that can be read, and failed because a fault lasted for all attempts."""
    failed = await world.workspace.queue.versions(status=VersionStatus.FAILED)
    return [one.document_id for one in failed if one.document_id != "d"]


async def _visible(world: World) -> dict[str, str]:
    seen = await observe_workspace(world.workspace)
    return {id: hash for id, _, hash in seen.shown}
