"""Identifiers that are pure functions of what they name.

Ties are broken by id everywhere, so an id must not depend on the order of past writes: a row
number would let a document that was added and deleted again move a result. Integers rather than
strings, because ranking is done on arrays of them.
"""

from __future__ import annotations

import hashlib
from typing import NewType

ChunkId = NewType("ChunkId", int)
EntityId = NewType("EntityId", int)

_BITS = 63  # a signed 64-bit column holds it; at ten million names a collision has odds of 5e-6


def _digest(kind: str, *parts: str) -> int:
    text = "\x1f".join((kind, *parts))
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> (64 - _BITS)


def chunk_id(document_id: str, version: int, ordinal: int) -> ChunkId:
    """The id of a chunk: a 63-bit hash of its document, version number and place in it."""
    return ChunkId(_digest("chunk", document_id, str(version), str(ordinal)))


def entity_id(key: str) -> EntityId:
    """The id of an entity: a 63-bit hash of its key (see `core.names.entity_key`)."""
    return EntityId(_digest("entity", key))


def text_hash(text: str) -> str:
    """A short, stable hash of a text, by which bounded selections are ordered."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
