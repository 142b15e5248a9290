from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from rag_engine.adapters.models.fake import HashEmbedder, ScriptedChat
from rag_engine.adapters.models.http import http_client
from rag_engine.adapters.models.onnx import OnnxEmbedder
from rag_engine.adapters.models.openai_api import OpenAIChat
from rag_engine.testing.models_contract import ChatContract, EmbedderContract
from rag_engine.testing.openai_server import OpenAIServer, Reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from rag_engine.ports.models import ChatModel, Embedder


@pytest.fixture(scope="module")
def bundled() -> Iterator[OnnxEmbedder]:
    embedder = OnnxEmbedder.bundled()
    yield embedder
    embedder.close()


class TestHashEmbedder(EmbedderContract):
    @pytest.fixture
    def embedder(self) -> Embedder:
        return HashEmbedder()


class TestOnnxEmbedder(EmbedderContract):
    @pytest.fixture
    def embedder(self, bundled: OnnxEmbedder) -> Embedder:
        return bundled


class TestScriptedChat(ChatContract):
    @pytest.fixture
    def say(self) -> Callable[[str], ChatModel]:
        return lambda reply: ScriptedChat([reply])


class TestOpenAIChat(ChatContract):
    @pytest_asyncio.fixture
    async def say(self) -> AsyncIterator[Callable[[str], ChatModel]]:
        with ExitStack() as servers:
            async with http_client() as client:

                def model(reply: str) -> ChatModel:
                    server = servers.enter_context(OpenAIServer(Reply(text=reply)))
                    return OpenAIChat(server.base_url, "m", None, client)

                yield model
