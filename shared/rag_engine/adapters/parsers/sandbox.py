"""The parser that `wiring` builds: text in a thread, everything else in processes without network."""

from __future__ import annotations

import asyncio
import os
import queue
import stat
import threading
import weakref
from concurrent.futures import Future
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from rag_engine.adapters.parsers import formats, sniff
from rag_engine.adapters.parsers.limits import ParserLimits
from rag_engine.adapters.parsers.process import ParserProcess
from rag_engine.adapters.parsers.source import Source, too_large
from rag_engine.adapters.parsers.text import parse_text
from rag_engine.core.models import ParsedDocument
from rag_engine.errors import DocumentUnreadable

# Raised whenever our own readers change what they make of the same file.
_REVISION = 1
# Above this a text goes to the sandbox: decoding it may take memory, and a second.
_INLINE_BYTES = 2 * 1024 * 1024


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "none"


_VERSIONS = tuple(f"{name}={_version(name)}" for name in ("kreuzberg", "pypdfium2", "rapidocr"))


class SandboxedParser:
    """Implements the `Parser` port. Safe to call from several tasks, threads and event loops.

    Args:
        limits: What a document may cost.
        processes: How many documents are parsed at once; more wait. By default one for every two
            processors, since text recognition uses several.
    """

    def __init__(self, limits: ParserLimits, *, processes: int | None = None) -> None:
        self._limits = limits
        self._lanes = _Lanes(limits, processes or max(1, (os.cpu_count() or 2) // 2))
        self._finalizer = weakref.finalize(self, self._lanes.end)

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same file may give another text."""
        ocr = "on" if self._limits.ocr else "off"
        return " ".join((f"parsers={_REVISION}", f"ocr={ocr}", *_VERSIONS))

    async def parse(self, path: Path, name: str) -> ParsedDocument:
        """The text of a file, with its pages and headings.

        Cancelling kills the process that reads the file.

        Raises:
            DocumentUnreadable: Missing, damaged, encrypted, or of a type that nobody can parse.
            DocumentEmpty: It holds no text that could be found.
            DocumentTooLarge: It exceeds a limit on size, pages, memory or time.
            ConfigurationError: The parsing process cannot be started with this installation.
            ModelUnavailable: The system starts no process now, or the parser was closed.
        """
        job = _Job()
        try:
            parsed = await asyncio.to_thread(self._begin, path, name, job)
            return await asyncio.wrap_future(job.future) if parsed is None else parsed
        except asyncio.CancelledError:
            # In a thread: it takes a lock that the lane may hold for a moment.
            asyncio.get_running_loop().run_in_executor(None, job.abandon)
            raise

    async def aclose(self) -> None:
        """End all processes. Another `parse` starts them again."""
        await asyncio.to_thread(self._lanes.close)

    def _begin(self, path: Path, name: str, job: _Job) -> ParsedDocument | None:
        """The text, where no sandbox is needed for it; otherwise the job is on its way to one."""
        path = path.absolute()
        try:
            size = _size(path, name)
            if size > self._limits.max_bytes:
                raise too_large(name, size, self._limits)
            source = Source(path=path, name=name, media_type=sniff.UNKNOWN, limits=self._limits)
            if size == 0:
                raise source.empty("the file has no bytes")
            with source.open() as file:
                source = source.of_type(sniff.sniff(file, name))
            if source.media_type in sniff.TEXTS and size <= _INLINE_BYTES:
                return parse_text(source, source.read())
        except FileNotFoundError:
            raise DocumentUnreadable(f"{name!r} does not exist. Check the path.") from None
        except OSError as exc:
            raise DocumentUnreadable(
                f"{name!r} cannot be opened: {exc.strerror or exc}. "
                "Check its permissions and the disk."
            ) from exc
        if source.media_type == sniff.UNKNOWN:
            raise formats.unknown(source)
        self._lanes.submit(job, source)
        return None


def _size(path: Path, name: str) -> int:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise DocumentUnreadable(f"{name!r} is {what}. Name a file.")
    return status.st_size


@dataclass(slots=True, kw_only=True)
class _Job:
    """One document on its way through a lane."""

    source: Source | None = None
    future: Future[ParsedDocument] = field(default_factory=Future)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _process: ParserProcess | None = None
    _abandoned: bool = False

    def abandon(self) -> None:
        """Nobody waits for the result any more: kill the process that works on it."""
        with self._lock:
            self._abandoned = True
            if self._process is not None:
                self._process.kill()

    def run(self, process: ParserProcess) -> None:
        """Read the document and settle the future."""
        with self._lock:
            if (
                self._abandoned
                or self.source is None
                or not self.future.set_running_or_notify_cancel()
            ):
                return
            process.arm()
            self._process = process
        try:
            parsed = process.read(self.source)
        # Whatever happened belongs to the one who waits for this document.
        except BaseException as exc:  # noqa: BLE001
            self._settle()
            self.future.set_exception(exc)
        else:
            self._settle()
            self.future.set_result(parsed)

    def refuse(self) -> None:
        """Settle the future: the parser is closed."""
        if self.source is not None and self.future.set_running_or_notify_cancel():
            self.future.set_exception(self.source.parser_closed())

    def _settle(self) -> None:
        with self._lock:
            self._process = None


class _Lanes:
    """A few daemon threads, each with one process of its own, fed from one queue.

    Daemon threads, because those of an executor are joined before the interpreter ends, and a
    document that takes long would hold up a Ctrl-C.
    """

    def __init__(self, limits: ParserLimits, count: int) -> None:
        self._limits = limits
        self._count = count
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._processes: list[ParserProcess] = []
        self._unfinished = 0

    def submit(self, job: _Job, source: Source) -> None:
        """Queue a document; a lane is added while all are busy and there may be more."""
        job.source = source
        with self._lock:
            self._unfinished += 1
            if self._unfinished > len(self._threads) < self._count:
                process = ParserProcess(self._limits)
                thread = threading.Thread(
                    target=self._work, args=(process, self._jobs), name="parser", daemon=True
                )
                self._threads.append(thread)
                self._processes.append(process)
                thread.start()
            self._jobs.put(job)

    def close(self) -> None:
        """Kill every process and wait for the lanes to end."""
        for thread in self.end():
            thread.join(5.0)

    def end(self) -> list[threading.Thread]:
        """Kill every process; returns the lanes that are about to end."""
        with self._lock:
            threads, self._threads = self._threads, []
            processes, self._processes = self._processes, []
            jobs, self._jobs = self._jobs, queue.SimpleQueue()
            self._unfinished = 0
        while not jobs.empty():
            job = jobs.get()
            if job is not None:
                job.refuse()
        for process in processes:
            jobs.put(None)
            process.retire()
        return threads

    def _work(self, process: ParserProcess, jobs: queue.SimpleQueue[_Job | None]) -> None:
        while (job := jobs.get()) is not None:
            job.run(process)
            with self._lock:
                # Those of lanes that were ended are not counted any more.
                self._unfinished -= jobs is self._jobs
        process.close()
