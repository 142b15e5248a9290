"""Promise 8, Same on every store: SQLite and Neo4j give the same ids, scores and answers.

On real texts and questions, through whole engines with the real embedding model; as ingested, and
again after a third was deleted and a third replaced.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import places
from documents import DATA
from engines import small_engine
from rag_engine import Engine, Question, parse_filter
from rag_engine.adapters.models.onnx import OnnxEmbedder
from rag_engine.adapters.neo4j import Neo4jControl
from rag_engine.core.filters import Filter
from rag_engine.core.ids import EntityId
from rag_engine.core.tokens import tokenize
from rag_engine.ports.storage import NodeKind, Reader, Vectors
from rag_engine.retrieval.plan import MODES, plan
from rag_engine.retrieval.retrieve import search
from rag_engine.testing.drafts import int64
from rag_engine.testing.observation import adjacency_rows, differences, hits_rows
from rag_engine.testing.remembered import Remembered

HERE = Path(__file__).parents[2] / "benchmarks/data"
SETS = [HERE / "german", HERE / "chinese", DATA / "replay_lightrag_eu_ai_act"]
FILTERS: list[Filter | None] = [
    None,
    parse_filter({"eq": {"half": 0}}),
    parse_filter({"not": {"in": {"fifth": [1, 2]}}}),
]
KINDS: tuple[NodeKind, ...] = ("chunk", "entity")
ASKED = 12
"""Questions of each set; `benchmarks/congruence.py` asks all."""
DEPTH = 50
ANSWERED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Texts by id, with questions about them."""

    texts: dict[str, str]
    questions: list[str]


@pytest.fixture(params=SETS, ids=lambda folder: folder.name)
def corpus(request: pytest.FixtureRequest) -> Corpus:
    folder: Path = request.param
    if not folder.is_dir():
        pytest.skip(f"no question set at {folder}")
    passages = list(_rows(folder / "corpus.jsonl"))
    return Corpus(
        texts={one["id"]: f"# {one['title']}\n\n{one['text']}" for one in passages},
        questions=[one["question"] for one in _rows(folder / "queries.jsonl")][:ASKED],
    )


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    return map(json.loads, path.read_text("utf-8").splitlines())


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[tuple[Engine, Engine]]:
    try:
        address = places.neo4j_address()
    except places.MissingStore as error:
        pytest.skip(str(error))
    bundled = await asyncio.to_thread(OnnxEmbedder.bundled)
    model = Remembered(bundled)
    elsewhere = Neo4jControl(
        address,
        model=model.name,
        dimensions=model.dimensions,
        namespace=uuid4().hex,
        indexed=False,
    )
    left = await small_engine(tmp_path / "left", embedder=model)
    right = await small_engine(tmp_path / "right", embedder=model, control=elsewhere)
    yield left, right
    await left.aclose()
    await right.aclose()
    bundled.close()


async def test_neo4j_and_sqlite_give_the_same(both: tuple[Engine, Engine], corpus: Corpus) -> None:
    for engine in both:
        await _submit(engine, corpus.texts)
    await _assert_congruent(both, corpus.questions)
    ids = list(corpus.texts)
    others = {id: corpus.texts[other] for id, other in zip(ids[1::3], ids[2::3], strict=False)}
    for engine in both:
        await engine.delete(ids[::3])
        await _submit(engine, others)
    await _assert_congruent(both, corpus.questions)


async def _submit(engine: Engine, texts: dict[str, str]) -> None:
    for number, (id, text) in enumerate(texts.items()):
        metadata = {"half": number % 2, "fifth": number % 5}
        await engine.submit(text.encode(), document_id=id, source=f"{number}.md", metadata=metadata)
    await engine.work()


async def _assert_congruent(both: tuple[Engine, Engine], questions: Sequence[str]) -> None:
    left, right = [await _seen(engine, questions) for engine in both]
    assert left["stats"]["documents"] > 0
    assert differences(left, right, tolerance=1e-6)[:5] == []


async def _seen(engine: Engine, questions: Sequence[str]) -> dict[str, Any]:
    """What an engine finds for questions: by each search, in each mode, and as answers."""
    model = engine.pipeline.embedder
    vectors = await model.embed(questions, "query")
    plans = [plan(question, mode, model.scripts) for mode in MODES for question in questions]
    found: dict[str, Any] = {}
    async with (await engine.workspace()).store.snapshot() as reader:
        found["stats"] = asdict(await reader.stats())
        for filter in FILTERS:
            found[f"searches under {filter}"] = await _searched(reader, questions, vectors, filter)
            found[f"rankings under {filter}"] = [
                hits_rows(
                    await search(reader, one, vectors[n % len(questions)], k=10, filter=filter)
                )
                for n, one in enumerate(plans)
            ]
    answers = [await engine.query(Question(text=question)) for question in questions[:ANSWERED]]
    found["answers"] = [(one.text, [asdict(each) for each in one.context]) for one in answers]
    return found


async def _searched(
    reader: Reader, questions: Sequence[str], vectors: Vectors, filter: Filter | None
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind in KINDS:
        hits = await reader.search_dense(kind, vectors, DEPTH, filter=filter)
        ids = int64(sorted({id for one in hits for id in one.ids.tolist()}))
        edges = await reader.adjacency(kind, ids, filter=filter)
        found[f"dense {kind}"] = [hits_rows(one) for one in hits]
        found[f"edges of {kind}"] = adjacency_rows(edges)
        found[f"vectors of {kind}"] = (await reader.vectors(kind, ids)).tolist()
    entities = [EntityId(id) for id in ids.tolist()]
    found["entities"] = [
        one and asdict(one) for one in await reader.entities(entities, filter=filter)
    ]
    found["relations"] = [
        [asdict(one) for one in joined]
        for joined in await reader.relations(
            entities[:: max(1, len(entities) // 20)], filter=filter
        )
    ]
    found["text"] = [
        hits_rows(await reader.search_text(tokenize(question), DEPTH, filter=filter))
        for question in questions
    ]
    return found
