"""PDF to reading text by PDFium: pages, paragraphs, headings from the outline or the type size."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

from rag_engine.adapters.parsers.draft import Draft, one_line
from rag_engine.adapters.parsers.ocr import Recogniser
from rag_engine.adapters.parsers.source import Source
from rag_engine.core.models import ParsedDocument

# A scan may carry a stamp or a page number as text; a page with fewer letters is tried by OCR.
_FEW_LETTERS = 30
_HEADING_SCALE = 1.15
_MAX_HEADING = 200
_MAX_OUTLINE = 20_000
_LIST_START = re.compile(r"\s*(?:[•◦▪‣●○■–—*\-\u2022\uf0b7]\s|\(?\d{1,3}[.)]\s|\(?[a-zA-Z][.)]\s)")
_SENTENCE_END = re.compile(r"[.!?:;。！？：]['\"”’)\]]?\s*$")
_UNREADABLE = re.compile("[\ufffd\ue000-\uf8ff]")
_END_OF_LINE_HYPHEN = "\x02"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A line of a page: its text, type size and place, in points from the lower left corner."""

    text: str
    size: float
    left: float
    right: float
    top: float
    bottom: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    number: int
    lines: list[_Line]
    recognised: list[str]


def parse_pdf(source: Source, recogniser: Recogniser) -> ParsedDocument:
    """A PDF; pages without text are recognised by OCR.

    Raises:
        DocumentUnreadable: Damaged, or protected by a password.
        DocumentEmpty: No page has text, by OCR neither.
        DocumentTooLarge: It has too many pages.
    """
    document = _open(source)
    try:
        if len(document) > source.limits.max_pages:
            raise source.too_many_pages(len(document))
        draft = Draft()
        pages = list(_read(document, source, recogniser, draft))
        outline = _outline(document, pages)
        heading_sizes = {} if outline else _heading_sizes(pages)
        for page in pages:
            draft.page(page.number)
            for text in page.recognised:
                draft.block(text)
            _write(draft, page, outline, heading_sizes)
        if draft.is_empty:
            raise source.empty(recogniser.why_nothing("its pages hold no text"))
        return draft.finish(source.media_type, title=_metadata_title(document))
    finally:
        document.close()


def _open(source: Source) -> Any:
    try:
        document = pypdfium2.PdfDocument(source.path)
    except pypdfium2.PdfiumError as exc:
        if getattr(exc, "err_code", None) == pdfium.FPDF_ERR_PASSWORD or "assword" in str(exc):
            raise source.encrypted() from None
        raise source.damaged("it is not a whole PDF") from exc
    if len(document) == 0:
        document.close()
        raise source.damaged("it is a PDF without pages")
    return document


def _metadata_title(document: Any) -> str | None:
    title = document.get_metadata_value("Title")
    return title if isinstance(title, str) else None


def _read(document: Any, source: Source, recogniser: Recogniser, draft: Draft) -> Iterator[_Page]:
    """The lines of each page, by OCR where a page has none."""
    broken: list[int] = []
    for index in range(len(document)):
        try:
            page = document[index]
        except pypdfium2.PdfiumError:
            broken.append(index + 1)
            continue
        lines = _lines(page)
        recognised: list[str] = []
        if _lacks_text(lines) and _shows_something(page):
            recognised = recogniser.read_page(page, index + 1, draft)
            if len("".join(recognised)) <= sum(len(line.text) for line in lines):
                recognised = []
            else:
                lines = []
        source.progress()
        yield _Page(number=index + 1, lines=lines, recognised=recognised)
        page.close()
    if broken:
        listed = ", ".join(map(str, broken[:10]))
        draft.warn(f"Pages that are damaged and were left out of {source.name!r}: {listed}.")


def _lacks_text(lines: Sequence[_Line]) -> bool:
    text = "".join(line.text for line in lines)
    letters = sum(char.isalnum() for char in text)
    return letters < _FEW_LETTERS or len(_UNREADABLE.findall(text)) > 0.3 * letters


def _shows_something(page: Any) -> bool:
    """Whether a page draws anything: an empty page needs no OCR."""
    return int(pdfium.FPDFPage_CountObjects(page.raw)) > 0


def _lines(page: Any) -> list[_Line]:
    textpage = page.get_textpage()
    raw = textpage.raw
    lines: list[_Line] = []
    characters: list[str] = []
    indexes: list[int] = []
    for index in range(pdfium.FPDFText_CountChars(raw)):
        code = pdfium.FPDFText_GetUnicode(raw, index)
        if code in {10, 13}:
            _end_line(raw, lines, characters, indexes)
            continue
        characters.append(chr(code) if code < 0x110000 else "\ufffd")
        if code > 32:
            indexes.append(index)
    _end_line(raw, lines, characters, indexes)
    textpage.close()
    return lines


