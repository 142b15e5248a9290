"""Secrets that stand in files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rag_engine.errors import ConfigurationError
from rag_engine.settings import load, secrets_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("variable", "setting"),
    [
        ("NEO4J_PASSWORD", "neo4j_password"),
        ("RAG_ADMIN_KEY", "admin_key"),
        ("RAG_LLM_API_KEY", "llm_api_key"),
    ],
)
def test_a_secret_may_stand_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, setting: str
) -> None:
    file = tmp_path / "secret"
    file.write_text(" opén sesame\r\n", encoding="utf-8")
    monkeypatch.setenv(f"{variable}_FILE", str(file))
    settings = load()
    assert getattr(settings, setting).get_secret_value() == " opén sesame"
    assert secrets_of(settings) == {" opén sesame"}  # and is in no log


def test_it_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEO4J_PASSWORD_FILE", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match=r"NEO4J_PASSWORD_FILE='.*none' cannot be read"):
        load()


def test_it_is_one_or_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_ADMIN_KEY_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("RAG_ADMIN_KEY", "another")
    with pytest.raises(ConfigurationError, match="Both RAG_ADMIN_KEY and RAG_ADMIN_KEY_FILE"):
        load()


def test_what_is_no_secret_stands_in_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEO4J_USERNAME_FILE", str(tmp_path / "none"))
    assert load().neo4j_username == "neo4j"
