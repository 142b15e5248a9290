"""Deleting what nobody needs any more: blobs that deleted and replaced documents leave behind, and
answers that no request will ask for once more.

A blob is stored before the row that names it, so one that no row names may be about to be named. It
is kept for a day since it was stored last, and storing it again begins another day.
"""

from __future__ import annotations

import logging
from typing import Final

from rag_engine.errors import RagEngineError
from rag_engine.ports.blobs import Blobs
from rag_engine.ports.storage import Control
from rag_engine.telemetry import events

logger = logging.getLogger(__name__)

UNUSED_SECONDS: Final = 24 * 3600.0
"""How long a blob that no version names is kept."""

_PAUSE_SECONDS: Final = 3600.0
_BATCH: Final = 10_000


async def collect(control: Control, blobs: Blobs) -> int:
    """Delete blobs that no version of any workspace names and nobody stored for a day.

    Returns:
        How many were deleted; none while somebody is keeping them, as an export does for long and
        whoever stores something for a moment.

    Raises:
        StoreCorrupt: A workspace cannot be read, so that nobody can tell what it names.
    """
    if not await control.workspaces():
        return 0  # where all databases are gone, the originals are what is left
    old = await blobs.hashes(older_than=UNUSED_SECONDS)
    count = 0
    for start in range(0, max(1, len(old)), _BATCH):
        batch = old[start : start + _BATCH]
        used = await control.referenced(batch)
        unused = [hash for hash in batch if hash not in used]
        count += await blobs.delete(unused, older_than=UNUSED_SECONDS)
    return count


async def collect_now_and_then(control: Control, blobs: Blobs) -> None:
    """Do both at most once an hour; what is in the way of it is no failure of other work."""
    try:
        if await control.due("collect", _PAUSE_SECONDS):
            await control.idempotency.forget()
            count = await collect(control, blobs)
            logger.info("collected", extra={"action": events.COLLECTED, "blobs": count})
    except RagEngineError as error:
        logger.warning(str(error), extra={"action": events.COLLECTED})
