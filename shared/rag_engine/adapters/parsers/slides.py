"""PPTX to reading text, from the XML of its slides: pictures, broken or not, play no part."""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from rag_engine.adapters.parsers.draft import Draft
from rag_engine.adapters.parsers.package import package, part
from rag_engine.adapters.parsers.source import Source
from rag_engine.core.models import ParsedDocument

_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_TITLE = "{http://purl.org/dc/elements/1.1/}title"
_TITLES = frozenset({"title", "ctrTitle"})
_FURNITURE = frozenset({"sldNum", "dt", "ftr", "hdr", "sldImg"})


def parse_slides(source: Source) -> ParsedDocument:
    """The text of each slide, its tables and speaker notes; slide numbers as pages.

    Raises:
        DocumentUnreadable: Damaged or encrypted.
        DocumentEmpty: No slide has text.
        DocumentTooLarge: Too many slides, or it unpacks too far.
    """
    draft = Draft()
    with package(source) as archive:
        names = _slides(archive)
        if not names:
            raise source.damaged("it is a presentation without slides")
        if len(names) > source.limits.max_pages:
            raise source.too_many_pages(len(names), "slides")
        broken = []
        for number, name in enumerate(names, start=1):
            slide = part(archive, name)
            if slide is None:
                broken.append(number)
                continue
            draft.page(number)
            _write_slide(draft, slide)
            if _lacks_picture(archive, name, slide):
                draft.warn(
                    f"Slide {number} of {source.name!r} shows a picture that is not in the file."
                )
            _write_related(draft, archive, name)
        if broken:
            listed = ", ".join(map(str, broken[:10]))
            draft.warn(f"Slides that are damaged and were left out of {source.name!r}: {listed}.")
        properties = part(archive, "docProps/core.xml")
    if draft.is_empty:
        raise source.empty("no slide holds text")
    title = properties.findtext(_TITLE) if properties is not None else None
    return draft.finish(source.media_type, title=title)


def _slides(archive: zipfile.ZipFile) -> list[str]:
    """The parts of the slides in the order they are shown, or by number where that is damaged."""
    present = set(archive.namelist())
    presentation = part(archive, "ppt/presentation.xml")
    if presentation is not None:
        targets = {key: target for key, _, target in _relations(archive, "ppt/presentation.xml")}
        listed = [
            targets.get(item.get(f"{_R}id", ""), "") for item in presentation.iter(f"{_P}sldId")
        ]
        ordered = [name for name in listed if name in present]
        if ordered:
            return ordered
    numbered = (re.fullmatch(r"ppt/slides/slide(\d+)\.xml", name) for name in present)
    return [match[0] for match in sorted(filter(None, numbered), key=lambda match: int(match[1]))]


def _relations(archive: zipfile.ZipFile, name: str) -> Iterator[tuple[str, str, str]]:
    """Id, kind and target part of each relationship of a part."""
    folder, base = posixpath.split(name)
    root = part(archive, f"{folder}/_rels/{base}.rels")
    for relation in root if root is not None else ():
        target = relation.get("Target", "")
        path = target[1:] if target.startswith("/") else posixpath.join(folder, target)
        kind = relation.get("Type", "").rsplit("/", 1)[-1]
        yield relation.get("Id", ""), kind, posixpath.normpath(path)


def _lacks_picture(archive: zipfile.ZipFile, name: str, slide: Element) -> bool:
    shown = [blip.get(f"{_R}embed") for blip in slide.iter(f"{_A}blip")]
    if not shown:
        return False
    present = set(archive.namelist())
    held = {key for key, _, target in _relations(archive, name) if target in present}
    return any(key not in held for key in shown)


def _write_slide(draft: Draft, slide: Element) -> None:
    shapes = list(_shapes(slide))
    for shape in shapes:
        if _placeholder(shape) in _TITLES:
            draft.heading(1, " ".join(_paragraphs(shape)))
    for shape in shapes:
        if _placeholder(shape) in _TITLES | _FURNITURE:
            continue
        if shape.tag == f"{_A}tbl":
            draft.table(
                [[_cell(cell) for cell in row.iter(f"{_A}tc")] for row in shape.iter(f"{_A}tr")]
            )
        else:
            draft.block("\n".join(_paragraphs(shape)))


def _shapes(element: Element) -> Iterator[Element]:
    """Shapes and tables in the order of the file, out of groups as well."""
    for child in element:
        if child.tag in {f"{_P}sp", f"{_A}tbl"}:
            yield child
        elif child.tag != _FALLBACK:
            yield from _shapes(child)


def _placeholder(shape: Element) -> str:
    """What the layout uses a shape for, such as `title`; "" for shapes that stand free."""
    holder = shape.find(f"{_P}nvSpPr/{_P}nvPr/{_P}ph")
    return "" if holder is None else holder.get("type", "body")


def _paragraphs(shape: Element) -> Iterator[str]:
    """The paragraphs of a shape, those of lists with their bullets or numbers."""
    number = 0
    for paragraph in shape.iter(f"{_A}p"):
        text = _text(paragraph).strip()
        if not text:
            continue
        properties = paragraph.find(f"{_A}pPr")
        is_numbered = properties is not None and properties.find(f"{_A}buAutoNum") is not None
        number = number + 1 if is_numbered else 0
        if properties is None:
            yield text
            continue
        level = properties.get("lvl", "0")
        indent = "  " * int(level) if level.isdecimal() and len(level) == 1 else ""
        has_bullet = indent or properties.find(f"{_A}buChar") is not None
        marker = f"{number}. " if is_numbered else "- " if has_bullet else ""
        yield f"{indent}{marker}{text}"


def _text(paragraph: Element) -> str:
    pieces = []
    for element in paragraph.iter():
        if element.tag == f"{_A}t":
            pieces.append(element.text or "")
        elif element.tag == f"{_A}br":
            pieces.append("\n")
    return "".join(pieces)


def _cell(cell: Element) -> str:
    return " ".join(_text(paragraph) for paragraph in cell.iter(f"{_A}p"))


def _write_related(draft: Draft, archive: zipfile.ZipFile, name: str) -> None:
    """The diagrams of a slide and its notes, which are parts of their own."""
    for _, kind, target in _relations(archive, name):
        if kind not in {"diagramData", "notesSlide"}:
            continue
        root = part(archive, target)
        if root is None:
            continue
        if kind == "diagramData":
            draft.block("\n".join(filter(None, (_text(p).strip() for p in root.iter(f"{_A}p")))))
            continue
        shapes = [shape for shape in _shapes(root) if _placeholder(shape) not in _FURNITURE]
        notes = "\n".join(line for shape in shapes for line in _paragraphs(shape))
        draft.block(f"Notes: {notes}" if notes else "")
