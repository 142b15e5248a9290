from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag_engine.core.models import Chunk, Heading, PageStart, ParsedDocument, TextKind
from rag_engine.ingest.chunk import ChunkSize, chunk, embedded_text

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZE = ChunkSize(max_tokens=64, target_tokens=40, overlap_tokens=12)


def words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def bytewise(texts: Sequence[str]) -> list[int]:
    return [len(text.encode("utf-8", "replace")) for text in texts]


def cut(
    text: str,
    *,
    size: ChunkSize = SIZE,
    headings: Sequence[Heading] = (),
    kind: TextKind = TextKind.PROSE,
    title: str | None = None,
    pages: Sequence[PageStart] = (),
) -> list[Chunk]:
    parsed = ParsedDocument(
        text=text,
        media_type="text/plain",
        title=title,
        kind=kind,
        headings=tuple(headings),
        pages=tuple(pages),
    )
    return chunk(parsed, document_id="d", version=1, count_tokens=words, size=size)


pieces = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            "\n\n",
            "\n",
            ". ",
            "! ",
            "。",
            "Dr. No",
            "word " * 9,
            "x" * 700,
            "नमस्ते। ",
            "- item\n",
            "e\u0301",
        ]
    ),
)


@st.composite
def documents(draw: st.DrawFn) -> ParsedDocument:
    text = "".join(draw(st.lists(pieces, max_size=60)))
    offsets = sorted(draw(st.sets(st.integers(0, max(0, len(text) - 1)), max_size=6)))
    headings = [
        Heading(offset=o, level=draw(st.integers(1, 4)), title=draw(st.text(max_size=40)))
        for o in offsets
        if text
    ]
    return ParsedDocument(
        text=text,
        media_type="text/plain",
        title=draw(st.none() | st.text(max_size=80)),
        kind=draw(st.sampled_from(list(TextKind))),
        headings=tuple(headings),
    )


@pytest.mark.parametrize("count", [words, bytewise])
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(parsed=documents(), overlap=st.integers(0, 30), maximum=st.integers(64, 200))
def test_chunks_are_exact_bounded_and_hold_all_text(
    count: object, parsed: ParsedDocument, overlap: int, maximum: int
) -> None:
    assert callable(count)
    size = ChunkSize(max_tokens=maximum, target_tokens=48, overlap_tokens=overlap)
    chunks = chunk(parsed, document_id="d", version=1, count_tokens=count, size=size)
    assert chunks == chunk(parsed, document_id="d", version=1, count_tokens=count, size=size)
    covered = [False] * len(parsed.text)
    for ordinal, found in enumerate(chunks):
        assert found.ordinal == ordinal
        assert found.text == parsed.text[found.start : found.end] == found.text.strip() != ""
        assert [found.tokens] == count([found.text])
        whole = embedded_text(
            parsed.title, found.heading_path, found.text, prefix_bytes=size.prefix_bytes
        )
        assert count([whole])[0] <= maximum
        covered[found.start : found.end] = [True] * len(found.text)
    assert all(c or t.isspace() for c, t in zip(covered, parsed.text, strict=True))
    assert len({c.id for c in chunks}) == len(chunks)
    assert all(a.start < b.start and a.end < b.end for a, b in pairwise(chunks))


def test_a_text_that_fits_is_one_chunk() -> None:
    text = "First paragraph.\n\nSecond paragraph. " + "word " * 50
    assert [c.text for c in cut(text)] == [text.strip()]


def test_a_long_text_is_cut_between_sentences_into_chunks_of_like_size() -> None:
    sentence = "One two three four five six seven eight nine ten. "
    chunks = cut(sentence * 13, size=ChunkSize(max_tokens=64, target_tokens=40, overlap_tokens=0))
    assert sorted(c.tokens for c in chunks) == [40, 40, 50]
    assert all(c.text.endswith("ten.") for c in chunks)


def test_the_overlap_is_whole_sentences() -> None:
    text = " ".join(f"S{i} two three four five six seven eight nine ten." for i in range(12))
    chunks = cut(text)
    for before, after in pairwise(chunks):
        assert text[after.start : before.end].endswith("ten.")
        assert words([text[after.start : before.end]]) == [10]


