"""Log lines: one for each record, whatever it holds, and no secret in any."""

from __future__ import annotations

import io
import json
import logging
import sys
from typing import TYPE_CHECKING, Any

import pytest

from rag_engine.settings import load, secrets_of
from rag_engine.telemetry.logging import REQUEST_ID, JsonLines, Redaction
from rag_engine_cli.logs import log_to_stderr

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "rag-0123456789ab-aTokenThatSomebodyBrought_and-more"
ATTACK = "x\r\n12:00:00 ERROR forged: line\u2028next \x1b[31mred\x1b[0m \u202etxet"


@pytest.fixture(autouse=True)
def root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    libraries = {one: logging.getLogger(one).level for one in ("neo4j", "httpx")}
    yield
    root.handlers[:], level = before
    root.setLevel(level)
    for name, level in libraries.items():
        logging.getLogger(name).setLevel(level)


def logged(
    monkeypatch: pytest.MonkeyPatch, form: str, *secrets: str, tracebacks: bool = False
) -> Any:
    """What is logged meanwhile, as a stream."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    log_to_stderr("INFO", tracebacks=tracebacks, form=form, secrets=secrets)  # type: ignore[arg-type]
    return stream


@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_that_a_client_sends_makes_a_second_line(
    monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    stream = logged(monkeypatch, form)
    logging.getLogger("api").info("GET %s", ATTACK, extra={"document": ATTACK, "action": "a"})
    text = stream.getvalue()
    assert len(text.splitlines()) == 1
    assert text.rstrip("\n").isprintable()
    assert "forged" in text


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_line_holds_a_secret(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    stream = logged(monkeypatch, form, "hunter2-of-the-database", tracebacks=True)
    try:
        raise RuntimeError(f"refused hunter2-of-the-database {KEY}")
    except RuntimeError:
        logging.getLogger("api").exception("with %s", KEY, extra={"document": KEY})
    text = stream.getvalue()
    assert "hunter2" not in text
    assert "aTokenThat" not in text
    assert "RuntimeError" in text
    assert text.count("…") + text.count(r"\u2026") >= 4


def test_every_secret_setting_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAG_LLM_API_KEY", "RAG_ADMIN_KEY", "NEO4J_PASSWORD"):
        monkeypatch.setenv(name, f"secret-of-{name}")
    assert secrets_of(load()) == {
        "secret-of-RAG_LLM_API_KEY",
        "secret-of-RAG_ADMIN_KEY",
        "secret-of-NEO4J_PASSWORD",
    }


def test_an_object_says_all_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = logged(monkeypatch, "json")
    token = REQUEST_ID.set("abc-1")
    logging.getLogger("api").warning("slow %s", "é", extra={"action": "a", "seconds": 1.5})
    REQUEST_ID.reset(token)
    logging.getLogger("api").info("later")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "level": "WARNING",
        "logger": "api",
        "message": "slow é",
        "request": "abc-1",
        "action": "a",
        "seconds": 1.5,
    }
    assert "request" not in second


def test_a_person_sees_the_request_and_tracebacks_when_they_are_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for wanted in (True, False):
        stream = logged(monkeypatch, "text", tracebacks=wanted)
        token = REQUEST_ID.set("abc-1")
        try:
            raise RuntimeError("broken")
        except RuntimeError:
            logging.getLogger("api").exception("what")
        REQUEST_ID.reset(token)
        assert "[abc-1]" in stream.getvalue()
        assert ("Traceback" in stream.getvalue()) is wanted


def test_short_settings_are_not_taken_out_of_words() -> None:
    redact = Redaction(["", "a", "neo"])
    assert redact("a neo4j server") == "a neo4j server"
    record = logging.makeLogRecord({"msg": "plain", "levelname": "INFO"})
    assert json.loads(JsonLines(redact).format(record))["message"] == "plain"
