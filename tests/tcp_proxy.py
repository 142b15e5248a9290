"""A network between a client and a server that breaks as it is told to: real sockets, in threads."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

_BYTES = 65_536
_NO_LINGER = struct.pack("ii", 1, 0)


class Break(StrEnum):
    """What happens to a connection when the client says a certain thing."""

    CUT = "cut"  # it is not passed on, and the connection breaks
    LOSE_THE_ANSWER = "lose the answer"  # it is passed on; when the server answers, it breaks
    SWALLOW = "swallow"  # it is not passed on, and nothing is any more; nobody is told
    SWALLOW_THE_ANSWER = "swallow the answer"  # it is passed on, and nothing after it


@dataclass(eq=False)
class _Line:
    """One connection of a client, and the one to the server that goes with it."""

    client: socket.socket
    server: socket.socket
    silent: bool = False
    losing: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def cut(self) -> None:
        for one in (self.client, self.server):
            with suppress(OSError):
                # Not a goodbye but a reset, which drops what is still on its way.
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                one.shutdown(socket.SHUT_RDWR)
            one.close()


class Proxy:
    """Passes everything on to a server on this machine, for the time of a `with` block.

    Args:
        port: Of the server.

    Attributes:
        port: Where clients connect.
        sprung: How often what `break_at` waits for was said.
        dumb: Whether new connections are taken, and never answered.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self.sprung = 0
        self.dumb = False
        self._trap: tuple[bytes, Break, int] | None = None
        self._lines: list[_Line] = []
        self._lock = threading.Lock()
        self._door: socket.socket | None = None
        self.port = 0

    def __enter__(self) -> Proxy:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self.cut()

    @property
    def lines(self) -> int:
        """How many connections were made so far."""
        return len(self._lines)

    def open(self) -> None:
        """Take connections, on the same port as before."""
        door = socket.socket()
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(("127.0.0.1", self.port))
        door.listen(100)
        self.port = door.getsockname()[1]
        self._door = door
        threading.Thread(target=self._welcome, args=(door,), daemon=True).start()

    def close(self) -> None:
        """Refuse new connections."""
        door, self._door = self._door, None
        if door is not None:
            with suppress(OSError):
                door.shutdown(socket.SHUT_RDWR)
            door.close()

    def cut(self) -> None:
        """Break all connections there are."""
        for line in self._taken():
            line.cut()

    def swallow(self) -> None:
        """Pass nothing on any more on the connections there are, and tell nobody."""
        for line in self._taken():
            line.silent = True

    def break_at(self, said: bytes, what: Break, *, times: int = 1) -> None:
        """Break the next connections on which the client says this.

        Args:
            said: A part of what a client sends at once.
            what: What happens then.
            times: To how many connections.
        """
        with self._lock:
            self._trap, self.sprung = (said, what, times), 0

    def heal(self) -> None:
        """Pass everything on again, on new connections."""
        with self._lock:
            self._trap = None
        self.dumb = False

    def _taken(self) -> list[_Line]:
        with self._lock:
            return list(self._lines)

    def _welcome(self, door: socket.socket) -> None:
        while True:
            try:
                client, _ = door.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._server_port))
            except OSError:
                client.close()
                continue
            line = _Line(client=client, server=server, silent=self.dumb)
            with self._lock:
                self._lines.append(line)
            for pass_on in (self._ask, self._answer):
                threading.Thread(target=pass_on, args=(line,), daemon=True).start()

    def _ask(self, line: _Line) -> None:
        """Pass on what the client says."""
        for data in _heard(line.client):
            what = self._spring(data)
            if what is Break.CUT:
                line.cut()
                return
            if what is Break.SWALLOW:
                line.silent = True
            if line.silent:
                continue
            if what is not None:
                line.losing = True
                line.silent = what is Break.SWALLOW_THE_ANSWER
            with suppress(OSError):
                line.server.sendall(data)
        self._hang_up(line)

    def _answer(self, line: _Line) -> None:
        """Pass on what the server says."""
        for data in _heard(line.server):
            if line.silent:
                continue
            if line.losing:
                line.cut()
                return
            with suppress(OSError):
                line.client.sendall(data)
        self._hang_up(line)

    def _hang_up(self, line: _Line) -> None:
        """One side has gone: so does the other, unless nobody is to know."""
        if not line.silent:
            line.cut()

    def _spring(self, data: bytes) -> Break | None:
        with self._lock:
            if self._trap is None:
                return None
            said, what, times = self._trap
            if said not in data or self.sprung >= times:
                return None
            self.sprung += 1
            return what


def _heard(one: socket.socket) -> Iterator[bytes]:
    """What comes in on a socket, until it is closed."""
    while True:
        try:
            data = one.recv(_BYTES)
        except OSError:
            return
        if not data:
            return
        yield data
