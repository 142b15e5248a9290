"""A parsed document into chunks: passages that one vector and one citation can stand for.

Three steps, all pure: the text falls into segments (`segments.py`), runs of segments are chosen
whose ends are good places to cut, and the chosen passages are measured exactly. The tokenizer is
called a few times with everything, never once for each sentence.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import TYPE_CHECKING, Final

from rag_engine.core.ids import chunk_id
from rag_engine.core.models import Chunk, Heading, PageStart, ParsedDocument
from rag_engine.ingest.segments import CountTokens, Cut, Segment, segment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CHUNKER_VERSION: Final = 1
"""Raised whenever the same text may give other chunks."""

PREFIX_BYTES: Final = 120
"""Room for title and headings before a chunk. No tokenizer makes more tokens than bytes."""

_DEPTH: Final = 8  # headings in a path; deeper ones lose the outermost

_MARGIN: Final = 2  # what a tokenizer may add where title, headings and text are joined

Run = tuple[int, int]
"""Segments from the first to before the last."""

# What a good place to cut is worth, in shares of the target size it may miss: a chunk is cut at a
# paragraph when that makes it no more than a fifth smaller than cutting at a sentence would.
_WORTH: Final = {
    Cut.WORD: -0.5,
    Cut.SENTENCE: 0.0,
    Cut.PARAGRAPH: 0.2,
    Cut.DEFINITION: 0.5,
    Cut.HEADING: 0.8,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSize:
    """How large chunks are, in tokens of the embedder.

    Attributes:
        max_tokens: The embedder's limit: `embedded_text` of a chunk is never longer. At least 64.
        target_tokens: What chunks of a longer text come close to; a text that fits `max_tokens`
            is not cut.
        overlap_tokens: How much of the end of a chunk the next one repeats at most, in whole
            sentences, where the text was cut within a section.
    """

    max_tokens: int
    target_tokens: int = 200
    overlap_tokens: int = 40

    def __post_init__(self) -> None:
        if self.max_tokens < 64 or self.target_tokens < 16 or self.overlap_tokens < 0:
            raise ValueError(
                f"Chunks of {self.max_tokens} tokens (target {self.target_tokens}, overlap "
                f"{self.overlap_tokens}) are too small. Use an embedder that takes 64 or more."
            )

    @property
    def prefix_bytes(self) -> int:
        """Room for title and headings in `embedded_text`: half a chunk at most."""
        return min(PREFIX_BYTES, self.max_tokens // 2)


def chunk(
    parsed: ParsedDocument,
    *,
    document_id: str,
    version: int,
    count_tokens: CountTokens,
    size: ChunkSize,
) -> list[Chunk]:
    """Cut a document into chunks, in linear time.

    Each is an exact span of the text without white space at either end, every other character of
    the text is in one of them, and `embedded_text(parsed.title, chunk.heading_path, chunk.text)` is
    never longer than `size.max_tokens`. A title that outranks the parser's is to be put into
    `parsed` before.

    Returns:
        Chunks by ordinal; `[]` for a text of white space alone.
    """
    outline = _Outline(parsed, count_tokens, size)
    segments = segment(parsed, count_tokens, outline.segment_limit)
    runs = list(_Packer(segments, outline, size).runs())
    return [
        Chunk(
            id=chunk_id(document_id, version, ordinal),
            document_id=document_id,
            version=version,
            ordinal=ordinal,
            text=outline.text(segments[first:last]),
            start=segments[first].start,
            end=segments[last - 1].end,
            tokens=tokens,
            pages=_pages(parsed.pages, segments[first].start, segments[last - 1].end),
            heading_path=outline.path(segments[first:last]),
        )
        for ordinal, ((first, last), tokens) in enumerate(_exact(runs, segments, outline))
    ]


def embedded_text(
    title: str | None,
    heading_path: Sequence[str],
    text: str,
    *,
    prefix_bytes: int = PREFIX_BYTES,
) -> str:
    """What of a chunk is embedded and indexed: title, headings and text, a line each.

    A chunk that begins with its heading does not get it twice. Title and headings are cut to
    `prefix_bytes`, the outermost headings first, so that the text always keeps its room.
    """
    opening = {_plain(line) for line in text[: 4 * prefix_bytes].split("\n")[:4]}
    prefix = _prefix_lines(title, heading_path, prefix_bytes)
    return "\n".join([*(line for line in prefix if _plain(line) not in opening), text])


def _prefix_lines(title: str | None, heading_path: Sequence[str], room: int) -> list[str]:
    name = " ".join((title or "").split())
    lines: list[str] = []
    for heading in [*reversed(heading_path), name]:
        line = " ".join(heading.split())
        if line and line not in lines:
            lines.append(line)
    if name in lines:  # the title says most: it comes first and is cut last
        lines.remove(name)
        lines.insert(0, name)
    kept: list[str] = []
    for line in lines:
        fitting = line.encode("utf-8", "replace")[:room].decode("utf-8", "ignore").strip()
        if fitting:
            kept.append(fitting)
            room -= len(fitting.encode("utf-8", "replace")) + 1
        if fitting != line:
            break
    return [*kept[:1], *reversed(kept[1:])] if name else list(reversed(kept))


def _plain(text: str) -> str:
    return " ".join(text.lstrip("#*= \t\n").split()).casefold()


class _Outline:
    """The headings of a document: where their sections end, what they cost in front of a chunk."""

    def __init__(self, parsed: ParsedDocument, count_tokens: CountTokens, size: ChunkSize) -> None:
        self._parsed = parsed
        self._size = size
        self._count_tokens = count_tokens
        levels = [0, *(heading.level for heading in parsed.headings)]
        self._ends = _ends(levels)
        self._paths = [(), *_paths(parsed.headings)]
        prefixes = ["\n".join(self._prefix(path)) for path in self._paths]
        self._costs = dict(zip(self._paths, count_tokens(prefixes), strict=True))
        self.segment_limit = size.max_tokens - max(self._costs.values()) - _MARGIN

    def room(self, section: int) -> int:
        """Tokens left for the text of a chunk that begins in `section`."""
        return self._size.max_tokens - self._costs[self._paths[section]]

    def end(self, section: int) -> int:
        """The first section after `section` and its siblings: no chunk goes beyond."""
        return self._ends[section]

    def path(self, segments: Sequence[Segment]) -> tuple[str, ...]:
        """The headings that all of `segments` stand under."""
        common = self._paths[segments[0].section]
        for section in {s.section for s in segments}:
            other = self._paths[section]
            shared = takewhile(lambda pair: pair[0] == pair[1], zip(common, other, strict=False))
            common = tuple(heading for heading, _ in shared)
        return common

    def text(self, segments: Sequence[Segment]) -> str:
        """The text of a chunk made of `segments`."""
        return self._parsed.text[segments[0].start : segments[-1].end]

    def measure(self, runs: Sequence[Sequence[Segment]]) -> list[tuple[int, bool]]:
        """The exact length of each run's text, and whether its embedded text fits."""
        tokens = self._count_tokens([self.text(run) for run in runs])
        costs = [self._costs[self.path(run)] for run in runs]
        close = [
            index
            for index, (count, cost) in enumerate(zip(tokens, costs, strict=True))
            if count + cost + _MARGIN > self._size.max_tokens
        ]
        embedded = self._count_tokens([self._embedded(runs[index]) for index in close])
        long = {
            index
            for index, count in zip(close, embedded, strict=True)
            if count > self._size.max_tokens
        }
        return [(count, index not in long) for index, count in enumerate(tokens)]

    def _embedded(self, segments: Sequence[Segment]) -> str:
        return embedded_text(
            self._parsed.title,
            self.path(segments),
            self.text(segments),
            prefix_bytes=self._size.prefix_bytes,
        )

    def _prefix(self, path: Sequence[str]) -> list[str]:
        return _prefix_lines(self._parsed.title, path, self._size.prefix_bytes)


