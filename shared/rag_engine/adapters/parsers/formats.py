"""Which reader takes which media type."""

from __future__ import annotations

from rag_engine.adapters.parsers import sniff
from rag_engine.adapters.parsers.ocr import Recogniser, parse_image
from rag_engine.adapters.parsers.source import Source
from rag_engine.adapters.parsers.text import parse_text
from rag_engine.core.models import ParsedDocument
from rag_engine.errors import DocumentUnreadable

_OFFICE = frozenset(
    {
        *(sniff.DOCX, sniff.DOC, sniff.PPTX, sniff.PPT, sniff.XLSX, sniff.XLS),
        *(sniff.ODT, sniff.ODS, sniff.ODP, sniff.RTF, sniff.EPUB, sniff.OUTLOOK),
    }
)


class Reader:
    """Reads files of every format, in the process it is called in."""

    def __init__(self, *, ocr: bool) -> None:
        self._recogniser = Recogniser(enabled=ocr)

    def read(self, source: Source) -> ParsedDocument:
        """The text of a file.

        Raises:
            DocumentRejected: The file cannot be read, and the message says why.
        """
        kind = source.media_type
        if kind in sniff.TEXTS:
            return parse_text(source, source.path.read_bytes())
        if kind == sniff.HTML:
            from rag_engine.adapters.parsers.hypertext import parse_html

            return parse_html(source, source.path.read_bytes())
        if kind == sniff.PDF:
            from rag_engine.adapters.parsers.pdf import parse_pdf

            return parse_pdf(source, self._recogniser)
        if kind in sniff.IMAGES:
            return parse_image(source, self._recogniser)
        if kind in _OFFICE:
            from rag_engine.adapters.parsers.office import parse_office

            return parse_office(source)
        raise unknown(source)


def unknown(source: Source) -> DocumentUnreadable:
    """The error for bytes that no reader knows."""
    return DocumentUnreadable(
        f"{source.name!r} is of no type that can be read: it is no text, and its bytes match no "
        "known document format. Convert it to PDF, HTML or text, or leave it out."
    )
