"""Whatever the bytes, the answer is a document or a refusal, and the next document works."""

from __future__ import annotations

import asyncio
import io
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from documents import SAMPLES, rezipped
from rag_engine.adapters.parsers.limits import ParserLimits
from rag_engine.adapters.parsers.sandbox import SandboxedParser
from rag_engine.errors import DocumentRejected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rag_engine.core.models import ParsedDocument

NAMES = sorted(path.name for path in SAMPLES.iterdir() if path.suffix not in {".md", ".jpeg"})
CONTAINERS = [name for name in NAMES if name.endswith(("x", "odt", "epub"))]
SUFFIXES = ["", ".txt", ".md", ".csv", ".json", ".html", ".xml", ".eml", ".ipynb", ".py", ".rst"]

edits = st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=20)


@pytest.fixture(scope="module")
def parser() -> Iterator[SandboxedParser]:
    # Without recognition: mutated scans would take minutes and test RapidOCR, not us.
    limits = ParserLimits(timeout_seconds=20, max_unpacked_bytes=50_000_000, ocr=False)
    parser = SandboxedParser(limits, processes=1)
    yield parser
    asyncio.run(parser.aclose())


def check(parser: SandboxedParser, data: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(data)
        outcome = asyncio.run(outcome_of(parser, path, name))
    if isinstance(outcome, DocumentRejected):
        assert repr(name) in str(outcome)
        assert str(outcome).endswith(".")
    else:
        assert outcome.text.strip()
        outcome.text.encode("utf-8")


async def outcome_of(
    parser: SandboxedParser, path: Path, name: str
) -> ParsedDocument | DocumentRejected:
    try:
        return await parser.parse(path, name)
    except DocumentRejected as exc:
        return exc


def mutated(data: bytes, edits: list[tuple[float, bytes]]) -> bytes:
    changed = bytearray(data)
    for place, replacement in edits:
        at = int(place * (len(changed) - 1))
        changed[at : at + len(replacement)] = replacement
    return bytes(changed)


@given(name=st.sampled_from(NAMES), edits=edits, keep=st.floats(0.05, 1))
def test_mutated_samples(
    parser: SandboxedParser, name: str, edits: list[tuple[float, bytes]], keep: float
) -> None:
    data = mutated((SAMPLES / name).read_bytes(), edits)
    # Half of the runs keep the whole file: most formats give up at once on a truncated one.
    end = len(data) if keep > 0.5 else int(2 * keep * len(data))
    check(parser, data[:end], name)


@given(name=st.sampled_from(CONTAINERS), member=st.floats(0, 1), edits=edits)
def test_mutated_members(
    parser: SandboxedParser, name: str, member: float, edits: list[tuple[float, bytes]]
) -> None:
    """Damage behind the checksums of a container, where its own parser has to notice."""
    data = (SAMPLES / name).read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        chosen = archive.namelist()[int(member * (len(archive.namelist()) - 1))]
        part = archive.read(chosen)
    check(parser, rezipped(data, {chosen: mutated(part, edits)} if part else {}), name)


@given(data=st.binary(min_size=1, max_size=2_000), suffix=st.sampled_from(SUFFIXES))
def test_any_bytes(parser: SandboxedParser, data: bytes, suffix: str) -> None:
    check(parser, data, f"file{suffix}")


@given(text=st.text(min_size=1, max_size=2_000), suffix=st.sampled_from(SUFFIXES))
def test_any_text(parser: SandboxedParser, text: str, suffix: str) -> None:
    check(parser, text.encode("utf-8", "surrogatepass"), f"file{suffix}")


markup = st.text(alphabet="<>/!-=\"' &;abhtrdliuop#[]\n", max_size=500)


@given(body=markup)
def test_any_markup(parser: SandboxedParser, body: str) -> None:
    check(parser, f"<html><body>{body}".encode(), "page.html")
