"""Where originals and parsed texts are kept."""

from __future__ import annotations

from rag_engine.adapters.blobs.folder import FolderBlobs

__all__ = ["FolderBlobs"]
