"""What stands around a model: it is measured as it is asked, whoever asks."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import TYPE_CHECKING

from rag_engine.ports.models import ChatDelta, ChatModel, Message, Usage
from rag_engine.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence


class MeasuredChat:
    """A `ChatModel` whose calls and tokens are counted.

    Args:
        chat: The model.
        clock: Seconds that only grow.
    """

    def __init__(self, chat: ChatModel, clock: Callable[[], float] = time.perf_counter) -> None:
        self._chat = chat
        self._clock = clock

    @property
    def name(self) -> str:
        """See `ChatModel.name`."""
        return self._chat.name

    async def complete(
        self, messages: Sequence[Message], *, max_tokens: int | None = None
    ) -> AsyncGenerator[ChatDelta, None]:
        """See `ChatModel.complete`."""
        began, outcome, usage = self._clock(), "cancelled", Usage()
        try:
            async with aclosing(self._chat.complete(messages, max_tokens=max_tokens)) as deltas:
                async for delta in deltas:
                    usage = delta.usage or usage
                    yield delta
            outcome = "ok"
        except Exception as error:
            outcome = type(error).__name__
            raise
        finally:
            metrics.LLM_CALLS.labels(outcome).inc()
            metrics.LLM_SECONDS.observe(self._clock() - began)
            metrics.LLM_TOKENS.labels("prompt").inc(usage.prompt_tokens)
            metrics.LLM_TOKENS.labels("completion").inc(usage.completion_tokens)
