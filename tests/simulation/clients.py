"""What the processes do: workers work, fronts take the requests of clients."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from oracle import read
from texts import IDS, NAMES, draw_text
from world import LEASE

from rag_engine.core.edits import Alias, Suppression
from rag_engine.engine import Question
from rag_engine.errors import RagEngineError
from rag_engine.ingest.worker import Worker

if TYPE_CHECKING:
    from world import Node


async def work(node: Node) -> None:
    """Be a worker, started again whenever it ends."""
    worker = Worker(
        pipeline=node.engine.pipeline,
        name=node.process.name,
        heart=node.engine.heart,
        concurrency=2,
        lease_seconds=LEASE,
    )
    while True:
        try:
            workspace = await node.open()
            await worker.drain(workspace)
        except RagEngineError as error:
            node.world.oracle.seen["worker ended"] += 1
            node.world.loop.note(f"{node.process.name} ends: {type(error).__name__}")
        await asyncio.sleep(node.world.loop.random.uniform(1.0, 6.0))


async def serve(node: Node) -> None:
    """Be a front: several clients at a time."""
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(_be_client(node))
        group.create_task(_be_janitor(node))


async def _be_janitor(node: Node) -> None:
    while True:
        await asyncio.sleep(node.world.loop.random.uniform(5.0, 30.0))
        try:
            workspace = await node.open()
            await workspace.queue.release_stalled()
            node.world.oracle.seen["collected"] += await node.engine.collect()
        except RagEngineError:
            continue


async def _be_client(node: Node) -> None:
    random, seen = node.world.loop.random, node.world.oracle.seen
    requests = (_submit, _submit, _submit, _delete, _cancel, _ask, _hold, _edit)
    while True:
        await asyncio.sleep(random.uniform(0.0, 10.0))
        request = random.choice(requests)
        try:
            await request(node)
            seen[request.__name__] += 1
        except RagEngineError as error:
            seen["refused"] += 1
            node.world.loop.note(f"{node.process.name} {request.__name__}: {type(error).__name__}")


async def _submit(node: Node) -> None:
    random, known = node.world.loop.random, node.world.oracle.texts
    again = known and random.random() < 0.1
    text = random.choice(list(known.values())) if again else draw_text(random)
    await node.submit(random.choice(IDS), text)


async def _delete(node: Node) -> None:
    random = node.world.loop.random
    await node.engine.delete(random.sample(IDS, random.choice((1, 1, 2))))


async def _cancel(node: Node) -> None:
    workspace = await node.open()
    await workspace.queue.cancel(node.world.loop.random.choice(IDS))


async def _ask(node: Node) -> None:
    loop, oracle = node.world.loop, node.world.oracle
    since = loop.time()
    found = await node.engine.search(Question(text="What does Ann keep over the grey sea?"))
    references = found.context.references
    oracle.check_seen({(one.document_id, one.version) for one in references}, since)


async def _edit(node: Node) -> None:
    """Change the graph by hand, or take a change back."""
    random = node.world.loop.random
    names = random.sample(NAMES, 2)
    known = (await node.engine.edits()).edits
    if known and random.random() < 0.4:
        await node.engine.undo(random.choice(known).edit.id)
    elif random.random() < 0.5:
        await node.engine.edit(Suppression(name=names[0]))
    else:
        await node.engine.edit(Alias(source=names[0], target=names[1]))


async def _hold(node: Node) -> None:
    """Hold a view while the world goes on: it must stay what it was."""
    workspace = await node.open()
    async with workspace.store.snapshot() as reader:
        before = await read(reader)
        node.world.oracle.check_reading(before)
        await asyncio.sleep(node.world.loop.random.uniform(0.0, 60.0))
        if await read(reader) != before:
            node.world.oracle.fail("A view changed while it was held.")