def _paths(headings: Sequence[Heading]) -> Iterator[tuple[str, ...]]:
    stack: list[Heading] = []
    for heading in headings:
        while stack and stack[-1].level >= heading.level:
            stack.pop()
        stack.append(heading)
        yield tuple(h.title for h in stack[-_DEPTH:])


def _ends(levels: Sequence[int]) -> list[int]:
    """For each section the next one of a smaller level, or their number."""
    ends = [len(levels)] * len(levels)
    stack: list[int] = []
    for section, level in enumerate(levels):
        while stack and levels[stack[-1]] > level:
            ends[stack.pop()] = section
        stack.append(section)
    return ends


class _Packer:
    """Chooses runs of segments whose ends are good places to cut."""

    def __init__(self, segments: Sequence[Segment], outline: _Outline, size: ChunkSize) -> None:
        self._segments = segments
        self._outline = outline
        self._size = size
        self._sums = [0, *accumulate(s.size for s in segments)]
        self._sections = [s.section for s in segments]

    def runs(self) -> Iterator[Run]:
        """Runs in order; one may begin within the one before it."""
        first = fresh = 0
        while fresh < len(self._segments):
            room = self._outline.room(self._sections[fresh])
            if self._length(first, fresh + 1) > room:
                first = fresh
            last = self._choose(first, fresh, room)
            yield first, last
            first = self._overlap(first, last)
            fresh = last

    def _length(self, first: int, last: int) -> int:
        return self._sums[last] - self._sums[first]

    def _choose(self, first: int, fresh: int, room: int) -> int:
        """The best end for a run from `first` that holds the segment `fresh`."""
        section = self._sections[fresh]
        stop = bisect_left(self._sections, self._outline.end(section), fresh)
        if self._length(first, stop) <= room:
            return stop
        farthest = bisect_right(self._sums, self._sums[first] + room, fresh + 1, stop + 1) - 1
        farthest = max(farthest, fresh + 1)
        leaf = min(stop, bisect_left(self._sections, section + 1, fresh))
        target = min(self._size.target_tokens, room)
        if self._length(first, leaf) > room:
            target = _even(self._length(first, leaf), target, room)
        best, best_worth = farthest, float("-inf")
        for end in range(fresh + 1, farthest + 1):
            if self._segments[end - 1].cut is Cut.HEADING and end < farthest:
                continue  # a heading stays with what it announces
            cut = Cut.HEADING if end == stop else self._segments[end].cut
            worth = _WORTH[cut] - abs(target - self._length(first, end)) / target
            if worth >= best_worth:
                best, best_worth = end, worth
        return best

    def _overlap(self, first: int, last: int) -> int:
        """Where the next run begins: some whole sentences before `last`, within its section."""
        if last == len(self._segments) or self._segments[last].cut is Cut.HEADING:
            return last
        at = last
        while (
            at - 1 > first
            and self._length(at - 1, last) <= self._size.overlap_tokens
            and self._segments[at - 1].cut is not Cut.HEADING
        ):
            at -= 1
        return at


