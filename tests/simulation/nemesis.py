"""Who makes things go wrong."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from world import CALM, LEASE

if TYPE_CHECKING:

    from world import Node, World


SECONDS = 150.0
"""How long it goes on, on the simulated clock."""


async def torment(world: World) -> None:
    """Do something nasty every few seconds, for a while."""
    random = world.loop.random
    deeds = (_kill, _kill, _stop, _pause, _pause, _jump, _slow, _storm)
    end = world.loop.time() + SECONDS
    async with asyncio.TaskGroup() as group:
        while world.loop.time() < end:
            await asyncio.sleep(random.uniform(0.5, 8.0))
            deed = random.choice(deeds)
            world.oracle.seen[deed.__name__] += 1
            group.create_task(deed(world, random.choice(world.nodes)))


async def _kill(world: World, node: Node) -> None:
    node.kill()
    await asyncio.sleep(world.loop.random.uniform(0.0, 15.0))
    node.heal()


async def _stop(world: World, node: Node) -> None:
    if node.process.alive and not node.process.paused:
        await node.stop()
        node.heal()


async def _pause(world: World, node: Node) -> None:
    process = node.process
    process.pause()
    await asyncio.sleep(world.loop.random.choice((1.0, LEASE / 2, LEASE * 1.5, LEASE * 3)))
    process.resume()


async def _jump(world: World, node: Node) -> None:
    del node
    world.loop.jump(world.loop.random.choice((0.5, LEASE / 2, LEASE * 1.1, 3600.0, 90_000.0)))


async def _slow(world: World, node: Node) -> None:
    """A disk that takes its time."""
    process = node.process
    process.slowness = world.loop.random.choice((20.0, 300.0))
    await asyncio.sleep(world.loop.random.uniform(5.0, 20.0))
    process.slowness = 1.0


async def _storm(world: World, node: Node) -> None:
    """Calls of one port, or of all, fail in many ways."""
    del node
    random = world.loop.random
    ports = list(world.chances) if random.random() < 0.3 else [random.choice(list(world.chances))]
    for port in ports:
        world.chances[port] = random.choice((0.05, 0.3))
    await asyncio.sleep(random.uniform(2.0, 15.0))
    for port in ports:
        world.chances[port] = CALM
