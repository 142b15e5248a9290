"""The composition root: settings to an engine. The only module that imports adapters."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rag_engine.adapters.blobs import FolderBlobs
from rag_engine.adapters.blobs.locks import locked
from rag_engine.adapters.models.http import HttpLimits, http_client
from rag_engine.adapters.models.middleware import MeasuredChat
from rag_engine.adapters.models.onnx import OnnxEmbedder
from rag_engine.adapters.models.openai_api import OpenAIChat
from rag_engine.adapters.models.phrases import PhraseExtractor
from rag_engine.adapters.parsers import sniff
from rag_engine.adapters.parsers.limits import ParserLimits
from rag_engine.adapters.parsers.sandbox import SandboxedParser
from rag_engine.adapters.sqlite import SqliteControl, SqliteInspector
from rag_engine.engine import Engine
from rag_engine.errors import ConfigurationError, StoreUnavailable
from rag_engine.ingest.chunk import ChunkSize
from rag_engine.ingest.pipeline import Pipeline
from rag_engine.ports.inspection import Inspector
from rag_engine.ports.models import ChatModel
from rag_engine.ports.storage import Control
from rag_engine.retrieval.context import Budget
from rag_engine.settings import Settings


def build(settings: Settings, *, search_processes: int = 0) -> Engine:
    """An engine on the embedded store, or on Neo4j where settings name a server.

    Databases are opened when they are first needed.

    Args:
        settings: What to build.
        search_processes: How many processes there may be that look for passages beside this one, for who
            answers many; they are started when they are first needed, for the embedded store alone.

    Raises:
        ConfigurationError: A setting cannot be used, or an optional package is missing.
        ModelUnavailable: The embedding model cannot be loaded.
    """
    embedder, parser = embedder_of(settings), SandboxedParser(limits_of(settings))
    chat, close_chat = chat_of(settings)
    pipeline = Pipeline(
        blobs=FolderBlobs(settings.data_dir / "blobs"),
        parser=parser,
        extractor=PhraseExtractor(),
        embedder=embedder,
        size=ChunkSize(
            max_tokens=embedder.max_tokens,
            target_tokens=settings.chunk_target_tokens,
            overlap_tokens=settings.chunk_overlap_tokens,
        ),
    )
    return Engine(
        control=control_of(
            settings,
            model=embedder.name,
            dimensions=embedder.dimensions,
            search_processes=search_processes,
        ),
        blobs=pipeline.blobs,
        pipeline=pipeline,
        chat=chat,
        budget=Budget(tokens=settings.context_tokens, passages=settings.context_passages),
        worker_name=f"{socket.gethostname()}:{os.getpid()}",
        concurrency=settings.worker_concurrency,
        lease_seconds=settings.worker_lease_seconds,
        closers=(parser.aclose, embedder.close, *close_chat),
    )


def inspector_of(settings: Settings) -> Inspector:
    """What checks and repairs the data folder that settings name.

    Raises:
        ConfigurationError: The workspaces are on a server.
    """
    if settings.neo4j_uri:
        raise ConfigurationError(
            f"The workspaces are in Neo4j ({settings.neo4j_uri!r}), which checks itself: stop it and "
            "run `neo4j-admin database check`. Without NEO4J_URI the data folder is verified."
        )
    return SqliteInspector(settings.data_dir)


@contextmanager
def alone_in(folder: Path) -> Iterator[bool]:
    """Whether nobody else is in this context for the same folder, in whatever process.

    Raises:
        StoreUnavailable: The folder cannot be made or written.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held = stack.enter_context(locked(folder / ".lock", "exclusive", wait=False))
        except OSError as error:
            raise StoreUnavailable(
                f"{str(folder)!r} cannot be written ({error.strerror}). Check that the folder is "
                "yours, and the space on the disk."
            ) from error
        yield held


def control_of(
    settings: Settings, *, model: str, dimensions: int, search_processes: int = 0
) -> Control:
    """The workspaces: on the Neo4j server that settings name, else in the data folder."""
    if not settings.neo4j_uri:
        return SqliteControl(
            settings.data_dir, model=model, dimensions=dimensions, search_processes=search_processes
        )
    try:
        from rag_engine.adapters.neo4j import Address, Neo4jControl
    except ImportError as error:
        raise ConfigurationError(
            f"NEO4J_URI is {settings.neo4j_uri!r}, but Neo4j support is not installed ({error}). "
            "Install it with: pip install 'rag-engine-server[neo4j]'"
        ) from error
    address = Address(
        uri=settings.neo4j_uri,
        username=settings.neo4j_username,
        password=settings.neo4j_password.get_secret_value(),
        database=settings.neo4j_database,
        ca_file=settings.neo4j_ca_file,
        max_connections=settings.neo4j_max_connections,
        connect_seconds=settings.neo4j_connect_seconds,
        retry_seconds=settings.neo4j_retry_seconds,
        transaction_seconds=settings.neo4j_transaction_seconds,
    )
    return Neo4jControl(
        address,
        model=model,
        dimensions=dimensions,
        kept_seconds=settings.neo4j_kept_seconds,
        exact_chunks=settings.neo4j_exact_chunks,
    )


def embedder_of(settings: Settings) -> OnnxEmbedder:
    """The embedding model: the one that is installed along, a folder's, or a hub's."""
    threads = settings.embedding_threads or None
    if not settings.embedding_model:
        return OnnxEmbedder.bundled(threads=threads)
    folder = Path(settings.embedding_model).expanduser()
    if folder.is_dir():
        return OnnxEmbedder.from_folder(folder, threads=threads)
    return OnnxEmbedder.from_hub(settings.embedding_model, threads=threads)


def is_document(path: Path) -> bool:
    """Whether a file is of a type that some parser reads, told from its bytes.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return sniff.sniff(file, path.name) != sniff.UNKNOWN


def limits_of(settings: Settings) -> ParserLimits:
    """What a document may cost before it is refused."""
    return ParserLimits(
        max_bytes=settings.parser_max_bytes,
        max_pages=settings.parser_max_pages,
        max_unpacked_bytes=settings.parser_max_unpacked_bytes,
        max_memory_bytes=settings.parser_max_memory_bytes,
        timeout_seconds=settings.parser_timeout_seconds,
        ocr=settings.parser_ocr,
    )


def chat_of(settings: Settings) -> tuple[ChatModel | None, tuple[Callable[[], object], ...]]:
    """The model that writes answers, if settings name one, and what closes it."""
    if not settings.llm_base_url:
        return None, ()
    if not settings.llm_model:
        raise ConfigurationError(
            f"RAG_LLM_BASE_URL is {settings.llm_base_url!r}, but no model is named. "
            "Set RAG_LLM_MODEL."
        )
    client = http_client(HttpLimits(silence_seconds=settings.llm_timeout_seconds))
    key = settings.llm_api_key.get_secret_value() or None
    chat = OpenAIChat(settings.llm_base_url, settings.llm_model, key, client)
    return MeasuredChat(chat), (client.aclose,)
