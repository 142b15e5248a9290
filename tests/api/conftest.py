"""The application over a real engine, asked by a real HTTP client without a socket between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from engines import small_engine
from rag_engine_api.app import Admission
from serving import asking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from rag_engine.engine import Engine


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = await small_engine(tmp_path / "data")
    yield engine
    await engine.aclose()


@pytest.fixture
async def client(engine: Engine) -> AsyncIterator[httpx.AsyncClient]:
    async with asking(engine, Admission.LOCAL) as client:
        yield client
