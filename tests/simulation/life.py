"""One life of an installation by seed. As a program: `life.py STORE SEED` shows its whole trace."""

from __future__ import annotations

import logging
import sys
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

sys.path += [str(Path(__file__).parents[1])]

from clients import serve, work
from nemesis import torment
from world import World

import places
from rag_engine.ingest import heartbeat, write
from rag_engine.testing.simulation import simulated

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator


_COMMAND = ".venv/bin/python tests/simulation/life.py {store} {seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What came of it.

    Attributes:
        digest: Hash of every step.
        seen: How often what happened.
    """

    digest: str
    steps: int
    seen: Counter[str]


def live(store: str, seed: int, trace: deque[str] | None = None) -> Life:
    """Live one life. An error tells how to see it again.

    Args:
        store: `memory` or `sqlite`.
        seed: Decides everything.
        trace: Where lines go as they are noted; a short memory of the last ones without it.
    """
    # A batch of two chunks lets documents of a few be staged in several transactions.
    with (
        patch.object(write, "_BATCH", 2),
        patch.object(heartbeat, "LOOK_SECONDS", 5.0),  # or most steps were looks
        _silence(),
        places.folder() as folder,
        simulated(f"{store} {seed}") as loop,
    ):
        loop.trace = loop.trace if trace is None else trace
        world = World(loop, store, folder)
        try:
            loop.run_until_complete(_live(world))
            return Life(digest=loop.digest, steps=loop.steps, seen=world.oracle.seen)
        except BaseException as error:
            error.add_note("\n".join(["The last steps:", *loop.trace]))
            error.add_note(f"Replay it with: {_COMMAND.format(store=store, seed=seed)}")
            raise
        finally:
            loop.bury()
            loop.run_until_complete(world.close())


@contextmanager
def _silence() -> Iterator[None]:
    """What is logged tells less than the trace, and takes longer."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


async def _live(world: World) -> None:
    random = world.loop.random
    await world.open()
    for number in range(random.choice((1, 2, 3))):
        world.start(f"worker-{number}", work)
    for number in range(random.choice((1, 2))):
        world.start(f"front-{number}", serve)
    await torment(world)
    world.close_fronts()
    await world.settle()
    await world.compare()


class _Printed(deque[str]):
    def append(self, line: Any) -> None:
        print(line)


if __name__ == "__main__":
    lived = live(sys.argv[1], int(sys.argv[2]), _Printed())
    print(lived.steps, "steps", lived.digest)
