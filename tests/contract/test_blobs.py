"""Every blob store keeps the words of `Blobs`."""

from __future__ import annotations

from rag_engine.testing.blobs_contract import BlobsContract


class TestBlobs(BlobsContract):
    pass
