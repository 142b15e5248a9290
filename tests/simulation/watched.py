"""Ports as one simulated process has them: each call takes time, and the oracle is told of it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from queue_model import Call

from rag_engine.errors import RagEngineError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from world import World

    from rag_engine.ports.storage import Control, Reader, Workspace
    from rag_engine.testing.simulation import Process


class WatchedControl:
    """A control whose workspaces tell the oracle of every call, and are as slow as a real one."""

    def __init__(self, world: World, process: Process, control: Control) -> None:
        self._world = world
        self._process = process
        self._control = control
        self._opened: dict[str, tuple[Workspace, Workspace]] = {}

    async def open(self, name: str, *, create: bool = False) -> Workspace:
        opened = await self._control.open(name, create=create)
        known = self._opened.get(name)
        if known is None or known[0] is not opened:
            store = _Watched(self._world, self._process, opened.store)
            queue = _Watched(self._world, self._process, opened.queue)
            known = self._opened[name] = (opened, replace(opened, store=store, queue=queue))
        return known[1]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._control, name)


class _Watched:
    def __init__(self, world: World, process: Process, target: Any) -> None:
        self._world = world
        self._process = process
        self._target = target

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)
        if name == "snapshot":
            return self._snapshot
        return lambda *args, **kwargs: self._call(
            Call(self._process.name, name, args, kwargs), method
        )

    async def _call(self, call: Call, method: Callable[..., Any]) -> Any:
        world = self._world
        await self._dawdle(call.method)
        token = world.current.set(call)
        try:
            result = await method(*call.args, **call.kwargs)
            await self._dawdle()
        except RagEngineError as error:
            await self._dawdle()
            world.oracle.check_raised(call, error)
            raise
        finally:
            world.current.reset(token)
        world.oracle.check_returned(call, result)
        return result

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[Reader]:
        await self._dawdle()
        async with self._target.snapshot() as reader:
            yield reader

    async def _dawdle(self, before: str = "") -> None:
        """A moment in which others go on: the reference store has none of its own."""
        random = self._world.loop.random
        # The longer it is between the last stage and its end, the more can come in between.
        often = 0.6 if before == "finish" else 0.04
        if random.random() < often:
            await asyncio.sleep(random.uniform(0.0, self._world.longest_pause))
        else:
            await asyncio.sleep(random.uniform(0.0, 0.01) * self._process.slowness)
