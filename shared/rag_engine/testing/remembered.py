"""An embedder that embeds each text once, however many engines ask it: vectors are then the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rag_engine.ports.models import Embedder, TextRole
    from rag_engine.ports.storage import Vectors


class Remembered:
    """See `Embedder`.

    Args:
        inner: Embeds what was not embedded yet. All is kept in memory.
    """

    def __init__(self, inner: Embedder) -> None:
        self._inner = inner
        self._known: dict[tuple[str, TextRole], Vectors] = {}
        self.name = inner.name
        self.dimensions = inner.dimensions
        self.max_tokens = inner.max_tokens
        self.scripts = inner.scripts

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See `Embedder.count_tokens`."""
        return self._inner.count_tokens(texts)

    async def embed(self, texts: Sequence[str], kind: TextRole) -> Vectors:
        """See `Embedder.embed`."""
        new = list(dict.fromkeys(text for text in texts if (text, kind) not in self._known))
        if new:
            found = await self._inner.embed(new, kind)
            self._known |= {(text, kind): one for text, one in zip(new, found, strict=True)}
        return np.stack([self._known[text, kind] for text in texts])
