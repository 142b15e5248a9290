"""Which documents the words of a line mean."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rag_engine.errors import InvalidRequest, NotFound
from rag_engine_cli.files import absolute
from rag_engine_cli.plan import ALL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rag_engine.core.models import Version
    from rag_engine.engine import Engine
    from rag_engine.ports.storage import Workspace


async def named(engine: Engine, workspace: str, words: Sequence[str]) -> list[Version]:
    """The newest versions of the documents that some words mean, each once. See `resolve`."""
    opened = await engine.workspace(workspace)
    versions = [await resolve(opened, word) for word in words]
    return list({version.document_id: version for version in versions}.values())


def _unknown(workspace: Workspace, word: str) -> NotFound:
    return NotFound(
        f"There is no document {word!r} in workspace {workspace.name!r}. "
        "List those there are with: rag-engine documents list"
    )


def _is_text(word: str) -> bool:
    """Whether a word is Unicode; bytes that are not come as lone surrogates, and name nothing."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


async def resolve(workspace: Workspace, word: str) -> Version:
    """The newest version of the document that a word means: an id, a path, a source.

    Raises:
        NotFound: It means none.
        InvalidRequest: It means several.
    """
    if not _is_text(word):
        raise _unknown(workspace, word)
    for id in (word, await asyncio.to_thread(absolute, word)):
        if version := await workspace.queue.version(id):
            return version
    versions = await workspace.queue.versions(limit=ALL)
    found = [version for version in versions if version.submission.source == word]
    found = found or [v for v in versions if v.submission.source.endswith(f"/{word}")]
    if not found:
        raise _unknown(workspace, word)
    if len(found) > 1:
        ids = ", ".join(repr(version.document_id) for version in found[:5])
        raise InvalidRequest(f"{word!r} is {len(found)} documents. Name one by its id: {ids}.")
    return found[0]
