"""Models that are no models: deterministic, instant, and held to the same contracts as real ones."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from rag_engine.core.tokens import tokenize
from rag_engine.errors import ModelMisbehaved
from rag_engine.ports.models import ChatDelta, Message, TextRole, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

_SIGNS_PER_WORD: Final = 4


class HashEmbedder:
    """An `Embedder` whose vectors are sums of hashed words: texts that share words are near.

    Its tokens are words at white space.

    Args:
        dimensions: Length of a vector.
        max_tokens: Longest text in words.
        scripts: What it says it knows; `None` for all.
    """

    def __init__(
        self,
        *,
        dimensions: int = 64,
        max_tokens: int = 256,
        scripts: frozenset[str] | None = None,
    ) -> None:
        self._dimensions = dimensions
        self._max_tokens = max_tokens
        self._scripts = scripts

    @property
    def name(self) -> str:
        """Names the way of hashing and the number of dimensions."""
        return f"hash-{self._dimensions}"

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return self._dimensions

    @property
    def max_tokens(self) -> int:
        """Longest text in words."""
        return self._max_tokens

    @property
    def scripts(self) -> frozenset[str] | None:
        """The scripts it was told to know."""
        return self._scripts

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Words of each text."""
        return [len(text.split()) for text in texts]

    async def embed(self, texts: Sequence[str], kind: TextRole) -> npt.NDArray[np.float32]:
        """Vectors of length 1, the same for questions and documents.

        Raises:
            ValueError: A text has more than `max_tokens` words.
        """
        del kind
        for text, count in zip(texts, self.count_tokens(texts), strict=True):
            if count > self._max_tokens:
                raise ValueError(
                    f"A text of {count} tokens is longer than the {self._max_tokens} that "
                    f"{self.name!r} takes: {text[:40]!r}…. Cut it into chunks first."
                )
        vectors = np.zeros((len(texts), self._dimensions), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in tokenize(text) or [""]:
                self._add(vectors[row], word)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors[norms[:, 0] == 0, 0] = 1.0  # words that cancel each other out
        return np.asarray(vectors / np.where(norms == 0, 1.0, norms), dtype=np.float32)

    def _add(self, vector: npt.NDArray[np.float32], word: str) -> None:
        digest = hashlib.blake2b(
            word.encode("utf-8", "replace"), digest_size=4 * _SIGNS_PER_WORD
        ).digest()
        for part in np.frombuffer(digest, dtype="<u4").tolist():
            vector[(part >> 1) % self._dimensions] += 1.0 if part & 1 else -1.0


class ScriptedChat:
    """A `ChatModel` that says what it is told to say.

    Args:
        script: The replies in order, the last one repeated; or a function of the conversation. An
            exception in place of a reply is raised.
        piece: Characters of a delta.

    Attributes:
        calls: The conversations it was given, for tests that count or read them.
    """

    def __init__(
        self,
        script: Sequence[str | Exception] | Callable[[Sequence[Message]], str],
        *,
        piece: int = 7,
    ) -> None:
        self._script = script
        self._piece = piece
        self.calls: list[tuple[Message, ...]] = []

    @property
    def name(self) -> str:
        """Always the same."""
        return "scripted"

    async def complete(
        self, messages: Sequence[Message], *, max_tokens: int | None = None
    ) -> AsyncGenerator[ChatDelta, None]:
        """The next reply of the script, in small pieces, then its usage in words.

        Raises:
            ModelMisbehaved: The script says "".
        """
        self.calls.append(tuple(messages))
        reply = self._reply(messages)
        if not reply:
            raise ModelMisbehaved("The model 'scripted' gave an empty reply. Change its script.")
        if max_tokens is not None:
            reply = " ".join(reply.split(" ")[:max_tokens])
        for at in range(0, len(reply), self._piece):
            await asyncio.sleep(0)
            yield ChatDelta(text=reply[at : at + self._piece])
        prompt = sum(len(message.content.split()) for message in messages)
        yield ChatDelta(usage=Usage(prompt_tokens=prompt, completion_tokens=len(reply.split())))

    def _reply(self, messages: Sequence[Message]) -> str:
        if callable(self._script):
            return self._script(messages)
        reply = self._script[min(len(self.calls), len(self._script)) - 1]
        if isinstance(reply, Exception):
            raise reply
        return reply
