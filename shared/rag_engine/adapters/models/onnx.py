"""Sentence embeddings on the CPU with ONNX Runtime: no torch, nothing downloaded unasked.

The first file to read is `sentence_model.py`: it says what a model is. Here it is run. Texts are
sorted by length and cut into batches of a bounded number of padded tokens, which run on threads of
the model's own, so that the event loop never waits, a question has to wait for one batch at most,
and a cancelled call ends with the batch that is running.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from rag_engine.adapters.models.sentence_model import SentenceModel, bundled_model, read_folder
from rag_engine.errors import ConfigurationError, ModelMisbehaved, ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rag_engine.ports.models import TextRole

Floats = npt.NDArray[np.float32]

_BATCH_TOKENS: Final = 1024
_BATCH_TEXTS: Final = 64
_NARROW: Final = 384
"""Dimensions up to which a pass is given one thread, and several run at once. Two threads share the
matrices of such a model at a loss: with them a question takes 20.9 ms, with one 18.1, and a hundred
passages 4.0 s against 2.9 s of two lanes."""

_HUB_FILES: Final = ["*.json", "1_Pooling/*", "model.onnx*", "onnx/model.onnx*"]


class OnnxEmbedder:
    """An `Embedder` that runs a sentence model in this process.

    The model is loaded when it is first used. Every vector is a function of its text alone: the
    texts beside it in a batch do not change it.

    Args:
        model: The model and how to run it.
        threads: Threads for forward passes; the available cores by default.
    """

    def __init__(self, model: SentenceModel, *, threads: int | None = None) -> None:
        self._model = model
        self._threads = threads or available_cores()
        self._name = f"{model.name}@{model.fingerprint()}"
        self._loading = threading.Lock()
        self._tokenizer: Tokenizer | None = None
        self._graph: _Graph | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedder")

    @classmethod
    def bundled(cls, *, threads: int | None = None) -> OnnxEmbedder:
        """The embedder that needs no download: all-MiniLM-L6-v2, for text in Latin script.

        Raises:
            ModelUnavailable: The package with its weights is not installed.
        """
        return cls(bundled_model(), threads=threads)

    @classmethod
    def from_folder(cls, folder: Path, *, threads: int | None = None) -> OnnxEmbedder:
        """Any ONNX sentence model in a folder.

        Raises:
            ConfigurationError: The folder is not one of a sentence model.
        """
        return cls(read_folder(folder), threads=threads)

    @classmethod
    def from_hub(cls, name: str, *, threads: int | None = None) -> OnnxEmbedder:
        """A model by its name on the Hugging Face hub, downloaded unless it is there already.

        Raises:
            ConfigurationError: The package `huggingface_hub` is not installed, or the model has no
                ONNX graph.
            ModelUnavailable: The hub cannot be reached or has no such model.
        """
        try:
            from huggingface_hub import snapshot_download
        except ImportError as exc:
            raise ConfigurationError(
                f"The embedding model {name!r} has to be downloaded, and the package for that is "
                "not installed. Install it with: pip install 'rag-engine-server[hub]', or name a "
                "folder that holds the model."
            ) from exc
        try:
            folder = snapshot_download(name, allow_patterns=_HUB_FILES)
        except Exception as exc:  # its client raises a dozen unrelated types
            raise ModelUnavailable(
                f"The embedding model {name!r} could not be downloaded: {exc}. Check the name and "
                "the network, or download it elsewhere and name its folder."
            ) from exc
        return cls(read_folder(Path(folder), name=name), threads=threads)

    @property
    def name(self) -> str:
        """The model's name and a hash of all that its vectors depend on."""
        return self._name

    @property
    def dimensions(self) -> int:
        """Length of a vector; where the model's files do not say, a word is embedded to see."""
        return self._model.dimensions or self._session().dimensions

    @property
    def max_tokens(self) -> int:
        """Longest text in tokens: what is left beside special tokens and the longer prefix."""
        if self._model.room is not None:
            return self._model.room
        tokenizer = self._text_tokenizer()
        prefixes = (self._model.query_prefix, self._model.document_prefix)
        prefix = max(len(e) for e in _encode(tokenizer, prefixes, special=False))
        return self._model.length - tokenizer.num_special_tokens_to_add(False) - prefix

    @property
    def scripts(self) -> frozenset[str] | None:
        """Scripts the model was trained on; `None` for all."""
        return self._model.scripts

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Length of each text in tokens, special tokens and prefix not counted.

        A megabyte takes about 0.9 s on two cores.
        """
        return [len(e) for e in _encode(self._text_tokenizer(), texts, special=False)]

    async def embed(self, texts: Sequence[str], kind: TextRole) -> Floats:
        """Vectors of length 1, shape `(len(texts), dimensions)`.

        Raises:
            ValueError: A text is longer than `max_tokens`.
            ModelUnavailable: The model's files are missing or damaged.
            ModelMisbehaved: The graph gave something else than vectors.
        """
        loop = asyncio.get_running_loop()
        graph, encoded = await loop.run_in_executor(self._thread, self._prepared, texts, kind)
        vectors = np.zeros((len(texts), graph.dimensions), dtype=np.float32)
        waiting = deque(_batches([len(ids) for ids in encoded], graph.one_by_one))

        async def lane() -> None:
            while waiting:
                batch = waiting.popleft()
                try:
                    found = await graph.run_aside([encoded[i] for i in batch])
                except BaseException:
                    waiting.clear()  # the other lanes have nothing left to do either
                    raise
                vectors[batch] = found

        await asyncio.gather(*(lane() for _ in range(min(graph.lanes, len(waiting)))))
        return vectors

    def close(self) -> None:
        """Let go of the model's threads; the batches that are running end by themselves."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._graph is not None:
            self._graph.close()

    def _prepared(self, texts: Sequence[str], kind: TextRole) -> tuple[_Graph, list[list[int]]]:
        return self._session(), self._encoded(texts, kind)

    def _encoded(self, texts: Sequence[str], kind: TextRole) -> list[list[int]]:
        prefix = self._model.query_prefix if kind == "query" else self._model.document_prefix
        whole = [prefix + text for text in texts] if prefix else texts
        encoded = _encode(self._text_tokenizer(), whole, special=True)
        for text, ids in zip(texts, encoded, strict=True):
            if len(ids) > self._model.length:
                raise ValueError(
                    f"A text of {len(ids)} tokens is longer than the {self._model.length} that "
                    f"{self._model.name!r} takes: {text[:40]!r}…. Cut it into chunks first."
                )
        return encoded

    def _text_tokenizer(self) -> Tokenizer:
        with self._loading:
            if self._tokenizer is None:
                self._tokenizer = _load_tokenizer(self._model)
            return self._tokenizer

    def _session(self) -> _Graph:
        tokenizer = self._text_tokenizer()
        with self._loading:
            if self._graph is None:
                graph = _Graph(self._model, self._threads)
                graph.probe(_encode(tokenizer, ["word"], special=True))
                self._graph = graph
            return self._graph


