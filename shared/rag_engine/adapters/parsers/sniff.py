"""The media type of a file, told from its bytes; the name decides only between kinds of text."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import PurePath
from typing import BinaryIO

from rag_engine.adapters.parsers.charset import decode, is_readable, utf16_without_mark

UNKNOWN = "application/octet-stream"
PDF = "application/pdf"
ZIP = "application/zip"
EPUB = "application/epub+zip"
RTF = "application/rtf"
HTML = "text/html"
XML = "application/xml"
MAIL = "message/rfc822"
OUTLOOK = "application/vnd.ms-outlook"
NOTEBOOK = "application/x-ipynb+json"
JSON = "application/json"
JSON_LINES = "application/x-ndjson"
CSV = "text/csv"
TSV = "text/tab-separated-values"
MARKDOWN = "text/markdown"
RST = "text/x-rst"
PLAIN = "text/plain"
CODE = "text/x-source"

_OOXML = "application/vnd.openxmlformats-officedocument."
DOCX = _OOXML + "wordprocessingml.document"
PPTX = _OOXML + "presentationml.presentation"
XLSX = _OOXML + "spreadsheetml.sheet"
DOC = "application/msword"
PPT = "application/vnd.ms-powerpoint"
XLS = "application/vnd.ms-excel"
_ODF = "application/vnd.oasis.opendocument."
ODT, ODS, ODP = _ODF + "text", _ODF + "spreadsheet", _ODF + "presentation"
ENCRYPTED_OFFICE = "application/x-encrypted-office"

IMAGES = frozenset(f"image/{kind}" for kind in ("png", "jpeg", "gif", "bmp", "tiff", "webp", "jp2"))
TEXTS = frozenset({PLAIN, MARKDOWN, RST, CSV, TSV, JSON, JSON_LINES, NOTEBOOK, CODE})

HEAD_BYTES = 64 * 1024
_IMAGE_MARKS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"\x00\x00\x00\x0cjP  ", "image/jp2"),
)
_COMPOUND_MARK = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# Names of streams in a compound file, as they stand in its directory.
_COMPOUND_STREAMS = tuple(
    (stream.encode("utf-16-le"), kind)
    for stream, kind in (
        ("EncryptedPackage", ENCRYPTED_OFFICE),
        # A mail may hold any of the others, and a presentation a workbook.
        ("__substg1.0_", OUTLOOK),
        ("PowerPoint Document", PPT),
        ("WordDocument", DOC),
        ("Workbook", XLS),
        ("Book", XLS),
    )
)
_BY_ZIP_MEMBER = (("word/", DOCX), ("ppt/", PPTX), ("xl/", XLSX))
_BY_SUFFIX = {
    **dict.fromkeys((".md", ".markdown", ".mdown", ".mkd", ".qmd", ".rmd", ".mdx"), MARKDOWN),
    **dict.fromkeys((".rst", ".rest"), RST),
    **dict.fromkeys((".csv",), CSV),
    **dict.fromkeys((".tsv", ".tab"), TSV),
    **dict.fromkeys((".jsonl", ".ndjson"), JSON_LINES),
    **dict.fromkeys((".html", ".htm", ".xhtml"), HTML),
    **dict.fromkeys((".eml", ".mht", ".mhtml"), MAIL),
}
_CODE_SUFFIXES = frozenset(
    ".py .pyi .js .mjs .cjs .jsx .ts .tsx .go .rs .c .h .cc .cpp .cxx .hh .hpp .cs .java .kt .kts "
    ".scala .swift .m .mm .rb .php .pl .pm .lua .r .jl .sh .bash .zsh .fish .ps1 .bat .cmd .sql "
    ".hs .ml .mli .fs .ex .exs .erl .clj .cljs .lisp .el .vim .dart .groovy .gradle .zig .nim .v "
    ".sv .vhd .asm .s .f90 .f .pas .d .css .scss .sass .less .vue .svelte .proto .graphql .tf "
    ".cmake .mk .toml .yaml .yml .ini .cfg .conf .properties .env".split()
)
_CODE_NAMES = frozenset({"dockerfile", "makefile", "rakefile", "gemfile", "cmakelists.txt"})
_HTML_START = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b",
    re.IGNORECASE | re.DOTALL,
)
_XML_START = re.compile(r"\s*<\?xml\b")
_HEADER_LINE = re.compile(r"([A-Za-z][A-Za-z0-9-]*):[ \t]?.*(?:\r?\n[ \t]+.*)*\r?\n")
_MAIL_HEADERS = frozenset(
    "from to cc subject date message-id mime-version received return-path delivered-to "
    "content-type reply-to sender in-reply-to references".split()
)
_BINARY_CHARACTERS = bytes({*range(0x20)} - {7, 8, 9, 10, 12, 13, 27})


def sniff(file: BinaryIO, name: str) -> str:
    """The media type of an open file.

    Raises:
        OSError: The file cannot be read.
    """
    head = file.read(HEAD_BYTES)
    return _by_mark(head, file) or _by_text(head, name, file)


def _by_mark(head: bytes, file: BinaryIO) -> str | None:
    if b"%PDF-" in head[:1024]:
        return PDF
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return _of_zip(file)
    if head.startswith(_COMPOUND_MARK):
        return _of_compound(file)
    if head.startswith(b"{\\rtf"):
        return RTF
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for mark, kind in _IMAGE_MARKS if head.startswith(mark)), None)


def _of_zip(file: BinaryIO) -> str:
    """Which kind of container a ZIP is; a damaged one stays a ZIP and fails as such."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            if "mimetype" in names and archive.getinfo("mimetype").file_size < 200:
                declared = archive.read("mimetype").decode("ascii", "replace").strip()
                if declared == EPUB or declared.startswith(_ODF):
                    return declared.removesuffix("-template")
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError, EOFError):
        return ZIP
    if "[Content_Types].xml" in names:
        for prefix, kind in _BY_ZIP_MEMBER:
            if any(member.startswith(prefix) for member in names):
                return kind
    if "META-INF/container.xml" in names:
        return EPUB
    return ZIP