def _even(total: int, target: int, room: int) -> int:
    """The size near `target` at which equal chunks make up `total`: no small rest is left."""
    return -(-total // max(round(total / target), -(-total // room)))


def _exact(
    runs: Sequence[Run], segments: Sequence[Segment], outline: _Outline, covered: int = 0
) -> list[tuple[Run, int]]:
    """Measure the runs; shorten those that are longer than the sum of their segments promised."""
    measured: list[tuple[Run, int]] = []
    for run, (tokens, fits) in zip(
        runs, outline.measure([segments[first:last] for first, last in runs]), strict=True
    ):
        first, last = run
        contains_the_one_before = bool(measured) and first <= measured[-1][0][0]
        if (fits and not contains_the_one_before) or last - first == 1:
            measured.append((run, tokens))
        elif first < covered:  # without its overlap, then
            measured.extend(_exact([(covered, last)], segments, outline, covered))
        else:
            middle = (first + last) // 2
            halves = [(first, middle), (middle, last)]
            measured.extend(_exact(halves, segments, outline, covered))
        covered = last
    return measured


def _pages(pages: Sequence[PageStart], start: int, end: int) -> tuple[int, int] | None:
    if not pages:
        return None
    first = bisect_right(pages, start, key=lambda page: page.offset) - 1
    last = bisect_right(pages, end - 1, key=lambda page: page.offset) - 1
    return pages[max(0, first)].number, pages[max(0, last)].number
