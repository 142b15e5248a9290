"""Workspaces over HTTP: made, listed, deleted once somebody has said their name twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engines import put

if TYPE_CHECKING:
    import httpx

    from rag_engine.engine import Engine

PLACE = "/api/v1/workspaces"
MILL = "# Mill\n\nAnton Berg bought the mill on the Elder Brook in 1908."


async def test_one_is_made_and_listed(client: httpx.AsyncClient) -> None:
    made = await client.post(PLACE, json={"name": "mills"})
    assert (made.status_code, made.json()) == (201, {"name": "mills"})
    again = await client.post(PLACE, json={"name": "mills"})
    assert again.status_code == 201
    wrong = await client.post(PLACE, json={"name": "../mills"})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "invalid_request")
    assert (await client.get(PLACE)).json() == {"workspaces": ["mills"]}
    assert (await client.get(f"{PLACE}/mills/stats")).json()["documents"] == 0


async def test_one_is_deleted_when_its_name_is_said_twice(
    engine: Engine, client: httpx.AsyncClient
) -> None:
    await put(engine, "mill", MILL, workspace="mills")
    await put(engine, "mill", MILL)
    for confirm in ({}, {"confirm": "mill"}):
        asked = await client.delete(f"{PLACE}/mills", params=confirm)
        assert (asked.status_code, asked.json()["code"]) == (409, "conflict")
        assert "1 documents" in asked.json()["detail"]
    deleted = await client.delete(f"{PLACE}/mills", params={"confirm": "mills"})
    assert deleted.json() == {"name": "mills", "documents": 1}
    assert (await client.get(PLACE)).json() == {"workspaces": ["default"]}
    for path in ("stats", "documents", "documents/mill"):
        assert (await client.get(f"{PLACE}/mills/{path}")).status_code == 404
    assert (await client.get("/api/v1/stats")).json()["documents"] == 1
    again = await client.delete(f"{PLACE}/mills", params={"confirm": "mills"})
    assert (again.status_code, again.json()["code"]) == (404, "not_found")
