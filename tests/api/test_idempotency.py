"""A request that is sent twice with one `Idempotency-Key` is done once and answered twice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest

from rag_engine.access import Access
from rag_engine.core.jobs import Decision
from rag_engine.core.keys import Scope
from rag_engine.errors import StoreFull, StoreUnavailable
from rag_engine.ports.idempotency import KEPT_SECONDS
from rag_engine_api.app import Admission
from rag_engine_api.idempotency import REPLAYED
from serving import asking, served

if TYPE_CHECKING:
    import httpx

    from rag_engine.engine import Engine

FARNE = b"# Farne\n\nThe lighthouse of Farne was built by Ada Brand in 1843."
MILL = b"# The mill\n\nAnton Berg bought the mill on the Elder Brook in 1908."
KEY: Final = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}
TEXT: Final = "/api/v1/documents/text"
NOTE: Final = {"text": "The key is with Ada.", "name": "note.md"}


async def send(client: httpx.AsyncClient, what: str, headers: dict[str, str]) -> httpx.Response:
    """One of the requests that accept work."""
    file, place = ("farne.md", FARNE), "/api/v1/documents/failed.md"
    match what:
        case "upload":
            files, data = [("files", file)], {"metadata": '{"a": 1}'}
            return await client.post("/api/v1/documents", files=files, data=data, headers=headers)
        case "put":
            return await client.put(place, files={"file": file}, headers=headers)
        case "text":
            return await client.post(TEXT, json=NOTE, headers=headers)
        case "patch":
            return await client.patch(place, json={"title": "Farne"}, headers=headers)
        case "retry":
            return await client.post(f"{place}/retry", headers=headers)
    body = {"source": "Ada", "target": "Ada Brand"} if what == "aliases" else {"name": "Ada"}
    return await client.post(f"/api/v1/graph/{what}", json=body, headers=headers)


REQUESTS: Final = (
    *("upload", "put", "text", "patch", "retry"),
    *("aliases", "suppressions", "facts"),
)


@pytest.fixture
async def failed(engine: Engine) -> None:
    """A document that can be put, changed and tried again."""
    await engine.submit(MILL, document_id="failed.md", source="failed.md")
    queue = (await engine.workspace()).queue
    job = await queue.claim("worker", 60)
    assert job is not None
    await queue.fail(job.lease, Decision(reason="It broke. Try again."))


@pytest.mark.usefixtures("failed")
@pytest.mark.parametrize("what", REQUESTS)
async def test_whatever_accepts_work_is_answered_the_same_twice(engine: Engine, what: str) -> None:
    async with served(engine) as (_, client):
        first = await send(client, what, KEY)
        assert first.status_code in (200, 202), first.text
        assert REPLAYED not in first.headers
        for id in ("farne.md", "failed.md", "note.md"):  # whatever happens in between
            await client.put(f"/api/v1/documents/{id}", files={"file": ("other.md", b"# Other")})
        versions = (await client.get("/api/v1/versions")).json()
        again = await send(client, what, KEY)
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert again.headers[REPLAYED] == "true"
        assert again.headers["content-type"] == "application/json"
        assert (await client.get("/api/v1/versions")).json() == versions


async def test_what_differs_only_in_how_it_is_written_is_the_same_request(
    client: httpx.AsyncClient,
) -> None:
    first = await client.post(TEXT, json=NOTE, headers=KEY)
    turned = b'{ "name": "note.md",\n "text": "The key is with Ada." }'
    headers = {**KEY, "Content-Type": "application/json"}
    quoted = {"Idempotency-Key": f'"{KEY["Idempotency-Key"]}"'}
    for again in (
        await client.post(TEXT, content=turned, headers=headers),
        await client.post(TEXT, json=NOTE, headers=quoted),
        await client.post("/api/v1/workspaces/default/documents/text", json=NOTE, headers=KEY),
    ):
        assert (again.json(), again.headers[REPLAYED]) == (first.json(), "true")


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        (TEXT, {"json": {**NOTE, "text": "It is with Anton."}}),
        (TEXT, {"json": {**NOTE, "metadata": {"a": 1}}}),
        (f"{TEXT}?replace=true", {"json": NOTE}),
        ("/api/v1/graph/facts", {"json": {"name": "Ada"}}),
        ("/api/v1/documents", {"files": [("files", ("note.md", FARNE))]}),
    ],
)
async def test_another_request_with_the_same_key_changes_nothing(
    client: httpx.AsyncClient, path: str, sent: dict[str, Any]
) -> None:
    await client.post(TEXT, json=NOTE, headers=KEY)
    refused = await client.post(path, headers=KEY, **sent)
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
    versions = (await client.get("/api/v1/versions")).json()["versions"]
    assert [one["document_id"] for one in versions] == ["note.md"]
    assert versions[0]["version"] == 1


async def test_other_bytes_in_a_file_are_another_request(client: httpx.AsyncClient) -> None:
    async def upload(content: bytes) -> httpx.Response:
        files = [("files", ("farne.md", content))]
        return await client.post("/api/v1/documents", files=files, headers=KEY)

    long = FARNE * 40_000  # more than is held in memory of an upload
    async with asyncio.timeout(60):
        long = long[:900_000]
        first = await upload(long)
        assert (await upload(long[:-1] + b"!")).status_code == 422
        assert (await upload(long)).json() == first.json()


@pytest.mark.parametrize("key", ["", '""', " ", "x" * 256])
async def test_a_bad_key_is_refused_and_changes_nothing(
    client: httpx.AsyncClient, key: str
) -> None:
    refused = await client.post(TEXT, json=NOTE, headers={"Idempotency-Key": key})
    assert refused.status_code in (400, 422)
    assert "dempotency" in refused.json()["detail"]
    assert (await client.get("/api/v1/workspaces")).json() == {"workspaces": []}


async def test_of_two_at_once_both_get_the_one_answer(engine: Engine) -> None:
    async with served(engine) as (_, client):
        await client.post(TEXT, json={"text": "First.", "id": "other"})
        answers = await asyncio.gather(
            *(client.post(TEXT, json=NOTE, headers=KEY) for _ in range(8))
        )
        assert {one.status_code for one in answers} == {202}
        assert len({one.content for one in answers}) == 1
        again = await client.post(TEXT, json=NOTE, headers=KEY)
        assert (again.content, REPLAYED in again.headers) == (answers[0].content, True)
        mixed = await asyncio.gather(
            *(
                client.post(
                    TEXT,
                    json={"text": f"Text {number}.", "id": f"mixed {number}"},
                    headers={"Idempotency-Key": "mixed"},
                )
                for number in range(4)
            )
        )
        assert sorted(one.status_code for one in mixed) == [202, 422, 422, 422]
        versions = (await client.get("/api/v1/versions")).json()["versions"]
        assert len([one for one in versions if one["document_id"].startswith("mixed")]) == 1


@pytest.mark.usefixtures("failed")
@pytest.mark.parametrize("what", REQUESTS)
async def test_what_was_done_and_never_answered_is_answered_when_it_is_repeated(
    engine: Engine, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    async def lost(*given: object) -> None:
        raise StoreUnavailable("The process is gone. Start it again.")

    with monkeypatch.context() as killed:
        killed.setattr(engine.control.idempotency, "settle", lost)
        assert (await send(client, what, KEY)).status_code == 503
    versions = (await client.get("/api/v1/versions")).json()
    again = await send(client, what, KEY)
    assert again.status_code in (200, 202)
    assert REPLAYED not in again.headers
    assert (await client.get("/api/v1/versions")).json() == versions
    assert (await send(client, what, KEY)).headers[REPLAYED] == "true"


async def test_a_refused_request_may_be_put_right_under_its_key(
    client: httpx.AsyncClient,
) -> None:
    await client.post(TEXT, json={**NOTE, "text": "Something else."})
    for wrong, status in ((NOTE, 409), ({"text": ""}, 422), ({**NOTE, "id": "\0"}, 400)):
        refused = await client.post(TEXT, json=wrong, headers=KEY)
        assert (refused.status_code, REPLAYED in refused.headers) == (status, False)
    put_right = await client.post(f"{TEXT}?replace=true", json=NOTE, headers=KEY)
    assert (put_right.status_code, put_right.json()["version"]) == (202, 2)


async def test_an_outage_in_the_middle_of_many_files_is_no_answer_to_keep(
    engine: Engine, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = type(engine).submit

    async def filling(self: Engine, content: Any, **more: Any) -> Any:
        if more["document_id"] == "mill.md":
            raise StoreFull("The disk is full. Free some space.")
        return await submit(self, content, **more)

    files = [("files", ("farne.md", FARNE)), ("files", ("mill.md", MILL))]
    with monkeypatch.context() as full:
        full.setattr(type(engine), "submit", filling)
        first = await client.post("/api/v1/documents", files=files, headers=KEY)
        assert [one["name"] for one in first.json()["refused"]] == ["mill.md"]
    again = await client.post("/api/v1/documents", files=files, headers=KEY)
    assert [one["document_id"] for one in again.json()["versions"]] == ["farne.md", "mill.md"]
    assert again.json()["refused"] == []


async def test_keys_are_a_clients_own_and_a_workspaces_own(engine: Engine) -> None:
    keyring = Access(engine.control)
    _, one = await keyring.make("One", [Scope.WRITE])
    _, other = await keyring.make("Other", [Scope.WRITE])
    _, reader = await keyring.make("Reader", [Scope.READ])
    async with asking(engine, Admission.KEYS, keyring=keyring) as client:

        async def post(token: str, text: str, workspace: str = "default") -> httpx.Response:
            headers = {**KEY, "Authorization": f"Bearer {token}", "X-Workspace": workspace}
            body = {"text": text, "id": text}
            return await client.post(TEXT, json=body, headers=headers)

        assert (await post(one, "first")).json()["document_id"] == "first"
        assert (await post(other, "second")).json()["document_id"] == "second"
        assert (await post(one, "third", "contracts")).json()["document_id"] == "third"
        assert (await post(one, "fourth")).json()["code"] == "idempotency_key_reused"
        assert (await post(reader, "first")).status_code == 403
        assert REPLAYED in (await post(one, "first")).headers


async def test_a_key_of_yesterday_is_free_and_chores_forget_it(
    engine: Engine, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.post(TEXT, json=NOTE, headers=KEY)
    records = engine.control.idempotency
    clock = records._clock  # type: ignore[attr-defined]
    monkeypatch.setattr(records, "_clock", lambda: clock() + KEPT_SECONDS + 1)
    other = {**NOTE, "id": "other"}
    assert (await client.post(TEXT, json=other, headers=KEY)).json()["document_id"] == "other"
    monkeypatch.setattr(records, "_clock", lambda: clock() + 3 * KEPT_SECONDS)
    await engine.tidy()
    assert await records.forget(older_than=0) == 0
