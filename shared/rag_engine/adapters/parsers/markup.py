"""XML of any vocabulary to reading text: titles as headings, running text as paragraphs."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element

from rag_engine.adapters.parsers.draft import Draft, one_line
from rag_engine.adapters.parsers.source import Source
from rag_engine.core.models import ParsedDocument

_TITLES = frozenset({"title", "article-title", "head", "heading", "chapter-title", "subtitle"})
_ROWS = frozenset({"tr", "row"})
# Names that say how text is laid out and not what it is; others are worth showing.
_LAYOUT = re.compile(
    r"p|para|simpara|li|item|listitem|td|th|entry|text|div|span|line|l|s|body|abstract"
)
_SHORT = 120
_MAX_DEPTH = 200


def parse_xml(source: Source) -> ParsedDocument:
    """The text of the elements; the attributes where there is no other text.

    Raises:
        DocumentUnreadable: Not well-formed.
        DocumentEmpty: It holds no text.
    """
    try:
        root = ET.fromstring(source.read())  # noqa: S314  # in the sandbox, with limits
    except (ET.ParseError, LookupError, ValueError) as exc:
        raise source.damaged(f"it is not well-formed XML ({exc})") from exc
    draft = Draft()
    _walk(draft, root, level=1, depth=0)
    if draft.is_empty:
        for element in root.iter():
            values = ", ".join(f"{_local(key)}: {value}" for key, value in element.items() if value)
            draft.block(f"{_local(element.tag)}: {values}" if values else "", tight=True)
    if draft.is_empty:
        raise source.empty()
    return draft.finish(source.media_type)


def _walk(draft: Draft, element: Element, *, level: int, depth: int) -> None:
    """Write an element; a title among its children makes it a section."""
    if depth > _MAX_DEPTH or _is_running_text(element):
        _write_text(draft, element)
        return
    if any(_local(child.tag) in _ROWS for child in element):
        rows = [row for row in element if _local(row.tag) in _ROWS]
        draft.table([[one_line("".join(cell.itertext())) for cell in row] for row in rows])
        return
    inner = level
    for child in element:
        if _local(child.tag) in _TITLES and len(text := one_line("".join(child.itertext()))) < 300:
            draft.heading(level, text)
            inner = level + 1
        else:
            _walk(draft, child, level=inner, depth=depth + 1)


def _is_running_text(element: Element) -> bool:
    """Whether an element holds text itself, not only in its children."""
    return bool((element.text or "").strip()) or any(
        (child.tail or "").strip() for child in element
    )


def _write_text(draft: Draft, element: Element) -> None:
    text = one_line("".join(element.itertext()))
    name = _local(element.tag)
    is_field = len(element) == 0 and len(text) < _SHORT and not _LAYOUT.fullmatch(name)
    draft.block(f"{name}: {text}" if is_field else text, tight=is_field)


def _local(tag: object) -> str:
    """A tag without its namespace; comments and instructions have none."""
    return tag.rsplit("}", 1)[-1] if isinstance(tag, str) else ""
