"""RAG Engine as a library: documents in, a knowledge graph and indexes, cited answers out.

    settings = load_settings(data_dir="./data")
    engine = build(settings)
    version = await engine.submit(Path("report.pdf"), document_id="report", source="report.pdf")
    await engine.work()
    answer = await engine.query(Question(text="Who signed it?"))

The names below are the public ones; `engine.py` is the first file to read. Each is imported when it
is first asked for: models and parsers take a second to import, and a command line has none to lose.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rag_engine.core.edits import Alias, Fact, Suppression
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
    "Alias",
    "Answer",
    "Budget",
    "CallerError",
    "Chunk",
    "Context",
    "Document",
    "Engine",
    "Entity",
    "Fact",
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
    "Suppression",
    "TextDelta",
    "Version",
    "VersionStatus",
    "Watch",
    "WorldError",
    "build",
    "load_settings",
    "parse_filter",
]

_PLACES = {
    "Alias": ("rag_engine.core.edits", "Alias"),
    "Answer": ("rag_engine.retrieval.answer", "Answer"),
    "Budget": ("rag_engine.retrieval.context", "Budget"),
    "CallerError": ("rag_engine.errors", "CallerError"),
    "Chunk": ("rag_engine.core.models", "Chunk"),
    "Context": ("rag_engine.retrieval.context", "Context"),
    "Document": ("rag_engine.core.models", "Document"),
    "Engine": ("rag_engine.engine", "Engine"),
    "Entity": ("rag_engine.core.models", "Entity"),
    "Fact": ("rag_engine.core.edits", "Fact"),
    "Found": ("rag_engine.engine", "Found"),
    "Message": ("rag_engine.ports.models", "Message"),
    "Metadata": ("rag_engine.core.models", "Metadata"),
    "ParsedDocument": ("rag_engine.core.models", "ParsedDocument"),
    "Question": ("rag_engine.engine", "Question"),
    "RagEngineError": ("rag_engine.errors", "RagEngineError"),
    "Reference": ("rag_engine.retrieval.context", "Reference"),
    "Relation": ("rag_engine.core.models", "Relation"),
    "Settings": ("rag_engine.settings", "Settings"),
    "Stage": ("rag_engine.core.models", "Stage"),
    "Suppression": ("rag_engine.core.edits", "Suppression"),
    "TextDelta": ("rag_engine.retrieval.answer", "TextDelta"),
    "Version": ("rag_engine.core.models", "Version"),
    "VersionStatus": ("rag_engine.core.models", "VersionStatus"),
    "Watch": ("rag_engine.ingest.worker", "Watch"),
    "WorldError": ("rag_engine.errors", "WorldError"),
    "build": ("rag_engine.wiring", "build"),
    "load_settings": ("rag_engine.settings", "load"),
    "parse_filter": ("rag_engine.core.filters", "parse"),
}


def __getattr__(name: str) -> object:
    """Import a public name from where it is defined."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name]
    value: object = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
