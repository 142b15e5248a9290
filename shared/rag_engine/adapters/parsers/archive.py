"""A ZIP of documents as one document: each member under a heading with its name."""

from __future__ import annotations

import zipfile
from pathlib import PurePosixPath

from rag_engine.adapters.parsers.draft import Draft
from rag_engine.adapters.parsers.mail import Nested
from rag_engine.adapters.parsers.package import member, package
from rag_engine.adapters.parsers.source import Source, too_large
from rag_engine.core.models import ParsedDocument
from rag_engine.errors import DocumentRejected

_MAX_DEPTH = 3
_NOISE = frozenset({"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"})


def parse_archive(source: Source, nested: Nested) -> ParsedDocument:
    """Every member that can be read; each that cannot is named in a warning.

    Raises:
        DocumentUnreadable: Damaged, encrypted, or archives nested too deeply.
        DocumentEmpty: No member has text.
        DocumentTooLarge: Too many members, or it unpacks too far.
    """
    if source.depth > _MAX_DEPTH:
        raise source.damaged(f"archives are nested more than {_MAX_DEPTH} deep in it")
    draft = Draft()
    refused: DocumentRejected | None = None
    with package(source) as archive:
        names = [name for name in archive.namelist() if _is_document(name)]
        if len(names) > source.limits.max_pages:
            raise source.too_many_pages(len(names), "files")
        for name in names:
            try:
                parsed = nested(source, name, _member(source, archive, name))
            except DocumentRejected as exc:
                if source.unpacked.total > source.limits.max_unpacked_bytes:
                    raise source.unpacks_too_far() from exc
                refused = refused or exc
                draft.warn(f"A file in {source.name!r} was left out: {exc}")
                continue
            draft.heading(1, name)
            draft.include(parsed, depth=1)
            source.progress()
    if draft.is_empty:
        raise source.empty("no file in it has readable text") from refused
    return draft.finish(source.media_type, title=PurePosixPath(source.name).name)


def _member(source: Source, archive: zipfile.ZipFile, name: str) -> bytes:
    size = archive.getinfo(name).file_size
    if size > source.limits.max_bytes:
        raise too_large(f"{source.name}/{name}", size, source.limits)
    data = member(archive, name)
    if data is None:
        raise source.damaged(f"{name!r} in it is damaged or encrypted")
    return data


def _is_document(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(step.startswith(".") or step in _NOISE for step in path.parts)
    return not name.endswith("/") and not hidden