class _Graph:
    """A loaded graph: lists of token ids to vectors."""

    def __init__(self, model: SentenceModel, threads: int) -> None:
        model.verify()
        self._model = model
        self.one_by_one = depends_on_batch(model.graph)
        alone = self.one_by_one or 0 < (model.dimensions or 0) <= _NARROW
        self.lanes = threads if alone else 1
        self._threads = ThreadPoolExecutor(self.lanes, thread_name_prefix="embedding")
        self._session = _load_session(model, 1 if alone else threads)
        self._inputs = {i.name: i.type for i in self._session.get_inputs()}
        outputs = {o.name: len(o.shape or ()) for o in self._session.get_outputs()}
        self._output = _choose_output(model, outputs)
        unknown = self._inputs.keys() - {"input_ids", "attention_mask", "token_type_ids"}
        if unknown:
            raise ConfigurationError(
                f"The graph of {model.name!r} wants inputs that a sentence model does not have: "
                f"{', '.join(sorted(unknown))}. Choose a graph exported for feature extraction."
            )
        self.dimensions = 0

    def probe(self, encoded: list[list[int]]) -> None:
        """Find the number of dimensions by running one short text."""
        self.dimensions = int(self.run(encoded).shape[1])

    async def run_aside(self, encoded: list[list[int]]) -> Floats:
        """One forward pass, on a thread of the pool."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.run, encoded)

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def run(self, encoded: list[list[int]]) -> Floats:
        """One forward pass."""
        longest = max(map(len, encoded))
        ids = np.zeros((len(encoded), longest), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(encoded):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        known = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        feed = {
            name: known[name].astype(np.int32) if "int32" in kind else known[name]
            for name, kind in self._inputs.items()
        }
        try:
            (output,) = self._session.run([self._output], feed)
        except Exception as exc:  # the runtime's exceptions have no common ancestor of their own
            raise ModelMisbehaved(
                f"The embedding model {self._model.name!r} failed: {exc}. Check the graph, or "
                "choose another model."
            ) from exc
        vectors = self._pool(np.asarray(output, dtype=np.float32), mask)
        if not np.isfinite(vectors).all():
            raise ModelMisbehaved(
                f"The embedding model {self._model.name!r} gave numbers that are not finite. "
                f"{self._model.remedy}"
            )
        return vectors

    def _pool(self, output: Floats, mask: npt.NDArray[np.int64]) -> Floats:
        if output.ndim == 2:
            pooled = output
        elif self._model.pooling == "cls":
            pooled = output[:, 0]
        else:
            weights = mask[:, :, None].astype(np.float32)
            pooled = (output * weights).sum(axis=1) / weights.sum(axis=1)
        norms = np.linalg.norm(pooled, axis=1, keepdims=True)
        return np.asarray(pooled / np.maximum(norms, 1e-12), dtype=np.float32)


def available_cores() -> int:
    """Cores this process may use: its CPU affinity, and the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        limit = max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):  # no such file, or "max": no quota
        limit = cores or 1
    return min(cores or 1, limit)


