"""Documents over HTTP."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from rag_engine.engine import Engine
from rag_engine.errors import StoreFull, StoreUnavailable
from serving import MAX_BODY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

FARNE = b"# Farne\n\nThe lighthouse of Farne was built by Ada Brand in 1843."
MILL = b"# The mill\n\nAnton Berg bought the mill on the Elder Brook in 1908."


async def upload(
    client: httpx.AsyncClient, name: str, content: bytes, **fields: str
) -> httpx.Response:
    return await client.post("/api/v1/documents", files=[("files", (name, content))], data=fields)


async def shown(client: httpx.AsyncClient, id: str) -> dict[str, Any]:
    response = await client.get(f"/api/v1/documents/{id}")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def test_a_file_goes_in_and_answers(client: httpx.AsyncClient, engine: Engine) -> None:
    response = await upload(client, "farne.md", FARNE, metadata='{"year": 1843, "tags": ["a"]}')
    assert response.status_code == 202
    [version] = response.json()["versions"]
    assert (version["document_id"], version["version"]) == ("farne.md", 1)
    assert version["status"] == "pending"
    assert (await shown(client, "farne.md"))["answering"] is None
    await engine.work()
    found = await shown(client, "farne.md")
    assert found["newest"]["status"] == "indexed"
    assert found["answering"]["metadata"] == {"year": 1843, "tags": ["a"]}
    assert (await client.get("/api/v1/documents/farne.md/original")).content == FARNE
    assert (await client.get("/api/v1/documents/farne.md/text")).text == FARNE.decode()


async def test_the_same_file_again_changes_nothing_and_another_one_is_a_conflict(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    await upload(client, "farne.md", FARNE)
    again = await upload(client, "farne.md", FARNE)
    assert again.json()["versions"][0]["version"] == 1
    await engine.work()
    other = await upload(client, "farne.md", MILL)
    assert (other.status_code, other.json()["code"]) == (409, "conflict")
    assert "replace=true" in other.json()["detail"]
    replaced = await upload(client, "farne.md", MILL, replace="true")
    assert replaced.json()["versions"][0]["version"] == 2
    put = await client.put("/api/v1/documents/farne.md", files={"file": ("farne.md", FARNE)})
    assert (put.status_code, put.json()["version"]) == (202, 3)


async def test_of_many_files_those_that_are_refused_are_named(client: httpx.AsyncClient) -> None:
    await upload(client, "farne.md", FARNE)
    files = [("files", ("mill.md", MILL)), ("files", ("farne.md", MILL)), ("files", ("..", MILL))]
    response = await client.post("/api/v1/documents", files=files)
    assert response.status_code == 400  # a name that is none: nothing of it is accepted
    there = (await client.get("/api/v1/versions")).json()["versions"]
    assert [one["document_id"] for one in there] == ["farne.md"]
    response = await client.post("/api/v1/documents", files=files[:2])
    body = response.json()
    assert [one["document_id"] for one in body["versions"]] == ["mill.md"]
    assert [(one["name"], one["problem"]["code"]) for one in body["refused"]] == [
        ("farne.md", "conflict")
    ]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd.md", "passwd.md"),
        ("C:\\Users\\a\\notes.md", "notes.md"),
        ("a\r\nX-Evil: 1.md", "aX-Evil: 1.md"),
        ("résumé 🙂.md", "résumé 🙂.md"),
    ],
)
async def test_of_a_name_only_its_last_part_counts(
    client: httpx.AsyncClient, given: str, kept: str
) -> None:
    response = await client.post("/api/v1/documents/text", json={"text": "Farne", "name": given})
    assert response.json()["source"] == kept


@pytest.mark.parametrize("id", ["a/b.md", "100%", "a%2Fb", "what?#", "ä ö", "a/original"])
async def test_an_id_may_be_any_text(client: httpx.AsyncClient, engine: Engine, id: str) -> None:
    response = await client.put(
        f"/api/v1/documents/{quote(id, safe='')}", files={"file": ("farne.md", FARNE)}
    )
    assert response.json()["document_id"] == id
    await engine.work()
    text = await client.get(f"/api/v1/documents/{quote(id, safe='')}/text")
    assert text.content == FARNE
    deleted = await client.delete(f"/api/v1/documents/{quote(id, safe='')}")
    assert deleted.json() == {"deleted": 1}
    assert (await client.get(f"/api/v1/documents/{quote(id, safe='')}")).status_code == 404


async def test_an_outage_is_no_acceptance(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(self: Engine, content: object, **more: object) -> None:
        raise StoreFull("The disk is full. Free some space.")

    monkeypatch.setattr(Engine, "submit", full)
    files = [("files", ("farne.md", FARNE)), ("files", ("mill.md", MILL))]
    for some in (files[:1], files):
        response = await client.post("/api/v1/documents", files=some)
        assert (response.status_code, response.json()["code"]) == (507, "store_full")


async def test_an_outage_while_events_are_told_is_told(
    client: httpx.AsyncClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await upload(client, "farne.md", FARNE)
    queue = (await engine.workspace()).queue
    known = queue.version
    calls = 0

    async def away(*words: object) -> object:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise StoreUnavailable("The database is away. Bring it back.")
        return await known(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(queue, "version", away)
    told = (await client.get("/api/v1/documents/farne.md/events")).text
    assert [line for line in told.splitlines() if line.startswith("event: ")] == [
        "event: pending",
        "event: problem",
    ]
    assert "store_unavailable" in told


async def test_two_files_of_one_name_are_refused_together(client: httpx.AsyncClient) -> None:
    files = [("files", ("a/farne.md", FARNE)), ("files", ("b/farne.md", MILL))]
    response = await client.post("/api/v1/documents", files=files, data={"replace": "true"})
    assert response.status_code == 400
    assert (await client.get("/api/v1/versions")).status_code == 404


async def test_metadata_and_title_change_and_the_text_stays(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    await upload(client, "farne.md", FARNE, metadata='{"year": 1843, "place": "Farne"}')
    await engine.work()
    patch = {"title": "The light", "metadata": {"year": None, "kept": True}}
    assert (await client.patch("/api/v1/documents/farne.md", json=patch)).status_code == 202
    await engine.work()
    answering = (await shown(client, "farne.md"))["answering"]
    assert answering["title"] == "The light"
    assert answering["metadata"] == {"place": "Farne", "kept": True}
    assert (await client.get("/api/v1/documents/farne.md/original")).content == FARNE
    await client.patch("/api/v1/documents/farne.md", json={"title": None})
    await engine.work()
    assert (await shown(client, "farne.md"))["answering"]["title"] == "Farne"


@pytest.mark.parametrize("metadata", ["[1]", '{"a": {"b": 1}}', "{", '{"a": null}', '{"$id": 1}'])
async def test_metadata_that_no_filter_could_use_is_refused(
    client: httpx.AsyncClient, metadata: str
) -> None:
    response = await upload(client, "farne.md", FARNE, metadata=metadata)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
    assert (await client.get("/api/v1/versions")).status_code == 404  # no workspace was made


async def test_a_body_that_is_too_long_is_refused(client: httpx.AsyncClient) -> None:
    response = await upload(client, "long.md", b"x" * (MAX_BODY + 1))
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")

    async def unannounced(head: bytes) -> AsyncIterator[bytes]:
        yield head
        for _ in range(MAX_BODY // 1_000 + 1):
            yield b"x" * 1_000

    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.md"\r\n\r\n'
    for route, kind, head in (
        ("documents", "multipart/form-data; boundary=b", part),
        ("documents/text", "application/json", b'"'),
    ):
        response = await client.post(
            f"/api/v1/{route}", content=unannounced(head), headers={"content-type": kind}
        )
        assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


async def test_documents_come_in_pages_and_by_filter(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    for number in range(5):
        await upload(client, f"{number}.md", FARNE + b"%d" % number, metadata=f'{{"n": {number}}}')
    await engine.work()
    seen, after = [], None
    while True:
        query = {"limit": "2", **({"after": after} if after else {})}
        page = (await client.get("/api/v1/documents", params=query)).json()
        seen += [one["id"] for one in page["documents"]]
        if (after := page["next"]) is None:
            break
    assert seen == [f"{number}.md" for number in range(5)]
    some = await client.get("/api/v1/documents", params={"filter": '{"gte": {"n": 3}}'})
    assert [one["id"] for one in some.json()["documents"]] == ["3.md", "4.md"]
    for wrong in ("{", '{"near": {"n": 3}}', '{"eq": {"unknown": 3}}'):
        response = await client.get("/api/v1/documents", params={"filter": wrong})
        assert (response.status_code, response.json()["code"]) == (400, "invalid_filter")


async def test_documents_are_sorted_and_a_place_belongs_to_its_order(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    for number, name in enumerate(("b.txt", "C.txt", "a.txt")):
        await upload(client, name, MILL + b" " * number)
        await engine.work()
    route = "/api/v1/documents"

    async def listed(**query: str) -> list[str]:
        names, after = [], {}
        while True:
            response = await client.get(route, params={"limit": 1, **query, **after})
            page = response.raise_for_status().json()
            names += [one["id"] for one in page["documents"]]
            if page["next"] is None:
                return names
            after = {"after": page["next"]}

    assert await listed() == await listed(sort="id", order="asc") == ["C.txt", "a.txt", "b.txt"]
    assert await listed(sort="title") == ["a.txt", "b.txt", "C.txt"]
    assert await listed(sort="title", order="desc") == ["C.txt", "b.txt", "a.txt"]
    assert await listed(sort="size", order="desc") == ["a.txt", "C.txt", "b.txt"]
    assert (
        await listed(sort="created")
        == await listed(sort="updated")
        == [
            "b.txt",
            "C.txt",
            "a.txt",
        ]
    )
    first = (await client.get(route, params={"sort": "size", "limit": 1})).json()
    for wrong in ({"sort": "title"}, {"sort": "size", "order": "desc"}, {}):
        response = await client.get(route, params={**wrong, "after": first["next"]})
        assert (response.status_code, response.json()["code"]) == (422, "invalid_cursor")
        assert "another order" in response.json()["detail"]
    for query in ({"sort": "colour"}, {"order": "up"}):
        response = await client.get(route, params=query)
        assert (response.status_code, response.json()["code"]) == (422, "malformed")
        assert next(iter(query)) in response.json()["detail"]


async def test_versions_come_in_pages(client: httpx.AsyncClient) -> None:
    for number in range(4):
        await upload(client, f"{number}.md", FARNE + b"%d" % number)
    await client.post("/api/v1/documents/2.md/cancel")
    route = "/api/v1/versions"
    for query, expected in (
        ({"sort": "id"}, ["0.md", "1.md", "2.md", "3.md"]),
        ({}, ["3.md", "2.md", "1.md", "0.md"]),
        ({"status": "pending"}, ["3.md", "1.md", "0.md"]),
    ):
        names, after = list[str](), {}
        while True:
            page = (await client.get(route, params={"limit": 2, **query, **after})).json()
            names += [one["document_id"] for one in page["versions"]]
            if page["next"] is None:
                break
            after = {"after": page["next"]}
        assert names == expected
    wrong = await client.get(route, params={"after": "x"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_cursor")


async def test_many_are_deleted_only_by_who_knows_how_many(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    for number in range(3):
        await upload(client, f"{number}.md", FARNE + b"%d" % number, metadata=f'{{"n": {number}}}')
    await engine.work()
    await upload(client, "waiting.md", MILL)
    query = {"filter": '{"gte": {"n": 1}}'}
    asked = await client.delete("/api/v1/documents", params=query)
    assert asked.status_code == 409
    assert "confirm=2" in asked.json()["detail"]
    assert (await client.delete("/api/v1/documents", params=query | {"confirm": "2"})).json() == {
        "deleted": 2
    }
    assert (await client.delete("/api/v1/documents")).status_code == 400
    every = await client.delete("/api/v1/documents", params={"all": "true", "confirm": "2"})
    assert every.json() == {"deleted": 2}
    assert (await client.get("/api/v1/versions")).json() == {"versions": [], "next": None}


async def test_what_waits_can_be_cancelled_and_tried_again(client: httpx.AsyncClient) -> None:
    await upload(client, "farne.md", FARNE)
    cancelled = await client.post("/api/v1/documents/farne.md/cancel")
    assert cancelled.json()["status"] == "cancelled"
    assert (await client.post("/api/v1/documents/farne.md/cancel")).status_code == 409
    assert (await client.post("/api/v1/documents/farne.md/retry")).json()["version"] == 2
    waiting = await client.get("/api/v1/versions", params={"status": "pending"})
    assert [one["document_id"] for one in waiting.json()["versions"]] == ["farne.md"]


async def test_events_tell_how_it_ends_and_nothing_twice(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    await upload(client, "broken.pdf", b"%PDF-1.7 and nothing else")
    await engine.work()
    response = await client.get("/api/v1/documents/broken.pdf/events")
    lines = dict(line.split(": ", 1) for line in response.text.strip().splitlines())
    assert lines["event"] == "failed"
    assert json.loads(lines["data"])["error_code"] == "DocumentUnreadable"
    headers = {"Last-Event-ID": lines["id"]}
    again = await client.get("/api/v1/documents/broken.pdf/events", headers=headers)
    assert (again.status_code, again.content) == (204, b"")
    nothing = await client.get("/api/v1/documents/nothing/events")
    assert (nothing.status_code, nothing.json()["code"]) == (404, "not_found")


async def test_an_original_can_do_nothing_in_a_browser(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    page = b"<!doctype html><html><body><script>alert(1)</script><p>Farne.</p></body></html>"
    await upload(client, "evil.html", page)
    await engine.work()
    for part in ("original", "text"):
        headers = (await client.get(f"/api/v1/documents/evil.html/{part}")).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in headers["content-security-policy"]
    original = await client.get("/api/v1/documents/evil.html/original")
    assert original.headers["content-disposition"].startswith("attachment")


async def test_workspaces_are_chosen_by_header_or_path(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    one = {"files": ("one.md", FARNE)}
    await client.post("/api/v1/documents", files=one, headers={"X-Workspace": "harbour"})
    await client.post("/api/v1/workspaces/archive/documents", files=one)
    names = (await client.get("/api/v1/workspaces")).json()["workspaces"]
    assert names == ["archive", "harbour"]
    await engine.work("harbour")
    by_path = await client.get("/api/v1/workspaces/harbour/documents")
    by_header = await client.get("/api/v1/documents", headers={"X-Workspace": "harbour"})
    assert by_path.json() == by_header.json()
    assert [one["id"] for one in by_path.json()["documents"]] == ["one.md"]
    assert (await client.get("/api/v1/workspaces/archive/documents")).json()["documents"] == []
    wrong = await client.get("/api/v1/workspaces/%2E%2E%2Fetc/documents")
    assert wrong.status_code in (400, 404)
