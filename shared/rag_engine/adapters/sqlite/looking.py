"""The process that `beside.py` starts: it looks at workspaces for the one that started it.

It reads messages from its standard input and writes replies to what was its standard output. It ends
when its input closes, so it cannot outlive the process that started it.
"""

from __future__ import annotations

import os
import pickle
import queue
import struct
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

from rag_engine.adapters.sqlite.connection import Original
from rag_engine.adapters.sqlite.handles import Handles
from rag_engine.adapters.sqlite.reader import SqliteReader
from rag_engine.adapters.sqlite.resident import Residents
from rag_engine.adapters.sqlite.views import Looking, Readers, View
from rag_engine.core import children
from rag_engine.errors import RagEngineError, WorldError

T = TypeVar("T")

LENGTH: Final = struct.Struct(">I")
"""Before each message."""

_PROTOCOL: Final = pickle.HIGHEST_PROTOCOL


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Work on a workspace.

    Attributes:
        number: Of this message.
        path: The workspace's file.
        dimensions: Of its vectors.
        work: Pickled; it takes a `Reader`.
    """

    number: int
    path: Path
    dimensions: int
    work: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """Nobody waits for that work any more."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """Nothing is to be held of that file."""

    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What work came to.

    Attributes:
        number: Of its message.
        result: What it returned.
        error: What it raised.
        left_out: Whether it is to be done by the process that asked.
    """

    number: int
    result: Any = None
    error: RagEngineError | None = None
    left_out: bool = False


class _LeftOut(Exception):
    """The file cannot be opened here as well."""


@dataclass(frozen=True, slots=True)
class _Place:
    readers: Readers
    residents: Residents


class _Desk:
    """Does one work after the other, as they come in."""

    def __init__(self, replies: BinaryIO) -> None:
        self._replies = replies
        self._messages: queue.SimpleQueue[Look | Forget] = queue.SimpleQueue()
        self._under_way: dict[int, Looking] = {}
        self._places: dict[Path, _Place] = {}
        self._idle = ThreadPoolExecutor(1)  # never used: all is done on one thread

    def take(self, message: Look | GiveUp | Forget) -> None:
        """Queue a message; what is given up is given up at once. For another thread."""
        if isinstance(message, GiveUp):
            if looking := self._under_way.get(message.number):
                looking.give_up()
            return
        if isinstance(message, Look):
            self._under_way[message.number] = Looking()
        self._messages.put(message)

    def work(self) -> None:
        """Do what comes in, for ever."""
        while True:
            message = self._messages.get()
            if isinstance(message, Forget):
                if place := self._places.pop(message.path, None):
                    place.readers.close()
                continue
            if not self._under_way[message.number].given_up:
                self._reply(message)
            del self._under_way[message.number]

    def _reply(self, message: Look) -> None:
        body = self._packed(message)
        self._replies.write(LENGTH.pack(len(body)) + body)
        self._replies.flush()

    def _packed(self, message: Look) -> bytes:
        """The reply. What fails by mistake fails there once more, where its traceback is seen."""
        number = message.number
        try:
            return pickle.dumps(Reply(number=number, result=self._done(message)), _PROTOCOL)
        except RagEngineError as error:
            return pickle.dumps(Reply(number=number, error=error), _PROTOCOL)
        except Exception:  # noqa: BLE001
            return pickle.dumps(Reply(number=number, left_out=True), _PROTOCOL)

    def _done(self, message: Look) -> Any:
        place, begun = self._place(message), False
        work = pickle.loads(message.work)  # noqa: S301  # of the process that started this one

        def look(view: View) -> Any:
            nonlocal begun
            if view.passing:
                raise _LeftOut
            begun = True
            return finished(work(SqliteReader(at_once, view, place.residents)))

        try:
            return place.readers.looked(self._under_way[message.number], look)
        except WorldError:
            if begun:
                raise
            del self._places[message.path]
            place.readers.close()
            raise _LeftOut from None

    def _place(self, message: Look) -> _Place:
        if message.path not in self._places:
            handle, idle = Handles().handle(), self._idle
            readers = Readers(message.path, Original(message.path), handle, idle, idle)
            self._places[message.path] = _Place(readers, Residents(message.dimensions))
        return self._places[message.path]


async def at_once(work: Callable[[], T], /) -> T:
    """Do it on this thread."""
    return work()


def finished(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing to its end, without an event loop.

    Raises:
        RuntimeError: It waits.
    """
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise RuntimeError("What looks at a view waits for something else. Wait before or after it.")


def main() -> None:
    """Serve until the input closes."""
    messages, replies = children.private_streams()
    desk = _Desk(replies)
    threading.Thread(target=_receive, args=(messages, desk), daemon=True).start()
    desk.work()


def _receive(messages: BinaryIO, desk: _Desk) -> None:
    """Take what comes in. In a thread of its own, to notice at once that who asks is gone."""
    while len(head := messages.read(LENGTH.size)) == LENGTH.size:
        [length] = LENGTH.unpack(head)
        desk.take(pickle.loads(messages.read(length)))  # noqa: S301
    os._exit(0)
