"""Processes beside this one that answer from the workspaces for it.

Python runs one thread of a process at a time. What a question reads and computes is most of its work;
in another process it holds up neither other questions nor those who send documents. The first of them
is started when two questions come at the same time, so that who asks alone pays for none.

Whatever such a process cannot do is done here: while it starts, when it was killed, where a file cannot
be opened twice, and for work that cannot be pickled.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeVar

from rag_engine.adapters.sqlite.looking import LENGTH, Forget, GiveUp, Look, Reply
from rag_engine.core import children
from rag_engine.errors import RagEngineError
from rag_engine.telemetry import events

logger = logging.getLogger(__name__)

T = TypeVar("T")

_BUFFER: Final = 1 << 20
_AHEAD: Final = 16
"""So many more may wait for another process than for this one. What looks here takes the interpreter
from all else: with 2, searches at 30 a second and as many uploads wait for each other for seconds."""

_EXIT_SECONDS: Final = 5.0


class _NotBeside(Exception):
    """No other process has done it."""


@dataclass(slots=True, eq=False)
class _Searcher:
    """One process, once it can be asked.

    Attributes:
        waiting: Who waits for an answer, by number.
        known: Files that it has read what it needs of.
    """

    process: asyncio.subprocess.Process
    waiting: dict[int, asyncio.Future[Any]] = field(default_factory=dict)
    known: set[Path] = field(default_factory=set)

    def send(self, message: Look | GiveUp | Forget) -> None:
        """Send a message; it goes out when the process takes it."""
        body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        requests = _stream(self.process.stdin)
        if not requests.is_closing():
            requests.write(LENGTH.pack(len(body)) + body)

    async def receive(self) -> None:
        """Hand out answers until the process is gone; who still waits is told so."""
        replies = _stream(self.process.stdout)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    [length] = LENGTH.unpack(await replies.readexactly(LENGTH.size))
                    reply: Reply = pickle.loads(await replies.readexactly(length))  # noqa: S301
                    self._hand_out(reply)
        finally:
            for one in self.waiting.values():
                if not one.done():
                    one.set_exception(_NotBeside())
            self.waiting.clear()

    async def ask(self, look: Look) -> Any:
        """What work comes to.

        Raises:
            _NotBeside: This process does not do it.
        """
        future = asyncio.get_running_loop().create_future()
        self.waiting[look.number] = future
        self.send(look)
        try:
            return await future
        except asyncio.CancelledError:
            self.waiting.pop(look.number, None)
            self.send(GiveUp(number=look.number))
            raise

    def _hand_out(self, reply: Reply) -> None:
        future = self.waiting.pop(reply.number, None)
        if future is None or future.done():
            return
        if reply.left_out:
            future.set_exception(_NotBeside())
        elif reply.error is not None:
            future.set_exception(reply.error)
        else:
            future.set_result(reply.result)


class Beside:
    """Processes that look at workspaces. One event loop at a time uses them.

    Args:
        most: How many there may be; with 0 everything is done here.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._searchers: list[_Searcher] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._numbers = count()
        self._here = 0
        self._learning: set[_Searcher] = set()
        self._starting = False

    async def look(
        self,
        path: Path,
        dimensions: int,
        work: Callable[[Any], object],
        here: Callable[[], Awaitable[T]],
    ) -> T:
        """Look at a workspace in another process, or here. See `Store.look`.

        Args:
            path: Of the workspace's file.
            dimensions: Of its vectors.
            work: What looks.
            here: Does it here.
        """
        searcher = self._searcher()
        if searcher is not None and (packed := _packed(work)):
            look = Look(number=next(self._numbers), path=path, dimensions=dimensions, work=packed)
            if path not in searcher.known:
                self._introduce(searcher, look)
            elif len(searcher.waiting) <= self._here + _AHEAD:
                with suppress(_NotBeside):
                    result: T = await searcher.ask(look)
                    return result
        self._here += 1
        try:
            return await here()
        finally:
            self._here -= 1

    def _searcher(self) -> _Searcher | None:
        """The process that has least to do; another one is started where none is idle."""
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            return None
        searcher = min(self._searchers, key=lambda one: len(one.waiting), default=None)
        busy = self._here > 0 if searcher is None else bool(searcher.waiting)
        if busy and len(self._searchers) < self._most and not self._starting:
            self._loop, self._starting = loop, True
            self._keep(loop.create_task(self._run()))
        return searcher

    def _introduce(self, searcher: _Searcher, look: Look) -> None:
        """Let a process read what it needs of a file, for which nobody waits meanwhile."""
        if searcher not in self._learning:
            self._learning.add(searcher)
            self._keep(asyncio.get_running_loop().create_task(self._introduction(searcher, look)))

    async def _introduction(self, searcher: _Searcher, look: Look) -> None:
        try:
            with suppress(_NotBeside, RagEngineError):
                await searcher.ask(look)
                searcher.known.add(look.path)
        finally:
            self._learning.remove(searcher)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        """Start a process, and hand out what it answers until it is gone."""
        try:
            searcher = _Searcher(await _started())
        except OSError as error:
            self._most = 0
            logger.warning(_NONE, error.strerror or error, extra={"action": events.SEARCHER_GONE})
            return
        finally:
            self._starting = False
        self._searchers.append(searcher)
        try:
            await searcher.receive()
        finally:
            self._searchers.remove(searcher)
            await _ended(searcher.process)
        if self._loop is not None:
            self._most = self._most if searcher.known else 0
            logger.warning(
                _GONE, searcher.process.returncode, extra={"action": events.SEARCHER_GONE}
            )

    def forget(self, path: Path) -> None:
        """Let the processes close a file; in any thread."""
        if self._loop is not None and self._searchers:
            with suppress(RuntimeError):  # the loop has ended, and they with it
                self._loop.call_soon_threadsafe(self._forget, path)

    def _forget(self, path: Path) -> None:
        for searcher in self._searchers:
            searcher.known.discard(path)
            searcher.send(Forget(path=path))

    async def aclose(self) -> None:
        """End the processes."""
        own = self._loop is asyncio.get_running_loop()
        self._loop, self._most = None, 0
        tasks = list(self._tasks) if own else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _packed(work: Callable[[Any], object]) -> bytes | None:
    try:
        return pickle.dumps(work, pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError):
        return None


async def _started() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *children.command("rag_engine.adapters.sqlite.looking"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_BUFFER,
        **children.OF_ITS_OWN,
    )


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Let a process end, which it does when nobody can ask it any more."""
    _stream(process.stdin).close()
    try:
        await asyncio.wait_for(process.wait(), _EXIT_SECONDS)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _stream(found: T | None) -> T:
    if found is None:
        raise RuntimeError("The process was started without a pipe.")
    return found


_NONE: Final = "No process that looks for passages can be started (%s); it is done in this one."
_GONE: Final = "The process that looks for passages ended (exit code %s); this one goes on without."
