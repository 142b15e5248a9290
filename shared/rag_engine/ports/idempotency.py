"""What requests that may be sent twice were answered, so that the second one is answered the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

KEPT_SECONDS: Final = 24 * 3600.0
"""How long an answer is kept. Who has not repeated a request by then does not repeat it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyRecord:
    """The request that a key stands for, and its answer.

    Attributes:
        fingerprint: A hash of what was asked: other requests have another one.
        answer: What was answered; `None` as long as nothing was.
    """

    fingerprint: str
    answer: str | None = None


class IdempotencyRecords(Protocol):
    """Which request each key of a workspace stands for. They go with the workspace.

    Keys are at most 64 characters of ASCII. Where there is no workspace of a name nothing is kept,
    so that a request which is refused makes none.
    """

    async def reserve(self, workspace: str, key: str, fingerprint: str) -> IdempotencyRecord:
        """Let a key stand for a request from now on, unless it stands for one already.

        What is older than `KEPT_SECONDS` does not count. Of several who ask at once all are told
        the same. When this returns, that is durable.

        Returns:
            What the key stands for: that request without an answer, or the earlier one.
        """
        ...

    async def settle(
        self, workspace: str, key: str, record: IdempotencyRecord
    ) -> IdempotencyRecord:
        """Keep the answer to a request, unless its key has one or stands for another request.

        Returns:
            What the key stands for: what was given, or what was there before. When this returns,
            that is durable.
        """
        ...

    async def release(self, workspace: str, key: str, fingerprint: str) -> None:
        """Let a key stand for nothing again, if it stands for that request and has no answer."""
        ...

    async def forget(self, *, older_than: float = KEPT_SECONDS) -> int:
        """Forget what is older than so many seconds, in all workspaces, and return how many."""
        ...
