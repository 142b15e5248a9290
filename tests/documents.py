"""Documents for the tests of the parsers: the samples, and broken ones made on the spot."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from rag_engine.adapters.parsers import sniff
from rag_engine.adapters.parsers.formats import Reader
from rag_engine.adapters.parsers.limits import ParserLimits
from rag_engine.adapters.parsers.source import Source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rag_engine.core.models import ParsedDocument

SAMPLES = Path(__file__).parent / "samples"
# Read at import: the tests themselves see no variable that begins with RAG_.
DATA = Path(os.environ.get("RAG_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")

_reader = Reader(ocr=True)


def read(
    path: Path, *, name: str | None = None, reader: Reader = _reader, **limits: float
) -> ParsedDocument:
    """Parse in this process, where coverage sees it."""
    source = Source(
        path=path,
        name=name or path.name,
        media_type=sniff.UNKNOWN,
        limits=ParserLimits(**limits),  # type: ignore[arg-type]
    )
    with source.open() as file:
        return reader.read(source.of_type(sniff.sniff(file, source.name)))


def rezipped(original: bytes, replaced: Mapping[str, bytes]) -> bytes:
    """A ZIP container with some of its members replaced."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(original)) as source,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as copy,
    ):
        for member in source.infolist():
            copy.writestr(member.filename, replaced.get(member.filename, source.read(member)))
    return target.getvalue()


def zipped(members: Mapping[str, bytes]) -> bytes:
    """A ZIP archive."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return target.getvalue()


def claiming(original: bytes, member: str, size: int) -> bytes:
    """A ZIP container that lies about how far a member unpacks."""
    patched = bytearray(original)
    with zipfile.ZipFile(io.BytesIO(original)) as archive:
        local = archive.getinfo(member).header_offset
    central = original.rindex(member.encode()) - 46
    struct.pack_into("<I", patched, local + 22, size)
    struct.pack_into("<I", patched, central + 24, size)
    return bytes(patched)


def open_slides(title: str, body: str) -> bytes:
    """An ODP of one slide."""
    kind = "application/vnd.oasis.opendocument.presentation"
    names = " ".join(
        f'xmlns:{short}="urn:oasis:names:tc:opendocument:xmlns:{long}:1.0"'
        for short, long in (
            *(("office", "office"), ("text", "text")),
            *(("draw", "drawing"), ("presentation", "presentation")),
        )
    )
    content = (
        f"<office:document-content {names}><draw:page>"
        f"<draw:frame><text:p>{body}</text:p></draw:frame>"
        f'<draw:frame presentation:class="title"><text:p>{title}</text:p></draw:frame>'
        "<presentation:notes><text:p>Say<text:s/>it loud.</text:p></presentation:notes>"
        "</draw:page></office:document-content>"
    )
    return zipped({"mimetype": kind.encode(), "content.xml": content.encode()})


def encrypted_office() -> bytes:
    """The beginning of what Office writes for a document with a password."""
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)
    return header + "EncryptedPackage".encode("utf-16-le") + bytes(512)


def scan(path: Path, *, turns: int = 0) -> Path:
    """A PDF that holds the picture of a Chinese text and no text, turned by quarters."""
    from PIL import Image

    with Image.open(SAMPLES / "chinese.jpeg") as picture:
        page = Image.new("RGB", (picture.width, picture.width), "white")
        page.paste(picture.convert("RGB"))
        page.rotate(90 * turns).save(path, "PDF", resolution=72)
    return path


def merged(path: Path, *parts: Path) -> Path:
    """A PDF of the pages of others."""
    import pypdfium2

    whole = pypdfium2.PdfDocument.new()
    for part in parts:
        pages = pypdfium2.PdfDocument(part)
        whole.import_pages(pages)
        pages.close()
    whole.save(path)
    whole.close()
    return path


def filled_form(value: str) -> bytes:
    """A PDF whose only text was filled into a field of its form."""
    drawn = f"BT /F 12 Tf 2 5 Td ({value}) Tj ET".encode()
    font = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
    field = b"<</Type/Annot/Subtype/Widget/FT/Tx/T(name)/Rect[50 700 300 720]/F 4/P 3 0 R/AP<</N 6 0 R>>>>"
    appearance = (
        b"<</Type/XObject/Subtype/Form/BBox[0 0 250 20]/Resources<</Font<</F 5 0 R>>>>/Length %d>>"
    )
    objects = [
        b"<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[4 0 R]>>>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Annots[4 0 R]>>",
        field,
        font,
        appearance % len(drawn) + b"stream\n" + drawn + b"\nendstream",
    ]
    body = b"%PDF-1.7\n"
    offsets = []
    for number, item in enumerate(objects, start=1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, item)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    count = len(objects) + 1
    head = b"xref\n0 %d\n0000000000 65535 f \n" % count
    tail = b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (count, len(body))
    return body + head + table + tail


def stamped(path: Path, scanned: Path) -> Path:
    """A scan with a line of real text at its head, as archives and fax machines add it."""
    import pypdfium2
    import pypdfium2.raw as pdfium

    document = pypdfium2.PdfDocument(scanned)
    page = document[0]
    stamp = pdfium.FPDFPageObj_NewTextObj(document.raw, b"Helvetica", 6.0)
    text = (
        "Received by the registry, file number 2024-17-B, page 1 of 1".encode("utf-16-le") + b"\0\0"
    )
    wide = (pdfium.FPDF_WCHAR * (len(text) // 2)).from_buffer_copy(text)
    pdfium.FPDFText_SetText(stamp, wide)
    pdfium.FPDFPage_InsertObject(page.raw, stamp)
    pdfium.FPDFPage_GenerateContent(page.raw)
    document.save(path)
    document.close()
    return path
