"""What was worked out and may be asked for again."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def keep(known: dict[K, V], key: K, value: V, *, most: int) -> V:
    """Keep a value among at most so many, and return it; where there is no room, begin anew."""
    if len(known) >= most:
        known.clear()
    known[key] = value
    return value
