"""Whatever goes wrong is a problem with a stable code."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import pytest

from rag_engine import errors
from rag_engine.access import Access
from rag_engine.adapters.models.fake import HashEmbedder
from rag_engine.engine import Engine
from rag_engine_api.app import Admission, create_app
from rag_engine_api.problems import STATUSES, code_of
from serving import LIMITS, asking

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rag_engine.ports.models import TextRole
    from rag_engine.ports.storage import Vectors

_BRANCHES = {errors.CallerError, errors.WorldError}


def leaves(kind: type[errors.RagEngineError]) -> Iterator[type[errors.RagEngineError]]:
    if kind is not errors.RagEngineError and kind not in _BRANCHES:
        yield kind
    for one in kind.__subclasses__():
        yield from leaves(one)


def test_every_error_has_a_status_of_its_branch_and_a_code_of_its_own() -> None:
    known = {kind for kind in leaves(errors.RagEngineError) if kind.__module__ == errors.__name__}
    assert STATUSES.keys() == known
    theirs = {errors.ConfigurationError}  # a caller's fault, but not a client's
    for kind, status in STATUSES.items():
        ours = issubclass(kind, errors.WorldError) and kind is not errors.LeaseLost
        assert (status >= 500) is (ours or kind in theirs), kind
    assert len({code_of(kind) for kind in known}) == len(known)
    assert code_of(errors.InvalidFilter) == "invalid_filter"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "no_such_route"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("GET", "/api/v1/documents?limit=0", 422, "malformed"),
        ("GET", "/api/v1/stats", 404, "not_found"),
        ("GET", "/api/v1/workspaces/a%20b/stats", 400, "invalid_request"),
        ("GET", "/api/v1/workspaces/%2E%2E/stats", 400, "invalid_request"),
        ("GET", f"/api/v1/documents?filter={'[' * 5_000}", 400, "invalid_filter"),
    ],
)
async def test_every_refusal_has_one_shape(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    response = await client.request(method, path)
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert (body["status"], body["code"]) == (response.status_code, code) == (status, code)
    assert body["type"] == f"urn:rag-engine:problem:{code}"
    assert body["detail"].endswith((".", "FILE"))


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/v1/keys", "GET, POST"),
        ("/api/v1/documents/x", "DELETE, GET, PATCH, PUT"),
        ("/api/v1/workspaces/a/documents", "DELETE, GET, POST"),
        ("/health", "GET"),
    ],
)
async def test_a_method_that_is_refused_is_told_which_there_are(
    client: httpx.AsyncClient, path: str, allowed: str
) -> None:
    response = await client.options(path)
    assert (response.status_code, response.headers["allow"]) == (405, allowed)


async def test_what_breaks_inside_is_said_to_the_log_and_not_to_the_client(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(self: Engine, workspace: str) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(Engine, "stats", broken)
    async with asking(engine) as client:
        response = await client.get("/api/v1/stats")
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    assert "secret" not in response.text
    assert response.headers["x-request-id"] in response.json()["detail"]
    assert response.headers["x-request-id"] in caplog.text


@pytest.mark.parametrize(
    ("brought", "kept"), [("abc-1.2", True), ("a b", False), ("x" * 65, False), ("", False)]
)
async def test_a_request_has_an_id_that_can_stand_in_a_log(
    client: httpx.AsyncClient, brought: str, kept: bool
) -> None:
    response = await client.get("/health", headers={"X-Request-ID": brought})
    assert (response.headers["x-request-id"] == brought) is kept
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"host": "127.0.0.1:8000"}, True),
        ({"host": "[::1]:8000"}, True),
        ({"host": "localhost.", "origin": "http://localhost."}, True),
        ({"host": "evil.example"}, False),
        ({"host": "127.0.0.1.evil.example"}, False),
        ({"host": ""}, False),
        ({"host": "[evil"}, False),
        ({"origin": "http://["}, False),
        ({"x-forwarded-for": "8.8.8.8"}, False),
        ({"via": "1.1 proxy"}, False),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"host": "localhost:8000", "origin": "http://localhost:9000"}, False),
    ],
)
async def test_without_keys_neither_other_names_nor_other_pages_are_let_in(
    client: httpx.AsyncClient, headers: dict[str, str], allowed: bool
) -> None:
    response = await client.get("/health", headers=headers)
    assert response.status_code == (200 if allowed else 403)
    if not allowed:
        assert response.json()["code"] == "forbidden"


async def test_ready_says_why_it_is_not(engine: Engine, client: httpx.AsyncClient) -> None:
    assert (await client.get("/ready")).json() == {"ready": True, "reasons": []}

    class Broken:
        async def waiting(self) -> None:
            raise errors.StoreUnavailable("The database is away. Bring it back.")

    async with asking(replace(engine, control=Broken())) as client:  # type: ignore[arg-type]
        response = await client.get("/ready")
        assert response.status_code == 503
        assert response.json()["reasons"] == ["The database is away. Bring it back."]
        assert (await client.get("/health")).json()["status"] == "ok"


async def test_ready_means_that_the_embedding_model_answers(engine: Engine) -> None:
    asked = []

    class Away(HashEmbedder):
        async def embed(self, texts: Sequence[str], kind: TextRole) -> Vectors:
            asked.append(texts)
            if len(asked) == 1:
                raise errors.ModelUnavailable("The model is away. Bring it back.")
            return await super().embed(texts, kind)

    pipeline = replace(engine.pipeline, embedder=Away(dimensions=8))
    async with asking(replace(engine, pipeline=pipeline)) as client:
        response = await client.get("/ready")
        assert response.status_code == 503
        assert response.json()["reasons"] == ["The model is away. Bring it back."]
        for _ in range(3):  # it is asked once a minute at most, as it may want money
            assert (await client.get("/ready")).json() == {"ready": True, "reasons": []}
    assert len(asked) == 2


async def test_the_page_of_the_routes_asks_no_other_server(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text
    places = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(places) >= 3
    for place in places:
        assert place.startswith("/docs/files/")
        assert (await client.get(place)).status_code == 200
    assert "http" not in page


def test_the_description_tells_what_is_sent(engine: Engine) -> None:
    app = create_app(engine, Access(engine.control), admission=Admission.LOCAL, limits=LIMITS)
    kinds: dict[str, set[str]] = {}
    for path, operations in app.openapi()["paths"].items():
        for operation in operations.values():
            problem = operation["responses"]["default"]["content"]
            assert list(problem) == ["application/problem+json"], path
            assert "code" in problem["application/problem+json"]["schema"]["properties"]
            for status, response in operation["responses"].items():
                if status in ("200", "201", "202"):
                    kinds.setdefault(path, set()).update(response["content"])
    assert kinds["/api/v1/documents/{id}/original"] == {"application/octet-stream"}
    assert kinds["/api/v1/documents/{id}/text"] == {"text/plain"}
    assert kinds["/api/v1/query/stream"] == {"text/event-stream"}
    assert kinds["/v1/chat/completions"] == {"application/json", "text/event-stream"}
