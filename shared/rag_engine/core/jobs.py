"""What becomes of a version whose attempt failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_ATTEMPTS: Final = 5
_FIRST_SECONDS: Final = 2.0
_LONGEST_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Try again later, or give up.

    Attributes:
        retry_in: Seconds to wait, or `None` to give up.
        reason: Why, for the record.
    """

    retry_in: float | None
    reason: str


def decide(
    reason: str, *, attempt: int, retryable: bool, retry_after: float | None = None
) -> Decision:
    """Decide on a failed attempt: twice as long a pause each time, up to `MAX_ATTEMPTS`.

    Args:
        reason: What went wrong, ending with the remedy.
        attempt: Which attempt it was, from 1.
        retryable: Whether the same work may succeed later.
        retry_after: Seconds that a server asked us to wait.
    """
    if not retryable:
        return Decision(retry_in=None, reason=reason)
    if attempt >= MAX_ATTEMPTS:
        return Decision(retry_in=None, reason=f"{reason} (given up after {attempt} attempts)")
    pause = min(_FIRST_SECONDS * 2 ** (attempt - 1), _LONGEST_SECONDS)
    return Decision(retry_in=max(pause, retry_after or 0.0), reason=reason)
