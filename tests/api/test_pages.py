"""The console's files: what stands around them, and what they hold on no account."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import rag_engine_api
from rag_engine.retrieval.plan import MODES
from rag_engine_api.app import Admission
from serving import asking

if TYPE_CHECKING:
    import httpx

    from rag_engine.engine import Engine

FILES = sorted((Path(rag_engine_api.__file__).parent / "console").iterdir())
SCRIPTS = [path for path in FILES if path.suffix == ".js"]
TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".html": "text/html",
}


async def test_nothing_runs_on_the_page_but_its_own_files(client: httpx.AsyncClient) -> None:
    page = await client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= set(policy)
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert re.findall(r"<script(?![^>]* src=)|<style| style=| on\w+=|https?:", page.text) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
async def test_its_files_have_their_types(client: httpx.AsyncClient, path: Path) -> None:
    answer = await client.get(f"/console/{path.name}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].split(";")[0] == TYPES[path.suffix]
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_the_page_shows_where_keys_are_asked_for_and_nothing_else_does(
    engine: Engine,
) -> None:
    async with asking(engine, Admission.KEYS) as client:
        for place in ("/", "/console/main.js"):
            assert (await client.get(place)).status_code == 200
        for place in (
            "/console",
            "/consoles",
            "/api/v1/workspaces",
            "/console/../api/v1/workspaces",
        ):
            assert (await client.get(place)).status_code in (401, 404)
        assert (await client.get("/console/..%2Fadmission.py")).status_code == 404


async def test_every_response_says_that_its_type_is_its_type(client: httpx.AsyncClient) -> None:
    for place in ("/api/v1/workspaces", "/docs", "/health", "/nowhere"):
        answer = await client.get(place)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


async def test_originals_are_attachments_in_which_nothing_runs(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    files = {"files": ("evil.html", b"<p>Ada</p><script>alert(1)</script>", "text/html")}
    assert (await client.post("/api/v1/documents", files=files)).status_code == 202
    await engine.work("default")
    for part in ("original", "text"):
        answer = await client.get(f"/api/v1/documents/evil.html/{part}")
        assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        if part == "original":
            assert answer.headers["content-disposition"].startswith("attachment")
        else:
            assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse_no_markup(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    parsers = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|srcdoc|\beval\b|Function\("
    assert re.findall(parsers, text) == []
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text) == []


def test_the_modes_to_choose_from_are_those_there_are() -> None:
    text = next(path for path in SCRIPTS if path.name == "ask.js").read_text(encoding="utf-8")
    listed = re.search(r"const MODES = \{(.*?)\};", text, re.DOTALL)
    assert listed
    assert tuple(re.findall(r"^\s*(\w+):", listed[1], re.MULTILINE)) == MODES
