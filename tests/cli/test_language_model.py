"""Answers by a language model, and `rag-engine doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rag_engine.testing.openai_server import Fault, OpenAIServer, Reply

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Run

QUESTION = "Who founded the bakery in Mill Lane?"


@pytest.fixture(autouse=True)
def a_model_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_LLM_MODEL", "some-model")
    monkeypatch.setenv("RAG_PARSER_OCR", "false")  # loading its models takes seconds


def test_the_answer_is_the_models_with_checked_citations(
    run: Run, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OpenAIServer(Reply(text="It was Clara Weiss [1], they say [99].")) as server:
        monkeypatch.setenv("RAG_LLM_BASE_URL", server.base_url)
        printed = run("query", QUESTION)
        found = run("query", QUESTION, "--json").json
    assert printed.out.startswith("It was Clara Weiss [1]")
    assert "[99]" not in printed.out
    assert "Warning: 1 citation" in printed.err
    assert found["model"] == "some-model"
    assert found["extractive"] is False
    assert found["citations_removed"] == 1
    assert [one["number"] for one in found["sources"]] == [1]
    assert QUESTION in server.requests[0]["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Reply(status=401, text="no such key"), "RAG_LLM_API_KEY"),
        (Reply(fault=Fault.EMPTY), "empty reply"),
        (Reply(text="half an answer", fault=Fault.TRUNCATED_STREAM), ""),
    ],
)
def test_an_outage_is_an_error_and_never_an_empty_answer(
    run: Run, filled: Path, monkeypatch: pytest.MonkeyPatch, reply: Reply, says: str
) -> None:
    with OpenAIServer(reply) as server:
        monkeypatch.setenv("RAG_LLM_BASE_URL", server.base_url)
        done = run("query", QUESTION)
        as_json = run("query", QUESTION, "--json")
    assert done.code in {2, 3}
    assert says in done.error
    assert as_json.code == done.code
    assert as_json.out == ""


def test_a_server_that_is_not_there(
    run: Run, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_LLM_BASE_URL", "http://127.0.0.1:9/v1")
    done = run("query", QUESTION)
    assert done.code == 3
    assert "RAG_LLM_BASE_URL" in done.error
    examined = run("doctor", "--json")
    assert examined.code == 3
    states = {one["check"]: one["state"] for one in examined.lines}
    assert states.pop("language model") == "fail"
    assert set(states.values()) == {"ok"}


def test_the_doctor_finds_everything_well(
    run: Run, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OpenAIServer() as server:
        monkeypatch.setenv("RAG_LLM_BASE_URL", server.base_url)
        done = run("doctor")
    assert done.code == 0, done.out
    for words in ("default (3)", "384 dimensions", "with FTS5", "some-model at http://127.0.0.1"):
        assert words in done.out


def test_the_doctor_reads_a_page_where_text_recognition_is_on(
    run: Run, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_PARSER_OCR", "true")
    done = run("doctor")
    assert done.code == 0, done.out
    assert "read a page in" in done.out


def test_the_doctor_says_what_is_wrong(
    run: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data.write_text("a file where the folder should be")
    done = run("doctor")
    assert done.code == 3
    assert "fail  data folder" in done.out
    monkeypatch.setenv("RAG_CONTEXT_TOKENS", "lots")
    done = run("doctor")
    assert done.code == 3
    assert "fail  settings" in done.out
