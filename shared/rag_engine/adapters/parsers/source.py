"""What every format reader is given: one file, already told apart, and what it may cost."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from rag_engine.adapters.parsers.limits import ParserLimits, in_words, setting
from rag_engine.errors import (
    DocumentEmpty,
    DocumentTooLarge,
    DocumentUnreadable,
    ModelUnavailable,
)


def _ignore() -> None:
    return None


@dataclass(slots=True)
class Tally:
    """A running sum of bytes."""

    total: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file to read.

    Attributes:
        name: What the user calls it; error messages show it.
        data: Its bytes, where it came out of an archive or a mail and is no file of its own.
        media_type: As told from the bytes.
        progress: To be called after each step that may take long; it resets the time limit.
        depth: How many archives or mails it is nested in.
        unpacked: What was unpacked so far, shared by a file and all that is nested in it.
    """

    path: Path
    name: str
    media_type: str
    limits: ParserLimits
    data: bytes | None = None
    progress: Callable[[], None] = _ignore
    depth: int = 0
    unpacked: Tally = field(default_factory=Tally)

    def open(self) -> BinaryIO:
        """The file, open for reading from its start."""
        return self.path.open("rb") if self.data is None else io.BytesIO(self.data)

    def read(self) -> bytes:
        """All its bytes."""
        return self.path.read_bytes() if self.data is None else self.data

    def of_type(self, media_type: str) -> Source:
        """The same file, told to be of another type."""
        return dataclasses.replace(self, media_type=media_type)

    def damaged(self, what: str) -> DocumentUnreadable:
        """The error for a file that claims to be of a type and is not a whole one."""
        return DocumentUnreadable(
            f"{self.name!r} cannot be read: {what}. "
            "Open it in the program that made it, save it again, and add the new file."
        )

    def encrypted(self) -> DocumentUnreadable:
        """The error for a file that asks for a password."""
        return DocumentUnreadable(
            f"{self.name!r} is protected by a password. "
            "Save a copy without the password and add that."
        )

    def empty(self, why: str = "no text was found in it") -> DocumentEmpty:
        """The error for a file without text."""
        return DocumentEmpty(
            f"{self.name!r} has nothing to index: {why}. "
            "Check that it is the file you meant, or leave it out."
        )

    def too_many_pages(self, pages: int, unit: str = "pages") -> DocumentTooLarge:
        """The error for a file with more pages than allowed."""
        return DocumentTooLarge(
            f"{self.name!r} has {pages} {unit}, and the limit is {self.limits.max_pages}. "
            f"Split it, or raise {setting('max_pages')}."
        )

    def unpacks_too_far(self) -> DocumentTooLarge:
        """The error for a container that unpacks to more than allowed."""
        return DocumentTooLarge(
            f"{self.name!r} unpacks to more than {in_words(self.limits.max_unpacked_bytes)}, "
            "which is how a zip bomb looks. If you trust it, raise "
            f"{setting('max_unpacked_bytes')}."
        )

    def takes_too_much_memory(self) -> DocumentTooLarge:
        """The error for a file whose reading takes more memory than allowed."""
        return DocumentTooLarge(
            f"{self.name!r} takes more than {in_words(self.limits.max_memory_bytes)} of memory to "
            f"read. Split it, or raise {setting('max_memory_bytes')}."
        )

    def parser_closed(self) -> ModelUnavailable:
        """The error for a file whose parser was closed meanwhile."""
        return ModelUnavailable(f"The parser was closed before {self.name!r} was read. Try again.")

    def takes_too_long(self) -> DocumentTooLarge:
        """The error for a file whose reading takes more time than allowed."""
        return DocumentTooLarge(
            f"{self.name!r} was not read within {self.limits.timeout_seconds:g} seconds. "
            f"Split it, or raise {setting('timeout_seconds')}."
        )


def too_large(name: str, size: int, limits: ParserLimits) -> DocumentTooLarge:
    """The error for a file of more bytes than allowed."""
    return DocumentTooLarge(
        f"{name!r} has {in_words(size)}, and the limit is {in_words(limits.max_bytes)}. "
        f"Split it, or raise {setting('max_bytes')}."
    )


def in_a_line(exc: BaseException) -> str:
    """What a library said, short enough to stand in a sentence."""
    kind = type(exc).__name__
    text = str(exc).strip().split("\n", 1)[0].removeprefix(f"{kind}: ")[:200].rstrip(" .:")
    return text or kind
