"""Office files, e-books and Outlook mail to reading text, by kreuzberg."""

from __future__ import annotations

import importlib.util
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rag_engine.adapters.parsers import sniff
from rag_engine.adapters.parsers.draft import Draft
from rag_engine.adapters.parsers.source import Source, in_a_line
from rag_engine.core.models import ParsedDocument
from rag_engine.errors import DocumentTooLarge, DocumentUnreadable

_Node = Mapping[str, Any]

# Layers that repeat on every page.
_FURNITURE = frozenset({"header", "footer"})
# What Word's fields say to Word, such as the counter of a caption.
_FIELD_CODE = re.compile(r" ?(?:SEQ|PAGEREF|REF|HYPERLINK|TOC) [^\n]*?\\\* [A-Z]+ ?")
_SHEETS = frozenset({sniff.XLSX, sniff.XLS, sniff.ODS})


def parse_office(source: Source) -> ParsedDocument:
    """Any format that kreuzberg reads by structure: headings, paragraphs, lists, tables.

    Raises:
        DocumentUnreadable: Damaged, protected by a password, or kreuzberg is not installed.
        DocumentEmpty: It holds no text.
    """
    result = extract(source)
    draft = Draft()
    nodes: Sequence[_Node] = (result.document or {}).get("nodes", ())
    _Writer(draft, nodes, source.media_type).write()
    _write_children(draft, result.children or ())
    for warning in result.processing_warnings or ():
        draft.warn(f"Something in {source.name!r} was left out: {warning.message}")
    if draft.is_empty:
        draft.block(result.content or "")
    if draft.is_empty:
        raise source.empty()
    if draft.page_count > source.limits.max_pages:
        raise source.too_many_pages(draft.page_count, "sheets")
    return draft.finish(source.media_type, title=_title(result.metadata))


def extract(source: Source) -> Any:
    """Kreuzberg's own result for a file.

    Raises:
        DocumentUnreadable: Damaged, protected by a password, or kreuzberg is not installed.
    """
    if importlib.util.find_spec("kreuzberg") is None:
        raise DocumentUnreadable(
            f"{source.name!r} cannot be read here: the package kreuzberg, which reads "
            f"{source.media_type}, has no build for {sys.platform} on {platform.machine()}. "
            "Save it as PDF, HTML or text and add that, or run the server on Linux, "
            "on a Mac with Apple silicon, or on 64-bit Windows."
        )
    import kreuzberg

    config = kreuzberg.ExtractionConfig(
        use_cache=False,
        disable_ocr=True,  # type: ignore[call-arg]  # missing in its stubs
        # The structure that comes with plain text knows no tables in slides.
        output_format="markdown",
        include_document_structure=True,
        enable_quality_processing=False,
    )
    try:
        if source.data is not None:
            return kreuzberg.extract_bytes_sync(source.data, source.media_type, config)
        return kreuzberg.extract_file_sync(source.path, source.media_type, config)
    except kreuzberg.KreuzbergError as exc:
        if "assword" in str(exc) or "ncrypt" in str(exc):
            raise source.encrypted() from None
        if "Security limit" in str(exc):
            raise DocumentTooLarge(
                f"{source.name!r} is larger inside than its parser takes ({in_a_line(exc)}). "
                "Split it, and add the parts."
            ) from exc
        raise source.damaged(f"its parser gave up on it ({in_a_line(exc)})") from exc


def _write_children(draft: Draft, children: Sequence[Mapping[str, Any]]) -> None:
    """The attachments of a mail, as plain text."""
    for child in children:
        text = getattr(child.get("result"), "content", None)
        if text:
            draft.heading(2, str(child.get("path") or "attachment"))
            draft.block(text)


def _title(metadata: Mapping[str, Any] | None) -> str | None:
    for key in ("title", "subject"):
        value = (metadata or {}).get(key)
        if isinstance(value, str) and value.strip():
            return value
    return None


class _Writer:
    """Walks kreuzberg's flat list of nodes and feeds a draft."""

    def __init__(self, draft: Draft, nodes: Sequence[_Node], media_type: str) -> None:
        self._draft = draft
        self._nodes = nodes
        self._pages = media_type in _SHEETS
        # Kreuzberg gives its text as it is stored: a paragraph a line, cells between tabs.
        self._is_binary_word = media_type == sniff.DOC
        self._in_list = False
        self._number = 0

    def write(self) -> None:
        """Write every node, outermost first."""
        for index, node in enumerate(self._nodes):
            if node.get("parent") is not None:
                continue
            if self._pages and _kind(node) == "group":
                self._draft.page(self._sheet(node))
            self._node(index, 0)

    def _sheet(self, group: _Node) -> int:
        """The number of a sheet, which stands on its table; empty sheets have no group."""
        children = (self._nodes[child] for child in group.get("children") or ())
        numbers = [child["page"] for child in children if child.get("page")]
        return int(numbers[0]) if numbers else self._draft.page_count + 1

    def _node(self, index: int, depth: int) -> None:
        node = self._nodes[index]
        if node.get("content_layer") in _FURNITURE:
            return
        kind = _kind(node)
        if kind == "list_item":
            self._item(node, depth)
        else:
            self._block(kind, node.get("content") or {})
        self._in_list = kind == "list_item"
        inner = depth + 1 if kind == "list" else depth
        for number, child in enumerate(node.get("children") or (), start=1):
            self._number = number
            self._node(child, inner)

    def _block(self, kind: str, content: Mapping[str, Any]) -> None:
        text = content.get("text") or ""
        if kind in {"heading", "title"}:
            self._draft.heading(int(content.get("level") or 1), text)
        elif kind == "table":
            self._draft.table(_cells(content.get("grid") or {}))
        elif kind == "code":
            self._draft.block(f"```\n{text}\n```")
        elif kind == "image":
            self._draft.block(content.get("description") or "")
        elif kind == "metadata_block":
            self._draft.block("\n".join(f"{key}: {value}" for key, value in content["entries"]))
        elif self._is_binary_word:
            for line in _FIELD_CODE.sub("", text).split("\n"):
                self._draft.block(line.replace("\t\t", "\n").replace("\t", " | ").strip(" |"))
        else:
            self._draft.block(text)

    def _item(self, node: _Node, depth: int) -> None:
        parent = self._nodes[node["parent"]] if node.get("parent") is not None else {}
        ordered = (parent.get("content") or {}).get("ordered")
        text = (node.get("content") or {}).get("text") or ""
        marker = f"{self._number}." if ordered else "-"
        self._draft.block(f"{'  ' * max(0, depth - 1)}{marker} {text}", tight=self._in_list)


def _kind(node: _Node) -> str:
    return str((node.get("content") or {}).get("node_type"))


def _cells(table: Mapping[str, Any]) -> list[list[str]]:
    rows: list[list[str]] = [[""] * int(table.get("cols", 0)) for _ in range(table.get("rows", 0))]
    for cell in table.get("cells", ()):
        rows[cell["row"]][cell["col"]] = cell["content"]
    return rows
