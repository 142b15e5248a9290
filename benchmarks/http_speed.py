"""How fast `rag-engine serve` answers over HTTP, and what it holds: `python benchmarks/http_speed.py`.

A workspace of 20,000 generated chunks in the embedded store (`generated.py`, of English words, so that
a question has as many tokens as people's have), the local embedding model, the server and this load
generator on the same cores. Requests come when they are due, whether or not earlier ones were answered
(an open loop), and times count from when they were due, so that a server that stalls is not asked less.

Measured, in this order:

* what HTTP adds: searches one after another, the server's time of each request less the engine's;
* searches in mode `graph`, 30 a second for a minute;
* the same while 30 documents a second come in, first while nobody ingests them (as where workers
  run elsewhere), then while the same process does;
* memory over 20,000 searches, and over 200 uploads of 20 MB.

The exit code is 1 if a target is missed or a request failed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import english
from footprint import resident_mb
from generated import Corpus, Shape, fill
from machine import machine
from open_loop import Answer, Client, Request, Row, open_loop

from rag_engine import build, load_settings

SHAPE: Final = Shape(documents=200, chunks_per_document=100)
RATE: Final = 30.0
SECONDS: Final = 60.0
UPLOAD_BYTES: Final = 20_000_000
WARM_UP: Final = 10.0
ALONE: Final = 300
"""Searches one after another."""

P95_MS: Final = 150.0
OWN_MS: Final = 3.0
TIMES_SLOWER: Final = 2.0
GROWTH: Final = 1.05
"""Targets: of a search, of what HTTP adds, under uploads, and of memory in the second half of a run."""

_FORM: Final = {"Content-Type": "multipart/form-data; boundary=x"}


@dataclass(frozen=True, slots=True)
class Served:
    """A server, and a client of it."""

    client: Client
    pid: int

    def memory(self) -> float:
        """What the server holds, in MB."""
        return resident_mb(self.pid)


@contextlib.contextmanager
def _process(folder: Path, *words: str) -> Iterator[tuple[str, int]]:
    """A server on a free port; its address and process."""
    command = [sys.executable, "-m", "rag_engine_cli", "--data-dir", str(folder)]
    child = subprocess.Popen(
        [*command, "serve", "--port", "0", *words], stderr=subprocess.PIPE, text=True
    )
    try:
        said = child.stderr.readline() if child.stderr else ""
        found = re.search(r"at (http://\S+)", said)
        if found is None:
            raise RuntimeError(f"The server did not start: {said}")
        yield found[1], child.pid
    finally:
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=60)


@contextlib.asynccontextmanager
async def serving(folder: Path, *words: str) -> AsyncIterator[Served]:
    """A server that has answered questions for a while, so that it holds what it needs."""
    with _process(folder, *words) as (address, pid):
        async with Client(address) as client:
            served = Served(client, pid)
            questions = Questions()
            warm = await open_loop(lambda n: questions.ask(served, n), rate=10.0, seconds=WARM_UP)
            if warm.failures:
                raise RuntimeError(warm.failures[0])
            yield served


def _corpus(seed: int) -> Corpus:
    return Corpus(SHAPE, seed, word=english.word, name=english.name)


class Questions:
    """Questions that name two things and some words of the generated workspace: 15 tokens or so."""

    def __init__(self) -> None:
        corpus = _corpus(99)
        self._texts = [
            f"What did {' tell '.join(corpus.names(2))} about {' '.join(corpus.words(4))}?"
            for _ in range(500)
        ]

    async def ask(self, served: Served, number: int) -> Answer:
        """Search for what one of them asks for."""
        asked = {"question": self._texts[number % len(self._texts)], "mode": "graph"}
        kind = {"Content-Type": "application/json"}
        return await served.client.send("POST", "/api/v1/search", json.dumps(asked).encode(), kind)


async def upload(served: Served, number: int) -> Answer:
    """Send a short document."""
    met = f"{english.name(number)} met {english.name(number + 1)} about the {english.word(number)}."
    text = f"Note {number}\n\n" + 8 * f"{met} "
    body = b"".join(_form(f"note-{number}.txt", (text.encode(),)))
    return await served.client.send("POST", "/api/v1/documents", body, _FORM)


def _form(name: str, blocks: Iterable[bytes]) -> Iterator[bytes]:
    """A file as a form sends it."""
    head = f'Content-Disposition: form-data; name=files; filename="{name}"'
    yield f"--x\r\n{head}\r\n\r\n".encode()
    yield from blocks
    yield b"\r\n--x--\r\n"


async def own_share(served: Served) -> Row:
    """What HTTP adds to a search in the server, on average: its requests less its questions."""
    questions, before = Questions(), await _spent(served)
    for number in range(ALONE):
        await questions.ask(served, number)
    after = await _spent(served)
    return {"what": "what HTTP adds to a search", "mean_ms": 1e3 * (after - before) / ALONE}


async def _spent(served: Served) -> float:
    """Seconds of all searches so far beyond those of the engine, as `/metrics` has them."""
    told = (await served.client.send("GET", "/metrics")).body.decode()

    def seconds(of: str) -> float:
        return sum(float(one) for one in re.findall(rf"^{of} (\S+)$", told, re.MULTILINE))

    asked = seconds(r'rag_http_request_seconds_sum\{.*route="/api/v1/search".*\}')
    return asked - seconds(r'rag_question_seconds_sum\{.*stage="search".*\}')


async def searches(served: Served, seconds: float, what: str) -> Row:
    """Searches alone."""
    questions = Questions()
    answers = await open_loop(lambda n: questions.ask(served, n), rate=RATE, seconds=seconds)
    return answers.row(what)


async def with_uploads(served: Served, seconds: float, what: str) -> list[Row]:
    """Searches while documents come in."""
    questions = Questions()
    asked, sent = await asyncio.gather(
        open_loop(lambda n: questions.ask(served, n), rate=RATE, seconds=seconds),
        open_loop(lambda n: upload(served, n), rate=RATE, seconds=seconds),
    )
    return [asked.row(f"search, {what}"), sent.row(f"upload, {what}")]


async def memory_of(served: Served, request: Request, count: int, what: str) -> Row:
    """Memory over requests, four at a time."""
    samples, numbers, failures = list[float](), iter(range(count)), list[str]()

    async def some() -> None:
        for number in numbers:
            if failure := (await request(number)).failure:
                failures.append(failure)
            if number % max(1, count // 40) == 0:
                samples.append(served.memory())

    await asyncio.gather(*(some() for _ in range(4)))
    half = len(samples) // 2
    return {
        "what": what,
        "requests": count,
        "first_half_mb": max(samples[:half]),
        "second_half_mb": max(samples[half:]),
        "failures": failures[:5],
    }


async def send_large(served: Served, path: Path, number: int) -> Answer:
    """Send 20 MB from a file, no two alike."""

    def blocks() -> Iterator[bytes]:
        yield f"Document {number}\n".encode()
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                yield block

    body = _form(f"large-{number}.txt", blocks())
    return await served.client.send("POST", "/api/v1/documents", body, _FORM)


async def run(folder: Path, seconds: float, requests: int, uploads: int) -> list[Row]:
    """Fill the workspace if it is empty, then measure all."""
    await _fill(folder)
    rows: list[Row] = []
    async with serving(folder, "--no-workers") as served:
        rows.append(await own_share(served))
        rows.append(await searches(served, seconds, "search"))
        rows += await with_uploads(served, seconds, "while documents come in")
    async with serving(folder) as served:
        rows += await with_uploads(served, seconds, "while documents come in and are ingested")
    async with serving(folder, "--no-workers") as served:
        questions = Questions()
        rows.append(
            await memory_of(
                served, lambda n: questions.ask(served, n), requests, "memory over searches"
            )
        )
        large = folder / "large.bin"
        large.write_bytes(b"All work and no play.\n" * (UPLOAD_BYTES // 22))
        rows.append(
            await memory_of(
                served, lambda n: send_large(served, large, n), uploads, "memory over 20 MB uploads"
            )
        )
    return rows


async def _fill(folder: Path) -> None:
    engine = await asyncio.to_thread(build, load_settings(data_dir=str(folder)))
    try:
        workspace = await engine.control.open("default", create=True)
        if not await workspace.queue.versions(limit=1):
            await fill(workspace, _corpus(7), 0, SHAPE.documents, lambda _: None)
    finally:
        await engine.aclose()


def verdict(rows: list[Row]) -> list[str]:
    """What was missed, in words."""
    of = {row["what"]: row for row in rows}
    missed = [f"{row['what']}: {one}" for row in rows for one in row.get("failures", ())]
    alone = of["search"]["p95_ms"]
    under = of["search, while documents come in"]["p95_ms"]
    own = of["what HTTP adds to a search"]["mean_ms"]
    if alone > P95_MS:
        missed.append(f"95 % of searches took up to {alone:.0f} ms, wanted {P95_MS:.0f}")
    if under > TIMES_SLOWER * alone:
        missed.append(f"under uploads {under:.0f} ms, wanted {TIMES_SLOWER * alone:.0f}")
    if own > OWN_MS:
        missed.append(f"HTTP added {own:.1f} ms, wanted {OWN_MS:.0f}")
    missed += [
        f"{row['what']} grew to {row['second_half_mb']:.0f} MB"
        for row in rows
        if "second_half_mb" in row and row["second_half_mb"] > GROWTH * row["first_half_mb"]
    ]
    return missed


def main() -> None:
    """Parse the command line, measure, print; exit code 1 if something is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each load")
    parser.add_argument("--requests", type=int, default=20_000, help="over which memory is seen")
    parser.add_argument("--uploads", type=int, default=200, help="of 20 MB each")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = asyncio.run(
            run(Path(folder), arguments.seconds, arguments.requests, arguments.uploads)
        )
    for row in rows:
        values = "  ".join(f"{k} {v:,.1f}" for k, v in row.items() if isinstance(v, float))
        print(f"{row['what']:56} {values}")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))
    if missed := verdict(rows):
        print("Missed: " + "; ".join(missed))
        sys.exit(1)


if __name__ == "__main__":
    main()
