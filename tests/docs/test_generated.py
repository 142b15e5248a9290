"""The generated pages are what the code says today."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_OTHERS = {"RAG_TEST_DATA", "RAG_REQUIRE_DATA", "RAG_TEST_OPEN_WEBUI", "RAG_LLM_", "RAG_"}
REMEDY = "run: .venv/bin/python scripts/generate_docs.py"

_spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "scripts/generate_docs.py")
assert _spec is not None
assert _spec.loader is not None
generate_docs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate_docs)


@pytest.mark.parametrize("page", generate_docs.PAGES)
def test_a_generated_page_is_up_to_date(page: str) -> None:
    there = (ROOT / page).read_text(encoding="utf-8")
    assert there == generate_docs.PAGES[page](), f"{page} is stale; {REMEDY}"


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("demo/*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_settings_that_are_named_exist() -> None:
    known = set(re.findall(r"^#([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("services/**/*.py")]
    for page in pages:
        named = set(re.findall(r"\bRAG_[A-Z_]+\b", page.read_text(encoding="utf-8")))
        named = {one.removesuffix("_FILE") for one in named}  # a secret may stand in a file
        assert named - known - _OTHERS == set(), page
