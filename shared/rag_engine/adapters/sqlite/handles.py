"""Which files a process keeps open: those in use, and of the others the ones that were used last.

An open workspace costs a thread, some descriptors and what is held of it in memory. One that rests
costs nothing, and whoever has it goes on with it as if it had been open all along.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final

_MOST: Final = 32
_DESCRIPTORS: Final = 16
"""What a workspace in use is taken to open, with what its documents need beside it."""


class Handles:
    """Lets the files rest that were not used for longest, when there are too many.

    Args:
        most: Files that stay open though nobody uses them; by default as many as the limit of open
            files allows, 32 at most.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = _allowed() if most is None else most
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="sqlite-rest")
        self._open: OrderedDict[Handle, None] = OrderedDict()
        self._lock = threading.Lock()

    def handle(self) -> Handle:
        """A handle on one more file."""
        return Handle(self)

    async def admit(self, handle: Handle) -> None:
        """Let others rest until there is room for one that comes into use."""
        for one in self._taken(handle):
            # Not given up half-way: who was told to rest is no longer known here.
            await asyncio.shield(
                asyncio.get_running_loop().run_in_executor(self._executor, one.rest)
            )

    def _taken(self, handle: Handle) -> list[Handle]:
        with self._lock:
            self._open[handle] = None
            self._open.move_to_end(handle)
            idle = [one for one in self._open if not one.users]
            resting = idle[: max(0, len(self._open) - self._most)]
            for one in resting:
                del self._open[one]
            return resting

    def close(self) -> None:
        """Wait for those that are told to rest. Nothing is used afterwards."""
        self._executor.shutdown()


class Handle:
    """One file among those of a process.

    Attributes:
        users: How many use it now.
        parts: What lets it rest: each gives back what it would open again when it is needed.
    """

    def __init__(self, handles: Handles) -> None:
        self.users = 0
        self.parts: tuple[Callable[[], None], ...] = ()
        self._handles = handles
        self._lock = threading.Lock()

    @asynccontextmanager
    async def use(self) -> AsyncIterator[None]:
        """Keep it open for the time of the context; several may, in any thread's event loop."""
        with self._lock:
            self.users += 1
        try:
            await self._handles.admit(self)
            yield
        finally:
            with self._lock:
                self.users -= 1

    def rest(self) -> None:
        """Close everything, until it is used again. It blocks: run it in a thread."""
        for part in self.parts:
            part()


if sys.platform == "win32":

    def _allowed() -> int:
        return _MOST

else:
    import resource

    def _allowed() -> int:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == resource.RLIM_INFINITY:
            return _MOST
        return max(1, min(_MOST, soft // _DESCRIPTORS))
