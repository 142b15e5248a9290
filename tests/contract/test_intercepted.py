"""A port that is intercepted, without a fault, keeps every word of the ports: nobody can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import places
from rag_engine.adapters.models.fake import HashEmbedder, ScriptedChat
from rag_engine.testing.blobs_contract import BlobsContract
from rag_engine.testing.contents_contract import ContentsContract
from rag_engine.testing.control_contract import ControlContract
from rag_engine.testing.faults import Faults, faulty
from rag_engine.testing.models_contract import ChatContract, EmbedderContract
from rag_engine.testing.queue_contract import QueueContract
from rag_engine.testing.reader_contract import ReaderContract
from rag_engine.testing.search_contract import SearchContract
from rag_engine.testing.store_contract import StoreContract

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rag_engine.ports.blobs import Blobs
    from rag_engine.ports.models import ChatModel, Embedder
    from rag_engine.ports.storage import Control
    from rag_engine.testing.drafts import Place


class WrappedPlace:
    """A place whose controls are intercepted."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def __call__(self, **how: object) -> Control:
        return faulty("control", self._place(**how), Faults())  # type: ignore[arg-type]

    async def pass_time(self, seconds: float) -> None:
        await self._place.pass_time(seconds)


class Wrapping:
    @pytest.fixture(params=places.EMBEDDED)
    def control(self, request: pytest.FixtureRequest, tmp_path: Path) -> Place:
        return WrappedPlace(places.place(request.param, tmp_path))


class TestControl(Wrapping, ControlContract):
    pass


class TestStore(Wrapping, StoreContract):
    pass


class TestReader(Wrapping, ReaderContract):
    pass


class TestSearch(Wrapping, SearchContract):
    pass


class TestContents(Wrapping, ContentsContract):
    pass


class TestQueue(Wrapping, QueueContract):
    pass


class TestBlobs(BlobsContract):
    @pytest.fixture
    def blobs(self, blobs: Blobs) -> Blobs:
        return faulty("blobs", blobs, Faults())


class TestEmbedder(EmbedderContract):
    @pytest.fixture
    def embedder(self) -> Embedder:
        return faulty("embedder", HashEmbedder(), Faults())


class TestChat(ChatContract):
    @pytest.fixture
    def say(self) -> Callable[[str], ChatModel]:
        return lambda reply: faulty("chat", ScriptedChat([reply]), Faults())
