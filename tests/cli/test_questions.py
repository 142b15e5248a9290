"""`rag-engine query`, `search` and `graph`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rag_engine import build, load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Run

pytestmark = pytest.mark.usefixtures("filled")

QUESTION = "Who founded the bakery in Mill Lane?"


def test_an_answer_quotes_the_documents_and_names_them(run: Run) -> None:
    done = run("query", QUESTION)
    assert done.code == 0, done.err
    assert "founded in 1921 by Clara Weiss" in done.out
    sources = done.out.partition("Sources")[2]
    assert "] The bakery (bakery.md)" in sources


def test_an_answer_as_json_says_what_produced_it(run: Run, docs: Path) -> None:
    found = run("query", QUESTION, "--json").json
    assert "Clara Weiss" in found["answer"]
    assert found["mode"] == "graph"
    assert found["extractive"] is True
    assert found["model"] is None
    cited = [one for one in found["sources"] if one["source"] == "bakery.md"]
    assert cited[0]["document_id"] == str(docs / "bakery.md")
    assert cited[0]["headings"] == ["The bakery"]
    assert f"[{cited[0]['number']}]" in found["answer"]


def test_options_stand_before_or_after_the_command(run: Run, filled: Path) -> None:
    before = run("--json", "--data-dir", filled, "-w", "default", "query", QUESTION).json
    after = run("query", QUESTION, "--json", "--data-dir", filled, "-w", "default").json
    assert before["answer"] == after["answer"]


def test_a_question_needs_no_quotes(run: Run) -> None:
    assert "Clara Weiss" in run("query", *QUESTION.rstrip("?").split()).out


def test_search_prints_passages_and_no_answer(run: Run) -> None:
    done = run("search", "water wheel", "--top-k", "1")
    assert done.out.startswith("[1] The mill")
    assert "carried away" in done.out
    found = run("search", "water wheel", "--top-k", "1", "--json").json
    assert [one["source"] for one in found["passages"]] == ["mill.html"]


@pytest.mark.parametrize("mode", ["graph", "fusion", "naive"])
def test_every_mode_answers(run: Run, mode: str) -> None:
    assert "Clara Weiss" in run("query", QUESTION, "--mode", mode).out


@pytest.mark.parametrize(
    "words",
    [
        ["-f", "year=1921"],
        ["-f", "year>=1900", "-f", "year<1950"],
        ["-f", "tags=[bread, stone]"],
        ["-f", "tags"],
        ["-f", '{"eq": {"tags": "trade"}}'],
        ["-f", "$media_type=text/markdown"],
    ],
)
def test_filters_narrow(run: Run, words: list[str]) -> None:
    found = run("search", "the mill of Anton Berg", "--json", *words).json
    assert {one["source"] for one in found["passages"]} == {"bakery.md"}


def test_a_filter_that_matches_nothing_finds_nothing(run: Run) -> None:
    done = run("query", QUESTION, "-f", "year=1800")
    assert done.code == 0
    assert "No relevant passage was found." in done.out
    assert "No relevant passage" in run("search", QUESTION, "-f", "year=1800").out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["query", QUESTION, "--mode", "magic"], "graph"),
        (["query", QUESTION, "-f", "colour=red"], "'colour'"),
        (["query", QUESTION, "-f", "{"], "is not JSON"),
        (["query", QUESTION, "-f", '{"like": {"a": 1}}'], "'like' is not an operator"),
        (["query", QUESTION, "-f", "=3"], "is not a filter"),
        (["query", QUESTION, "-f", "year>"], "Write field>=value"),
        (["query", " "], "The question is empty"),
        (["query", QUESTION, "--top-k", "0"], "top-k"),
        (["query"], "Missing argument"),
        (["query", QUESTION, "-w", "other"], "There is no workspace 'other'"),
        (["query", QUESTION, "-w", "a/b"], "a/b"),
        (["graph", "show", "Clara Wise"], "Clara Weiss"),
        (["graph", "show", "Clara Weiss", "-f", "colour=red"], "'colour'"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_remedy(run: Run, words: list[str], says: str) -> None:
    done = run(*words)
    assert done.code == 2
    assert says in done.error
    assert done.out == ""


def test_an_empty_workspace_says_so(run: Run, docs: Path) -> None:
    run("documents", "delete", docs / "bakery.md", "mill.html", "timetable.csv", "--yes")
    done = run("query", QUESTION)
    assert done.code == 2
    assert "holds no documents: none yet" in done.error
    assert "rag-engine ingest" in done.error


def test_what_waits_in_the_queue_is_told(run: Run, filled: Path, tmp_path: Path) -> None:
    waiting = tmp_path / "waiting.md"
    waiting.write_text("The ferry to Holm leaves at noon.\n")

    engine = build(load_settings(data_dir=filled))

    async def accept() -> None:
        await engine.submit(waiting, document_id="waiting", source="waiting.md")
        await engine.aclose()

    asyncio.run(accept())
    done = run("query", QUESTION)
    assert "Clara Weiss" in done.out
    assert "Warning: 1 document in the queue cannot be found yet" in done.err
    assert "1 document in the queue" in run("documents", "list").out
    assert "waiting.md" in run("documents", "list", "--status", "pending").out
    done = run("ingest")
    assert "indexed    waiting.md" in done.out
    assert run("query", QUESTION).err == ""


def test_graph_lists_what_is_mentioned_most_and_finds_a_part_of_a_name(run: Run) -> None:
    names = [one["name"] for one in run("graph", "list", "--json").lines]
    assert {"Anton Berg", "Clara Weiss"} <= {*names}
    assert [one["name"] for one in run("graph", "list", "--limit", "1", "--json").lines] == names[
        :1
    ]
    found = run("graph", "list", "--search", "weiss", "--limit", "1")
    assert "Clara Weiss" in found.out.splitlines()[-1]
    assert run("graph", "list", "--search", " ").code == 2


def test_graph_shows_where_a_name_stands_and_what_it_is_joined_to(run: Run) -> None:
    done = run("graph", "show", "anton", "BERG")
    assert done.code == 0, done.err
    assert done.out.startswith("Anton Berg\nmentioned in 2 passages")
    assert "“Anton Berg bought the mill on the Elder Brook in 1908.”" in done.out
    found = run("graph", "show", "Anton Berg", "--json").json
    assert found["mentions"] == 2
    assert {one["source"] for one in found["sightings"]} == {"bakery.md", "mill.html"}


def test_graph_sees_only_what_a_filter_lets_through(run: Run) -> None:
    found = run("graph", "show", "Anton Berg", "--json", "-f", "year=1921").json
    assert found["mentions"] == 1
    assert {one["source"] for one in found["sightings"]} == {"bakery.md"}


def test_graph_lists_and_shows_what_joins_names(run: Run) -> None:
    added = ("graph", "add", "Clara Weiss", "--to", "Otto Weiss", "--as", "aunt of")
    assert run(*added).code == 0
    listed = run("graph", "list", "--relations", "--search", "otto", "--json").lines
    assert [{one["name"], one["other"]} for one in listed] == [{"Clara Weiss", "Otto Weiss"}]
    assert "aunt of" in run("graph", "list", "--relations", "--search", "otto").out
    shown = run("graph", "show", "otto weiss", "--to", "Clara Weiss")
    assert "Clara Weiss → Otto Weiss (aunt of)" in shown.out
    record = run("graph", "show", "Otto Weiss", "--to", "Clara Weiss", "--json").json
    assert [one["source"] for one in record["places"]] == ["manual"]
    apart = run("graph", "show", "Otto Weiss", "--to", "Anton Berg")
    assert apart.code == 2
    assert "No passage joins" in apart.error
