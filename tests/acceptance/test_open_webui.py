"""Open WebUI, from its own package, chats through the service: over its HTTP API, and in a browser.

It is a program of its own in an environment of its own, larger than this one. `RAG_TEST_OPEN_WEBUI`
says where its command is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
from playwright.sync_api import expect

from browsing import WIDE, browser
from command_line import started
from neo4j_server import free_port
from serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Read now: the tests themselves see no variable that begins with RAG_.
COMMAND: Final = os.environ.get("RAG_TEST_OPEN_WEBUI") or shutil.which("open-webui")
START_SECONDS: Final = 480
LONG: Final = 120_000  # milliseconds; its page is some megabytes of scripts
QUESTION: Final = "Who built the lighthouse of Farne?"
FARNE: Final = "# Farne\n\nThe lighthouse of Farne was built by Ada Brand in 1843.\n"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chats:
    """Open WebUI that has our service as its only models.

    Attributes:
        client: Of its HTTP API.
        service: A client of ours.
    """

    client: httpx.Client
    service: httpx.Client


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chats]:
    if COMMAND is None:
        pytest.skip(
            "Open WebUI is not installed. Put it into an environment of its own (pip install "
            "open-webui), and set RAG_TEST_OPEN_WEBUI to its command, …/bin/open-webui."
        )
    place = tmp_path_factory.mktemp("open-webui")
    with pytest.MonkeyPatch.context() as patched, ExitStack() as stack:
        for name in [name for name in os.environ if name.startswith(("RAG_", "NEO4J_"))]:
            patched.delenv(name)
        token = _token(place / "data")
        _, service = stack.enter_context(serving(place / "data"))
        service.headers["Authorization"] = f"Bearer {token}"
        for workspace, name, text in (
            ("default", "farne.md", FARNE),
            ("mills", "mill.md", "# Mill\n\nAnton Berg bought the mill.\n"),
        ):
            _ingest(service, workspace, name, text)
        client = stack.enter_context(_open_webui(place / "chats", str(service.base_url), token))
        yield Chats(client=client, service=service)


def _token(data: Path) -> str:
    with started(data, "keys", "create", "Chats", "--scope", "write", "--scope", "read") as making:
        out, err = making.communicate(timeout=120)
    found = re.search(r"rag-\S+", out)
    assert found, out + err
    return found[0]


def _ingest(service: httpx.Client, workspace: str, name: str, text: str) -> None:
    place = f"/api/v1/workspaces/{workspace}/documents"
    service.post(place, files={"files": (name, text.encode())}).raise_for_status()
    with service.stream("GET", f"{place}/{name}/events") as events:
        names = [line for line in events.iter_lines() if line.startswith("event: ")]
    assert names[-1] == "event: indexed"


@contextmanager
def _open_webui(folder: Path, service: str, token: str) -> Iterator[httpx.Client]:
    """It runs, asks nobody to log in, and downloads nothing."""
    folder.mkdir()
    assert COMMAND is not None
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "DATA_DIR": str(folder),
        "WEBUI_AUTH": "False",
        "WEBUI_SECRET_KEY": "of-this-run",
        "OPENAI_API_BASE_URL": f"{service.rstrip('/')}/v1",
        "OPENAI_API_KEY": token,
        "ENABLE_OLLAMA_API": "False",
        "BYPASS_EMBEDDING_AND_RETRIEVAL": "True",
        "OFFLINE_MODE": "True",
        "HF_HUB_OFFLINE": "1",
        "ANONYMIZED_TELEMETRY": "False",
    }
    port = free_port()
    words = [COMMAND, "serve", "--host", "127.0.0.1", "--port", str(port)]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(words, cwd=folder, env=environment, stdout=log, stderr=log) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        try:
            _wait_for(client, process, folder / "log")
            signed_in = client.post("/api/v1/auths/signin", json={"email": "", "password": ""})
            client.headers["Authorization"] = f"Bearer {signed_in.json()['token']}"
            yield client
        finally:
            process.terminate()
            process.wait(60)


def _wait_for(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            if client.get("/health").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(1)
    raise AssertionError(f"Open WebUI did not start:\n{log.read_text('utf-8')[-3000:]}")


def test_our_models_are_its_models(chats: Chats) -> None:
    names = {one["id"] for one in chats.client.get("/api/models").json()["data"]}
    assert {"rag-engine", "rag-engine:naive", "rag-engine:fusion", "rag-engine@mills"} <= names


def test_a_chat_gets_a_cited_answer_piece_by_piece(chats: Chats) -> None:
    body = {
        "model": "rag-engine",
        "stream": True,
        "messages": [{"role": "user", "content": QUESTION}],
    }
    with chats.client.stream("POST", "/api/chat/completions", json=body) as lines:
        chunks: list[dict[str, Any]] = [
            json.loads(line.removeprefix("data: "))
            for line in lines.iter_lines()
            if line.startswith("data: {")
        ]
    deltas = [one["choices"][0]["delta"] for one in chunks]
    assert len(deltas) > 3
    text = "".join(one.get("content", "") for one in deltas)
    assert "built by Ada Brand in 1843. [1]" in text
    assert text.endswith("Sources:\n[1] Farne")
    [citation] = [note["url_citation"] for one in deltas for note in one.get("annotations", [])]
    assert chats.service.get(citation["url"]).text == FARNE


@pytest.mark.parametrize(
    ("task", "least"),
    [
        ("title", {"title": QUESTION}),
        ("tags", {"tags": []}),
        ("follow_up", {"follow_ups": []}),
        ("queries", {"queries": []}),
    ],
)
def test_what_it_wants_done_about_a_chat_is_no_question(
    chats: Chats, task: str, least: dict[str, object]
) -> None:
    """By its own prompts, as this release of it words them."""
    body = {
        "model": "rag-engine",
        "type": "web_search",
        "messages": [
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": "Ada Brand built it [1]."},
        ],
    }
    said = chats.client.post(f"/api/v1/tasks/{task}/completions", json=body).json()
    assert json.loads(said["choices"][0]["message"]["content"]) == least


def test_a_person_asks_on_its_page(chats: Chats) -> None:
    with browser() as chromium:
        context = chromium.new_context(viewport=WIDE)
        context.set_default_timeout(LONG)
        page = context.new_page()
        news = page.get_by_role("button", name=re.compile("Okay, Let's Go", re.I))
        page.add_locator_handler(news, lambda button: button.click())
        page.goto(str(chats.client.base_url))
        page.locator("#chat-input").click()
        page.keyboard.type(QUESTION)
        page.keyboard.press("Enter")
        answer = page.locator("#response-content-container")
        expect(answer).to_contain_text("built by Ada Brand in 1843.", timeout=LONG)
        expect(answer).to_contain_text("Sources:")
        # Numbers have become the names of their sources.
        expect(answer.get_by_role("button", name="Farne").first).to_be_visible()
        expect(answer).not_to_contain_text("[1]")
        # What it made of our reply to its wish for a title.
        expect(page).to_have_title(re.compile(r"^Who built the lighthouse"))
        if folder := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=f"{folder}/open-webui.png")
        context.close()
