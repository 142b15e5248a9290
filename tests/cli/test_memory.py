"""What the process does with memory: two heaps, however many threads there are."""

from __future__ import annotations

import subprocess
import sys

import pytest

_HEAPS = """
import ctypes, sys, threading
from rag_engine_cli.memory import share_heaps

if sys.argv[1] == "shared":
    share_heaps()
together = threading.Barrier(8)

def allocate():
    kept = [bytearray(10_000) for _ in range(10)]
    together.wait()

threads = [threading.Thread(target=allocate) for _ in range(8)]
for one in threads:
    one.start()
for one in threads:
    one.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
out = libc.fopen(b"/dev/stdout", b"w")
libc.malloc_info(0, ctypes.c_void_p(out))
libc.fclose(ctypes.c_void_p(out))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone gives each thread a heap")
@pytest.mark.parametrize("how", ["shared", "as it comes"])
def test_threads_share_two_heaps(how: str) -> None:
    told = subprocess.run(
        [sys.executable, "-c", _HEAPS, how], capture_output=True, text=True, check=True
    ).stdout
    heaps = told.count("<heap nr=")
    assert heaps == 2 if how == "shared" else heaps > 2
