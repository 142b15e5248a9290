"""Plain text, Markdown, reStructuredText, tables, JSON, notebooks and source code.

Only the standard library and the charset detector are needed, nothing here recurses or backtracks
over the input: it is safe to run in the caller's process.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath
from typing import Any

from rag_engine.adapters.parsers import sniff
from rag_engine.adapters.parsers.charset import decode
from rag_engine.adapters.parsers.draft import Draft, clean, first_title, one_line, usable_title
from rag_engine.adapters.parsers.source import Source
from rag_engine.core.models import Heading, ParsedDocument, TextKind

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_ATX = re.compile(r" {0,3}(#{1,6})[ \t]+(.*)")
_ATX_END = re.compile(r"[ \t]+#+[ \t]*$")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*")
_BLOCK_START = re.compile(r"\s*([>*+|#-]|\d+[.)])")
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|$)", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title:[ \t]*(.+)$", re.MULTILINE)
_INLINE_MARKS = re.compile(r"!?\[([^\]\n]*)\]\([^)\n]*\)|[*`]+|(?<!\w)_+|_+(?!\w)")
_RST_RULE = re.compile(r"([=\-`:.'\"~^_*+#<>!$%&(),/;?@\[\\\]{|}])\1{2,}[ \t]*")


def parse_text(source: Source, data: bytes) -> ParsedDocument:
    """Any of the media types in `sniff.TEXTS`.

    Raises:
        DocumentEmpty: Nothing but white space.
    """
    decoded = decode(data)
    text = clean(decoded.text)
    parsed = _READERS.get(source.media_type, _plain)(source, text)
    if not parsed.text.strip():
        raise source.empty("the file holds nothing but white space")
    if not decoded.lossy:
        return parsed
    return _with_warning(
        parsed,
        f"{source.name!r} holds bytes that are not valid {decoded.encoding.upper()}; "
        "they were replaced by \N{REPLACEMENT CHARACTER}.",
    )


def _with_warning(parsed: ParsedDocument, sentence: str) -> ParsedDocument:
    return ParsedDocument(
        text=parsed.text,
        media_type=parsed.media_type,
        title=parsed.title,
        kind=parsed.kind,
        pages=parsed.pages,
        headings=parsed.headings,
        warnings=(*parsed.warnings, sentence),
    )


def _plain(source: Source, text: str) -> ParsedDocument:
    return ParsedDocument(text=text, media_type=source.media_type)


def _code(source: Source, text: str) -> ParsedDocument:
    return ParsedDocument(
        text=text,
        media_type=source.media_type,
        title=PurePath(source.name).name,
        kind=TextKind.CODE,
    )


def _markdown(source: Source, text: str) -> ParsedDocument:
    front = _FRONT_MATTER.match(text)
    named = _FRONT_TITLE.search(front[1]) if front else None
    body = front.end() if front else 0
    headings = tuple(markdown_headings(text, body))
    title = named[1].strip().strip("'\"") if named else None
    return ParsedDocument(
        text=text,
        media_type=source.media_type,
        title=usable_title(title) or first_title(headings),
        headings=headings,
    )


def markdown_headings(text: str, start: int = 0) -> Iterator[Heading]:
    """The ATX and setext headings of a Markdown text from offset `start`, outside code fences."""
    fence = ""
    previous, previous_offset = "", start
    for offset, line in _lines(text, start):
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and not mark[2].strip():
                fence = ""
        elif mark:
            fence = mark[1]
        elif atx := _ATX.match(line):
            title = _plain_title(_ATX_END.sub("", atx[2]))
            if title:
                yield Heading(offset=offset, level=len(atx[1]), title=title)
        elif (under := _SETEXT.fullmatch(line)) and _is_paragraph(previous):
            level = 1 if under[1][0] == "=" else 2
            yield Heading(offset=previous_offset, level=level, title=_plain_title(previous))
        previous, previous_offset = ("" if fence or mark else line), offset


def _is_paragraph(line: str) -> bool:
    return bool(line.strip()) and not _BLOCK_START.match(line) and not _SETEXT.fullmatch(line)


def _plain_title(title: str) -> str:
    return one_line(_INLINE_MARKS.sub(r"\1", title))[:300]


def _lines(text: str, start: int = 0) -> Iterator[tuple[int, str]]:
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        yield start, text[start:end]
        start = end + 1


def _rst(source: Source, text: str) -> ParsedDocument:
    headings = tuple(_rst_headings(text))
    return ParsedDocument(
        text=text, media_type=source.media_type, title=first_title(headings), headings=headings
    )


def _rst_headings(text: str) -> Iterator[Heading]:
    """Titles with a rule below, or above and below; each new style is one level deeper."""
    styles: list[str] = []
    lines = list(_lines(text))
    for index in range(1, len(lines)):
        rule, (offset, title) = lines[index][1], lines[index - 1]
        if not _RST_RULE.fullmatch(rule) or not title.strip() or _RST_RULE.fullmatch(title):
            continue
        if len(rule.rstrip()) < len(title.rstrip()):
            continue
        before = lines[index - 2][1] if index >= 2 else ""
        over = before.rstrip() == rule.rstrip()
        if not over and (before.strip() or title[:1].isspace()):
            continue
        style = rule[0] * (2 if over else 1)
        if style not in styles:
            styles.append(style)
        yield Heading(
            offset=lines[index - 2][0] if over else offset,
            level=styles.index(style) + 1,
            title=one_line(title)[:300],
        )


def _table(source: Source, text: str) -> ParsedDocument:
    delimiter = "\t" if source.media_type == sniff.TSV else _delimiter(text)
    # The csv module refuses long cells, and a stray quote can make one of the rest of the file.
    csv.field_size_limit(max(len(text) + 1, 131_072))
    rows = csv.reader(io.StringIO(text), delimiter=delimiter)
    lines = [" | ".join(_cell(cell) for cell in row).rstrip(" |") for row in _tolerant(rows)]
    return ParsedDocument(
        text="\n".join(line for line in lines if line),
        media_type=source.media_type,
        kind=TextKind.TABLE,
    )


def _tolerant(rows: Iterator[list[str]]) -> Iterator[list[str]]:
    """Rows up to the first that the csv module cannot read (a NUL, removed before)."""
    while True:
        try:
            yield next(rows)
        except csv.Error:
            continue
        except StopIteration:
            return


def _cell(cell: str) -> str:
    return " ".join(cell.split())


def _delimiter(text: str) -> str:
    """The separator that splits most of the first lines into equally many cells."""
    lines = [line for line in text[:65_536].split("\n")[:50] if line.strip()]
    best, best_score = ",", 0.0
    for candidate in (",", ";", "\t", "|"):
        counts = [line.count(candidate) for line in lines]
        common = max(set(counts), key=lambda count: (counts.count(count), count), default=0)
        score = counts.count(common) / len(counts) + min(common, 20) / 100 if common else 0.0
        if score > best_score:
            best, best_score = candidate, score
    return best


def _json(source: Source, text: str) -> ParsedDocument:
    """JSON as it stands where it is laid out in lines, else laid out."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _with_warning(
            _plain(source, text), f"{source.name!r} is not valid JSON; it was read as plain text."
        )
    if text.count("\n") * 200 < len(text):
        text = json.dumps(value, ensure_ascii=False, indent=1)
    title = value.get("title") if isinstance(value, dict) else None
    return ParsedDocument(
        text=clean(text),
        media_type=source.media_type,
        title=usable_title(title) if isinstance(title, str) else None,
        kind=TextKind.CODE,
    )


