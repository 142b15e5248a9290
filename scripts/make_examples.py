"""Writes the examples of `/openapi.json`: requests that a server was sent, and what it answered.

.venv/bin/python scripts/make_examples.py

It asks each route once, over the demo's documents. Times and what is made by chance are put in place
of those of the day, so that the file changes only with the answers. `tests/api/test_examples.py` asks
again and compares.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from rag_engine.access import Access
from rag_engine.engine import Engine
from rag_engine.settings import Settings
from rag_engine_api.app import Admission, create_app
from rag_engine_api.examples import FILE
from rag_engine_api.limits import limits_of

ROOT: Final = Path(__file__).resolve().parent.parent
DOCUMENTS: Final = ROOT / "demo" / "lighthouse"
READ_BEFORE: Final = ("history-of-the-light.pdf", "life-of-ada-thorne.docx")
NOTES: Final = "notes-on-the-lens.md"
QUESTION: Final = "How high does the tower stand?"
CHAT: Final = {"model": "rag-engine", "messages": [{"role": "user", "content": QUESTION}]}

_TIME: Final = re.compile(r"\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)")
_CHANCE: Final = (
    (re.compile(r"\brag-[0-9a-f]{12}-[\w-]{43}"), "rag-3f9a1c7e5b20-…"),
    (re.compile(r"\b(chatcmpl-)[0-9a-f]+"), r"\g<1>6f2b9d"),
    (re.compile(r'(created\\*": ?)\d{9,}'), r"\g<1>1768469400"),
    (re.compile(r'("search\\*": ?)\d+\.\d+(?:e-\d+)?'), r"\g<1>0.0124"),
    (re.compile(r'("answer\\*": ?)\d+\.\d+(?:e-\d+)?'), r"\g<1>0.0031"),
)
_METRICS: Final = 8  # lines


@dataclass(frozen=True, slots=True)
class Step:
    """A request, and whether workers are done before it is sent.

    Attributes:
        operation: The name of the route, as in the description.
        request: Its method and its path, with what stands for parameters in braces.
        parameters: What stands in the path, and in the query.
    """

    operation: str
    request: str
    parameters: dict[str, Any] = field(default_factory=dict)
    body: Any = None
    form: dict[str, str] = field(default_factory=dict)
    file: tuple[str, str] | None = None
    indexed: bool = False


_NOTES: Final = (DOCUMENTS / NOTES).read_text("utf-8").partition("## What it shows")[
    0
].strip() + "\n"
_DOCUMENTS: Final = "/api/v1/documents"
_ONE: Final = f"{_DOCUMENTS}/{{id}}"
_GRAPH: Final = "/api/v1/graph"
_WORKSPACES: Final = "/api/v1/workspaces"
_KEYS: Final = "/api/v1/keys"
_ASKED: Final = {"question": QUESTION, "top_k": 2}
_LENS: Final = {"id": NOTES}
_MEMO: Final = {"id": "memo.md"}
_WRITTEN: Final = {"text": "The key is with Ada.", "name": "memo.md", "metadata": {"year": 1891}}
_CHANGED: Final = {"title": "The lens", "metadata": {"year": 1926, "tags": None}}
_FIELDS: Final = {"metadata": '{"year": 1891, "tags": ["lens", "repairs"]}'}
_MADE_KEY: Final = {"name": "Scanner", "scopes": ["write"], "workspaces": ["contracts"]}
_CONTRACTS: Final = {"workspace": "contracts", "confirm": "contracts"}
_ADA: Final = {"name": "Ada Thorne"}
_ALIAS: Final = {"source": "A. Thorne", "target": "Ada Thorne"}
_FACT: Final = {**_ADA, "target": "Marrow Point", "description": "She kept the light."}
_MATCHING: Final = {"filter": '{"gte": {"year": 1891}}', "confirm": 1}

STEPS: Final = (
    Step("operations_health", "GET /health"),
    Step("operations_ready", "GET /ready"),
    Step("workspaces_create", f"POST {_WORKSPACES}", body={"name": "contracts"}),
    Step("workspaces_list", f"GET {_WORKSPACES}"),
    Step("workspaces_delete", f"DELETE {_WORKSPACES}/{{workspace}}", _CONTRACTS),
    Step("keys_make", f"POST {_KEYS}", body=_MADE_KEY),
    Step("keys_list", f"GET {_KEYS}"),
    Step("keys_revoke", f"DELETE {_KEYS}/{{id}}", {"id": "{key}"}),
    Step("documents_upload", f"POST {_DOCUMENTS}", file=("files", _NOTES), form=_FIELDS),
    Step("documents_write", f"POST {_DOCUMENTS}/text", body=_WRITTEN),
    Step("documents_cancel", f"POST {_ONE}/cancel", _MEMO),
    Step("documents_retry", f"POST {_ONE}/retry", _MEMO),
    Step(
        "documents_put",
        f"PUT {_ONE}",
        _LENS,
        file=("file", _NOTES),
        form={"title": "Notes on the lens"},
        indexed=True,
    ),
    Step("documents_patch", f"PATCH {_ONE}", _LENS, body=_CHANGED, indexed=True),
    Step("documents_list", f"GET {_DOCUMENTS}", {"limit": 2}, indexed=True),
    Step("documents_versions", "GET /api/v1/versions", {"limit": 2}),
    Step("documents_show", f"GET {_ONE}", _LENS),
    Step("documents_original", f"GET {_ONE}/original", _LENS),
    Step("documents_text", f"GET {_ONE}/text", _LENS),
    Step("documents_events", f"GET {_ONE}/events", _LENS),
    Step("questions_search", "POST /api/v1/search", body=_ASKED),
    Step("questions_query", "POST /api/v1/query", body=_ASKED),
    Step("questions_stream", "POST /api/v1/query/stream", body=_ASKED),
    Step("openai_models", "GET /v1/models"),
    Step("openai_complete", "POST /v1/chat/completions", body={**CHAT, "stream": True}),
    Step("openai_complete", "POST /v1/chat/completions", body=CHAT),
    Step("graph_entities", f"GET {_GRAPH}/entities", {"search": "Ada", "limit": 2}),
    Step("graph_entity", f"GET {_GRAPH}/entity", _ADA),
    Step("graph_relations", f"GET {_GRAPH}/relations", {"limit": 2}),
    Step("graph_relation", f"GET {_GRAPH}/relation", {**_ADA, "other": "Holm", "limit": 2}),
    Step("graph_network", f"GET {_GRAPH}/network", {**_ADA, "limit": 2}),
    Step("graph_merge", f"POST {_GRAPH}/aliases", body=_ALIAS),
    Step("graph_hide", f"POST {_GRAPH}/suppressions", body={"name": "Oil"}),
    Step("graph_add", f"POST {_GRAPH}/facts", body=_FACT),
    Step("graph_edits", f"GET {_GRAPH}/edits", indexed=True),
    Step("graph_undo", f"DELETE {_GRAPH}/edits/{{id}}", {"id": "{edit}"}),
    Step("graph_stats", "GET /api/v1/stats"),
    Step("documents_delete", f"DELETE {_ONE}", _MEMO),
    Step("documents_delete_many", f"DELETE {_DOCUMENTS}", _MATCHING),
    Step("operations_show", "GET /metrics"),
    Step("problem", f"GET {_ONE}", {"id": "lost.pdf"}),
)
"""What is asked, in order. `{key}` and `{edit}` stand for the ids of what was made."""


async def examples(
    engine: Engine, index: Callable[[], Awaitable[object]]
) -> dict[str, dict[str, Any]]:
    """Every request with its answer, by the name of its route.

    Args:
        engine: An empty one.
        index: Has done what waits.
    """
    for name in READ_BEFORE:
        await engine.submit(DOCUMENTS / name, document_id=name, source=name)
    await index()
    keyring, limits = Access(engine.control), limits_of(Settings())
    app = create_app(engine, keyring, admission=Admission.LOCAL, limits=limits)
    transport, found, made = httpx.ASGITransport(app), dict[str, dict[str, Any]](), dict[str, str]()
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for step in STEPS:
            if step.indexed:
                await index()
            _record(found, made, step, await _ask(client, step, made))
    return found


async def _ask(client: httpx.AsyncClient, step: Step, made: dict[str, str]) -> httpx.Response:
    given = {name: made.get(str(value), value) for name, value in step.parameters.items()}
    method, template = step.request.split(" ")
    path = template.format_map({name: str(value) for name, value in given.items()})
    query = {name: value for name, value in given.items() if f"{{{name}}}" not in template}
    files = None
    if step.file is not None:
        files = [(step.file[0], (NOTES, step.file[1].encode()))]
    return await client.request(
        method, path, params=query, json=step.body, data=step.form or None, files=files
    )


def _record(
    found: dict[str, dict[str, Any]], made: dict[str, str], step: Step, response: httpx.Response
) -> None:
    kind = response.headers.get("content-type", "").partition(";")[0]
    body: Any = response.text
    if body and kind.endswith("json"):
        body = response.json()
    elif step.operation == "operations_show":
        body = "".join(f"{line}\n" for line in body.splitlines()[:_METRICS])
    if not response.is_success and step.operation != "problem":
        raise RuntimeError(f"{step.operation}: {response.status_code} {response.text}")
    if step.operation == "keys_make":
        made["{key}"] = body["key"]["id"]
    if step.operation == "graph_merge":
        made["{edit}"] = body["id"]
    entry = found.setdefault(step.operation, {"request": None, "responses": {}})
    if step.body is not None:
        entry["request"] = step.body
    if step.file is not None:
        name, content = step.file
        entry["request"] = {name: [content] if name == "files" else content, **step.form}
    entry["parameters"] = {
        name: made.get(str(value), value) for name, value in step.parameters.items()
    }
    if body != "":
        if step.operation == "documents_original":
            kind = "application/octet-stream"  # which stands for whatever it is
        entry["responses"][kind] = body


def settled(examples: dict[str, dict[str, Any]]) -> str:
    """The examples as a file that is the same tomorrow."""
    text = json.dumps(_rounded(examples), indent=1, ensure_ascii=False)
    key = examples["keys_make"]["responses"]["application/json"]["key"]["id"]
    text = _TIME.sub("2026-01-15T09:30:00Z", text).replace(key, "3f9a1c7e5b20")
    for pattern, instead in _CHANCE:
        text = pattern.sub(instead, text)
    return text + "\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, 4) if isinstance(value, float) else value


async def _main() -> None:
    from rag_engine.wiring import build

    with tempfile.TemporaryDirectory() as folder:
        engine = await asyncio.to_thread(build, Settings(data_dir=Path(folder)))
        try:
            FILE.write_text(settled(await examples(engine, engine.work)), "utf-8")
        finally:
            await engine.aclose()
    print(FILE.relative_to(ROOT))


if __name__ == "__main__":
    asyncio.run(_main())
    sys.exit(0)
