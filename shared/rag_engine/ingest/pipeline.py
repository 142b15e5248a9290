"""One version through all stages: parse -> chunk -> extract -> embed -> write.

What was parsed is kept at a checkpoint, so a retry neither parses nor recognises anything twice;
everything after it is a pure function of that text.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass

from rag_engine.core.edits import is_fact
from rag_engine.core.evidence import canonical
from rag_engine.core.models import Chunk, Extraction, ParsedDocument, Stage, Usage, Version
from rag_engine.core.names import NORMALISER_VERSION
from rag_engine.core.scripts import MULTILINGUAL, unknown_script
from rag_engine.core.tokens import TOKENISER_VERSION
from rag_engine.errors import BlobMissing, DocumentEmpty
from rag_engine.ingest.chunk import CHUNKER_VERSION, ChunkSize, chunk
from rag_engine.ingest.embed import texts_of
from rag_engine.ingest.extract import extract
from rag_engine.ingest.parse import keep, parse, recall, recall_fact
from rag_engine.ingest.stopwatch import Progress, Stopwatch
from rag_engine.ingest.write import gather, stage
from rag_engine.ports.blobs import Blobs
from rag_engine.ports.models import Embedder, Extractor, Parser
from rag_engine.ports.queue import Job
from rag_engine.ports.storage import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The stages and what they work with."""

    blobs: Blobs
    parser: Parser
    extractor: Extractor
    embedder: Embedder
    size: ChunkSize

    @property
    def fingerprint(self) -> str:
        """Hash of all that shapes a result except the document's bytes."""
        parts = (
            self.parser.fingerprint,
            self.extractor.fingerprint,
            self.embedder.name,
            f"{self.size!r}",
            f"{CHUNKER_VERSION}.{NORMALISER_VERSION}.{TOKENISER_VERSION}",
        )
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    async def run(self, workspace: Workspace, job: Job, progress: Progress) -> Version:
        """Take a claimed version from its original to its place in the graph.

        Raises:
            DocumentRejected: The document itself cannot be ingested.
            LeaseLost: Somebody else holds the version now, or nobody wants it.
        """
        begin = Stopwatch(progress)
        begin(job.version, Stage.PARSE)
        parsed = await self._parsed(workspace, job, begin)
        begin(job.version, Stage.CHUNK)
        chunks = await asyncio.to_thread(self._chunk, parsed, job.version)
        if not chunks:
            raise DocumentEmpty(
                f"{job.version.submission.source!r} holds no text. "
                "Check that it opens, or remove it from the folder."
            )
        begin(job.version, Stage.EXTRACT)
        extractions = await self._extractions(job.version, chunks, parsed.title)
        begin(job.version, Stage.EMBED)
        texts = await asyncio.to_thread(texts_of, chunks, parsed.title, self.size)
        vectors = await self.embedder.embed(texts, "document")
        begin(job.version, Stage.WRITE)
        evidence = await asyncio.to_thread(gather, chunks, texts, extractions, vectors)
        await stage(workspace.store, job.lease, evidence, self.embedder)
        spent = Usage(seconds=begin.seconds, tokens=sum(one.tokens for one in chunks))
        version = await workspace.store.finish(job.lease, usage=job.version.usage + spent)
        begin.lap()
        return version

    async def _extractions(
        self, version: Version, chunks: list[Chunk], title: str | None
    ) -> list[Extraction]:
        if not is_fact(version.document_id):
            return await extract(chunks, title, self.extractor)
        fact = await recall_fact(version.submission.content_hash, self.blobs)
        # One fact is evidence once, however many chunks its text takes.
        return [canonical(fact.extraction), *(Extraction() for _ in chunks[1:])]

    async def _parsed(self, workspace: Workspace, job: Job, stopwatch: Stopwatch) -> ParsedDocument:
        if job.version.parsed_hash:
            try:
                return await recall(job.version.parsed_hash, self.blobs)
            except BlobMissing:  # it can be made again, which is what follows
                pass
        parsed = await parse(job.version, self.blobs, self.parser)
        async with self.blobs.keeping():  # until a row names it, it could be collected
            await workspace.queue.checkpoint(
                job.lease,
                Stage.PARSE,
                media_type=parsed.media_type,
                title=parsed.title,
                parsed_hash=await keep(parsed, self.blobs),
                warnings=(*parsed.warnings, *self._doubts(parsed)),
                usage=job.version.usage + Usage(seconds=stopwatch.seconds),
            )
        return parsed

    def _doubts(self, parsed: ParsedDocument) -> list[str]:
        script = unknown_script(parsed.text, self.embedder.scripts)
        if script is None:
            return []
        doubt = (
            f"Most of it is in {script} script, on which the embedding model was not trained: it "
            "is found by its words and names alone. A multilingual model finds it by meaning too, "
            f"for example RAG_EMBEDDING_MODEL={MULTILINGUAL}."
        )
        return [doubt]

    def _chunk(self, parsed: ParsedDocument, version: Version) -> list[Chunk]:
        return chunk(
            parsed,
            document_id=version.document_id,
            version=version.number,
            count_tokens=self.embedder.count_tokens,
            size=self.size,
        )
