"""HTML and XHTML to reading text: headings, paragraphs, lists, tables, code."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from rag_engine.adapters.parsers.charset import Decoded, decode
from rag_engine.adapters.parsers.draft import Draft, one_line
from rag_engine.adapters.parsers.source import Source
from rag_engine.core.models import ParsedDocument

_CHARSET = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_\-]+)""", re.IGNORECASE)
_SKIPPED = frozenset(
    "script style template noscript svg math object iframe canvas nav select button datalist "
    "audio video map".split()
)
_BLOCKS = frozenset(
    "address article aside blockquote body center dd details dialog div dl dt fieldset figcaption "
    "figure footer form header hgroup hr html legend main option p section summary "
    "thead tbody tfoot caption".split()
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_VOID = frozenset("area base br col embed hr img input link meta source track wbr".split())
# Longer cells only lay out the page: their text is not the value of a row.
_LAYOUT_CELL = 400
_MAX_SPAN = 200


def parse_html(source: Source, data: bytes) -> ParsedDocument:
    """An HTML page. Scripts, styles and navigation are left out.

    Raises:
        DocumentEmpty: The page has no visible text.
    """
    decoded = decode_html(data)
    draft = Draft()
    title = read_html(draft, decoded.text)
    if draft.is_empty:
        raise source.empty("the page has no visible text")
    if decoded.lossy:
        draft.warn(
            f"{source.name!r} holds bytes that are not valid {decoded.encoding.upper()}; "
            "they were replaced by \N{REPLACEMENT CHARACTER}."
        )
    return draft.finish(source.media_type, title=title)


def decode_html(data: bytes) -> Decoded:
    """The text of a page: by byte order mark, as it declares itself, else by detection."""
    declared = _CHARSET.search(data[:2048])
    if declared and not data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        encoding = declared[1].decode("ascii").lower()
        # Browsers read both as Windows-1252, and so do the pages that declare them.
        encoding = "cp1252" if encoding in {"iso-8859-1", "latin1", "ascii"} else encoding
        try:
            return Decoded(text=data.decode(encoding), encoding=encoding)
        except (LookupError, ValueError):
            pass
    return decode(data)


def read_html(draft: Draft, text: str, *, depth: int = 0) -> str | None:
    """Add a page to a draft, its headings `depth` levels down; returns the page's title."""
    reader = _Reader(draft, depth)
    reader.feed(text)
    reader.close()
    reader.finish()
    return reader.title


@dataclass(slots=True)
class _Table:
    """Rows so far, the cell that is open, and how far cells from above reach down."""

    rows: list[list[str]] = field(default_factory=list)
    cell: list[str] | None = None
    spans: tuple[int, int] = (1, 1)
    reaching: dict[int, int] = field(default_factory=dict)

    def new_row(self) -> None:
        """Begin a row."""
        if self.rows:
            self._skip_reached(len(self.reaching) + len(self.rows[-1]))
        self.rows.append([])

    def close_cell(self) -> None:
        """Put the open cell where it stands, with empty cells for what it spans."""
        if self.cell is None:
            return
        text, self.cell = "\n".join(self.cell), None
        if not self.rows:
            self.rows.append([])
        row = self.rows[-1]
        self._skip_reached(_MAX_SPAN)
        columns, rows = self.spans
        for column in range(len(row), len(row) + columns):
            if rows > 1:
                self.reaching[column] = rows - 1
            row.append(text)
            text = ""

    def _skip_reached(self, columns: int) -> None:
        row = self.rows[-1]
        while len(row) < columns and self.reaching.get(len(row), 0) > 0:
            self.reaching[len(row)] -= 1
            row.append("")


class _Reader(HTMLParser):
    """Feeds a draft block by block. Tolerates tags that are never closed or never opened."""

    def __init__(self, draft: Draft, depth: int) -> None:
        super().__init__(convert_charrefs=True)
        self.title: str | None = None
        self._draft = draft
        self._depth = depth
        self._text: list[str] = []
        self._skipped: str | None = None
        self._skip_depth = 0
        self._in_title = False
        self._heading = 0
        self._preformatted = 0
        self._lists: list[int | None] = []
        self._marker = ""
        self._tight = False
        self._tables: list[_Table] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._skipped:
            self._skip_depth += tag == self._skipped
            return
        if tag in _SKIPPED or (tag != "body" and _is_hidden(attrs)):
            if tag not in _VOID:
                self._skipped, self._skip_depth = tag, 1
        elif tag == "title":
            self._in_title = self.title is None
        elif tag in _HEADINGS:
            self._flush()
            self._heading = _HEADINGS[tag]
        elif tag in {"table", "tr", "td", "th"}:
            self._open_cell(tag, dict(attrs))
        elif tag in {"ul", "ol", "menu"}:
            self._flush()
            self._lists.append(0 if tag == "ol" else None)
            self._tight = len(self._lists) > 1
        elif tag == "li":
            self._open_item()
        else:
            self._open_inline(tag, dict(attrs))

    def _open_inline(self, tag: str, attributes: dict[str, str | None]) -> None:
        if tag == "br":
            self._text.append("\n")
        elif tag == "pre":
            self._flush()
            self._preformatted += 1
        elif tag == "img" and (alt := one_line(attributes.get("alt") or "")):
            self._text.append(f" {alt} ")
        elif tag in _BLOCKS:
            self._flush()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._skipped:
            self._skip_depth -= tag == self._skipped
            if self._skip_depth == 0:
                self._skipped = None
        elif tag == "title":
            self._in_title = False
        elif tag in _HEADINGS:
            self._flush()
            self._heading = 0
        elif tag in {"td", "th", "tr", "table"}:
            self._close_cell(tag)
        elif tag == "pre":
            self._flush()
            self._preformatted = max(0, self._preformatted - 1)
        elif tag in {"ul", "ol", "menu"}:
            self._flush()
            if self._lists:
                self._lists.pop()
            self._tight = bool(self._lists)
        elif tag in _BLOCKS or tag == "li":
            self._flush()

    def handle_data(self, data: str) -> None:
        if self._skipped:
            return
        if self._in_title:
            self.title = one_line((self.title or "") + data) or None
        elif self._preformatted:
            self._text.append(data)
        else:
            self._text.append(re.sub(r"\s+", " ", data))

    def finish(self) -> None:
        """Write what unclosed tags held back."""
        self._flush()
        while self._tables:
            self._close_cell("table")

    def _open_item(self) -> None:
        self._flush()
        if not self._lists:
            self._lists.append(None)
        number = self._lists[-1]
        indent = "  " * (len(self._lists) - 1)
        if number is None:
            self._marker = f"{indent}- "
        else:
            self._lists[-1] = number + 1
            self._marker = f"{indent}{number + 1}. "

    def _open_cell(self, tag: str, attributes: dict[str, str | None]) -> None:
        if tag == "table":
            self._flush()
            self._tables.append(_Table())
            return
        if not self._tables:
            self._flush()
            return
        self._end_cell()
        table = self._tables[-1]
        if tag == "tr":
            table.new_row()
        else:
            table.cell = []
            table.spans = (_span(attributes, "colspan"), _span(attributes, "rowspan"))

    def _close_cell(self, tag: str) -> None:
        if not self._tables:
            self._flush()
            return
        self._end_cell()
        if tag == "table":
            self._write_table(self._tables.pop())

    def _end_cell(self) -> None:
        self._flush()
        self._tables[-1].close_cell()

    def _write_table(self, table: _Table) -> None:
        """A table, or the text of its cells where it only lays out the page or sits in another."""
        cells = [cell for row in table.rows for cell in row if cell.strip()]
        outer = self._tables[-1].cell if self._tables else None
        if outer is not None:
            outer.extend(" | ".join(filter(None, map(one_line, row))) for row in table.rows)
        elif any(len(cell) > _LAYOUT_CELL for cell in cells) or len(cells) < 2:
            for cell in cells:
                self._draft.block(cell)
        else:
            self._draft.table(table.rows)

    def _flush(self) -> None:
        text = "".join(self._text)
        self._text.clear()
        text = text.strip("\n") if self._preformatted else _collapsed(text)
        if not text.strip():
            return
        cell = next(
            (table.cell for table in reversed(self._tables) if table.cell is not None), None
        )
        marker, self._marker = self._marker, ""
        if cell is not None:
            cell.append(marker.strip() + " " + text if marker else text)
        elif self._heading:
            self._draft.heading(self._heading + self._depth, text)
        elif self._preformatted:
            self._draft.block(f"```\n{text}\n```")
        else:
            self._draft.block(marker + text, tight=bool(marker) and self._tight)
            self._tight = bool(self._lists)


def _collapsed(text: str) -> str:
    return "\n".join(filter(None, (" ".join(line.split()) for line in text.split("\n"))))


def _span(attributes: dict[str, str | None], name: str) -> int:
    value = attributes.get(name) or ""
    return min(max(int(value), 1), _MAX_SPAN) if value.isdecimal() else 1


def _is_hidden(attrs: list[tuple[str, str | None]]) -> bool:
    for name, value in attrs:
        if name == "hidden" or (name == "aria-hidden" and value == "true"):
            return True
        if name == "style" and value and "display:none" in value.replace(" ", "").lower():
            return True
    return False
