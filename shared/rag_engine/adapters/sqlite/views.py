"""Read transactions on one SQLite file, and the threads that read in them."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from rag_engine.adapters.sqlite.connection import (
    READ_SECONDS,
    Original,
    Signature,
    connect_to_read,
    is_alone,
    is_for_one_look,
    signature_of,
    translated,
)
from rag_engine.adapters.sqlite.handles import Handle
from rag_engine.errors import StoreUnavailable

T = TypeVar("T")

LOAD_SECONDS: Final = 600.0
"""How long reading all vectors into memory may take."""

_IDLE: Final = 8
"""Connections kept for the next readers: each has a page cache of up to 32 MB."""

_STEPS: Final = 20_000  # virtual machine steps between two looks at the clock: about 1 ms

_ENDED: Final = -1


class View:
    """A read transaction: every statement in it sees the database as of one moment.

    Attributes:
        alone: Whether there can be no other view meanwhile.
        passing: Whether to close it when it has ended.
        users: Who look at it now.
        counter: Of the last write that it shows; none has that of a view that has ended.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, signature: Signature) -> None:
        self.alone = is_alone(connection)
        self.passing = self.alone or is_for_one_look(connection)
        self.users = 0
        self.counter = _ENDED
        self._path = path
        self._signature = None if self.alone or not self.passing else signature
        self._connection = connection
        self._lock = threading.RLock()
        self._deadline = 0.0
        self._for_all = False
        self._given_up = False
        connection.set_progress_handler(self._overdue, _STEPS)

    def _overdue(self) -> bool:
        given_up = self._given_up and not self._for_all
        return given_up or time.monotonic() > self._deadline

    def give_up(self) -> None:
        """Stop what is read, whose reader has gone, unless it is read for all."""
        self._given_up = self.users == 1

    def begin(self) -> None:
        """Start a new transaction, which sees what is committed now."""
        with self.exclusive() as connection:
            connection.execute("BEGIN")
            # A deferred transaction begins with its first read.
            [found] = connection.execute("SELECT value FROM meta WHERE key = 'counter'").fetchall()
            self.counter = int(found[0])

    def end(self) -> None:
        """End the transaction; ending one twice does no harm."""
        with self._lock:
            self._given_up, self.counter = False, _ENDED
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    @contextmanager
    def held(self, counter: int) -> Iterator[None]:
        """Keep the transaction from ending while one thread works on it, statement by statement.

        Args:
            counter: What the transaction shows. Who has gone may have left work behind that begins
                only when it has ended, or has begun anew for somebody else.

        Raises:
            StoreUnavailable: It has ended.
        """
        with self._lock:
            if self.counter != counter:
                raise StoreUnavailable("What is read was closed. Read it again.")
            yield

    @contextmanager
    def exclusive(
        self, seconds: float = READ_SECONDS, *, for_all: bool = False
    ) -> Iterator[sqlite3.Connection]:
        """The connection for one thread at a time, with a time limit and errors in our words.

        Args:
            seconds: The time limit.
            for_all: Whether others use what is read, too: it is read to its end when its reader
                has gone.
        """
        with self._lock:
            try:
                with translated(self._path):
                    self._deadline, self._for_all = time.monotonic() + seconds, for_all
                    yield self._connection
            finally:
                if self._signature is not None:
                    self._see_it_unchanged(self._signature)

    def _see_it_unchanged(self, signature: Signature) -> None:
        """See that what is read as if it never changed did not change meanwhile."""
        if signature != signature_of(self._path):
            raise StoreUnavailable(
                f"Another process began to write {str(self._path)!r} while it was read on a "
                "read-only medium. Try again."
            )

    def rows(self, sql: str, *parameters: object) -> list[tuple[object, ...]]:
        """All rows of one statement."""
        with self.exclusive() as connection:
            return connection.execute(sql, parameters).fetchall()

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._connection.close()


class Looking:
    """Somebody who looks at a view on another thread, and may have gone before it begins.

    Attributes:
        given_up: Whether nobody waits for what is found.
    """

    def __init__(self) -> None:
        self.given_up = False
        self._lock = threading.Lock()
        self._view: View | None = None

    @contextmanager
    def at(self, view: View) -> Iterator[None]:
        """Look at a view for the time of the context."""
        with self._lock:
            self._view = view
            if self.given_up:
                view.give_up()
        try:
            yield
        finally:
            with self._lock:
                self._view = None  # which is somebody else's next

    def give_up(self) -> None:
        """Stop what is read."""
        with self._lock:
            self.given_up = True
            if self._view is not None:
                self._view.give_up()


