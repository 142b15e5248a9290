"""`rag-engine worker` whose extractor takes its time, with hashes for vectors: see `replicas.py`.

A script. The environment variable `SLOW_WORKER` is the JSON of a `Place`; the Neo4j server is the one
that the settings name.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rag_engine import wiring
from rag_engine.adapters.blobs import FolderBlobs
from rag_engine.adapters.models.fake import HashEmbedder
from rag_engine.adapters.models.phrases import PhraseExtractor
from rag_engine.adapters.neo4j import Address, Neo4jControl
from rag_engine.adapters.parsers.sandbox import SandboxedParser
from rag_engine.core.models import Extraction
from rag_engine.engine import Engine
from rag_engine.ingest.chunk import ChunkSize
from rag_engine.ingest.pipeline import Pipeline
from rag_engine.ports.models import Passage
from rag_engine.settings import Settings
from rag_engine_cli.main import main

EMBEDDER = HashEmbedder(dimensions=384)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a worker works.

    Attributes:
        namespace: Of the workspaces.
        seconds: How long extraction takes for a chunk.
        counts: A file into which it writes at its end how often it sent each statement, or "".
    """

    namespace: str
    seconds: float = 0.0
    counts: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """What a worker of this place is started with."""
        return {**os.environ, "SLOW_WORKER": json.dumps(asdict(self)), "PYTHONUNBUFFERED": "1"}


class SlowExtractor(PhraseExtractor):
    """Waits for each chunk as long as a language model would have it wait."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def extract(self, passages: Sequence[Passage]) -> list[Extraction]:
        """See `Extractor`."""
        found = []
        for passage in passages:
            await asyncio.sleep(self._seconds)
            found += await super().extract([passage])
        return found


def build(settings: Settings, place: Place, sent: Counter[str]) -> Engine:
    """The engine of the settings, with models that cost no processor time."""
    address = Address(
        uri=settings.neo4j_uri,
        username=settings.neo4j_username,
        password=settings.neo4j_password.get_secret_value(),
    )
    parser = SandboxedParser(wiring.limits_of(settings))
    blobs = FolderBlobs(settings.data_dir / "blobs")
    return Engine(
        control=Neo4jControl(
            address,
            model=EMBEDDER.name,
            dimensions=EMBEDDER.dimensions,
            namespace=place.namespace,
            count=lambda name: sent.update([name]),
        ),
        blobs=blobs,
        pipeline=Pipeline(
            blobs=blobs,
            parser=parser,
            extractor=SlowExtractor(place.seconds),
            embedder=EMBEDDER,
            size=ChunkSize(max_tokens=EMBEDDER.max_tokens),
        ),
        worker_name=str(os.getpid()),
        concurrency=settings.worker_concurrency,
        closers=(parser.aclose,),
    )


def work() -> None:
    """Be `rag-engine worker`."""
    place, sent = Place(**json.loads(os.environ["SLOW_WORKER"])), Counter[str]()
    wiring.build = lambda settings, **more: build(settings, place, sent)
    try:
        main()
    finally:
        if place.counts:
            Path(place.counts).write_text(json.dumps(sent))


if __name__ == "__main__":
    sys.argv.insert(1, "worker")
    work()