def test_a_section_is_not_mixed_with_the_next_chapter() -> None:
    parts = ["One\n" + "a " * 20, "Two\n" + "b " * 50]
    text = "\n".join(parts)
    headings = [
        Heading(offset=0, level=1, title="One"),
        Heading(offset=len(parts[0]) + 1, level=1, title="Two"),
    ]
    assert [c.heading_path for c in cut(text, headings=headings)] == [("One",), ("Two",)]


def test_small_sections_are_merged_under_their_common_heading() -> None:
    text = "Guide\nA\none two.\nB\nthree four.\nC\n" + "five " * 70
    headings = [
        Heading(offset=text.index(name + "\n"), level=level, title=name)
        for name, level in (("Guide", 1), ("A", 2), ("B", 2), ("C", 2))
    ]
    chunks = cut(text, headings=headings)
    assert chunks[0].text == "Guide\nA\none two.\nB\nthree four."
    assert chunks[0].heading_path == ("Guide",)
    assert {c.heading_path for c in chunks[1:]} == {("Guide", "C")}


def test_a_heading_stays_with_what_it_announces() -> None:
    text = "word " * 55 + "\n\nHeading\n" + "other " * 60
    chunks = cut(text, headings=[Heading(offset=text.index("Heading"), level=1, title="Heading")])
    assert all(not c.text.endswith("Heading") for c in chunks)


def test_a_table_is_cut_between_rows() -> None:
    text = "name,value\n" + "\n".join(f"row {i},{i} of many" for i in range(60))
    chunks = cut(text, kind=TextKind.TABLE)
    lines = set(text.split("\n"))
    assert all(set(c.text.split("\n")) <= lines for c in chunks)


def test_a_table_inside_prose_is_cut_between_rows() -> None:
    rows = "\n".join(f"| row {i} | {i} of many |" for i in range(30))
    chunks = cut(f"Here is a table.\n\n{rows}\n\nThat was it.")
    assert len(chunks) > 2
    assert all(line.endswith(("|", ".")) for c in chunks for line in c.text.split("\n") if line)


def test_code_is_cut_before_definitions() -> None:
    body = "\n".join(f"    a{i} = b{i} + c{i}" for i in range(6))
    text = "\n\n\n".join(f"def f{n}():\n{body}" for n in range(5))
    assert all(
        c.text.startswith("def f")
        for c in cut(
            text,
            kind=TextKind.CODE,
            size=ChunkSize(max_tokens=64, target_tokens=40, overlap_tokens=0),
        )
    )


def test_a_word_longer_than_a_chunk_is_cut_anywhere() -> None:
    chunks = cut("x" * 10_000)
    assert "".join(c.text for c in chunks) == "x" * 10_000
    assert max(len(c.text) for c in chunks) <= 64 * 8


def test_pages_are_those_of_first_and_last_character() -> None:
    text = "a " * 30 + "b " * 30
    pages = [PageStart(offset=0, number=4), PageStart(offset=60, number=5)]
    assert [c.pages for c in cut(text, pages=pages)] == [(4, 5)]


def test_the_tokenizer_is_called_a_few_times_only() -> None:
    calls = 0

    def count(texts: Sequence[str]) -> list[int]:
        nonlocal calls
        calls += 1
        return words(texts)

    parsed = ParsedDocument(text="One two three. " * 5000, media_type="text/plain")
    assert len(chunk(parsed, document_id="d", version=1, count_tokens=count, size=SIZE)) > 100
    assert calls <= 5


def test_embedded_text_has_title_and_headings_once() -> None:
    assert embedded_text("T", ("A", "B"), "text") == "T\nA\nB\ntext"
    assert embedded_text("T", ("T", "B"), "## B\ntext") == "T\n## B\ntext"
    assert embedded_text(None, (), "text") == "text"


def test_embedded_text_keeps_the_title_and_the_innermost_heading() -> None:
    long = embedded_text("Title", ("outer " * 30, "inner"), "text")
    assert re.fullmatch(r"Title\n(outer )+\w+\ninner\ntext", long)
    assert len(embedded_text("t" * 999, ("h" * 999,), "text")) <= 120 + len("\ntext")


@pytest.mark.parametrize("values", [{"max_tokens": 63}, {"max_tokens": 100, "target_tokens": 3}])
def test_sizes_that_cannot_work_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="too small"):
        ChunkSize(**values)
