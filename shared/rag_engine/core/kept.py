"""What was worked out and may be asked for again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

SEEN: Final = 1_000
"""Documents and chunks of a view that are not read again; a question asks twice for its passages."""


def keep(known: dict[K, V], key: K, value: V, *, most: int) -> V:
    """Keep a value among at most so many, and return it; where there is no room, begin anew."""
    if len(known) >= most:
        known.clear()
    known[key] = value
    return value


class Lookup(Generic[K, V]):
    """Finds things by key, each once: only where what was found stays as it is.

    Args:
        find: Finds several; leaves out those there are not.
        most: How many are kept, those included that there are not.
    """

    def __init__(self, find: Callable[[list[K]], Awaitable[Mapping[K, V]]], *, most: int) -> None:
        self._find = find
        self._most = most
        self._known: dict[K, V | None] = {}

    async def of(self, keys: Sequence[K]) -> list[V | None]:
        """What there is for each key, `None` where there is nothing."""
        known = {key: self._known[key] for key in keys if key in self._known}
        missing = [key for key in dict.fromkeys(keys) if key not in known]
        if missing:
            found = await self._find(missing)
            fresh = {key: found.get(key) for key in missing}
            if len(self._known) + len(fresh) <= self._most:
                self._known.update(fresh)
            known |= fresh
        return [known[key] for key in keys]
