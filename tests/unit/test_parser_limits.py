"""The reference page says what the code does."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from rag_engine.adapters.parsers.limits import ParserLimits, setting

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "formats.md"


def test_documented_limits_are_the_defaults() -> None:
    text = PAGE.read_text("utf-8")
    for limit in fields(ParserLimits):
        assert f"| `{setting(limit.name)}` | {limit.default} |" in text
