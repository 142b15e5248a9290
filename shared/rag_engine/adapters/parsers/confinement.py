"""Takes from the current process what parsing does not need: network, programs, memory, time."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time

from rag_engine.adapters.parsers import syscalls
from rag_engine.adapters.parsers.limits import ParserLimits

OUT_OF_MEMORY = 77
"""Exit code of a process that exceeded its memory."""

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_CHECK_SECONDS = 0.25
_FORBIDDEN = frozenset(
    {
        *("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname"),
        *("socket.sendto", "socket.sendmsg", "subprocess.Popen", "os.system", "os.exec"),
        *("os.posix_spawn", "os.spawn", "os.startfile", "pty.spawn", "webbrowser.open"),
    }
)


def confine(limits: ParserLimits) -> None:
    """Give up the network, the right to start programs, and memory beyond the limit."""
    with contextlib.suppress(ValueError, OSError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    _leave_network()
    sys.addaudithook(_deny)
    _limit_memory(limits.max_memory_bytes)


def _deny(event: str, _args: tuple[object, ...]) -> None:
    if event in _FORBIDDEN:
        raise PermissionError(f"{event} is not allowed while parsing a document")


def _leave_network() -> None:
    """On Linux, enter an empty network namespace where that is permitted, and forbid sockets.

    Elsewhere only the audit hook stands.

    Root stays in its user namespace, since in a new one it could not read other users' files.
    """
    if sys.platform != "linux":
        return
    flags = _CLONE_NEWNET if os.geteuid() == 0 else _CLONE_NEWUSER | _CLONE_NEWNET
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).unshare(flags)
        syscalls.forbid()


def _limit_memory(limit: int) -> None:
    if sys.platform == "linux":
        import resource

        # Not RLIMIT_AS: threads and allocators reserve gigabytes of addresses that they never use.
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_watch_memory, args=(limit,), daemon=True).start()


def _watch_memory(limit: int) -> None:
    while resident_bytes() <= limit:
        time.sleep(_CHECK_SECONDS)
    os._exit(OUT_OF_MEMORY)


def resident_bytes() -> int:
    """Memory that this process holds (on macOS: held at most), or 0 where nobody tells."""
    if sys.platform == "win32":
        return _windows_resident_bytes()
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123  # four times a second
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def allow_cpu(seconds: float) -> None:
    """End this process if it computes for long beyond `seconds` from now.

    The parent kills it at the limit; this holds even when the parent is gone.
    """
    if sys.platform == "win32":
        return
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = usage.ru_utime + usage.ru_stime
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(used + (seconds + 10) * (os.cpu_count() or 1)) + 1
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _windows_resident_bytes() -> int:
    """Working set of this process."""
    counters = (ctypes.c_size_t * 9)()  # PROCESS_MEMORY_COUNTERS; the third is the working set
    counters[0] = ctypes.sizeof(counters)
    windll = ctypes.windll  # type: ignore[attr-defined]  # Windows only
    windll.kernel32.GetCurrentProcess.restype = ctypes.c_void_p
    process = ctypes.c_void_p(windll.kernel32.GetCurrentProcess())
    filled = windll.psapi.GetProcessMemoryInfo(process, counters, ctypes.sizeof(counters))
    return int(counters[2]) if filled else 0
