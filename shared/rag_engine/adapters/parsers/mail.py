"""Mail to reading text: the main headers, the body, and the attachments that can be read."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Callable, Iterator
from email.message import Message

from rag_engine.adapters.parsers.charset import decode
from rag_engine.adapters.parsers.draft import Draft, one_line
from rag_engine.adapters.parsers.hypertext import read_html
from rag_engine.adapters.parsers.source import Source
from rag_engine.core.models import ParsedDocument
from rag_engine.errors import DocumentRejected

_HEADERS = ("From", "To", "Cc", "Date", "Subject")
_MAX_ATTACHMENTS = 1_000

Nested = Callable[[Source, str, bytes], ParsedDocument]
"""Reads a file that is inside another: the outer one, the inner one's name and bytes."""


def parse_mail(source: Source, nested: Nested) -> ParsedDocument:
    """One mail.

    Raises:
        DocumentEmpty: Neither headers, body nor attachments hold text.
    """
    data = source.read()
    if data.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        data = decode(data).text.encode("utf-8")
    message = email.message_from_bytes(data, policy=email.policy.default)
    draft = Draft()
    subject = _header(message, "Subject")
    headers = ((name, _header(message, name)) for name in _HEADERS)
    draft.block("\n".join(f"{name}: {value}" for name, value in headers if value))
    body = _body(message)
    if body is not None:
        _write_body(draft, body)
    for part in _attachments(message, body):
        _write_attachment(draft, part, source, nested)
    if draft.is_empty:
        raise source.empty("the mail has neither text nor readable attachments")
    return draft.finish(source.media_type, title=subject)


def _header(message: Message, name: str) -> str:
    try:
        return one_line(str(message.get(name, "")))
    # The header parser of the standard library fails on malformed addresses in many ways.
    except (ValueError, TypeError, IndexError, AttributeError, LookupError):
        return ""


def _body(message: Message) -> Message | None:
    """The part that is the text of the mail: plain text if there is any, else HTML."""
    inline = [
        part
        for part in _parts(message)
        if part.get_content_maintype() == "text" and part.get_content_disposition() != "attachment"
    ]
    for kind in ("text/plain", "text/html"):
        for part in inline:
            if part.get_content_type() == kind and _text(part).strip():
                return part
    return inline[0] if inline else None


def _text(part: Message) -> str:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    charset = part.get_content_charset()
    if charset:
        try:
            return payload.decode(charset)
        except (LookupError, ValueError):
            pass
    return decode(payload).text


def _write_body(draft: Draft, body: Message) -> None:
    text = _text(body)
    if body.get_content_type() == "text/html":
        read_html(draft, text, depth=1)
    else:
        draft.block(text)


def _parts(message: Message) -> Iterator[Message]:
    """The parts of a mail, but not those of mails attached to it."""
    payload = message.get_payload()
    if message.get_content_maintype() == "multipart" and isinstance(payload, list):
        for part in payload:
            if isinstance(part, Message):
                yield from _parts(part)
    else:
        yield message


def _attachments(message: Message, body: Message | None) -> list[Message]:
    parts = [
        part
        for part in _parts(message)
        if part.get_filename() is not None or part.get_content_type() == "message/rfc822"
    ]
    return [part for part in parts if part is not body and part is not message][:_MAX_ATTACHMENTS]


def _attached(part: Message) -> bytes:
    """The bytes of an attachment; those of an attached mail are written anew."""
    payload = part.get_payload()
    if isinstance(payload, list):
        try:
            return b"\n".join(inner.as_bytes() for inner in payload if isinstance(inner, Message))
        # A mail that breaks its own rules cannot always be written again.
        except (ValueError, TypeError, LookupError, AttributeError):
            return b""
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""


def _write_attachment(draft: Draft, part: Message, source: Source, nested: Nested) -> None:
    name = one_line(part.get_filename() or "attached mail")
    data = _attached(part)
    if not data:
        return
    try:
        parsed = nested(source, name, data)
    except DocumentRejected as exc:
        if source.unpacked.total > source.limits.max_unpacked_bytes:
            raise source.unpacks_too_far() from exc
        draft.warn(f"An attachment of {source.name!r} was left out: {exc}")
        return
    draft.heading(2, name)
    draft.include(parsed, depth=2)
