"""A parsed text as segments: the smallest pieces a chunk is put together from.

Prose falls into headings, paragraphs and sentences, code and tables into lines. A segment that is
larger than a chunk may be is cut at words, and a word that is still larger, anywhere.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import chain, pairwise, repeat
from typing import Final

from rag_engine.core.models import ParsedDocument, TextKind
from rag_engine.core.sentences import sentence_spans

CountTokens = Callable[[Sequence[str]], list[int]]
Span = tuple[int, int]

_CHARACTERS_PER_TOKEN: Final = 8
"""A tokenizer may swallow a word of any length as one unknown token; nobody could read the chunk."""

_GAP: Final = re.compile(r"\n[^\S\n]*\n\s*")
_TABLE_ROW: Final = re.compile(r"\s*\|")  # in Markdown each row is a line between bars
_LINE: Final = re.compile(r"[^\n]+")


class Cut(IntEnum):
    """How good a place to cut the beginning of a segment is."""

    WORD = 0  # inside a sentence
    SENTENCE = 1  # between sentences, or between lines of code or of a table
    PARAGRAPH = 2  # after a blank line
    DEFINITION = 3  # code that begins at the margin after a blank line
    HEADING = 4  # a section begins


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A piece of the text without white space at either end.

    Attributes:
        size: Its length in tokens, or an eighth of its characters where that is more.
        section: How many headings begin at or before it; 0 before the first.
        cut: How good it is to begin a chunk with it.
    """

    start: int
    end: int
    size: int
    section: int
    cut: Cut


def segment(parsed: ParsedDocument, count_tokens: CountTokens, limit: int) -> list[Segment]:
    """Cut a text into segments of at most `limit` tokens that hold all but its white space.

    Args:
        parsed: The text, its headings and its kind.
        limit: Longest segment, in tokens.
        count_tokens: Called a few times at most, whatever the length of the text.
    """
    text = parsed.text
    borders = [h.offset for h in parsed.headings]
    pieces: list[tuple[Span, Cut]] = []
    for start, end, heading in _sections(text, borders):
        body = start
        if heading:
            body = min(end, _end_of_line(text, start))
            pieces.extend((span, Cut.HEADING) for span in _stripped(text, start, body))
        pieces.extend(_SPLITTERS[parsed.kind](text, body, end))
    sized = _bounded(text, pieces, count_tokens, limit)
    return [
        Segment(start=start, end=end, size=size, section=bisect_right(borders, start), cut=cut)
        for (start, end), size, cut in sized
    ]


def _sections(text: str, borders: Sequence[int]) -> list[tuple[int, int, bool]]:
    edges = [0, *borders, len(text)]
    return [
        (start, end, index > 0) for index, (start, end) in enumerate(pairwise(edges)) if start < end
    ]


def _end_of_line(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def _stripped(text: str, start: int, end: int) -> list[Span]:
    piece = text[start:end]
    stripped = piece.strip()
    if not stripped:
        return []
    start += len(piece) - len(piece.lstrip())
    return [(start, start + len(stripped))]


def _prose(text: str, start: int, end: int) -> list[tuple[Span, Cut]]:
    pieces: list[tuple[Span, Cut]] = []
    cut = Cut.PARAGRAPH
    at = start
    for gap in [*_GAP.finditer(text, start, end), None]:
        stop = gap.start() if gap else end
        if _TABLE_ROW.match(text, at, stop):
            spans = [span for span, _ in _table(text, at, stop)]
        else:
            spans = [(at + first, at + last) for first, last in sentence_spans(text[at:stop])]
        for span in spans:
            pieces.append((span, cut))
            cut = Cut.SENTENCE
        cut = Cut.PARAGRAPH
        at = gap.end() if gap else end
    return pieces


def _code(text: str, start: int, end: int) -> list[tuple[Span, Cut]]:
    pieces: list[tuple[Span, Cut]] = []
    after_gap = False
    for line in _LINE.finditer(text, start, end):
        spans = _stripped(text, *line.span())
        cut = Cut.SENTENCE
        if after_gap or (line.start() > start and text[line.start() - 2 : line.start()] == "\n\n"):
            at_margin = spans and spans[0][0] == line.start()
            cut = Cut.DEFINITION if at_margin else Cut.PARAGRAPH
        pieces.extend((span, cut) for span in spans)
        after_gap = not spans
    return pieces


def _table(text: str, start: int, end: int) -> list[tuple[Span, Cut]]:
    return [
        (span, Cut.SENTENCE)
        for line in _LINE.finditer(text, start, end)
        for span in _stripped(text, *line.span())
    ]


_SPLITTERS: Final = {TextKind.PROSE: _prose, TextKind.CODE: _code, TextKind.TABLE: _table}


def _bounded(
    text: str, pieces: Sequence[tuple[Span, Cut]], count_tokens: CountTokens, limit: int
) -> list[tuple[Span, int, Cut]]:
    """Sizes of all pieces; those above the limit are cut again until none is left."""
    sizes = _sizes(text, [span for span, _ in pieces], count_tokens)
    sized = [(span, size, cut) for (span, cut), size in zip(pieces, sizes, strict=True)]
    while any(size > limit for _, size, _ in sized):
        parts: list[tuple[Span, int, Cut]] = []
        for span, size, cut in sized:
            if size <= limit or span[1] - span[0] == 1:
                parts.append((span, min(size, limit), cut))
                continue
            cuts = chain([cut], repeat(Cut.WORD))
            smaller = _cut_up(text, span, size, limit)
            parts.extend((s, -1, c) for s, c in zip(smaller, cuts, strict=False))
        open_spans = [span for span, size, _ in parts if size < 0]
        counted = iter(_sizes(text, open_spans, count_tokens))
        sized = [(s, next(counted) if size < 0 else size, c) for s, size, c in parts]
    return sized


def _sizes(text: str, spans: Sequence[Span], count_tokens: CountTokens) -> list[int]:
    counts = count_tokens([text[start:end] for start, end in spans]) if spans else []
    return [
        max(count, -(-(end - start) // _CHARACTERS_PER_TOKEN))
        for count, (start, end) in zip(counts, spans, strict=True)
    ]


def _cut_up(text: str, span: Span, size: int, limit: int) -> list[Span]:
    """Cut a span into about equal parts, at line ends or white space where some are nearby."""
    start, end = span
    parts = -(-size * 2 // limit)
    step = max(1, (end - start) // parts)
    spans: list[Span] = []
    while start < end:
        stop = min(end, start + step)
        if stop < end:
            stop = _cut_near(text, start, stop)
        spans.extend(_stripped(text, start, stop))
        start = stop
    return spans


def _cut_near(text: str, start: int, stop: int) -> int:
    half = start + (stop - start) // 2
    line_end = text.rfind("\n", half, stop)
    if line_end > start:
        return line_end
    for at in range(stop, half, -1):
        if text[at].isspace():
            return at
    while stop > start + 1 and unicodedata.combining(text[stop]):
        stop -= 1
    return stop
