"""What becomes of a version whose attempt failed: when it is tried again, why it failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rag_engine.errors import BlobMissing, ModelOverloaded, RagEngineError

MAX_ATTEMPTS: Final = 5
INTERNAL: Final = "InternalError"
"""The code of a failure that is in no error tree: a defect of ours."""

_FIRST_SECONDS: Final = 2.0
_LONGEST_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Try again later, or give up.

    How often it was tried is the version's own count of attempts.

    Attributes:
        reason: Why it failed, in a sentence that ends with the remedy.
        code: The kind of failure, which stays when the sentence changes: the name of its class in
            `rag_engine.errors`, or `INTERNAL`.
        retry_in: Seconds until it may be tried again, or `None` to give up.
    """

    reason: str
    code: str = INTERNAL
    retry_in: float | None = None


def decide(error: Exception, *, source: str, attempt: int) -> Decision:
    """Decide on a failed attempt.

    What may pass by itself is tried up to `MAX_ATTEMPTS` times, after pauses that double, and never
    sooner than the model asked for. So is an original that is not there: it may be on another
    machine, or here once a shared folder is mounted. Nothing else is tried again.

    Args:
        error: What ended the attempt.
        source: What a person recognises the document by.
        attempt: Which attempt it was, from 1.
    """
    if not isinstance(error, RagEngineError):
        reason = (
            f"{source!r} met an internal error ({type(error).__name__}: {error}). "
            "Please report it with the document, if you may share it."
        )
        return Decision(reason=reason)
    code = type(error).__name__
    if not error.retryable and not isinstance(error, BlobMissing):
        return Decision(reason=str(error), code=code)
    if attempt >= MAX_ATTEMPTS:
        return Decision(reason=f"{error} (given up after {attempt} attempts)", code=code)
    asked = error.retry_after if isinstance(error, ModelOverloaded) else None
    pause = min(_FIRST_SECONDS * 2 ** (attempt - 1), _LONGEST_SECONDS)
    return Decision(reason=str(error), code=code, retry_in=max(pause, asked or 0.0))
