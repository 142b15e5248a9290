"""Where the stores under test keep their workspaces, each with a clock that a test moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag_engine.adapters.memory import MemoryControl
from rag_engine.testing.drafts import DIMENSIONS, MODEL

if TYPE_CHECKING:
    from pathlib import Path

    from rag_engine.adapters.memory.tables import Tables
    from rag_engine.ports.storage import Control
    from rag_engine.testing.drafts import Place


class Clock:
    """Seconds that pass when they are told to, and a little at every look."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


class MemoryPlace:
    """Workspaces in one mapping, which outlives the controls that open it."""

    def __init__(self, folder: Path) -> None:
        del folder
        self._clock = Clock()
        self._tables: dict[str, Tables] = {}

    def __call__(self, *, model: str = MODEL, dimensions: int = DIMENSIONS) -> Control:
        return MemoryControl(self._clock, model, dimensions, tables=self._tables)

    async def pass_time(self, seconds: float) -> None:
        self._clock.now += seconds


class SqlitePlace:
    """Workspaces in a folder.

    Raises:
        ImportError: The adapter is not there.
    """

    def __init__(self, folder: Path) -> None:
        from rag_engine.adapters.sqlite import SqliteControl

        self._clock = Clock()
        self._control = SqliteControl
        self._folder = folder / "data"

    def __call__(self, *, model: str = MODEL, dimensions: int = DIMENSIONS) -> Control:
        return self._control(self._folder, model=model, dimensions=dimensions, clock=self._clock)

    async def pass_time(self, seconds: float) -> None:
        self._clock.now += seconds


PLACES: dict[str, type[MemoryPlace] | type[SqlitePlace]] = {
    "memory": MemoryPlace,
    "sqlite": SqlitePlace,
}


def place(name: str, folder: Path) -> Place:
    """Make a fresh place of that kind."""
    return PLACES[name](folder)
