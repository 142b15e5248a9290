"""What `/metrics` tells, to whom, and that clients cannot make it grow."""

from __future__ import annotations

import math
import re
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from engines import put
from rag_engine import exposition
from rag_engine.access import Access
from rag_engine.adapters.models.fake import ScriptedChat
from rag_engine.adapters.models.middleware import MeasuredChat
from rag_engine.core.keys import Scope
from rag_engine.core.models import Stage
from rag_engine.errors import ModelUnavailable, StoreUnavailable
from rag_engine.ingest.stopwatch import Stopwatch
from rag_engine.ports.models import Message
from rag_engine.telemetry import metrics
from rag_engine_api.app import Admission
from serving import asking

if TYPE_CHECKING:
    import httpx

    from rag_engine.engine import Engine

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scraped(client: httpx.AsyncClient) -> Values:
    """Every value by name and labels, as Prometheus reads them."""
    response = await client.get("/metrics")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/plain")
    families = list(text_string_to_metric_families(response.text))
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in families
        for one in family.samples
    }


def value(found: Values, name: str, **labels: str) -> float:
    return found.get((name, frozenset(labels.items())), 0.0)


async def test_requests_are_counted_by_the_template_of_their_route(
    client: httpx.AsyncClient,
) -> None:
    before = await scraped(client)
    secret = "rag-0123456789ab-" + "s" * 43
    for path in (
        "/api/v1/documents/nobody-1",
        "/api/v1/documents/nobody-2%2Fdeep",
        "/api/v1/workspaces/nowhere-3/documents/nobody-4",
        f"/nowhere-5/{secret}?token={secret}",
    ):
        assert (await client.get(path)).status_code == 404
    await client.request("SMASH", "/health")
    after = await scraped(client)

    def more(route: str, **labels: str) -> float:
        labels = {"method": "GET", "status": "404", "route": route, **labels}
        name = "rag_http_request_seconds_count"
        return value(after, name, **labels) - value(before, name, **labels)

    assert more("/api/v1/documents/{id}") == 2
    assert more("/api/v1/workspaces/{workspace}/documents/{id}") == 1
    assert more("unmatched") == 1
    assert more("/health", method="other", status="405") == 1
    told = (await client.get("/metrics")).text
    assert not re.search(r"nobody|nowhere|sss|SMASH", told)


async def test_every_name_is_ours(client: httpx.AsyncClient) -> None:
    assert all(name.startswith("rag_") for name, _ in await scraped(client))


async def test_questions_are_measured_by_mode_and_stage(engine: Engine) -> None:
    await put(engine, "farne", "# Farne\n\nAda Brand built the lighthouse.")
    async with asking(engine) as client:
        before = await scraped(client)
        question = {"question": "Who built the lighthouse?", "mode": "fusion"}
        assert (await client.post("/api/v1/query", json=question)).status_code == 200
        wrong = {"question": "Who?", "mode": "no-such-mode"}
        assert (await client.post("/api/v1/query", json=wrong)).status_code >= 400
        after = await scraped(client)
    for stage in ("search", "answer"):
        name, labels = "rag_question_seconds_count", {"mode": "fusion", "stage": stage}
        assert value(after, name, **labels) - value(before, name, **labels) == 1
    assert "no-such-mode" not in str(after)


async def test_what_waits_and_what_is_held_is_told(engine: Engine) -> None:
    await put(engine, "farne", "# Farne\n\nAda Brand built the lighthouse.")
    await put(engine, "holm", "# Holm\n\nA harbour.", workspace="other")
    await engine.submit(b"Waits.", document_id="waits", source="waits.md")
    async with asking(engine) as client:
        found = await scraped(client)
    assert value(found, "rag_store_up") == 1
    assert value(found, "rag_store_workspaces") == 2
    assert value(found, "rag_queue_versions", status="pending") == 1
    assert value(found, "rag_queue_versions", status="running") == 0
    assert value(found, "rag_queue_oldest_seconds") > 0
    assert value(found, "rag_store_items", kind="documents") == 2
    assert value(found, "rag_store_items", kind="chunks") >= 2
    assert value(found, "rag_ingest_attempts_total", status="indexed") >= 2
    assert value(found, "rag_ingest_stage_seconds_count", stage="write") >= 2


