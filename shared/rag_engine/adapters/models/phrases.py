"""The LLM-free extractor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag_engine.core.models import Extraction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rag_engine.ports.models import Passage


class PhraseExtractor:
    """Names and key phrases."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same passage may give another result."""
        return "none"

    async def extract(self, passages: Sequence[Passage]) -> list[Extraction]:
        """No evidence."""
        return [Extraction() for _ in passages]
