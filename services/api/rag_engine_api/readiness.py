"""Whether a process can serve: what it needs is tried, in bounded time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Final

from rag_engine.engine import Engine
from rag_engine.errors import RagEngineError

_PATIENCE_SECONDS: Final = 5.0
_TRUSTED_SECONDS: Final = 60.0
"""For how long the embedding model is trusted that has answered: asking it may cost something."""


class Checks:
    """What is tried before a process says that it is ready.

    A language model is not: without its answers there still are searches, and asking it is dear.

    Args:
        engine: What answers.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._embedded_at: float | None = None

    async def reasons(self) -> list[str]:
        """Why it cannot serve; empty if it can."""
        tried = await asyncio.gather(
            _reason("The store, which has the queue too,", self._engine.control.waiting()),
            _reason("The embedding model", self._embed()),
        )
        return [reason for reason in tried if reason]

    async def _embed(self) -> None:
        now = time.monotonic()
        if self._embedded_at is None or now > self._embedded_at + _TRUSTED_SECONDS:
            await self._engine.pipeline.embedder.embed(["ready"], "query")
            self._embedded_at = now


async def _reason(what: str, trying: Awaitable[object]) -> str:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await trying
    except RagEngineError as error:
        return str(error)
    except TimeoutError:
        return f"{what} has not answered for {_PATIENCE_SECONDS:.0f} s. Look at its log."
    return ""
