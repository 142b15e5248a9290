"""ZIP containers: how far they unpack, and their XML parts."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from xml.etree import ElementTree as ET

from rag_engine.adapters.parsers.source import Source

_BROKEN = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError, ValueError),
    *(OSError, KeyError),
)
_ENCRYPTED_FLAG = 0x1


@contextmanager
def package(source: Source) -> Iterator[zipfile.ZipFile]:
    """A ZIP container whose members together stay within the limit.

    Raises:
        DocumentUnreadable: It is damaged or encrypted.
        DocumentTooLarge: It claims to unpack to more than allowed. A container that claims less
            than the truth is stopped by the limit on memory.
    """
    with source.open() as file:
        try:
            archive = zipfile.ZipFile(file)
        except _BROKEN as exc:
            raise source.damaged("it is not a whole ZIP container") from exc
        with archive:
            members = archive.infolist()
            source.unpacked.total += sum(member.file_size for member in members)
            if source.unpacked.total > source.limits.max_unpacked_bytes:
                raise source.unpacks_too_far()
            if members and all(m.flag_bits & _ENCRYPTED_FLAG for m in members if not m.is_dir()):
                raise source.encrypted()
            yield archive


def member(archive: zipfile.ZipFile, name: str) -> bytes | None:
    """The bytes of a member, or `None` when it is missing or damaged."""
    try:
        return archive.read(name)
    except (*_BROKEN, RuntimeError, zlib.error, lzma.LZMAError):
        return None


def part(archive: zipfile.ZipFile, name: str) -> ET.Element | None:
    """The root of an XML part, or `None` when it is missing or damaged."""
    data = member(archive, name)
    if data is None:
        return None
    try:
        return ET.fromstring(data)  # noqa: S314  # in the sandbox, with limits
    except (ET.ParseError, LookupError, ValueError):
        return None
