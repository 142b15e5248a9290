"""Connections to one SQLite file: its writer thread, errors in our words."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from rag_engine.adapters.sqlite.functions import add_checksum, damaged
from rag_engine.adapters.sqlite.handles import Handle
from rag_engine.errors import (
    InvalidRequest,
    RagEngineError,
    StoreCorrupt,
    StoreFull,
    StoreUnavailable,
)
from rag_engine.telemetry import events

logger = logging.getLogger(__name__)

T = TypeVar("T")

Signature = tuple[int, int, bool]

BUSY_SECONDS: Final = 30.0
"""How long a writer waits for another process before it gives up."""

READ_SECONDS: Final = 30.0
"""How long one statement of a reader may run."""

_NO_INDEX: Final = (sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMMAP)

_LONG_LOG: Final = 64 << 20
"""Bytes of log after which a writer waits for readers, to empty it."""

_SHORTEN_SECONDS: Final = 5.0
_PATIENCE: Final = f"PRAGMA busy_timeout = {1000 * BUSY_SECONDS:.0f}"
_SHORT_PATIENCE: Final = "PRAGMA busy_timeout = 1000"

_HANDLES: Final = 4
"""Files that a connection opens: the database, its log, the index of that, their folder."""

_LITTLE: Final = 1 << 20
_NO_TEXT: Final = "Could not decode to UTF-8"  # has no code of its own


def connect(
    path: Path, *, alone: bool = False, seconds: float = BUSY_SECONDS, create: bool = False
) -> sqlite3.Connection:
    """Open a file for reading and writing.

    Durable before a commit returns (`synchronous=FULL` in WAL mode), so that what was acknowledged
    survives a power cut. Where it cannot be written (an archive, a mount) it is opened as it is.

    Args:
        path: Of the file.
        alone: Whether nobody else may have it open meanwhile.
        seconds: How long to wait for others.
        create: Whether to make it when it is not there. Else that fails, since what was deleted a
            moment ago must not come back empty.
    """
    connection = sqlite3.connect(
        _address(path, create=create),
        uri=True,
        timeout=seconds,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        if alone:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA cache_size=-32000")
        # 32 MB of log between two checkpoints: a document writes some hundred scattered pages.
        connection.execute("PRAGMA wal_autocheckpoint=8000")
        connection.execute("PRAGMA temp_store=MEMORY")
        add_checksum(connection)
    except UnicodeDecodeError as error:  # SQLite cites the schema it cannot make sense of
        connection.close()
        raise damaged(f"its schema is no text at byte {error.start}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a file for one look at it, on a full disk too.

    The index of the log, which processes share, takes 32 kB of disk. Where there is no room for it
    nobody has the file open, and whoever has it alone needs none.
    """
    try:
        return connect(path)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode not in _NO_INDEX:
            raise
        return connect(path, alone=True)


def is_for_one_look(connection: sqlite3.Connection) -> bool:
    """Whether it sees the file for ever as it was when it was opened."""
    [(journal,)] = connection.execute("PRAGMA journal_mode").fetchall()
    return bool(journal != "wal")


def is_alone(connection: sqlite3.Connection) -> bool:
    """Whether nobody else may have the file open."""
    [(locking,)] = connection.execute("PRAGMA locking_mode").fetchall()
    return bool(locking == "exclusive")


def _address(path: Path, *, create: bool) -> str:
    """The URI to open a file by.

    SQLite reads a log only beside an index of it, which it cannot make on a read-only medium. There
    a file without a log is declared immutable, which holds as long as nobody writes it by another
    way: such a connection is for one look, and a view sees to it that it held.
    """
    address = path.absolute().as_uri()
    if not path.exists() or can_be_written(path):
        return address if create else f"{address}?mode=rw"
    return f"{address}?mode=ro" if _has_log(path) else f"{address}?immutable=1"


def can_be_written(path: Path) -> bool:
    """Whether a file and its log can be written, as they cannot on a read-only medium."""
    return _is_writable(path) and _is_writable(path.parent)


def _is_writable(path: Path) -> bool:
    return os.access(path, os.W_OK)


def _has_log(path: Path) -> bool:
    """Whether there are changes in the log, or somebody has the file open who may make some."""
    log, index = (path.with_name(path.name + ending) for ending in ("-wal", "-shm"))
    return index.exists() or _size(log) > 0


def signature_of(path: Path) -> Signature:
    """What changes when somebody opens a file to write it, or has written it."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return (0, 0, False)
    return (status.st_mtime_ns, status.st_size, _has_log(path))


def _size(path: Path) -> int:
    """Bytes of a file; 0 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours, naming the file and the remedy."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _translate(error, path) from error
    except OSError as error:
        raise StoreUnavailable(
            f"{str(path)!r} cannot be used ({error.strerror}). Check its permissions and how many "
            "files a process may open (ulimit -n)."
        ) from error
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"{str(error.object)[:80]!r} is not valid Unicode, so nothing can have that name. "
            "Check the spelling."
        ) from error


