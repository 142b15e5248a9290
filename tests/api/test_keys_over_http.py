"""Keys: each route is walked with every kind of key, and lets in those that may do what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from engines import put
from rag_engine.access import Access
from rag_engine.core.keys import Scope
from rag_engine_api.app import Admission, create_app
from serving import LIMITS, asking

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from rag_engine.engine import Engine

ADMIN = "a-long-key-of-the-operator"
OPEN = {"/health", "/ready", "/openapi.json", "/docs"}
ASKING = ("search", "query", "query/stream", "completions")


def routes(engine: Engine) -> Iterator[tuple[str, str]]:
    """Every route there is, from its own description."""
    app = create_app(engine, Access(engine.control), admission=Admission.KEYS, limits=LIMITS)
    for path, operations in app.openapi()["paths"].items():
        for method in operations:
            yield method.upper(), path


def needed(method: str, path: str) -> Scope | None:
    """What a key must allow: told from the route alone, not from the code."""
    of_none = path in ("/api/v1/workspaces", "/api/v1/workspaces/{workspace}")
    if path.startswith("/api/v1/keys") or (of_none and method != "GET"):
        return Scope.ADMIN
    if path in ("/api/v1/workspaces", "/v1/models"):
        return None
    asks = path.endswith(ASKING)
    return Scope.READ if method == "GET" or asks else Scope.WRITE


async def status(
    client: httpx.AsyncClient, method: str, path: str, token: str | None, **more: Any
) -> int:
    """The status of a request that is well formed only as far as its path goes."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    place = path.replace("{workspace}", "one").replace("{id}", "nothing")
    response = await client.request(method, place, headers=headers | more)
    if response.status_code in (401, 403):
        assert response.headers["content-type"] == "application/problem+json"
        assert token is None or token not in response.text
    return response.status_code


@pytest.fixture
async def keyring(engine: Engine) -> Access:
    await put(engine, "farne", "# Farne\n\nThe lighthouse.", workspace="one")
    await put(engine, "mill", "# Mill\n\nThe mill.", workspace="two")
    return Access(engine.control, admin_token=ADMIN)


async def test_every_route_asks_for_a_key_that_may_do_what_it_does(
    engine: Engine, keyring: Access
) -> None:
    tokens = {
        scope: (await keyring.make(f"May {scope}", {scope}))[1]
        for scope in (Scope.READ, Scope.WRITE)
    }
    walked = 0
    async with asking(engine, Admission.KEYS, keyring=keyring) as client:
        for method, path in routes(engine):
            if path in OPEN:
                assert await status(client, method, path, None) == 200
                continue
            walked += 1
            assert await status(client, method, path, None) == 401, path
            assert await status(client, method, path, "rag-nothing-known") == 401, path
            assert await status(client, method, path, ADMIN) not in (401, 403), path
            for scope, token in tokens.items():
                allowed = needed(method, path) in (None, scope)
                found = await status(client, method, path, token)
                assert (found != 403) is allowed, (method, path, scope, found)
    assert walked > 40


async def test_a_key_of_one_workspace_opens_no_other(engine: Engine, keyring: Access) -> None:
    _, token = await keyring.make("One", {Scope.READ, Scope.WRITE}, {"one"})
    async with asking(engine, Admission.KEYS, keyring=keyring) as client:
        for method, path in routes(engine):
            if path in OPEN or needed(method, path) in (None, Scope.ADMIN):
                continue
            if path in ("/v1/chat/completions", "/metrics"):  # of none, or of one it names itself
                continue
            other = path.replace("{workspace}", "two")
            headers = {} if "{workspace}" in path else {"X-Workspace": "two"}
            assert await status(client, method, other, token, **headers) == 403, path
            mine = {} if "{workspace}" in path else {"X-Workspace": "one"}
            assert await status(client, method, path, token, **mine) != 403, path
        headers = {"X-API-Key": token}
        names = (await client.get("/api/v1/workspaces", headers=headers)).json()
        assert names == {"workspaces": ["one"]}


async def test_keys_are_made_listed_without_secrets_and_revoked(
    engine: Engine, keyring: Access
) -> None:
    admin = {"Authorization": f"Bearer {ADMIN}"}
    async with asking(engine, Admission.KEYS, keyring=keyring) as client:
        wish = {"name": "Scanner", "scopes": ["read"]}
        made = (await client.post("/api/v1/keys", json=wish, headers=admin)).json()
        token = made["token"]
        mine = {"Authorization": f"Bearer {token}"}
        listed = await client.get("/api/v1/keys", headers=admin)
        assert [one["name"] for one in listed.json()["keys"]] == ["Scanner"]
        assert token.rsplit("-", 1)[1] not in listed.text
        assert "hash" not in listed.text
        assert (await client.get("/api/v1/workspaces", headers=mine)).status_code == 200
        place = f"/api/v1/keys/{made['key']['id']}"
        assert (await client.delete(place, headers=admin)).status_code == 204
        assert (await client.get("/api/v1/workspaces", headers=mine)).status_code == 401
        assert (await client.delete(place, headers=admin)).status_code == 404


async def test_a_body_is_not_read_before_the_key_is_known(engine: Engine, keyring: Access) -> None:
    async def never() -> Any:
        raise AssertionError("the body was read")
        yield b""

    async with asking(engine, Admission.KEYS, keyring=keyring) as client:
        response = await client.post("/api/v1/documents", content=never())
        assert response.status_code == 401
        _, token = await keyring.make("Reader", {Scope.READ})
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "multipart/form-data; boundary=b",
        }
        response = await client.post("/api/v1/documents", content=never(), headers=headers)
        assert response.status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        {"name": " ", "scopes": ["read"]},
        {"name": "a\nb", "scopes": ["read"]},
        {"name": "a", "scopes": []},
        {"name": "a", "scopes": ["all"]},
        {"name": "a", "scopes": ["admin"], "workspaces": ["one"]},
        {"name": "a", "scopes": ["read"], "workspaces": ["a b"]},
    ],
)
async def test_a_key_that_makes_no_sense_is_refused(
    client: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    assert (await client.post("/api/v1/keys", json=body)).status_code in (400, 422)
    assert (await client.get("/api/v1/keys")).json() == {"keys": []}
