"""What writing and deleting one document costs: its own evidence, whatever the entity's history.

Names are drawn by Zipf's law, and all chunks mention one hub. Rows changed are counted by SQLite,
steps by its virtual machine, which is what reading costs.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import places
from rag_engine.adapters.sqlite import SqliteControl
from rag_engine.adapters.sqlite import connection as connections
from rag_engine.core.models import Assertion, Extraction, Mention
from rag_engine.ports.storage import Workspace
from rag_engine.testing.drafts import DIMENSIONS, MODEL, Draft, Passage, id_of, ingest

HUB = "Hub"
MANY, FEW = 10_000, 20
NAMES = 5_000
PER_DOCUMENT = 500
ENOUGH = 4
"""Chunks of the document whose cost is counted."""


@dataclass
class Meter:
    """The connection that writes, and the steps it took since the last look."""

    connection: sqlite3.Connection | None = None
    steps: int = 0

    def step(self) -> None:
        self.steps += 1

    def merge_no_words(self) -> None:
        """Let FTS5 merge no segments, which it does now and then for all that was written before."""
        assert self.connection is not None
        for setting, value in (("automerge", 0), ("crisismerge", 1_000)):
            self.connection.execute(
                "INSERT INTO lexical (lexical, rank) VALUES (?, ?)", (setting, value)
            )

    async def cost(self, work: Callable[[], Awaitable[Any]]) -> tuple[int, int]:
        """Rows changed and steps taken by some work."""
        assert self.connection is not None
        rows, self.steps = self.connection.total_changes, 0
        self.connection.set_progress_handler(self.step, 1)
        await work()
        self.connection.set_progress_handler(None, 1)
        return self.connection.total_changes - rows, self.steps


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Meter:
    found = Meter()
    real = connections.Writer._transact

    def transact(self: connections.Writer, hand: Any, work: Any) -> Any:
        result = real(self, hand, work)
        if self._path.parent.name == "workspaces":
            found.connection = hand.connection
        return result

    monkeypatch.setattr(connections.Writer, "_transact", transact)
    return found


def passage(number: int, chance: random.Random) -> Passage:
    """A chunk that mentions the hub and three names, the common ones often."""
    names = {f"Name {int(chance.paretovariate(0.8)) % NAMES}" for _ in range(3)}
    mentions = [Mention(name=HUB, type="thing", description=f"fact {number % 50}")]
    mentions += [Mention(name=name) for name in sorted(names)]
    joined = [Assertion(source=HUB, target=name, keywords="holds") for name in sorted(names)]
    text = " ".join(sorted(names))
    extraction = Extraction(mentions=tuple(mentions), assertions=tuple(joined))
    return Passage(text=text, extraction=extraction)


def documents(chunks: int) -> list[Draft]:
    chance = random.Random(1)
    passages = [passage(n, chance) for n in range(chunks)]
    size = min(PER_DOCUMENT, chunks)
    return [
        Draft(id=f"d{at}", passages=tuple(passages[at : at + size]))
        for at in range(0, chunks, size)
    ]


ONE = Draft(
    id="one", passages=tuple(passage(n, random.Random(2)) for n in range(ENOUGH)), title="One"
)


async def cost_beside(chunks: int, folder: Path, meter: Meter) -> dict[str, tuple[int, int]]:
    """What it costs to add, replace and delete a document beside a hub of so many mentions."""
    control = SqliteControl(folder, model=MODEL, dimensions=DIMENSIONS, clock=places.Clock())
    workspace = await control.open("default", create=True)
    await ingest(workspace, *documents(chunks))
    # Names and words that are new would cost more: both corpora know all of the document's.
    await ingest(workspace, Draft(id="same", passages=ONE.passages))
    meter.merge_no_words()
    costs = {
        "add": await meter.cost(lambda: ingest(workspace, ONE)),
        "replace": await meter.cost(lambda: ingest(workspace, Draft(id="one", title="Two"))),
    }
    await ingest(workspace, ONE)
    costs["delete"] = await meter.cost(lambda: workspace.store.delete(["one"]))
    await assert_hub(workspace, chunks + ENOUGH)
    await control.aclose()
    return costs


async def assert_hub(workspace: Workspace, mentions: int) -> None:
    async with workspace.store.snapshot() as reader:
        [hub] = await reader.entities([id_of(HUB)])
        assert hub is not None
        assert hub.mentions == mentions
        assert len(hub.descriptions) == 8


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_the_cost_of_a_document_is_that_of_its_own_evidence(meter: Meter) -> None:
    with places.folder() as few, places.folder() as many:
        small = await cost_beside(FEW, few, meter)
        large = await cost_beside(MANY, many, meter)
    for what, (rows, steps) in large.items():
        print(f"{what}: {rows} rows and {steps} steps beside {MANY} mentions, {small[what]} few")
        assert abs(rows - small[what][0]) <= 2, what
        assert steps <= 1.02 * small[what][1], what
