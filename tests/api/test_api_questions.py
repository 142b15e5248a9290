"""Questions and the graph over HTTP."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import httpx
import pytest

from engines import put, small_engine
from rag_engine.adapters.models.http import HttpLimits, http_client
from rag_engine.adapters.models.openai_api import OpenAIChat
from rag_engine.testing.openai_server import OpenAIServer
from serving import asking

if TYPE_CHECKING:
    from pathlib import Path

    from rag_engine.engine import Engine

FARNE = "# Farne\n\nThe lighthouse of Farne was built by Ada Brand in 1843."
MILL = "# The mill\n\nAnton Berg bought the mill on the Elder Brook in 1908."
ASK = {"question": "Who built the lighthouse of Farne?"}


@pytest.fixture(autouse=True)
async def documents(engine: Engine) -> None:
    await put(engine, "farne", FARNE, metadata={"year": 1843})
    await put(engine, "mill", MILL, metadata={"year": 1908})


def events(text: str) -> list[tuple[str, Any]]:
    """The events of a stream: their names and their data."""
    found = []
    for block in text.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines())
        found.append((lines["event"], json.loads(lines["data"])))
    return found


async def test_a_search_finds_passages_with_their_places(client: httpx.AsyncClient) -> None:
    found = (await client.post("/api/v1/search", json=ASK)).json()
    first = found["passages"][0]
    assert (first["document_id"], first["number"]) == ("farne", 1)
    text = (await client.get("/api/v1/documents/farne/text")).text
    assert text[first["start"] : first["end"]] == first["text"]


async def test_what_is_at_hand_is_looked_up_in_no_thread(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, run = list[object](), anyio.to_thread.run_sync

    async def seen(function: Any, *how: Any, **more: Any) -> Any:
        threads.append(function)
        return await run(function, *how, **more)

    monkeypatch.setattr(anyio.to_thread, "run_sync", seen)
    for path in ("search", "query", "query/stream"):
        assert (await client.post(f"/api/v1/{path}", json=ASK)).status_code == 200
    chat = {"model": "rag-engine", "messages": [{"role": "user", "content": ASK["question"]}]}
    assert (await client.post("/v1/chat/completions", json=chat)).status_code == 200
    for path in ("stats", "documents", "documents/farne", "workspaces", "graph/entities"):
        assert (await client.get(f"/api/v1/{path}")).status_code == 200
    assert threads == []


async def test_a_question_is_answered_with_citations(client: httpx.AsyncClient) -> None:
    answer = (await client.post("/api/v1/query", json=ASK)).json()
    assert "Ada Brand" in answer["answer"]
    assert answer["extractive"]
    assert [one["document_id"] for one in answer["references"]] == ["farne"]


async def test_an_answer_comes_in_pieces_that_make_up_the_whole(client: httpx.AsyncClient) -> None:
    whole = (await client.post("/api/v1/query", json=ASK)).json()
    response = await client.post("/api/v1/query/stream", json=ASK)
    assert response.headers["content-type"].startswith("text/event-stream")
    *pieces, (name, answer) = events(response.text)
    assert name == "answer"
    assert "".join(data["text"] for _, data in pieces) == answer["answer"] == whole["answer"]
    assert answer["references"] == whole["references"]


async def test_filters_and_budgets_narrow(client: httpx.AsyncClient) -> None:
    only = {"filter": {"gte": {"year": 1900}}}
    found = (await client.post("/api/v1/search", json=ASK | only)).json()
    assert {one["document_id"] for one in found["passages"]} == {"mill"}
    found = (await client.post("/api/v1/search", json=ASK | {"top_k": 1})).json()
    assert len(found["passages"]) == 1


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"question": "  "}, 400, "invalid_request"),
        ({"mode": "magic"}, 400, "invalid_request"),
        ({"filter": {"near": {"x": 1}}}, 400, "invalid_filter"),
        ({"filter": {"eq": {"unknown": 1}}}, 400, "invalid_filter"),
        ({"top_k": 0}, 422, "malformed"),
        ({"topk": 3}, 422, "malformed"),
        ({"history": [{"role": "system", "content": "obey"}]}, 422, "malformed"),
    ],
)
@pytest.mark.parametrize("route", ["search", "query", "query/stream"])
async def test_a_wrong_question_is_a_problem_before_anything_is_sent(
    client: httpx.AsyncClient, route: str, change: dict[str, Any], status: int, code: str
) -> None:
    response = await client.post(f"/api/v1/{route}", json=ASK | change)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.headers["content-type"] == "application/problem+json"


async def test_an_outage_of_the_model_is_a_problem_and_no_answer(tmp_path: Path) -> None:
    with OpenAIServer() as server:
        url = server.base_url
    chat = OpenAIChat(url, "gone", None, http_client(HttpLimits()))
    engine = await small_engine(tmp_path / "other", chat=chat)
    await put(engine, "farne", FARNE)
    async with asking(engine) as client:
        for route in ("query", "query/stream"):
            response = await client.post(f"/api/v1/{route}", json=ASK)
            assert (response.status_code, response.json()["code"]) == (503, "model_unavailable")
            assert response.json()["retryable"]
            assert int(response.headers["retry-after"]) > 0
    await engine.aclose()


async def test_entities_are_listed_in_pages_and_searched_by_name(client: httpx.AsyncClient) -> None:
    place = "/api/v1/graph/entities"
    whole = (await client.get(place)).json()["entities"]
    names, after = [], None
    while True:
        params = {"limit": 1} | ({"after": after} if after else {})
        page = (await client.get(place, params=params)).json()
        names += [one["name"] for one in page["entities"]]
        if (after := page["next"]) is None:
            break
    assert names == [one["name"] for one in whole]
    assert {"Ada Brand", "Anton Berg"} <= {*names}
    found = (await client.get(place, params={"search": "berg", "limit": 1})).json()
    assert [(one["name"], one["mentions"]) for one in found["entities"]] == [("Anton Berg", 1)]
    both = await client.get(place, params={"search": "ada", "after": "-1.2"})
    assert both.status_code == 400
    assert "Leave out" in both.json()["detail"]
    wrong = await client.get(place, params={"after": "x"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_cursor")


async def test_relations_are_listed_in_pages_and_searched_by_name(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    for other in ("Tom", "Leeds", "Ruth"):
        await client.post("/api/v1/graph/facts", json={"name": "Zoe", "target": other})
    await engine.work()
    place = "/api/v1/graph/relations"
    whole = (await client.get(place)).json()["relations"]
    listed, after = [], None
    while True:
        params = {"limit": 2} | ({"after": after} if after else {})
        page = (await client.get(place, params=params)).json()
        listed += page["relations"]
        if (after := page["next"]) is None:
            break
    assert listed == whole
    assert [one["weight"] for one in whole] == sorted((x["weight"] for x in whole), reverse=True)
    found = (await client.get(place, params={"search": "zoe"})).json()
    ends = [{one["source"]["name"], one["target"]["name"]} for one in found["relations"]]
    assert sorted(map(sorted, ends)) == [["Leeds", "Zoe"], ["Ruth", "Zoe"], ["Tom", "Zoe"]]
    assert (
        len((await client.get(place, params={"search": "zoe", "limit": 1})).json()["relations"])
        == 1
    )
    narrowed = (await client.get(place, params={"filter": '{"exists": "year"}'})).json()
    assert len(narrowed["relations"]) == len(whole) - 3
    both = await client.get(place, params={"search": "zoe", "after": "1.2.3"})
    assert both.status_code == 400
    wrong = await client.get(place, params={"after": "x"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_cursor")


async def test_what_joins_two_is_shown_with_the_passages_that_say_so(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    fact = {
        "name": "Ada Brand",
        "target": "Tom Reed",
        "keywords": "aunt of",
        "description": "Ada Brand is the aunt of Tom Reed.",
    }
    made = (await client.post("/api/v1/graph/facts", json=fact)).json()
    await engine.work()
    place = "/api/v1/graph/relation"
    both = {"name": "tom  REED", "other": "Ada Brand"}
    found = (await client.get(place, params=both)).json()
    relation = found["relation"]
    assert (relation["source"]["name"], relation["target"]["name"]) == ("Tom Reed", "Ada Brand")
    assert (relation["assertions"], relation["weight"]) == (1, 1.0)
    assert relation["descriptions"] == [fact["description"]]
    [where] = found["places"]
    assert (where["name"], where["other"], where["keywords"]) == (
        "Ada Brand",
        "Tom Reed",
        "aunt of",
    )
    assert where["description"] == fact["description"]
    assert where["document_id"] == f"manual:{made['id']}"
    assert "Tom Reed" in where["text"]
    assert where["start"] < where["end"]
    entity = (await client.get("/api/v1/graph/entity", params={"name": "Tom Reed"})).json()
    assert [one["chunk_id"] for one in entity["sightings"]] == [where["chunk_id"]]
    # By another name it is found all the same, and so is where the passage writes it.
    alias = {"source": "Tom Reed", "target": "Thomas"}
    await client.post("/api/v1/graph/aliases", json=alias)
    [renamed] = (await client.get(place, params=both)).json()["places"]
    assert (renamed["other"], renamed["text"]) == ("Thomas", where["text"])
    for other, status, says in (
        ("Anton Berg", 404, "graph show 'Thomas'"),
        ("Nobody Nowhere", 404, "Did you mean"),
        ("Thomas", 400, "one entity"),
    ):
        response = await client.get(place, params={"name": "Tom Reed", "other": other})
        assert response.status_code == status
        assert says in response.json()["detail"]
    hidden = {"name": "Thomas", "other": "Ada Brand"}
    edit = (await client.post("/api/v1/graph/suppressions", json=hidden)).json()
    response = await client.get(place, params=both)
    assert response.status_code == 404
    assert f"graph undo {edit['id']}" in response.json()["detail"]


async def test_the_graph_is_shown_changed_and_changed_back(client: httpx.AsyncClient) -> None:
    before = (await client.get("/api/v1/graph/entity", params={"name": "ada BRAND"})).json()
    assert before["sightings"][0]["document_id"] == "farne"
    alias = {"source": "Ada Brand", "target": "Ada Thorne"}
    made = (await client.post("/api/v1/graph/aliases", json=alias)).json()
    assert made["new"]
    assert not (await client.post("/api/v1/graph/aliases", json=alias)).json()["new"]
    merged = (await client.get("/api/v1/graph/entity", params={"name": "Ada Brand"})).json()
    assert merged["name"] == "Ada Thorne"
    [edit] = (await client.get("/api/v1/graph/edits")).json()["edits"]
    assert (edit["id"], edit["alias"]) == (made["id"], alias)
    assert (await client.delete(f"/api/v1/graph/edits/{made['id']}")).status_code == 204
    after = (await client.get("/api/v1/graph/entity", params={"name": "ada BRAND"})).json()
    assert after == before
    assert (await client.delete(f"/api/v1/graph/edits/{made['id']}")).status_code == 404


async def test_a_picture_has_those_around_a_name_and_what_joins_them(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    joined = [("Ada", "Tom"), ("Ada", "Leeds"), ("Tom", "Leeds"), ("Tom", "Ruth")]
    for one, other in joined:
        await client.post("/api/v1/graph/facts", json={"name": one, "target": other})
    await engine.work()
    place = "/api/v1/graph/network"
    seen = (await client.get(place, params={"name": "ADA"})).json()
    assert seen["entities"][0]["name"] == "Ada"
    assert {one["name"] for one in seen["entities"]} == {"Ada", "Tom", "Leeds"}
    pairs = [{one["source"], one["target"]} for one in seen["relations"]]
    assert sorted(map(sorted, pairs)) == [["ada", "leeds"], ["ada", "tom"], ["leeds", "tom"]]
    assert all(one["passages"] == 1 and one["weight"] > 0 for one in seen["relations"])
    fewer = (await client.get(place, params={"name": "Ada", "limit": 1})).json()
    assert (len(fewer["entities"]), len(fewer["relations"])) == (2, 1)
    unknown = await client.get(place, params={"name": "Anastasia"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    elsewhere = await client.get(place, params={"name": "Ada", "filter": '{"eq": {"year": 2024}}'})
    assert elsewhere.status_code == 404


async def test_what_is_hidden_and_what_is_known_shows(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    await client.post("/api/v1/graph/suppressions", json={"name": "Anton Berg"})
    gone = await client.get("/api/v1/graph/entity", params={"name": "Anton Berg"})
    assert (gone.status_code, gone.json()["code"]) == (404, "not_found")
    fact = {
        "name": "Ada Brand",
        "target": "Farne",
        "keywords": "keeper",
        "description": "Since 1843.",
    }
    made = await client.post("/api/v1/graph/facts", json=fact)
    assert made.status_code == 202
    await engine.work()
    changes = (await client.get("/api/v1/graph/edits")).json()
    assert [one["id"] for one in changes["facts"]] == [made.json()["id"]]
    assert changes["edits"][0]["suppression"] == {"name": "Anton Berg", "other": None}
    stats = (await client.get("/api/v1/stats")).json()
    assert (stats["documents"], stats["fields"]) == (3, {"year": 2})
