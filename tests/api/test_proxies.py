"""Behind a proxy, and used by pages of other origins: only as far as somebody has said so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from command_line import started
from rag_engine.access import Access
from rag_engine.errors import ConfigurationError
from rag_engine.settings import load
from rag_engine_api.app import Admission, create_app
from serving import LIMITS, serving

if TYPE_CHECKING:
    from pathlib import Path

    from rag_engine.engine import Engine

PAGE = "https://app.example"


def client_of(
    engine: Engine, admission: Admission = Admission.LOCAL, **more: object
) -> httpx.AsyncClient:
    app = create_app(engine, Access(engine.control), admission=admission, limits=LIMITS, **more)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


@pytest.mark.parametrize("prefix", ["", "/rag"])
async def test_a_proxy_may_take_the_root_path_off_or_leave_it(engine: Engine, prefix: str) -> None:
    async with client_of(engine, root_path="/rag") as client:
        for path, status in (
            ("/health", 200),
            ("/docs", 200),
            ("/docs/files/swagger-ui.css", 200),
            ("/api/v1/documents/a%2Fb", 404),
            ("/ragged", 404),
        ):
            assert (await client.get(prefix + path)).status_code == status, path
        missing = (await client.get(f"{prefix}/api/v1/documents/a%2Fb")).json()
        assert missing["code"] == "not_found"
        wrong = {"model": "gpt", "messages": [{"role": "user", "content": "Who?"}]}
        refused = await client.post(f"{prefix}/v1/chat/completions", json=wrong)
        assert refused.json()["error"]["code"] == "not_found"
    async with client_of(engine, Admission.KEYS, root_path="/rag") as client:
        assert (await client.get(f"{prefix}/health")).status_code == 200
        assert (await client.get(f"{prefix}/api/v1/stats")).status_code == 401


async def test_pages_of_other_origins_are_told_nothing_unless_they_are_named(
    engine: Engine,
) -> None:
    asks = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    async with client_of(engine) as client:
        assert (await client.options("/api/v1/query", headers=asks)).status_code == 403
        refused = await client.get("/health", headers={"Origin": PAGE})
        assert "access-control-allow-origin" not in refused.headers
    async with client_of(engine, origins=[PAGE]) as client:
        allowed = await client.options("/api/v1/query", headers=asks)
        assert allowed.headers["access-control-allow-origin"] == PAGE
        answered = await client.get("/nowhere", headers={"Origin": PAGE})
        assert answered.status_code == 404
        assert answered.headers["access-control-allow-origin"] == PAGE
        for other in ("https://evil.example", "https://app.example.evil.example", "null"):
            response = await client.get("/health", headers={"Origin": other})
            assert response.status_code == 403
            assert "access-control-allow-origin" not in response.headers
    async with client_of(engine, Admission.KEYS, origins=[PAGE]) as client:
        assert (await client.options("/api/v1/query", headers=asks)).status_code == 200
        locked = await client.get("/api/v1/stats", headers={"Origin": PAGE})
        assert locked.status_code == 401
        assert locked.headers["access-control-allow-origin"] == PAGE


def test_all_pages_of_the_web_are_let_in_only_where_keys_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_API_CORS_ORIGINS", "*")
    with started(tmp_path / "data", "serve", "--port", "0") as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "--keys" in err


@pytest.mark.parametrize(("trusted", "limited"), [("127.0.0.0/8", True), ("10.0.0.0/8", False)])
def test_only_trusted_proxies_are_believed_for_whom_they_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: str, limited: bool
) -> None:
    monkeypatch.setenv("RAG_API_TRUSTED_PROXIES", trusted)
    monkeypatch.setenv("RAG_API_REQUESTS_PER_MINUTE", "1")
    with serving(tmp_path / "data", "--open", "--no-workers") as (_, client):
        found = [
            client.get("/api/v1/workspaces", headers={"X-Forwarded-For": "8.8.8.8"}).status_code
            for _ in range(3)
        ]
    assert found == ([200, 429, 429] if limited else [200, 200, 200])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RAG_API_ROOT_PATH", "rag"),
        ("RAG_API_ROOT_PATH", "/rag/"),
        ("RAG_API_ROOT_PATH", "/r\r\nX-A: b"),
        ("RAG_API_TRUSTED_PROXIES", "proxy.example"),
        ("RAG_API_CORS_ORIGINS", "app.example"),
        ("RAG_API_CORS_ORIGINS", "https://app.example/path"),
    ],
)
def test_what_cannot_be_meant_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name):
        load()
