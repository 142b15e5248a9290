"""A parsed document while it is being written: one text, its page starts and its headings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rag_engine.core.models import Heading, PageStart, ParsedDocument, TextKind

# Control characters but tab and newline, lone surrogates, soft hyphens, byte order marks,
# zero-width spaces: none is reading text, and the first two break UTF-8 and SQLite.
_UNWANTED = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u2060\ufeff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NEWLINES = re.compile("\r\n?|[\x0c\x85\u2028\u2029]")
_SPACES = re.compile("[ \u00a0\u2007\u202f]+(?=\n|$)")
_BLANK_LINES = re.compile("\n{3,}")
_PLACEHOLDER_TITLE = re.compile(
    r"\(?(untitled|anonymous|unspecified|document\d*|title|none|null)\)?\.?", re.IGNORECASE
)
_MAX_TITLE = 300


def clean(text: str) -> str:
    """Text without control characters, with `\\n` as the only line end."""
    text = _NEWLINES.sub("\n", text)
    text = _UNWANTED.sub("", text)
    return _SURROGATE.sub("\ufffd", text)


def tidy(text: str) -> str:
    """Cleaned text without trailing spaces and without runs of blank lines."""
    return _BLANK_LINES.sub("\n\n", _SPACES.sub("", clean(text))).strip("\n")


def one_line(text: str) -> str:
    """Cleaned text with every run of white space collapsed to a space."""
    return " ".join(clean(text).split())


class Draft:
    """Collects blocks of text; offsets are those of the text that `finish` returns."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._pages: list[PageStart] = []
        self._headings: list[Heading] = []
        self._warnings: list[str] = []
        self._pending_page: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no text was added."""
        return self._length == 0

    @property
    def page_count(self) -> int:
        """Number of pages that have text."""
        return len(self._pages)

    def page(self, number: int) -> None:
        """The next block begins page `number`. A page without any block is left out."""
        self._pending_page = number

    def warn(self, sentence: str) -> None:
        """Tell the user what was lost; said once however often it happens."""
        if sentence not in self._warnings:
            self._warnings.append(sentence)

    def block(self, text: str, *, tight: bool = False) -> None:
        """Add a paragraph; `tight` keeps it on the line after the block before it."""
        text = tidy(text)
        if text:
            self._append(text, "\n" if tight else "\n\n")

    def heading(self, level: int, title: str) -> None:
        """Add a heading at depth `level` (from 1)."""
        title = one_line(title)
        if not title:
            return
        level = max(1, level)
        offset = self._append(f"{'#' * min(level, 6)} {title}", "\n\n")
        self._headings.append(Heading(offset=offset, level=level, title=title[:_MAX_TITLE]))

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Add a table, its first row as the header; empty rows and columns are left out."""
        text = grid(rows)
        if text:
            self._append(text, "\n\n")

    def include(self, parsed: ParsedDocument, *, depth: int) -> None:
        """Add another document whole, its headings `depth` levels further down, without pages."""
        if not parsed.text:
            return
        offset = self._append(parsed.text, "\n\n")
        self._headings += [
            Heading(
                offset=offset + heading.offset, level=heading.level + depth, title=heading.title
            )
            for heading in parsed.headings
        ]
        for sentence in parsed.warnings:
            self.warn(sentence)

    def finish(
        self, media_type: str, *, title: str | None = None, kind: TextKind = TextKind.PROSE
    ) -> ParsedDocument:
        """The document. Without a usable `title` the first heading of the top level serves."""
        return ParsedDocument(
            text="".join(self._parts),
            media_type=media_type,
            title=usable_title(title) or first_title(self._headings),
            kind=kind,
            pages=tuple(self._pages),
            headings=tuple(self._headings),
            warnings=tuple(self._warnings),
        )

    def _append(self, text: str, separator: str) -> int:
        if self._parts:
            self._parts.append(separator)
            self._length += len(separator)
        offset = self._length
        if self._pending_page is not None:
            self._pages.append(PageStart(offset=offset, number=self._pending_page))
            self._pending_page = None
        self._parts.append(text)
        self._length += len(text)
        return offset


def grid(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a Markdown table without its empty rows and columns."""
    cells = [[one_line(cell).replace("|", "\\|") for cell in row] for row in rows]
    cells = [row for row in cells if any(row)]
    if not cells:
        return ""
    width = max(len(row) for row in cells)
    cells = [row + [""] * (width - len(row)) for row in cells]
    used = [column for column in range(width) if any(row[column] for row in cells)]
    lines = [_row(row[column] for column in used) for row in cells]
    if len(lines) > 1:
        lines.insert(1, _row("---" for _ in used))
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def usable_title(title: str | None) -> str | None:
    """A title from metadata, or `None` where it is a placeholder that some program left there."""
    title = one_line(title or "").removeprefix("Microsoft Word - ").removeprefix("PowerPoint - ")
    if not title or _PLACEHOLDER_TITLE.fullmatch(title):
        return None
    return title[:_MAX_TITLE]


def first_title(headings: Sequence[Heading]) -> str | None:
    """The first heading of the highest level among the first ten."""
    top = min((heading.level for heading in headings[:10]), default=0)
    return next((heading.title for heading in headings[:10] if heading.level == top), None)
