"""Which reader takes which media type."""

from __future__ import annotations

from rag_engine.adapters.parsers import sniff
from rag_engine.adapters.parsers.archive import parse_archive
from rag_engine.adapters.parsers.hypertext import parse_html
from rag_engine.adapters.parsers.mail import parse_mail
from rag_engine.adapters.parsers.markup import parse_xml
from rag_engine.adapters.parsers.ocr import Recogniser, parse_image
from rag_engine.adapters.parsers.office import parse_office
from rag_engine.adapters.parsers.open_slides import parse_open_slides
from rag_engine.adapters.parsers.package import member, package
from rag_engine.adapters.parsers.slides import parse_slides
from rag_engine.adapters.parsers.source import Source
from rag_engine.adapters.parsers.text import parse_text
from rag_engine.core.models import ParsedDocument
from rag_engine.errors import DocumentUnreadable

_CONTAINERS = frozenset({sniff.DOCX, sniff.XLSX, sniff.ODT, sniff.ODS, sniff.ODP, sniff.EPUB})
_OFFICE = _CONTAINERS | {sniff.DOC, sniff.PPT, sniff.XLS, sniff.RTF, sniff.OUTLOOK}


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
            return parse_text(source, source.read())
        if kind == sniff.HTML:
            return parse_html(source, source.read())
        if kind == sniff.XML:
            return parse_xml(source)
        if kind == sniff.MAIL:
            return parse_mail(source, self._nested)
        return self._read_binary(source)

    def _read_binary(self, source: Source) -> ParsedDocument:
        kind = source.media_type
        if kind == sniff.PDF:
            from rag_engine.adapters.parsers.pdf import parse_pdf

            return parse_pdf(source, self._recogniser)
        if kind in sniff.IMAGES:
            return parse_image(source, self._recogniser)
        if kind == sniff.PPTX:
            return parse_slides(source)
        if kind == sniff.ZIP:
            return parse_archive(source, self._nested)
        if kind in _CONTAINERS:
            with package(source) as archive:
                if b"encryption-data" in (member(archive, "META-INF/manifest.xml") or b""):
                    raise source.encrypted()
            return parse_open_slides(source) if kind == sniff.ODP else parse_office(source)
        if kind in _OFFICE:
            return parse_office(source)
        if kind == sniff.ENCRYPTED_OFFICE:
            raise source.encrypted()
        raise unknown(source)

    def _nested(self, outer: Source, name: str, data: bytes) -> ParsedDocument:
        """Read a file that is inside another."""
        inner = Source(
            path=outer.path,
            name=f"{outer.name}/{name}",
            media_type=sniff.UNKNOWN,
            limits=outer.limits,
            data=data,
            progress=outer.progress,
            depth=outer.depth + 1,
            unpacked=outer.unpacked,
        )
        if not data:
            raise inner.empty("the file has no bytes")
        with inner.open() as file:
            return self.read(inner.of_type(sniff.sniff(file, name)))


def unknown(source: Source) -> DocumentUnreadable:
    """The error for bytes that no reader knows."""
    return DocumentUnreadable(
        f"{source.name!r} is of no type that can be read: it is no text, and its bytes match no "
        "known document format. Convert it to PDF, HTML or text, or leave it out."
    )
