"""One sandboxed process, seen from outside: started when needed, killed when it must be."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import threading
from collections import deque
from typing import BinaryIO

from rag_engine.adapters.parsers import frames
from rag_engine.adapters.parsers.confinement import OUT_OF_MEMORY
from rag_engine.adapters.parsers.limits import ParserLimits
from rag_engine.adapters.parsers.source import Source
from rag_engine.core import children
from rag_engine.core.models import ParsedDocument
from rag_engine.errors import ConfigurationError, ModelUnavailable, RagEngineError

# Parsers leak; a fresh process costs about 0.3 s, which is nothing over so many documents.
_DOCUMENTS = 200
_START_SECONDS = 60.0
_EXIT_SECONDS = 1.0
_STDERR_LINES = 20
_MEMORY_SIGNS = ("memory allocation of", "bad_alloc", "MemoryError", "out of memory")
# API keys and passwords stay outside: the process is given these variables and no other.
_ENVIRONMENT = (
    *("PATH", "HOME", "USERPROFILE", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TEMP", "TMP"),
    *("SYSTEMROOT", "WINDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV"),
    *("PYTHONHOME", "PYTHONUTF8", "PYTHONDONTWRITEBYTECODE", "OMP_NUM_THREADS"),
)


class ParserProcess:
    """Reads documents one after the other, in one thread; `kill` and `retire` are for any."""

    def __init__(self, limits: ParserLimits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self._documents = 0
        self._expired = False
        self._unwanted = False
        self._retired = False

    def arm(self) -> None:
        """Another document comes: forget that one before it was not wanted any more."""
        self._unwanted = self._retired

    def read(self, source: Source) -> ParsedDocument:
        """The text of a file.

        Raises:
            DocumentRejected: The file cannot be read, or reading it killed the process.
            ModelUnavailable: The process was killed on purpose, or the system starts no more.
            ConfigurationError: No process can be started with this installation.
        """
        process = self._running()
        try:
            if self._unwanted:
                raise source.parser_closed()
            frames.write(_stream(process.stdin), frames.request(source))
            reply = self._reply(process)
            if reply is None:
                raise self._death(source, process)
            return frames.result(reply)
        except (frames.BrokenFrame, OSError) as exc:
            raise self._death(source, process) from exc

    def kill(self) -> None:
        """End the process, whatever it is doing; the next `read` starts another."""
        self._unwanted = True
        process = self._process
        if process is not None:
            process.kill()

    def retire(self) -> None:
        """End the process, and start no other."""
        self._retired = True
        self.kill()

    def close(self) -> None:
        """End the process and free what it held."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                _stream(stream).close()

    def _running(self) -> subprocess.Popen[bytes]:
        self._documents += 1
        if self._process is not None and (
            self._documents > _DOCUMENTS or self._process.poll() is not None
        ):
            self.close()
        if self._process is None:
            self._process = self._start()
            self._documents = 1
        return self._process

    def _start(self) -> subprocess.Popen[bytes]:
        self._stderr.clear()
        self._expired = False
        limits = json.dumps(dataclasses.asdict(self._limits))
        try:
            process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
                children.command("rag_engine.adapters.parsers.worker", limits),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environment(),
                **children.OF_ITS_OWN,
            )
        except OSError as exc:
            raise ModelUnavailable(
                f"The process that parses documents cannot be started: {exc.strerror or exc}. "
                "Free memory or processes; it is tried again."
            ) from exc
        self._process = process
        drain = threading.Thread(
            target=_drain, args=(_stream(process.stderr), self._stderr), daemon=True
        )
        drain.start()
        if self._reply(process, seconds=_START_SECONDS) is None:
            process.kill()
            process.wait()
            drain.join(1.0)
            self.close()
            words = self._last_words() or f"exit code {process.returncode}"
            raise ConfigurationError(
                f"The process that parses documents cannot be started: {words.rstrip('.')}. "
                "Reinstall RAG Engine, and see `rag-engine doctor`."
            )
        return process

    def _reply(
        self, process: subprocess.Popen[bytes], seconds: float | None = None
    ) -> frames.Frame | None:
        """The next frame but reports of progress, each of which sets the clock back."""
        while True:
            clock = threading.Timer(seconds or self._limits.timeout_seconds, self._expire)
            clock.daemon = True
            clock.start()
            try:
                frame = frames.read(_stream(process.stdout))
            finally:
                clock.cancel()
            if frame is None or "progress" not in frame:
                return frame

    def _expire(self) -> None:
        process = self._process
        self._expired = True
        if process is not None:
            process.kill()

    def _death(self, source: Source, process: subprocess.Popen[bytes]) -> RagEngineError:
        """Why there is no reply."""
        try:
            code = process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            code = 0
        expired, words = self._expired, self._last_words()
        self.close()
        if self._unwanted:
            return source.parser_closed()
        if expired or code == -getattr(signal, "SIGXCPU", 0):
            return source.takes_too_long()
        # Linux kills the largest process when memory runs out.
        is_killed = code == -getattr(signal, "SIGKILL", 0)
        if is_killed or code == OUT_OF_MEMORY or any(sign in words for sign in _MEMORY_SIGNS):
            return source.takes_too_much_memory()
        return source.damaged(f"its parser crashed ({words or _in_words(code)})")

    def _last_words(self) -> str:
        lines = [line for line in self._stderr if line.strip()]
        return lines[-1].strip()[:300] if lines else ""


def _stream(stream: object) -> BinaryIO:
    assert stream is not None  # noqa: S101  # all three are pipes
    return stream  # type: ignore[return-value]


def _drain(stream: BinaryIO, lines: deque[str]) -> None:
    with stream:
        for line in stream:
            lines.append(line[:2000].decode("utf-8", "replace"))


def _environment() -> dict[str, str]:
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    roots = filter(os.path.isabs, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return environment | {"PYTHONPATH": os.pathsep.join(roots)}


def _in_words(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"
