"""The reference store: everything in dicts, everything recomputed when it is read.

Short, slow, obviously right: what the other adapters are held against, and a store for tests. It
keeps nothing when the process ends.
"""

from __future__ import annotations

from rag_engine.adapters.memory.blobs import MemoryBlobs
from rag_engine.adapters.memory.control import MemoryControl

__all__ = ["MemoryBlobs", "MemoryControl"]
