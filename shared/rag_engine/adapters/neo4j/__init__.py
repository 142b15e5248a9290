"""The deployed store: workspaces as graphs in one Neo4j database, 5.15 or newer, Community too."""

from __future__ import annotations

from rag_engine.adapters.neo4j.connection import Address
from rag_engine.adapters.neo4j.control import KEPT_SECONDS, Neo4jControl

__all__ = ["KEPT_SECONDS", "Address", "Neo4jControl"]
