"""What Ctrl-C and SIGTERM do to commands that go on until they are told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

INTERRUPTED: Final = 130
"""The exit code after Ctrl-C."""

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """For the time of the context, the first stops gently, the second ends the process.

    Attributes:
        received: The first that came, or `None`.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._stop: Callable[[], object] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def call(self, stop: Callable[[], object]) -> None:
        """From now on the first signal calls this in the running event loop."""
        loop = asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(stop)

    def __enter__(self) -> Signals:
        self._before = {one: signal.signal(one, self._handle) for one in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for one, before in self._before.items():
            signal.signal(one, before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            # Leases of a process that is gone are given back by the next worker that looks.
            os._exit(INTERRUPTED)
        self.received = number
        if self._stop is None:
            raise KeyboardInterrupt
        self._stop()
