"""Lists of versions, page by page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rag_engine.core.listing import VersionSort

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from rag_engine.core.models import Version, VersionStatus
    from rag_engine.ports.queue import JobQueue

_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionPage:
    """A page of versions, and where the next one begins.

    Attributes:
        next: Pass it as `after` for the next page in the same order; `None` at the end.
    """

    versions: tuple[Version, ...]
    next: str | None


async def version_page(
    queue: JobQueue,
    *,
    status: VersionStatus | None = None,
    sort: VersionSort = VersionSort.REQUESTED,
    after: str | None = None,
    limit: int = 100,
) -> VersionPage:
    """A page of the newest versions. See `JobQueue.versions`."""
    found = await queue.versions(status=status, sort=sort, after=after, limit=limit + 1)
    more = len(found) > limit
    return VersionPage(
        versions=tuple(found[:limit]), next=sort.cursor(found[limit - 1]) if more else None
    )


async def every_version(
    queue: JobQueue, *, status: VersionStatus | None = None
) -> AsyncGenerator[Version, None]:
    """The newest version of each document by id, with no more than a page of them in memory."""
    after: str | None = None
    while True:
        page = await version_page(
            queue, status=status, sort=VersionSort.ID, after=after, limit=_PAGE
        )
        for one in page.versions:
            yield one
        if (after := page.next) is None:
            return
