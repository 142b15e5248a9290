"""An engine whose only stand-ins are the models: real SQLite, real blobs, the real parser."""

from __future__ import annotations

import asyncio
from pathlib import Path

from rag_engine.adapters.blobs import FolderBlobs
from rag_engine.adapters.models.fake import HashEmbedder
from rag_engine.adapters.models.phrases import PhraseExtractor
from rag_engine.adapters.parsers.limits import ParserLimits
from rag_engine.adapters.parsers.sandbox import SandboxedParser
from rag_engine.adapters.sqlite import SqliteControl
from rag_engine.engine import Engine
from rag_engine.ingest.chunk import ChunkSize
from rag_engine.ingest.pipeline import Pipeline
from rag_engine.ports.models import ChatModel, Embedder, Parser
from rag_engine.ports.storage import Control


async def small_engine(
    folder: Path,
    *,
    embedder: Embedder | None = None,
    chat: ChatModel | None = None,
    parser: Parser | None = None,
    control: Control | None = None,
) -> Engine:
    """An engine over a folder, or over other workspaces; close it with `aclose`."""
    return await asyncio.to_thread(_build, folder, embedder, chat, parser, control)


def _build(
    folder: Path,
    embedder: Embedder | None,
    chat: ChatModel | None,
    parser: Parser | None,
    control: Control | None,
) -> Engine:
    embedder = embedder or HashEmbedder()
    sandbox = SandboxedParser(ParserLimits(ocr=False))
    blobs = FolderBlobs(folder / "blobs")
    return Engine(
        control=control
        or SqliteControl(folder, model=embedder.name, dimensions=embedder.dimensions),
        blobs=blobs,
        pipeline=Pipeline(
            blobs=blobs,
            parser=parser or sandbox,
            extractor=PhraseExtractor(),
            embedder=embedder,
            size=ChunkSize(max_tokens=embedder.max_tokens),
        ),
        chat=chat,
        closers=(sandbox.aclose,),
    )


async def put(engine: Engine, id: str, text: str, **more: object) -> None:
    """Ingest a Markdown text and see it indexed."""
    version = await engine.submit(text.encode(), document_id=id, source=f"{id}.md", **more)  # type: ignore[arg-type]
    await engine.work(more.get("workspace", "default"))  # type: ignore[arg-type]
    ended = await engine.outcome(version, more.get("workspace", "default"))  # type: ignore[arg-type]
    assert ended.error is None, ended.error
