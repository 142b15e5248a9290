"""Functions that our SQL calls.

They take text as bytes (`CAST(… AS BLOB)`), for text that is damaged may be no UTF-8 any more.
"""

from __future__ import annotations

import hashlib
import sqlite3
import zlib

import numpy as np

from rag_engine.core.ids import chunk_id, entity_id


def add_checksum(connection: sqlite3.Connection) -> None:
    """Let a connection compute checksums, as whatever writes needs to."""
    connection.create_function("checksum", -1, checksum, deterministic=True)


def add_functions(connection: sqlite3.Connection) -> None:
    """Let a connection check everything about evidence and what is derived from it."""
    add_checksum(connection)
    for name, arguments, function in (
        ("text_hash", 1, _text_hash),
        ("words", 1, _words),
        ("is_unit", 1, _is_unit),
        ("entity_id", 1, _entity_id),
        ("chunk_id", 3, _chunk_id),
    ):
        connection.create_function(name, arguments, function, deterministic=True)


def checksum(*values: int | bytes | None) -> int:
    """CRC-32 of values: it finds every flipped bit, and every change of up to 32 bits in a row."""
    found = 0
    for value in values:
        content = (
            value if isinstance(value, bytes) else b"%d" % value if value is not None else b"-"
        )
        found = zlib.crc32(b"%d:" % len(content), zlib.crc32(content, found))
    return found


def damaged(reason: str) -> sqlite3.DatabaseError:
    """What SQLite would raise, had it found this damage itself."""
    error = sqlite3.DatabaseError(reason)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _text_hash(text: bytes) -> str:
    """As `core.ids.text_hash`, of text that may be no UTF-8."""
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def _words(text: bytes) -> int:
    return len(text.split())


def _is_unit(vector: bytes) -> bool:
    """Whether a vector of float16 has length 1, within what rounding does, or is all zero."""
    if len(vector) % 2:
        return False
    values = np.frombuffer(vector, dtype="<f2").astype(np.float32)
    length = float(np.linalg.norm(values))
    return length == 0.0 or abs(length - 1.0) < 0.01


def _entity_id(key: bytes) -> int:
    return entity_id(key.decode("utf-8", "replace"))


def _chunk_id(document: bytes, version: int, ordinal: int) -> int:
    return chunk_id(document.decode("utf-8", "replace"), version, ordinal)
