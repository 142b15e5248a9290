"""Every queue keeps the words of `JobQueue`."""

from __future__ import annotations

from rag_engine.testing.queue_contract import QueueContract


class TestQueue(QueueContract):
    pass