def _translate(error: sqlite3.DatabaseError, path: Path) -> RagEngineError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if _NO_TEXT in str(error):
        code = sqlite3.SQLITE_CORRUPT
    name = str(path)
    if code == sqlite3.SQLITE_IOERR and _is_full(path):
        code = sqlite3.SQLITE_FULL
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR) and (reason := _out_of_handles()):
        return StoreUnavailable(
            f"{name!r} cannot be opened ({reason}). Raise the limit (ulimit -n), or do less at a time."
        )
    match code:
        case sqlite3.SQLITE_FULL:
            return StoreFull(
                f"The disk that holds {name!r} is full. Nothing that was stored is lost. "
                "Free some space and try again."
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreUnavailable(
                f"Another process has been writing {name!r} for {BUSY_SECONDS:.0f} s. "
                "Try again when it is done."
            )
        case sqlite3.SQLITE_CANTOPEN if not _is_writable(path.parent) and _has_log(path):
            return StoreUnavailable(
                f"{name!r} has changes in a log beside it that cannot be read on a read-only medium. "
                "Copy the data folder to where it can be written, with all its files, or open it "
                "once where it was written before you copy it."
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return StoreUnavailable(
                f"{name!r} cannot be written ({error}). Check that the folder exists, that it is "
                "yours and not read-only, or choose another with --data-dir."
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StoreCorrupt(
                f"{name!r} is damaged ({error}). Restore it from a backup, or see what can be repaired: "
                "rag-engine doctor --verify"
            )
        case sqlite3.SQLITE_INTERRUPT:
            return StoreUnavailable(
                f"A query on {name!r} took longer than {READ_SECONDS:.0f} s. "
                "Ask for less, or try again when the machine is less busy."
            )
        case _:
            return StoreUnavailable(
                f"{name!r} cannot be used ({error}). Check the disk and try again."
            )


def _is_full(path: Path) -> bool:
    """Whether the disk is full: SQLite calls it an I/O error where its index of the WAL grows."""
    try:
        return shutil.disk_usage(path.parent).free < _LITTLE
    except OSError:
        return False


def _out_of_handles() -> str | None:
    """What the system says when no more files can be opened, which SQLite does not pass on."""
    with ExitStack() as opened:
        for _ in range(_HANDLES):
            try:
                opened.enter_context(Path(os.devnull).open("rb"))
            except OSError as error:
                return error.strerror
    return None


class Original:
    """The file as this process first saw it: another one in its place is not the same database.

    `lost` tells whether it was another one, or none, when it was last looked at.

    Whoever reads it and whoever writes it share one; threads may use it at the same time.
    What is held in memory belongs to the file it was read from, and a transaction on a file that was
    deleted would be acknowledged and lost.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: tuple[int, int] | None = None
        self.lost = False

    def check(self) -> None:
        """Remember the file, and raise `StoreUnavailable` if it is another than before."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            found = None
        else:
            found = (status.st_dev, status.st_ino)
        self._known = self._known or found
        self.lost = found != self._known
        if self.lost:
            was = "replaced" if found else "moved or deleted"
            raise StoreUnavailable(
                f"{str(self._path)!r} was {was} while this process had it open. "
                "Put it back, or start the process again."
            )


class _Hand:
    """A thread that writes, and its connection, which is opened when it is first needed."""

    def __init__(self) -> None:
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")
        self.connection: sqlite3.Connection | None = None

    def close(self) -> None:
        """Wait for what is being written, then let go of the file."""
        self.executor.shutdown(wait=True)
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class Writer:
    """The one thread of this process that writes a file.

    Other processes may write it too: each transaction takes the write lock at its beginning and
    waits for it, so that it never fails half-way for having read before it wrote.
    """

    def __init__(self, path: Path, original: Original, handle: Handle) -> None:
        self._path = path
        self._original = original
        self._handle = handle
        self._hand: _Hand | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._shorten_at = 0.0

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in one transaction: all of it is durable when this returns, or none is.

        A caller that is cancelled while it waits may find the transaction committed.
        """
        async with self._handle.use():
            return await self._handed_in(work)

    def _handed_in(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        with self._lock:  # before the thread there is may be told to end
            hand = self._hand = self._hand or _Hand()
            work_of_hand = partial(self._transact, hand, work)
            return asyncio.get_running_loop().run_in_executor(hand.executor, work_of_hand)

    def _transact(self, hand: _Hand, work: Callable[[sqlite3.Connection], T]) -> T:
        with translated(self._path):
            self._original.check()
            connection = hand.connection = hand.connection or connect(self._path)
            connection.execute("BEGIN IMMEDIATE")
            try:
                self._original.check()  # again: who deletes a workspace has this lock meanwhile
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            self._shorten_log(connection)
            return result

    def _shorten_log(self, connection: sqlite3.Connection) -> None:
        """Empty the log when it has grown long.

        SQLite begins it anew when nobody reads it as a transaction begins, which under questions
        that overlap is never. So now and then a writer waits for those who read it, a little: what
        reads for long, as an export does, is waited for at the next attempt.
        """
        log = self._path.with_name(f"{self._path.name}-wal")
        if time.monotonic() < self._shorten_at or _size(log) < _LONG_LOG:
            return
        self._shorten_at = time.monotonic() + _SHORTEN_SECONDS
        connection.execute(_SHORT_PATIENCE)
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.OperationalError as error:  # the transaction is durable all the same
            logger.warning(str(error), extra={"action": events.LOG_KEPT, "path": str(log)})
        finally:
            connection.execute(_PATIENCE)

    def rest(self) -> None:
        """Let go of the thread and of the file until there is more to write."""
        with self._lock:
            if self._closed or self._hand is None:
                return
            hand, self._hand = self._hand, None
        hand.close()

    def close(self) -> None:
        """Wait for what is being written, then let go of the file. Nothing is written afterwards."""
        with self._lock:
            self._closed = True
            hand = self._hand = self._hand or _Hand()
        hand.close()
