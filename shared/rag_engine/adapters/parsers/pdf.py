"""PDF to reading text by PDFium; pages without text by OCR."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

from rag_engine.adapters.parsers import layout
from rag_engine.adapters.parsers.draft import Draft
from rag_engine.adapters.parsers.layout import Line, Page
from rag_engine.adapters.parsers.ocr import Recogniser
from rag_engine.adapters.parsers.source import Source
from rag_engine.core.models import ParsedDocument

# A scan may carry a stamp or a page number as text; a page with fewer letters is tried by OCR,
# and one with a header and a footer if a picture fills it.
_FEW_LETTERS = 30
_LETTERS_BESIDE_A_SCAN = 300
_MAX_OUTLINE = 20_000
_UNREADABLE = re.compile("[\ufffd\ue000-\uf8ff]")
# Gaps between words are at most one em even in justified text; between cells they are wider.
_CELL_GAP = 1.5
_ENUMERATOR = re.compile(r"[\W\d_]*(?:[A-Za-z][.)])?")
_LEADER = re.compile(r"(?:\s*[.·…]){5,}\s*")
_BOLD = re.compile(rb"bold|black|heavy|demi|(?:sf|cm)bx", re.IGNORECASE)
_LAM = 0x644
_ALEFS = frozenset({0x622, 0x623, 0x625, 0x627})
_PROGRESS_PAGES = 50


def parse_pdf(source: Source, recogniser: Recogniser) -> ParsedDocument:
    """A PDF, with page numbers, and headings by its outline or by its type.

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
        pages = layout.without_furniture(list(_read(document, source, recogniser, draft)))
        style = layout.style(pages, _outline(document))
        for page in pages:
            draft.page(page.number)
            for text in page.recognised:
                draft.block(text)
            layout.write(draft, page, style)
        if draft.is_empty:
            raise source.empty(recogniser.why_nothing("its pages hold no text"))
        return draft.finish(source.media_type, title=document.get_metadata_value("Title"))
    finally:
        document.close()


def _open(source: Source) -> Any:
    try:
        document = pypdfium2.PdfDocument(source.path if source.data is None else source.data)
    except pypdfium2.PdfiumError as exc:
        if getattr(exc, "err_code", None) == pdfium.FPDF_ERR_PASSWORD:
            raise source.encrypted() from None
        raise source.damaged("it is not a whole PDF") from exc
    if len(document) == 0:
        document.close()
        raise source.damaged("it is a PDF without pages")
    return document


def _read(document: Any, source: Source, recogniser: Recogniser, draft: Draft) -> Iterator[Page]:
    """The lines of each page, or its recognised text where it has none."""
    broken: list[int] = []
    for index in range(len(document)):
        try:
            page = _page(document, index)
            lines = _lines(page)
        except pypdfium2.PdfiumError:
            broken.append(index + 1)
            continue
        recognised: list[str] = []
        if _is_scan(page, lines):
            recognised = recogniser.read_page(page, index + 1, draft)
            source.progress()
        elif index % _PROGRESS_PAGES == 0:
            source.progress()
        is_better = len("".join(recognised)) > sum(len(line.text) for line in lines)
        yield Page(
            number=index + 1,
            height=page.get_height(),
            lines=[] if is_better else lines,
            recognised=recognised if is_better else [],
        )
        page.close()
    if broken:
        listed = ", ".join(map(str, broken[:10]))
        draft.warn(f"Pages that are damaged and were left out of {source.name!r}: {listed}.")


def _page(document: Any, index: int) -> Any:
    """A page, with what was filled into its form drawn onto it."""
    page = document[index]
    has_fields = any(
        pdfium.FPDFAnnot_GetSubtype(annotation) == pdfium.FPDF_ANNOT_WIDGET
        for annotation in _annotations(page)
    )
    flattened = has_fields and pdfium.FPDFPage_Flatten(page.raw, pdfium.FLAT_NORMALDISPLAY)
    if flattened != pdfium.FLATTEN_SUCCESS:
        return page
    page.close()
    return document[index]


def _annotations(page: Any) -> Iterator[Any]:
    for index in range(pdfium.FPDFPage_GetAnnotCount(page.raw)):
        annotation = pdfium.FPDFPage_GetAnnot(page.raw, index)
        if annotation:
            yield annotation
            pdfium.FPDFPage_CloseAnnot(annotation)


def _is_scan(page: Any, lines: Sequence[Line]) -> bool:
    """Whether the text of a page is in what it draws: pictures, or letters drawn as shapes."""
    text = "".join(line.text for line in lines)
    letters = sum(char.isalnum() for char in text)
    if letters >= _LETTERS_BESIDE_A_SCAN and len(_UNREADABLE.findall(text)) <= 0.3 * letters:
        return False
    objects = [
        pdfium.FPDFPage_GetObject(page.raw, index)
        for index in range(pdfium.FPDFPage_CountObjects(page.raw))
    ]
    if letters < _FEW_LETTERS or len(_UNREADABLE.findall(text)) > 0.3 * letters:
        return any(pdfium.FPDFPageObj_GetType(o) != pdfium.FPDF_PAGEOBJ_TEXT for o in objects)
    return any(_covers(page, item) for item in objects)