async def test_the_store_is_not_asked_for_every_look(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    workspaces = type(engine.control).workspaces

    async def counted(self: object) -> list[str]:
        nonlocal asked
        asked += 1
        return await workspaces(self)  # type: ignore[arg-type]

    monkeypatch.setattr(type(engine.control), "workspaces", counted)
    monkeypatch.setattr(exposition, "_FRESH_SECONDS", 600.0)
    async with asking(engine) as client:
        for _ in range(5):
            await scraped(client)
        assert asked == 1
        monkeypatch.setattr(exposition, "_FRESH_SECONDS", 0.0)
        await scraped(client)
        assert asked == 2


async def test_without_a_store_the_rest_is_told(engine: Engine) -> None:
    class Away:
        async def workspaces(self) -> list[str]:
            raise StoreUnavailable("The database is away. Bring it back.")

    async with asking(replace(engine, control=Away())) as client:  # type: ignore[arg-type]
        found = await scraped(client)
    assert value(found, "rag_store_up") == 0
    assert math.isnan(value(found, "rag_queue_versions", status="pending"))
    assert math.isnan(value(found, "rag_store_items", kind="documents"))


async def test_they_are_for_keys_of_all_workspaces(engine: Engine) -> None:
    keyring = Access(engine.control)
    _, everywhere = await keyring.make("Prometheus", [Scope.READ])
    _, somewhere = await keyring.make("Reader", [Scope.READ], ["contracts"])
    _, writer = await keyring.make("Scanner", [Scope.WRITE])
    async with asking(engine, Admission.KEYS, keyring=keyring) as client:
        for token, status in ((everywhere, 200), (somewhere, 403), (writer, 403), ("wrong", 401)):
            mine = {"Authorization": f"Bearer {token}"}
            assert (await client.get("/metrics", headers=mine)).status_code == status
        assert (await client.get("/metrics")).status_code == 401
        told = (await client.get("/metrics", headers={"X-API-Key": everywhere})).text
    for token in (everywhere, somewhere, writer):
        assert token not in told
        assert token.split("-")[1] not in told


def llm(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


async def test_calls_and_tokens_of_the_language_model_are_counted() -> None:
    before = {
        one: llm("rag_llm_calls_total", outcome=one)
        for one in ("ok", "cancelled", "ModelUnavailable")
    }
    tokens = [llm("rag_llm_tokens_total", kind=one) for one in ("prompt", "completion")]
    messages = [Message(role="user", content="Who?")]
    whole = MeasuredChat(ScriptedChat(["Ada Brand built it."]))
    assert (
        "".join([delta.text async for delta in whole.complete(messages)]) == "Ada Brand built it."
    )
    async with aclosing(
        MeasuredChat(ScriptedChat(["It goes on and on."])).complete(messages)
    ) as replies:
        await anext(replies)
    with pytest.raises(ModelUnavailable):
        async for _ in MeasuredChat(ScriptedChat([ModelUnavailable("Away. Wait.")])).complete(
            messages
        ):
            pass
    for outcome, count in before.items():
        assert llm("rag_llm_calls_total", outcome=outcome) == count + 1, outcome
    assert llm("rag_llm_tokens_total", kind="prompt") == tokens[0] + 1
    assert llm("rag_llm_tokens_total", kind="completion") == tokens[1] + 4


def test_each_stage_lasts_until_the_next_one_begins() -> None:
    seen, now = [], [0.0]
    stopwatch = Stopwatch(lambda version, stage: seen.append(stage), clock=lambda: now[0])
    before = llm("rag_ingest_stage_seconds_sum", stage="parse")
    stopwatch(None, Stage.PARSE)  # type: ignore[arg-type]
    now[0] = 3.0
    stopwatch(None, Stage.CHUNK)  # type: ignore[arg-type]
    now[0] = 100.0
    stopwatch.lap()
    assert llm("rag_ingest_stage_seconds_sum", stage="parse") == before + 3
    assert seen == [Stage.PARSE, Stage.CHUNK]
