"""The embedded store: SQLite files under one data folder."""

from __future__ import annotations

from rag_engine.adapters.sqlite.control import SqliteControl

__all__ = ["SqliteControl"]
