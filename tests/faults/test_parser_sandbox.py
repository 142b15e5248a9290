"""Documents that break their parser, and everything else that can happen to its process."""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import documents
from documents import SAMPLES
from rag_engine.adapters.parsers import process as process_module
from rag_engine.adapters.parsers.limits import ParserLimits
from rag_engine.adapters.parsers.process import ParserProcess
from rag_engine.adapters.parsers.sandbox import SandboxedParser
from rag_engine.adapters.parsers.source import Source
from rag_engine.core import children
from rag_engine.errors import (
    ConfigurationError,
    DocumentEmpty,
    DocumentRejected,
    DocumentTooLarge,
    DocumentUnreadable,
    ModelUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

# Runs in place of the worker's own main: its reader executes a statement of the test.
_BAD_WORKER = """
import os, sys, time
sys.path.insert(0, {root!r})
from rag_engine.adapters.parsers import frames, worker
class Reader:
    def __init__(self, ocr): pass
    def read(self, source):
        {action}
worker.Reader = Reader
worker.main(sys.argv[3])
"""


@pytest.fixture
async def parser() -> AsyncIterator[SandboxedParser]:
    parser = SandboxedParser(ParserLimits(), processes=1)
    yield parser
    await parser.aclose()


def pid_of(parser: SandboxedParser) -> int:
    """The process of the first lane."""
    running = parser._lanes._processes[0]._process
    assert running is not None
    return running.pid


def is_alive(pid: int) -> bool:
    """Whether a process is there and not merely waiting to be reaped."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text("ascii")
    except OSError:
        return False
    return status.rsplit(")", 1)[1].split()[0] not in {"Z", "X"}


async def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.02)


@pytest.fixture
def misbehaving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ParserProcess]]:
    """Makes processes whose reader executes a statement."""
    root = str(Path(children._PACKAGE).parent)
    made: list[ParserProcess] = []

    def make(action: str, **limits: float) -> ParserProcess:
        monkeypatch.setattr(children, "_BOOT", _BAD_WORKER.format(root=root, action=action))
        made.append(ParserProcess(ParserLimits(**limits)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for process in made:
        process.close()


def source(**limits: float) -> Source:
    return Source(
        path=SAMPLES / "spans.html",
        name="a.html",
        media_type="text/html",
        limits=ParserLimits(**limits),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("action", "expected", "words"),
    [
        ("os.kill(os.getpid(), 11)", DocumentUnreadable, "its parser crashed (SIGSEGV)"),
        ("os._exit(3)", DocumentUnreadable, "its parser crashed (exit code 3)"),
        ("os.kill(os.getpid(), 9)", DocumentTooLarge, "of memory to read"),
        ("raise MemoryError", DocumentTooLarge, "of memory to read"),
        ("raise RecursionError", DocumentUnreadable, "nested too deeply"),
        ("raise RuntimeError('one' + chr(10) + 'two')", DocumentUnreadable, "failed (one)."),
        ("raise BaseException", DocumentUnreadable, "its parser crashed (BaseException)"),
        (
            "os.write(2, b'thread panicked\\n'); os.abort()",
            DocumentUnreadable,
            "its parser crashed (thread panicked)",
        ),
        (
            "os.write(2, b'memory allocation of 8 bytes failed\\n'); os.abort()",
            DocumentTooLarge,
            "of memory to read",
        ),
    ],
)
@posix
def test_crash_becomes_a_sentence_and_the_next_document_works(
    misbehaving: Callable[..., ParserProcess],
    monkeypatch: pytest.MonkeyPatch,
    action: str,
    expected: type[DocumentRejected],
    words: str,
) -> None:
    boot = children._BOOT
    process = misbehaving(action.replace("\n", "\\n"))
    with pytest.raises(expected) as caught:
        process.read(source())
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    process.close()
    monkeypatch.setattr(children, "_BOOT", boot)
    assert process.read(source()).text


@pytest.mark.parametrize("action", ["time.sleep(60)", "[0 for _ in iter(int, 1)]"])
def test_endless_document_is_stopped(
    misbehaving: Callable[..., ParserProcess], action: str
) -> None:
    process = misbehaving(action, timeout_seconds=0.5)
    begun = time.monotonic()
    with pytest.raises(DocumentTooLarge, match=r"within 0\.5 seconds.*RAG_PARSER_TIMEOUT_SECONDS"):
        process.read(source(timeout_seconds=0.5))
    assert time.monotonic() - begun < 10


def test_progress_sets_the_clock_back(misbehaving: Callable[..., ParserProcess]) -> None:
    action = "[(time.sleep(0.2), source.progress()) for _ in range(8)]; raise MemoryError"
    with pytest.raises(DocumentTooLarge, match="memory"):
        misbehaving(action, timeout_seconds=1.0).read(source())


@linux
def test_memory_is_limited(misbehaving: Callable[..., ParserProcess]) -> None:
    process = misbehaving("bytearray(2 << 30)", max_memory_bytes=500 << 20)
    with pytest.raises(DocumentTooLarge, match=r"more than 500 MB of memory.*MAX_MEMORY_BYTES"):
        process.read(source(max_memory_bytes=500 << 20))


@pytest.mark.parametrize(
    "action",
    [
        "print('noise', flush=True); os.write(1, b'noise'); raise MemoryError",
        "import logging; logging.warning('noise'); raise MemoryError",
    ],
)
def test_what_libraries_print_reaches_nobody(
    misbehaving: Callable[..., ParserProcess], capfd: pytest.CaptureFixture[str], action: str
) -> None:
    with pytest.raises(DocumentTooLarge):
        misbehaving(action).read(source())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"parsed": 1},
        {"error": "SystemExit", "message": "x"},
        {"parsed": {"text": "x", "media_type": "y", "title": None, "kind": "z"}},
    ],
)
def test_replies_that_make_no_sense(
    misbehaving: Callable[..., ParserProcess], reply: object
) -> None:
    process = misbehaving(f"frames.success = lambda parsed: {reply!r}")
    with pytest.raises(DocumentUnreadable):
        process.read(source())


@pytest.mark.parametrize(
    "action",
    [
        "__import__('socket').create_connection(('127.0.0.1', 9))",
        "__import__('socket').getaddrinfo('example.org', 80)",
        "__import__('subprocess').run(['true'])",
        "os.system('true')",
    ],
)
def test_no_network_and_no_programs(misbehaving: Callable[..., ParserProcess], action: str) -> None:
    with pytest.raises(DocumentUnreadable, match="not allowed while parsing"):
        misbehaving(action).read(source())


@linux
@pytest.mark.parametrize(
    "call", ["socket(2, 1, 0)", "socket(10, 2, 0)", "execv(b'/bin/true', None)"]
)
def test_native_code_has_no_network_and_no_programs_either(
    misbehaving: Callable[..., ParserProcess], call: str
) -> None:
    if platform.machine() not in {"x86_64", "aarch64"}:
        pytest.skip("the filter knows x86-64 and ARM64 alone")
    action = (
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True); "
        f"done = libc.{call}; raise RuntimeError(f'{{done}} {{ctypes.get_errno()}}')"
    )
    with pytest.raises(DocumentUnreadable, match=r"failed \(-1 13\)"):
        misbehaving(action).read(source())


def test_secrets_stay_outside(
    misbehaving: Callable[..., ParserProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_LLM_API_KEY", "secret")
    with pytest.raises(DocumentUnreadable, match="RAG_LLM_API_KEY"):
        misbehaving("os.environ['RAG_LLM_API_KEY']").read(source())


def test_process_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "_BOOT", "import nowhere_to_be_found")
    with pytest.raises(ConfigurationError, match=r"cannot be started: .*nowhere_to_be_found"):
        ParserProcess(ParserLimits()).read(source())


def test_modules_in_the_current_folder_are_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json.py", "kreuzberg.py", "numpy.py"):
        (tmp_path / name).write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    process = ParserProcess(ParserLimits())
    assert process.read(source()).text
    process.close()


@linux
async def test_one_process_is_reused_and_replaced_after_many(
    parser: SandboxedParser, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = SAMPLES / "spans.html"
    await parser.parse(page, "a.html")
    first = pid_of(parser)
    await parser.parse(page, "b.html")
    assert pid_of(parser) == first
    monkeypatch.setattr(process_module, "_DOCUMENTS", 2)
    await parser.parse(page, "c.html")
    assert pid_of(parser) != first
    assert not is_alive(first)


@linux
async def test_cancelling_kills_the_process(parser: SandboxedParser) -> None:
    await parser.parse(SAMPLES / "spans.html", "a.html")
    first = pid_of(parser)
    slow = asyncio.create_task(parser.parse(SAMPLES / "chinese.jpeg", "slow.jpeg"))
    await asyncio.sleep(0.2)
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    await wait_until(lambda: not is_alive(first))
    assert (await parser.parse(SAMPLES / "spans.html", "b.html")).text


async def test_cancelling_one_that_waits_leaves_the_others(parser: SandboxedParser) -> None:
    page = SAMPLES / "spans.html"
    tasks = [asyncio.create_task(parser.parse(page, f"{n}.html")) for n in range(20)]
    await asyncio.sleep(0)
    tasks[10].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(result, BaseException) for result in done) <= 1


async def test_documents_are_parsed_side_by_side() -> None:
    parser = SandboxedParser(ParserLimits(), processes=3)
    page = SAMPLES / "spans.html"
    parsed = await asyncio.gather(*(parser.parse(page, f"{n}.html") for n in range(12)))
    assert len({document.text for document in parsed}) == 1
    assert 1 <= len(parser._lanes._processes) <= 3
    await parser.aclose()
    assert (await parser.parse(page, "again.html")).text
    await parser.aclose()


async def test_closing_fails_what_is_running_and_says_so(parser: SandboxedParser) -> None:
    await parser.parse(SAMPLES / "spans.html", "a.html")
    tasks = [
        asyncio.create_task(parser.parse(SAMPLES / "chinese.jpeg", f"{n}.jpeg")) for n in range(3)
    ]
    await asyncio.sleep(0.3)
    await parser.aclose()
    for number, outcome in enumerate(await asyncio.gather(*tasks, return_exceptions=True)):
        assert isinstance(outcome, ModelUnavailable)
        assert f"closed before '{number}.jpeg' was read" in str(outcome)


@posix
def test_names_of_any_bytes(tmp_path: Path) -> None:
    parser = SandboxedParser(ParserLimits(), processes=1)
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/gr\xfc\xdfe.html"))
    path.write_bytes((SAMPLES / "spans.html").read_bytes())
    assert asyncio.run(parser.parse(path, path.name)).text
    asyncio.run(parser.aclose())


@linux
async def test_forgotten_parser_ends_its_process() -> None:
    parser = SandboxedParser(ParserLimits(), processes=1)
    await parser.parse(SAMPLES / "spans.html", "a.html")
    pid = pid_of(parser)
    del parser
    await wait_until(lambda: not is_alive(pid))


def test_parser_outlives_event_loops() -> None:
    parser = SandboxedParser(ParserLimits(), processes=1)
    for _ in range(2):
        assert asyncio.run(parser.parse(SAMPLES / "spans.html", "a.html")).text
    asyncio.run(parser.aclose())


_PROGRAM = """
import asyncio, sys
from pathlib import Path
from rag_engine.adapters.parsers.limits import ParserLimits
from rag_engine.adapters.parsers.sandbox import SandboxedParser
async def main():
    parser = SandboxedParser(ParserLimits(), processes=1)
    samples = Path(sys.argv[1])
    await parser.parse(samples / "spans.html", "a.html")
    print(parser._lanes._processes[0]._process.pid, flush=True)
    while True:
        await parser.parse(samples / "chinese.jpeg", "slow.jpeg")
asyncio.run(main())
"""


@linux
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_orphan_is_left(sent: signal.Signals) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(SAMPLES)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert program.stdout is not None
    pid = int(program.stdout.readline())
    time.sleep(0.3)
    program.send_signal(sent)
    program.wait(5)
    asyncio.run(wait_until(lambda: not is_alive(pid)))
    program.stdout.close()


async def test_missing_file(parser: SandboxedParser, tmp_path: Path) -> None:
    with pytest.raises(DocumentUnreadable, match=r"'gone\.pdf' does not exist"):
        await parser.parse(tmp_path / "gone.pdf", "gone.pdf")


async def test_folder(parser: SandboxedParser, tmp_path: Path) -> None:
    with pytest.raises(DocumentUnreadable, match="is a folder"):
        await parser.parse(tmp_path, "folder")


@posix
async def test_pipe_is_not_waited_for(parser: SandboxedParser, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DocumentUnreadable, match="not a regular file"):
        await parser.parse(tmp_path / "pipe", "pipe")


async def test_unreadable_file(
    parser: SandboxedParser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    # Root reads everything, so the refusal is played.
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DocumentUnreadable, match=r"cannot be opened: Permission denied\. Check"):
        await parser.parse(path, "a.txt")


@pytest.mark.parametrize("data", [b"", b" \n\t\n"])
async def test_empty_file(parser: SandboxedParser, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(DocumentEmpty, match=r"'a\.txt' has nothing to index"):
        await parser.parse(path, "a.txt")


async def test_huge_file_is_refused_before_it_is_read(
    parser: SandboxedParser, tmp_path: Path
) -> None:
    path = tmp_path / "huge.pdf"
    with path.open("wb") as file:
        file.truncate(500 * 1024 * 1024)
    begun = time.monotonic()
    with pytest.raises(DocumentTooLarge, match=r"500 MB.*limit is 200 MB.*RAG_PARSER_MAX_BYTES"):
        await parser.parse(path, "huge.pdf")
    assert time.monotonic() - begun < 1


async def test_binary_junk(parser: SandboxedParser, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(DocumentUnreadable, match="no type that can be read"):
        await parser.parse(path, "a.bin")


async def test_container_that_lies_about_its_size(parser: SandboxedParser, tmp_path: Path) -> None:
    original = (SAMPLES / "headings.docx").read_bytes()
    bloated = documents.rezipped(original, {"word/document.xml": b"<w>" + b" " * 300_000_000})
    path = tmp_path / "bomb.docx"
    path.write_bytes(documents.claiming(bloated, "word/document.xml", 1000))
    with pytest.raises(DocumentRejected):
        await parser.parse(path, "bomb.docx")
    assert (await parser.parse(SAMPLES / "headings.docx", "a.docx")).text


async def test_text_and_sandboxed_formats_are_fast(parser: SandboxedParser, tmp_path: Path) -> None:
    text = tmp_path / "a.md"
    text.write_text("# Title\n\nA short note.\n")
    page = SAMPLES / "spans.html"
    await parser.parse(page, "warm.html")
    # Measured 0.4 ms and 3 ms; the limits leave room for a busy machine.
    assert await fastest(parser, text) < 0.003
    assert await fastest(parser, page) < 0.015


async def fastest(parser: SandboxedParser, path: Path) -> float:
    times = []
    for _ in range(20):
        begun = time.perf_counter()
        await parser.parse(path, path.name)
        times.append(time.perf_counter() - begun)
    return min(times)


def test_fingerprint_follows_libraries_and_what_shapes_the_text() -> None:
    with_ocr = SandboxedParser(ParserLimits()).fingerprint
    assert "pypdfium2=" in with_ocr
    assert SandboxedParser(ParserLimits(timeout_seconds=5)).fingerprint == with_ocr
    assert SandboxedParser(ParserLimits(ocr=False)).fingerprint != with_ocr