def _covers(page: Any, item: Any) -> bool:
    """Whether a picture fills most of a page."""
    if pdfium.FPDFPageObj_GetType(item) != pdfium.FPDF_PAGEOBJ_IMAGE:
        return False
    left, bottom, right, top = (ctypes.c_float() for _ in range(4))
    if not pdfium.FPDFPageObj_GetBounds(item, left, bottom, right, top):
        return False
    area = (right.value - left.value) * (top.value - bottom.value)
    return bool(area > 0.5 * page.get_width() * page.get_height())


def _lines(page: Any) -> list[Line]:
    textpage = page.get_textpage()
    raw = textpage.raw
    lines: list[Line] = []
    characters: list[tuple[int, int]] = []
    for index in range(pdfium.FPDFText_CountChars(raw)):
        code = pdfium.FPDFText_GetUnicode(raw, index)
        if code not in {10, 13}:
            characters.append((index, code))
        elif characters:
            lines += _line(raw, characters)
            characters = []
    lines += _line(raw, characters)
    textpage.close()
    return lines


def _line(raw: Any, characters: Sequence[tuple[int, int]]) -> list[Line]:
    """The line that some characters make up, or nothing where all are blank."""
    characters = _in_order(raw, characters)
    visible = [index for index, code in characters if code > 32]
    if not visible:
        return []
    some = [visible[0], visible[len(visible) // 2], visible[-1]]
    boxes = [_box(raw, index) for index in some]
    size = sorted(abs(box.top - box.bottom) for box in boxes)[1]
    # Dots that lead to a page number say nothing, and many of them.
    cells = _LEADER.sub(" | ", " | ".join(_cells(raw, characters, size))).split(" | ")
    return [
        Line(
            text=" | ".join(filter(None, cells)),
            size=size,
            left=min(box.left for box in boxes),
            right=max(box.right for box in boxes),
            top=max(box.top for box in boxes),
            bottom=min(box.bottom for box in boxes),
            tabular=len(cells) > 1,
            bold=all(_is_bold(raw, index) for index in some),
        )
    ]


def _in_order(raw: Any, characters: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Characters with Arabic ligatures of lam and alef spelled lam first.

    They are one glyph, so both letters have the same box, and PDFium hands them out reversed.
    """
    ordered = list(characters)
    for at in range(len(ordered) - 1):
        (first, code), (second, after) = ordered[at], ordered[at + 1]
        if after == _LAM and code in _ALEFS and _corners(raw, first) == _corners(raw, second):
            ordered[at], ordered[at + 1] = (first, after), (second, code)
    return ordered


def _corners(raw: Any, index: int) -> tuple[float, ...]:
    box = _box(raw, index)
    return (box.left, box.right, box.bottom, box.top)


def _cells(raw: Any, characters: Sequence[tuple[int, int]], size: float) -> list[str]:
    """The texts between wide gaps, of which most lines have none."""
    cells: list[list[int]] = [[]]
    last: int | None = None
    blank = False
    for index, code in characters:
        if code <= 32 and code != 2:
            blank = True
            cells[-1].append(32)
            continue
        if blank and last is not None and _gap(raw, last, index) > _CELL_GAP * size:
            cells.append([])
        cells[-1].append(code)
        last, blank = index, False
    texts = [text for codes in cells if (text := _decoded(codes).strip(" "))]
    if len(texts) > 1 and _ENUMERATOR.fullmatch(texts[0]):
        texts[:2] = [f"{texts[0]} {texts[1]}"]
    return texts


def _decoded(codes: Sequence[int]) -> str:
    text = "".join(chr(code) if code < 0x110000 else "\ufffd" for code in codes)
    # PDFium hands out characters beyond the first plane as the two halves of UTF-16.
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _gap(raw: Any, left: int, right: int) -> float:
    """Space between two characters of a line, whichever way it is written."""
    first, second = _box(raw, left), _box(raw, right)
    return float(max(second.left - first.right, first.left - second.right))


def _box(raw: Any, index: int) -> Any:
    box = pdfium.FS_RECTF()
    pdfium.FPDFText_GetLooseCharBox(raw, index, box)
    return box


def _is_bold(raw: Any, index: int) -> bool:
    if pdfium.FPDFText_GetFontWeight(raw, index) >= 600:
        return True
    name = ctypes.create_string_buffer(128)
    length = pdfium.FPDFText_GetFontInfo(raw, index, name, 128, None)
    return 0 < length <= 128 and _BOLD.search(name.value) is not None


def _outline(document: Any) -> dict[tuple[int, str], int]:
    """Levels of the outline's entries by page number and folded title."""
    entries: dict[tuple[int, str], int] = {}
    for count, entry in enumerate(document.get_toc(max_depth=8)):
        if count > _MAX_OUTLINE:
            break
        target = entry.get_dest()
        index = target.get_index() if target else None
        title = layout.folded(entry.get_title() or "")
        if index is not None and title:
            entries.setdefault((index + 1, title), entry.level + 1)
    return entries