def _notebook(source: Source, text: str) -> ParsedDocument:
    try:
        notebook = json.loads(text)
        cells = list(_cells(notebook))
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise source.damaged("it is not a whole Jupyter notebook") from None
    draft = Draft()
    language = _language(notebook)
    for cell in cells:
        body = _joined(cell.get("source"))
        if cell.get("cell_type") == "code":
            if body.strip():
                draft.block(f"```{language}\n{body.strip(chr(10))}\n```")
            for output in _outputs(cell):
                draft.block(output)
        else:
            _add_markdown(draft, body)
    return draft.finish(source.media_type)


def _cells(notebook: dict[str, Any]) -> Iterable[dict[str, Any]]:
    if "cells" in notebook:
        yield from notebook["cells"]
    for sheet in notebook.get("worksheets", ()):  # nbformat 3
        for cell in sheet["cells"]:
            yield {"source": cell.get("input", cell.get("source")), **cell}


def _language(notebook: dict[str, Any]) -> str:
    metadata = notebook.get("metadata")
    info = metadata.get("language_info") if isinstance(metadata, dict) else None
    name = info.get("name") if isinstance(info, dict) else None
    return name if isinstance(name, str) else ""


def _joined(value: object) -> str:
    if isinstance(value, list):
        return "".join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""


def _outputs(cell: dict[str, Any]) -> Iterator[str]:
    """What the cells printed; pictures and HTML are left out where text says the same."""
    for output in cell.get("outputs") or ():
        if not isinstance(output, dict):
            continue
        data = output.get("data")
        shown = data.get("text/plain") if isinstance(data, dict) else None
        yield _joined(output.get("text")) or _joined(shown)


def _add_markdown(draft: Draft, body: str) -> None:
    """Headings become headings of the whole; what stands between is kept as it is."""
    body = clean(body)
    position = 0
    for heading in markdown_headings(body):
        draft.block(body[position : heading.offset])
        draft.heading(heading.level, heading.title)
        end = body.find("\n", heading.offset)
        position = len(body) if end < 0 else end + 1
        under = _SETEXT.match(body, position)
        if not body[heading.offset :].lstrip().startswith("#") and under:
            position = under.end()
    draft.block(body[position:])


_READERS: dict[str, Callable[[Source, str], ParsedDocument]] = {
    sniff.MARKDOWN: _markdown,
    sniff.RST: _rst,
    sniff.CSV: _table,
    sniff.TSV: _table,
    sniff.JSON: _json,
    sniff.NOTEBOOK: _notebook,
    sniff.CODE: _code,
}
