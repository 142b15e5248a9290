"""What a document may cost before it is refused."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ParserLimits:
    """Limits on one document. Each refusal names the limit and the setting that raises it.

    Attributes:
        max_bytes: Largest file, in bytes. Checked before anything is read.
        max_pages: Most pages (slides, sheets, members of an archive) of one document.
        max_unpacked_bytes: Most bytes that a ZIP container (DOCX, XLSX, EPUB, ODT, ZIP) may
            unpack to, all its members and nested archives together.
        max_memory_bytes: Most memory the parsing process may take.
        timeout_seconds: Longest time without progress: the whole document, or one page where
            pages are recognised by OCR.
        ocr: Whether images and pages without text are recognised by OCR.
    """

    max_bytes: int = 200 * 1024 * 1024
    max_pages: int = 5_000
    max_unpacked_bytes: int = 1024 * 1024 * 1024
    # ONNX Runtime with the OCR models takes about 500 MB; a 200 MB workbook has to fit beside it.
    max_memory_bytes: int = 3 * 1024 * 1024 * 1024
    timeout_seconds: float = 120.0
    ocr: bool = True


def setting(field: str) -> str:
    """The environment variable that sets a field of `ParserLimits`."""
    return f"RAG_PARSER_{field.upper()}"


def in_words(size: int) -> str:
    """A number of bytes for people: `209715200` is `200 MB`."""
    value = float(size)
    for unit in ("bytes", "kB", "MB"):
        if value < 1024:
            return (
                f"{value:.0f} {unit}"
                if value >= 10 or value.is_integer()
                else f"{value:.1f} {unit}"
            )
        value /= 1024
    return f"{value:.1f} GB"
