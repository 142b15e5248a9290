"""From a question to ranked chunks: what needs two passages is found with both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from engines import small_engine
from rag_engine import Engine, Question
from rag_engine.adapters.sqlite.reader import SqliteReader
from rag_engine.errors import InvalidRequest
from rag_engine.retrieval.plan import MODES
from rag_engine.retrieval.retrieve import APPROXIMATE

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = {
    "opera": "The Glass Harbour is an opera by Ines Molander, first heard in Turku.",
    "composer": "Ines Molander grew up in Vesterby, where her father kept bees.",
    "town": "Vesterby is a market town on a lake. Its church has a leaning tower.",
    "other opera": "The Salt Road is an opera by Otto Brandt about carriers in the Alps.",
    "birth": "In which town a composer is born says little of the operas that follow.",
    "operas": "An opera has a composer, and the composer of an opera was born somewhere.",
    **{
        f"noise {n}": f"Item {n} is a composer, a town or an opera born of chance."
        for n in range(8)
    },
}


@pytest.fixture
async def engine(tmp_path: Path) -> Engine:
    engine = await small_engine(tmp_path)
    for id, text in TEXTS.items():
        title = {"opera": "The Glass Harbour", "composer": "Ines Molander", "town": "Vesterby"}
        await engine.submit(text.encode(), document_id=id, source=f"{id}.txt", title=title.get(id))
    await engine.work()
    return engine


async def ranking(engine: Engine, question: str, mode: str) -> list[str]:
    found = await engine.search(Question(text=question, mode=mode))
    return [one.document_id for one in found.context.references]


async def test_the_graph_finds_what_the_question_does_not_name(engine: Engine) -> None:
    question = "In which town was the composer of the opera The Glass Harbour born?"
    graph = await ranking(engine, question, "graph")
    fusion = await ranking(engine, question, "fusion")
    assert graph[0] == "opera"
    assert graph.index("composer") < fusion.index("composer")
    await engine.aclose()


async def test_a_direct_question_stays_first(engine: Engine) -> None:
    for mode in ("graph", "fusion"):
        assert (await ranking(engine, "Who kept bees in Vesterby?", mode))[0] == "composer"
    await engine.aclose()


@pytest.mark.parametrize("mode", ["graph", "fusion", "naive"])
async def test_every_mode_takes_any_question(engine: Engine, mode: str) -> None:
    for question in ("?", "a", "的", "word " * 2000, "The Glass Harbour"):
        await ranking(engine, question, mode)
    await engine.aclose()


async def test_an_empty_workspace_has_nothing(tmp_path: Path) -> None:
    engine = await small_engine(tmp_path / "empty")
    await engine.work()
    assert await ranking(engine, "Who kept bees?", "graph") == []
    await engine.aclose()


async def test_an_unknown_mode_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidRequest, match="mode"):
        await ranking(engine, "Who?", "magic")
    await engine.aclose()


async def test_what_is_found_is_scored_relative_to_the_best(engine: Engine) -> None:
    found = await engine.search(Question(text="Who kept bees in Vesterby?"))
    scores = [one.score for one in found.context.references]
    assert scores[0] == 1.0
    assert scores == sorted(scores, reverse=True)
    assert min(scores) >= 0.0
    await engine.aclose()


@pytest.mark.parametrize("mode", MODES)
async def test_an_approximate_search_is_told(
    engine: Engine, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Question(text="Who composed The Glass Harbour?", mode=mode)
    assert APPROXIMATE not in (await engine.query(asked)).warnings
    monkeypatch.setattr(SqliteReader, "exact", False)
    assert APPROXIMATE in (await engine.query(asked)).warnings
