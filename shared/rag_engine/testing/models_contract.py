"""What every Embedder and every ChatModel promises; see `rag_engine.ports.models`.

Subclass `EmbedderContract` with a fixture `embedder`, and `ChatContract` with a fixture `say` that
makes a model which gives the reply it is handed. Each test's name is the promise.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rag_engine.core.scripts import SCRIPTS
from rag_engine.errors import ModelMisbehaved
from rag_engine.ports.models import ChatDelta, ChatModel, Embedder, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_TEXTS = [
    "The river flows to the sea.",
    "The river reaches the sea in the north.",
    "A",
    "",
    "Interest rates were raised by a quarter of a point in March, the bank said on Tuesday.",
    "Ein Satz auf Deutsch, 一句中文, и по-русски.",
    "\x00 \ud800 \U0001f600 e\u0301",
]
_QUESTION = [Message(role="user", content="Where does the river flow?")]


class EmbedderContract:
    """Holds an embedder to its port."""

    async def test_a_vector_for_each_text_of_length_one(self, embedder: Embedder) -> None:
        vectors = await embedder.embed(_TEXTS, "document")
        assert vectors.shape == (len(_TEXTS), embedder.dimensions)
        assert vectors.dtype == np.float32
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)

    async def test_no_texts_give_no_vectors(self, embedder: Embedder) -> None:
        vectors = await embedder.embed([], "query")
        assert vectors.shape == (0, embedder.dimensions)

    async def test_the_texts_beside_it_do_not_change_a_vector(self, embedder: Embedder) -> None:
        together = await embedder.embed(_TEXTS, "document")
        for text, vector in zip(_TEXTS, together, strict=True):
            alone = await embedder.embed([text], "document")
            assert np.allclose(alone[0], vector, atol=1e-6)

    async def test_calls_at_the_same_time_do_not_mix(self, embedder: Embedder) -> None:
        calls = [embedder.embed([text], "query") for text in _TEXTS]
        together = await embedder.embed(_TEXTS, "query")
        for vectors, expected in zip(await asyncio.gather(*calls), together, strict=True):
            assert np.allclose(vectors[0], expected, atol=1e-6)

    async def test_texts_that_share_a_subject_are_nearer(self, embedder: Embedder) -> None:
        river, sea, *_, rates, _, _ = await embedder.embed(_TEXTS, "document")
        assert river @ sea > river @ rates

    async def test_the_longest_text_fits_and_one_token_more_is_refused(
        self, embedder: Embedder
    ) -> None:
        longest = " ".join(["river"] * embedder.max_tokens)
        assert embedder.count_tokens([longest]) == [embedder.max_tokens]
        assert (await embedder.embed([longest], "document")).shape[0] == 1
        with pytest.raises(ValueError, match="tokens"):
            await embedder.embed(["short", f"{longest} river"], "document")

    def test_tokens_are_counted_text_by_text(self, embedder: Embedder) -> None:
        counts = embedder.count_tokens(_TEXTS)
        assert counts[3] == 0
        assert counts == [embedder.count_tokens([text])[0] for text in _TEXTS]

    async def test_a_cancelled_call_does_no_harm(self, embedder: Embedder) -> None:
        before = await embedder.embed(_TEXTS[:1], "query")
        task = asyncio.create_task(embedder.embed(_TEXTS * 20, "document"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert np.array_equal(await embedder.embed(_TEXTS[:1], "query"), before)

    def test_the_scripts_are_known_ones(self, embedder: Embedder) -> None:
        assert embedder.scripts is None or embedder.scripts <= set(SCRIPTS)

    def test_the_name_stays(self, embedder: Embedder) -> None:
        assert embedder.name
        assert embedder.name == embedder.name


class ChatContract:
    """Holds a chat model to its port."""

    async def test_the_deltas_make_up_the_reply(self, say: Callable[[str], ChatModel]) -> None:
        for reply in ("Yes.", "To the sea [1].\n\nAnd – “so” \u2028 on… 到海里。" * 20):
            assert _text(await _deltas(say(reply))) == reply

    async def test_the_usage_comes_last(self, say: Callable[[str], ChatModel]) -> None:
        deltas = await _deltas(say("one two three"))
        counted = [delta.usage for delta in deltas if delta.usage is not None]
        assert len(counted) == 1
        assert counted[0].prompt_tokens > 0
        assert counted[0].completion_tokens == 3
        assert deltas[-1].usage is counted[0]

    async def test_an_empty_reply_is_an_error(self, say: Callable[[str], ChatModel]) -> None:
        with pytest.raises(ModelMisbehaved, match="empty"):
            await _deltas(say(""))

    async def test_a_reply_can_be_left_early(self, say: Callable[[str], ChatModel]) -> None:
        model = say("word " * 200)
        async with aclosing(model.complete(_QUESTION)) as deltas:
            async for delta in deltas:
                assert delta.text
                break
        assert _text(await _deltas(model)) == "word " * 200

    async def test_conversations_at_the_same_time_do_not_mix(
        self, say: Callable[[str], ChatModel]
    ) -> None:
        replies = [f"reply {i} " * 30 for i in range(5)]
        found = await asyncio.gather(*(_deltas(say(reply)) for reply in replies))
        assert [_text(deltas) for deltas in found] == replies

    def test_it_has_a_name(self, say: Callable[[str], ChatModel]) -> None:
        assert say("x").name


async def _deltas(model: ChatModel) -> Sequence[ChatDelta]:
    return [delta async for delta in model.complete(_QUESTION)]


def _text(deltas: Sequence[ChatDelta]) -> str:
    return "".join(delta.text for delta in deltas)