def depends_on_batch(graph: Path) -> bool:
    """Whether the texts beside it change a text's vector.

    Activations that are quantised at run time share one scale across the batch. Such a graph is
    given one text at a time, so that a vector stays a function of its text.
    """
    with graph.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        return content.find(b"DynamicQuantizeLinear") >= 0


def _encode(tokenizer: Tokenizer, texts: Sequence[str], *, special: bool) -> list[list[int]]:
    try:
        encodings = tokenizer.encode_batch(list(texts), add_special_tokens=special)
    except TypeError:  # lone surrogates cannot be passed on
        clean = [t.encode("utf-8", "replace").decode("utf-8") for t in texts]
        encodings = tokenizer.encode_batch(clean, add_special_tokens=special)
    return [encoding.ids for encoding in encodings]


def _batches(lengths: Sequence[int], one_by_one: bool) -> Iterator[list[int]]:
    """Indices of texts of similar length, longest first, so that little padding is computed."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    at = 0
    while at < len(order):
        size = min(_BATCH_TEXTS, max(1, _BATCH_TOKENS // max(1, lengths[order[at]])))
        size = 1 if one_by_one else size
        yield order[at : at + size]
        at += size


def _load_tokenizer(model: SentenceModel) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(model.tokenizer))
    except Exception as exc:  # the library raises plain Exception
        raise ModelUnavailable(
            f"The tokenizer {str(model.tokenizer)!r} of the embedding model {model.name!r} cannot "
            f"be loaded: {exc}. {model.remedy}"
        ) from exc
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _load_session(model: SentenceModel, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only: they are raised as well
    # Threads that spin while they wait take the cores from everything else in this process: beside
    # other work a pass takes 519 ms without and 610 ms with it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(
            str(model.graph), options, providers=["CPUExecutionProvider"]
        )
    except Exception as exc:  # the runtime's exceptions have no common ancestor of their own
        raise ModelUnavailable(
            f"The graph {str(model.graph)!r} of the embedding model {model.name!r} cannot be "
            f"loaded: {exc}. {model.remedy}"
        ) from exc


def _choose_output(model: SentenceModel, outputs: dict[str, int]) -> str:
    for name in ("last_hidden_state", "token_embeddings", "sentence_embedding"):
        if name in outputs:
            return name
    fitting = [name for name, rank in outputs.items() if rank in (2, 3)]
    if len(outputs) != 1 or not fitting:
        raise ConfigurationError(
            f"The graph of {model.name!r} has the outputs {', '.join(outputs)!r}, and none of them "
            "is known. Choose a graph exported for feature extraction."
        )
    return fitting[0]
