"""The fixtures through which adapters meet the contracts: one that is missing is skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import places
from rag_engine.adapters.memory import MemoryBlobs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rag_engine.adapters.neo4j import Address
    from rag_engine.ports.blobs import Blobs
    from rag_engine.testing.drafts import Place


@pytest.fixture(params=places.STORES)
def control(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    try:
        return places.place(request.param, tmp_path)
    except places.MissingStore as error:
        pytest.skip(str(error))


@pytest.fixture
def address() -> Address:
    """Of the Neo4j server."""
    try:
        return places.neo4j_address()
    except places.MissingStore as error:
        pytest.skip(str(error))


@pytest.fixture
def clock() -> places.Clock:
    """The clock by which blobs age."""
    return places.Clock(tick=0.0)


@pytest.fixture
def pass_time(clock: places.Clock) -> Callable[[float], None]:
    def advance(seconds: float) -> None:
        clock.now += seconds

    return advance


@pytest.fixture(params=["memory", "folder"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path, clock: places.Clock) -> Blobs:
    if request.param == "memory":
        return MemoryBlobs(clock)
    try:
        from rag_engine.adapters.blobs.folder import FolderBlobs
    except ImportError as error:
        pytest.skip(f"No blob store {request.param!r}: {error}")
    return FolderBlobs(tmp_path / "blobs", clock)