class Readers:
    """Connections for reading, kept for the next one who needs one.

    Attributes:
        path: Of the file.
    """

    def __init__(
        self,
        path: Path,
        original: Original,
        handle: Handle,
        executor: ThreadPoolExecutor,
        answering: ThreadPoolExecutor,
    ) -> None:
        self.path = path
        self._original = original
        self._handle = handle
        self._executor = executor
        self._answering = answering
        self._idle: list[View] = []
        self._alone: View | None = None
        self._lock = threading.Lock()
        self._resting = False
        self._closed = False

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` on a reader thread."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def used(self) -> AbstractAsyncContextManager[None]:
        """Keep what is open and held of the file for the time of the context."""
        return self._handle.use()

    async def look(self, work: Callable[[View], T]) -> T:
        """Begin a read transaction, run `work` and end it, on one of the few threads for that."""
        return await self._look(work, self._answering)

    async def read(self, work: Callable[[View], T]) -> T:
        """As `look`, on a reader thread: for what takes a moment."""
        return await self._look(work, self._executor)

    async def _look(self, work: Callable[[View], T], executor: ThreadPoolExecutor) -> T:
        looking = Looking()
        whole = partial(self.looked, looking, work)
        async with self._handle.use():
            try:
                return await asyncio.get_running_loop().run_in_executor(executor, whole)
            except asyncio.CancelledError:
                looking.give_up()
                raise

    def looked(self, looking: Looking, work: Callable[[View], T]) -> T:
        """Begin a read transaction, run `work` and end it, on this thread."""
        view = self._begin()
        try:
            with looking.at(view):
                return work(view)
        finally:
            self._release(view)

    @asynccontextmanager
    async def view(self) -> AsyncIterator[View]:
        """A read transaction for the time of the context."""
        async with self._handle.use(), self._begun() as view:
            yield view

    @asynccontextmanager
    async def _begun(self) -> AsyncIterator[View]:
        beginning = asyncio.ensure_future(self.run(self._begin))
        try:
            view = await asyncio.shield(beginning)
        except asyncio.CancelledError:
            beginning.add_done_callback(self._abandon)
            raise
        try:
            yield view
        except asyncio.CancelledError:
            view.give_up()
            raise
        finally:
            await asyncio.shield(self._put_back(view))

    async def _put_back(self, view: View) -> None:
        try:
            await self.run(partial(self._release, view))
        except RuntimeError:  # everything was closed meanwhile, the threads too
            await asyncio.to_thread(self._release, view)

    def _abandon(self, beginning: asyncio.Future[View]) -> None:
        """Take back a view that came when its caller was gone."""
        if beginning.cancelled() or beginning.exception() is not None:
            return
        asyncio.get_running_loop().run_in_executor(None, self._release, beginning.result())

    def _begin(self) -> View:
        with self._lock:
            self._resting = False
            if self._alone is None:
                self._original.check()
                view = self._idle.pop() if self._idle else self._open()
                try:
                    view.begin()
                except BaseException:
                    view.close()
                    raise
                if view.alone:
                    self._alone = view
            else:
                view = self._alone  # nobody can have written since it began
            view.users += 1
            return view

    def _open(self) -> View:
        signature = signature_of(self.path)
        with translated(self.path):
            connection = connect_to_read(self.path)
            connection.execute("PRAGMA query_only=ON")
            # There may be many of them, and the operating system keeps pages for all.
            connection.execute("PRAGMA cache_size=-4000")
            return View(self.path, connection, signature)

    def _release(self, view: View) -> None:
        if not view.alone:  # nobody else has it; work that was left behind is waited for
            view.end()
        with self._lock:
            view.users -= 1
            if view.users:
                return
            if view is self._alone:
                self._alone = None
                view.end()
            if self._closed or self._resting or view.passing or len(self._idle) >= _IDLE:
                view.close()
            else:
                self._idle.append(view)

    def rest(self) -> None:
        """Close the idle connections now; those that come back are kept once more are begun."""
        with self._lock:
            self._resting = True
            while self._idle:
                self._idle.pop().close()

    def close(self) -> None:
        """Close the idle connections now and the others when they come back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()
