"""What stands in the way of a document that is handed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag_engine.core.models import VersionStatus
from rag_engine.errors import Conflict

if TYPE_CHECKING:
    from rag_engine.ports.storage import Workspace


async def check_free(workspace: Workspace, document_id: str, content_hash: str) -> None:
    """Refuse an id that another document has, unless nothing came of that one.

    Raises:
        Conflict: Another one has it.
    """
    newest = await workspace.queue.version(document_id)
    if newest is None or newest.status in (VersionStatus.FAILED, VersionStatus.CANCELLED):
        return
    if newest.submission.content_hash != content_hash:
        raise Conflict(
            f"There is another document {document_id!r} in workspace {workspace.name!r}. Give this "
            "one an id of its own, or say that it is to be replaced (replace=true, or PUT)."
        )