def _of_compound(file: BinaryIO) -> str:
    """Which program a compound file is from, by the names in its directory."""
    file.seek(0)
    found: set[str] = set()
    rest = b""
    while chunk := file.read(1024 * 1024):
        data = rest + chunk
        found.update(kind for mark, kind in _COMPOUND_STREAMS if mark in data)
        rest = data[-64:]
    return next((kind for _, kind in _COMPOUND_STREAMS if kind in found), UNKNOWN)


def _by_text(head: bytes, name: str, file: BinaryIO) -> str:
    if is_binary(head):
        return UNKNOWN
    text = decode(head).text
    suffix = PurePath(name).suffix.lower()
    if _looks_like_mail(text):
        return MAIL
    known = _BY_SUFFIX.get(suffix)
    if known in {MARKDOWN, RST, CSV, TSV, JSON_LINES}:
        return known
    if _HTML_START.match(text[:4096]):
        return HTML
    if _XML_START.match(text) or (suffix == ".xml" and text.lstrip().startswith("<")):
        return HTML if re.search(r"<html\b", text[:2048], re.IGNORECASE) else XML
    if text.lstrip()[:1] in {"{", "["}:
        return _of_json(text, file, suffix, name)
    if known == HTML and re.search(r"<[a-z!/]", text[:HEAD_BYTES], re.IGNORECASE):
        return HTML
    return _code_or_plain(suffix, name)


def _code_or_plain(suffix: str, name: str) -> str:
    is_code = suffix in _CODE_SUFFIXES or PurePath(name).name.lower() in _CODE_NAMES
    return CODE if is_code else PLAIN


def _of_json(text: str, file: BinaryIO, suffix: str, name: str) -> str:
    """Notebook, JSON, JSON lines, or text that merely begins with a bracket."""
    if '"nbformat"' in text and '"cells"' in text:
        return NOTEBOOK
    if suffix == ".ipynb":
        file.seek(0)
        return NOTEBOOK if b'"nbformat"' in file.read() else JSON
    if suffix == ".json":
        return JSON
    first_line = text.lstrip().split("\n", 1)[0].strip().rstrip(",")
    try:
        json.loads(first_line)
    except (ValueError, RecursionError):
        if suffix in _CODE_SUFFIXES:
            return CODE
        return (
            JSON if re.match(r'\s*(\{\s*"|\[\s*[\[{"\d])', text) else _code_or_plain(suffix, name)
        )
    return JSON_LINES if "\n" in text.strip() and first_line.startswith("{") else JSON


def _looks_like_mail(text: str) -> bool:
    """Whether the text begins with a block of mail headers."""
    seen: set[str] = set()
    position = 0
    if text.startswith("From "):  # an mbox separator
        position = text.find("\n") + 1
    while match := _HEADER_LINE.match(text, position):
        seen.add(match[1].lower())
        position = match.end()
        if len(seen) > 60:
            break
    known = seen & _MAIL_HEADERS
    sure = known & {"mime-version", "message-id", "received", "return-path", "delivered-to"}
    return (len(known) >= 2 and bool(sure)) or {"from", "to", "subject"} <= known


def is_binary(head: bytes) -> bool:
    """Whether the bytes are no text in any encoding."""
    if not head or utf16_without_mark(head):
        return False
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return not is_readable(decode(head).text)
    control = len(head) - len(head.translate(None, _BINARY_CHARACTERS))
    return control > 0.005 * len(head) or b"\x00\x00\x00" in head
