"""The embedded store: SQLite files under one data folder."""

from __future__ import annotations

from rag_engine.adapters.sqlite.control import SqliteControl
from rag_engine.adapters.sqlite.inspector import SqliteInspector

__all__ = ["SqliteControl", "SqliteInspector"]
