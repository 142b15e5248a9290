"""RAG Engine as a library: documents in, a knowledge graph and indexes, cited answers out.

    settings = load_settings(data_dir="./data")
    engine = build(settings)
    version = await engine.submit(Path("report.pdf"), document_id="report", source="report.pdf")
    await engine.work()
    answer = await engine.query(Question(text="Who signed it?"))

The names below are the public ones; `engine.py` is the first file to read.
"""

from __future__ import annotations

from rag_engine.core.filters import parse as parse_filter
from rag_engine.core.models import (
    Chunk,
    Document,
    Entity,
    Metadata,
    ParsedDocument,
    Relation,
    Stage,
    Version,
    VersionStatus,
)
from rag_engine.engine import Engine, Found, Question
from rag_engine.errors import CallerError, RagEngineError, WorldError
from rag_engine.ingest.worker import Watch
from rag_engine.ports.models import Message
from rag_engine.retrieval.answer import Answer, TextDelta
from rag_engine.retrieval.context import Budget, Context, Reference
from rag_engine.settings import Settings
from rag_engine.settings import load as load_settings
from rag_engine.wiring import build

__all__ = [
    "Answer",
    "Budget",
    "CallerError",
    "Chunk",
    "Context",
    "Document",
    "Engine",
    "Entity",
    "Found",
    "Message",
    "Metadata",
    "ParsedDocument",
    "Question",
    "RagEngineError",
    "Reference",
    "Relation",
    "Settings",
    "Stage",
    "TextDelta",
    "Version",
    "VersionStatus",
    "Watch",
    "WorldError",
    "build",
    "load_settings",
    "parse_filter",
]