def _end_line(raw: Any, lines: list[_Line], characters: list[str], indexes: list[int]) -> None:
    text = "".join(characters)
    # PDFium on Windows hands out UTF-16 halves for characters beyond the first plane.
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").rstrip(" ")
    if indexes:
        boxes = [_box(raw, at) for at in (indexes[0], indexes[len(indexes) // 2], indexes[-1])]
        lines.append(
            _Line(
                text=text,
                size=sorted(abs(box.top - box.bottom) for box in boxes)[1],
                left=min(box.left for box in boxes),
                right=max(box.right for box in boxes),
                top=max(box.top for box in boxes),
                bottom=min(box.bottom for box in boxes),
            )
        )
    characters.clear()
    indexes.clear()


def _box(raw: Any, index: int) -> Any:
    box = pdfium.FS_RECTF()
    pdfium.FPDFText_GetLooseCharBox(raw, index, box)
    return box


def _outline(document: Any, pages: Sequence[_Page]) -> dict[tuple[int, str], int]:
    """Levels of the outline's entries by page number and folded title, for those that are found."""
    wanted: dict[tuple[int, str], int] = {}
    for count, entry in enumerate(document.get_toc(max_depth=8)):
        if count > _MAX_OUTLINE:
            break
        target = entry.get_dest()
        index = target.get_index() if target else None
        title = _folded(entry.get_title() or "")
        if index is not None and title:
            wanted.setdefault((index + 1, title), entry.level + 1)
    present = {(page.number, _folded(line.text)) for page in pages for line in page.lines}
    return {key: level for key, level in wanted.items() if key in present}


def _folded(text: str) -> str:
    return "".join(one_line(text).casefold().split())


def _heading_sizes(pages: Sequence[_Page]) -> dict[float, int]:
    """Type sizes that are clearly larger than the body's, to heading levels."""
    weight: Counter[float] = Counter()
    for page in pages:
        for line in page.lines:
            weight[_rounded(line.size)] += len(line.text)
    if not weight:
        return {}
    body = weight.most_common(1)[0][0]
    total = sum(weight.values())
    larger = [
        size for size in weight if size >= body * _HEADING_SCALE and weight[size] < 0.2 * total
    ]
    levels: dict[float, int] = {}
    level, previous = 0, float("inf")
    for size in sorted(larger, reverse=True):
        # Sizes within 5 % are one style measured on different letters.
        if size < previous * 0.95:
            level, previous = level + 1, size
        levels[size] = min(level, 4)
    return levels


def _rounded(size: float) -> float:
    return round(size * 2) / 2


def _write(
    draft: Draft, page: _Page, outline: dict[tuple[int, str], int], sizes: dict[float, int]
) -> None:
    """A page's lines as headings and paragraphs."""
    width = _usual_width(page.lines)
    paragraph = ""
    previous: _Line | None = None
    heading: tuple[int, str] | None = None
    for line in page.lines:
        level = _level(line, page.number, outline, sizes)
        if heading and (level != heading[0] or _is_apart(previous, line)):
            draft.heading(*heading)
            heading = None
        if level:
            draft.block(paragraph)
            paragraph = ""
            heading = (level, f"{heading[1]} {line.text}" if heading else line.text)
        elif previous is None or not paragraph:
            paragraph = line.text
        elif _is_apart(previous, line):
            draft.block(paragraph)
            paragraph = line.text
        else:
            paragraph = _joined(paragraph, previous, line, width)
        previous = line
    if heading:
        draft.heading(*heading)
    draft.block(paragraph)


def _usual_width(lines: Sequence[_Line]) -> float:
    widths = sorted(line.right - line.left for line in lines if len(line.text) > 20)
    return widths[len(widths) * 3 // 4] if widths else 0.0


def _level(
    line: _Line, page: int, outline: dict[tuple[int, str], int], sizes: dict[float, int]
) -> int:
    """Depth of the heading a line is, or 0."""
    if len(line.text) > _MAX_HEADING or not any(char.isalpha() for char in line.text):
        return 0
    if outline:
        return outline.get((page, _folded(line.text)), 0)
    return sizes.get(_rounded(line.size), 0)


def _is_apart(previous: _Line | None, line: _Line) -> bool:
    """Whether more than a line's space, or a change of column, lies between two lines."""
    if previous is None:
        return False
    height = max(previous.size, line.size, 1.0)
    gap = previous.bottom - line.top
    return (
        gap > 0.6 * height or gap < -2.0 * height or abs(previous.size - line.size) > 0.25 * height
    )


def _joined(paragraph: str, previous: _Line, line: _Line, width: float) -> str:
    """A paragraph with one more line: a wrapped line goes on, a short one ends there."""
    if paragraph.endswith(_END_OF_LINE_HYPHEN):
        return paragraph[:-1] + line.text
    wrapped = previous.right - previous.left > 0.8 * width and len(previous.text) > 20
    if _LIST_START.match(line.text):
        return f"{paragraph}\n{line.text}"
    if not wrapped:
        separator = "\n\n" if _SENTENCE_END.search(paragraph) else "\n"
        return paragraph + separator + line.text
    if re.search(r"[a-zäöüßàéèœñ]-$", paragraph) and line.text[:1].islower():
        return paragraph[:-1] + line.text
    if _is_unspaced(paragraph[-1:]) and _is_unspaced(line.text[:1]):
        return paragraph + line.text
    return f"{paragraph.rstrip()} {line.text}"


def _is_unspaced(char: str) -> bool:
    """Whether a character is of a script that puts no space between words (Han, Kana)."""
    return "\u3000" <= char <= "\u9fff" or "\uff00" <= char <= "\uffef"
