"""ODP to reading text, from the XML of its slides."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from rag_engine.adapters.parsers.draft import Draft
from rag_engine.adapters.parsers.package import package, part
from rag_engine.adapters.parsers.source import Source
from rag_engine.core.models import ParsedDocument

_ODF = "urn:oasis:names:tc:opendocument:xmlns:"
_PAGE = f"{{{_ODF}drawing:1.0}}page"
_CLASS = f"{{{_ODF}presentation:1.0}}class"
_NOTES = f"{{{_ODF}presentation:1.0}}notes"
_TEXTS = frozenset({f"{{{_ODF}text:1.0}}p", f"{{{_ODF}text:1.0}}h"})
_BLANKS = {
    f"{{{_ODF}text:1.0}}{name}": blank
    for name, blank in (("s", " "), ("tab", "\t"), ("line-break", "\n"))
}
_TABLE, _ROW, _CELL = (
    f"{{{_ODF}table:1.0}}{name}" for name in ("table", "table-row", "table-cell")
)


def parse_open_slides(source: Source) -> ParsedDocument:
    """The text of each slide, its tables and notes; slide numbers as pages.

    Raises:
        DocumentUnreadable: Damaged.
        DocumentEmpty: No slide has text.
        DocumentTooLarge: Too many slides, or it unpacks too far.
    """
    with package(source) as archive:
        content = part(archive, "content.xml")
    if content is None:
        raise source.damaged("it is not a whole presentation")
    slides = list(content.iter(_PAGE))
    if len(slides) > source.limits.max_pages:
        raise source.too_many_pages(len(slides), "slides")
    draft = Draft()
    for number, slide in enumerate(slides, start=1):
        draft.page(number)
        frames = [frame for frame in slide if frame.tag != _NOTES]
        for frame in frames:
            if frame.get(_CLASS) == "title":
                draft.heading(1, " ".join(_texts(frame)))
        for frame in frames:
            if frame.get(_CLASS) != "title":
                _write(draft, frame)
        notes = "\n".join(text for page in slide.iter(_NOTES) for text in _texts(page))
        draft.block(f"Notes: {notes}" if notes else "")
    if draft.is_empty:
        raise source.empty("no slide holds text")
    return draft.finish(source.media_type)


def _write(draft: Draft, frame: Element) -> None:
    tables = list(frame.iter(_TABLE))
    for table in tables:
        rows = ([" ".join(_texts(cell)) for cell in row.iter(_CELL)] for row in table.iter(_ROW))
        draft.table(list(rows))
    if not tables:
        draft.block("\n".join(_texts(frame)))


def _texts(element: Element) -> Iterator[str]:
    """The paragraphs in an element."""
    for paragraph in element.iter():
        if paragraph.tag in _TEXTS and (text := _text(paragraph).strip()):
            yield text


def _text(element: Element) -> str:
    pieces = [element.text or ""]
    for child in element:
        pieces += [_BLANKS.get(child.tag, ""), _text(child), child.tail or ""]
    return "".join(pieces)
