"""What the engine needs from models: one method each, batches in and out, order kept.

Adapters raise `ModelUnavailable` (cannot be reached or loaded, timed out), `ModelOverloaded` (asked
us to slow down), `ModelMisbehaved` (answered with something unusable) and `ConfigurationError` (a
wrong key, address or model name), and nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from rag_engine.core.models import Extraction, ParsedDocument

TextRole = Literal["query", "document"]


class Embedder(Protocol):
    """Texts to vectors."""

    @property
    def name(self) -> str:
        """Identifies the vectors: equal names mean that vectors can be compared."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        ...

    @property
    def max_tokens(self) -> int:
        """Longest text it takes, in its own tokens, special tokens not counted."""
        ...

    @property
    def scripts(self) -> frozenset[str] | None:
        """Scripts it was trained on, as `core.scripts` names them; `None` for all."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Length of each text in the embedder's tokens, special tokens not counted."""
        ...

    async def embed(self, texts: Sequence[str], kind: TextRole) -> npt.NDArray[np.float32]:
        """Vectors of length 1, shape `(len(texts), dimensions)`.

        Raises:
            ValueError: A text is longer than `max_tokens`; nothing is cut silently.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """What an extractor sees of a chunk, and all it sees."""

    text: str
    heading_path: tuple[str, ...] = ()
    title: str | None = None


class Extractor(Protocol):
    """Passages to evidence: a pure function of the passage and the fingerprint."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same passage may give another result."""
        ...

    async def extract(self, passages: Sequence[Passage]) -> list[Extraction]:
        """The entities and relations found in each passage."""
        ...


class Parser(Protocol):
    """Files to text."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same file may give another text."""
        ...

    async def parse(self, path: Path, name: str) -> ParsedDocument:
        """The text of a file, with its pages and headings.

        The media type is told from the bytes; `name` only decides between types that bytes cannot
        tell apart (Markdown and plain text, programming languages).

        Raises:
            DocumentUnreadable: Damaged, encrypted, or of a type that nobody can parse.
            DocumentEmpty: It holds no text that could be found.
            DocumentTooLarge: It exceeds a limit on size, pages, memory or time.
            ModelUnavailable: The parser cannot be started now, or was closed meanwhile.
            ConfigurationError: It cannot work in this installation.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens a model counted for one or several calls."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatDelta:
    """A piece of a reply.

    Attributes:
        text: What was added.
        usage: What the whole reply cost; with the last piece, where the server says so.
        cut_off: The reply ends here because it reached the longest length allowed.
    """

    text: str = ""
    usage: Usage | None = None
    cut_off: bool = False


class ChatModel(Protocol):
    """Conversations to replies."""

    @property
    def name(self) -> str:
        """The model's name, for the record of what produced an answer."""
        ...

    def complete(
        self, messages: Sequence[Message], *, max_tokens: int | None = None
    ) -> AsyncGenerator[ChatDelta, None]:
        """The reply, piece by piece, never empty. Closing the generator ends the request.

        Raises:
            ModelMisbehaved: Also when the stream ends before the reply does.
        """
        ...
