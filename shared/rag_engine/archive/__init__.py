"""A workspace as one portable file: documents, evidence, vectors and originals.

A ZIP file that any store can be filled from without a model:

    manifest.json              format, embedding model, counts
    edits.json                 aliases and suppressions in force
    waiting.json               what was accepted and not ingested yet
    blobs/<sha-256>            originals and parsed texts
    documents/<number>.json    documents, their chunks and the evidence in them; names new by then
    documents/<number>.f16     little-endian float16: the vectors of these chunks, then of the names

Both ways hold one of the numbered parts in memory, however many there are. An import reads the whole
file once before it writes anything, then goes through the queue and the store like any ingestion: it
can be repeated, and a document that is there already is left.
"""

from __future__ import annotations

from rag_engine.archive.comparison import Compared, compare
from rag_engine.archive.exporter import export_workspace
from rag_engine.archive.importer import Imported, check_archive, check_model, import_workspace
from rag_engine.archive.layout import Manifest, Progress

__all__ = [
    "Compared",
    "Imported",
    "Manifest",
    "Progress",
    "check_archive",
    "check_model",
    "compare",
    "export_workspace",
    "import_workspace",
]
