"""What the parser and its sandbox say to each other: JSON with a length before it.

Nothing that comes out of the sandbox is unpickled or evaluated.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from rag_engine.adapters.parsers.limits import ParserLimits
from rag_engine.adapters.parsers.source import Source
from rag_engine.core.models import Heading, PageStart, ParsedDocument, TextKind
from rag_engine.errors import (
    DocumentEmpty,
    DocumentRejected,
    DocumentTooLarge,
    DocumentUnreadable,
)

_LENGTH = struct.Struct(">I")
_MAX_LENGTH = 1 << 30
_ERRORS: dict[str, type[DocumentRejected]] = {
    kind.__name__: kind for kind in (DocumentUnreadable, DocumentEmpty, DocumentTooLarge)
}

Frame = dict[str, Any]


class BrokenFrame(Exception):
    """The other side sent something that is no frame."""


def write(stream: BinaryIO, frame: Frame) -> None:
    """Send one frame.

    Raises:
        OSError: The other side is gone.
    """
    body = json.dumps(frame, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    stream.write(_LENGTH.pack(len(body)) + body)
    stream.flush()


def read(stream: BinaryIO) -> Frame | None:
    """The next frame, or `None` when the other side has closed.

    Raises:
        BrokenFrame: It is not JSON, or not an object.
    """
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > _MAX_LENGTH:
        raise BrokenFrame
    body = stream.read(length)
    if len(body) < length:
        return None
    try:
        frame = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise BrokenFrame from exc
    if not isinstance(frame, dict):
        raise BrokenFrame
    return frame


def request(source: Source) -> Frame:
    """What the sandbox needs to read one file."""
    # File names are bytes on Linux; as Latin-1 any of them fits into JSON.
    path = os.fsencode(source.path).decode("latin-1")
    return {"path": path, "name": source.name, "media_type": source.media_type}


def source(frame: Frame, limits: ParserLimits, progress: Callable[[], None]) -> Source:
    """The file that a request asks for."""
    return Source(
        path=Path(os.fsdecode(frame["path"].encode("latin-1"))),
        name=frame["name"],
        media_type=frame["media_type"],
        limits=limits,
        progress=progress,
    )


def success(parsed: ParsedDocument) -> Frame:
    """A document as a frame."""
    return {"parsed": asdict(parsed)}


def failure(error: DocumentRejected) -> Frame:
    """A refusal as a frame."""
    return {"error": type(error).__name__, "message": str(error)}


def result(frame: Frame) -> ParsedDocument:
    """The document in a frame.

    Raises:
        DocumentRejected: The frame holds a refusal.
        BrokenFrame: The frame holds neither.
    """
    try:
        if "error" in frame:
            raise _ERRORS[frame["error"]](str(frame["message"]))
        fields = frame["parsed"]
        return ParsedDocument(
            text=fields["text"],
            media_type=fields["media_type"],
            title=fields["title"],
            kind=TextKind(fields["kind"]),
            pages=tuple(PageStart(**page) for page in fields["pages"]),
            headings=tuple(Heading(**heading) for heading in fields["headings"]),
            warnings=tuple(fields["warnings"]),
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise BrokenFrame from exc
