"""The description of the routes has an example of every request and response, and they are true."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import jsonschema_rs
import pytest

from rag_engine_api.app import Admission, create_app
from rag_engine_api.examples import FILE, operations
from serving import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rag_engine.access import Access
    from rag_engine.engine import Engine

ROOT: Final = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("make_examples", ROOT / "scripts/make_examples.py")
assert _spec is not None
assert _spec.loader is not None
make_examples = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = make_examples  # where its dataclasses look for it
_spec.loader.exec_module(make_examples)

DESCRIBED: Final[dict[str, Any]] = create_app(
    cast("Engine", None), cast("Access", None), admission=Admission.LOCAL, limits=LIMITS
).openapi()


def contents(described: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What every request and every response with a body is described as."""
    for name, operation in operations(described):
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            yield f"{name} request {kind}", content
        for status, response in operation["responses"].items():
            if status == "default" or status.startswith("2"):
                for kind, content in response.get("content", {}).items():
                    yield f"{name} {status} {kind}", content


def test_every_request_and_response_has_an_example_that_fits_its_schema() -> None:
    seen = 0
    for where, content in contents(DESCRIBED):
        assert content.get("example") is not None, f"{where} has no example; {REMEDY}"
        schema = {**content.get("schema", {}), "components": DESCRIBED["components"]}
        if not where.endswith(("/octet-stream", "/event-stream")):
            jsonschema_rs.validate(schema, content["example"])
        seen += 1
    assert seen > 100


STORED: Final[dict[str, Any]] = json.loads(FILE.read_text("utf-8"))
REMEDY: Final = (
    "add it to scripts/make_examples.py and run: .venv/bin/python scripts/make_examples.py"
)


def test_a_required_parameter_has_an_example() -> None:
    for name, operation in operations(DESCRIBED):
        for one in operation.get("parameters", ()):
            has = {"example", "examples"} & {*one, *one["schema"]}
            assert has or not one.get("required") or one["name"] == "workspace", (name, one["name"])


async def test_a_server_that_is_sent_the_requests_answers_like_that(engine: Engine) -> None:
    """Every request of the examples, in a server over the demo's documents."""
    answered = await make_examples.examples(engine, engine.work)
    assert answered.keys() == STORED.keys()
    for name, now in answered.items():
        assert now["request"] == STORED[name]["request"], f"{name}; {REMEDY}"
        assert now["responses"].keys() == STORED[name]["responses"].keys()
        for kind, answer in now["responses"].items():
            found = list(differences(answer, STORED[name]["responses"][kind], f"{name} {kind}"))
            assert found == [], REMEDY


def differences(now: Any, then: Any, where: str) -> Iterator[str]:
    """Where two answers are made in another way: what they say may differ, and lists in length."""
    if now is None or then is None:
        return
    if isinstance(now, bool) != isinstance(then, bool) or (
        not isinstance(now, int | float) and type(now) is not type(then)
    ):
        yield f"{where}: {type(now).__name__} instead of {type(then).__name__}"
    elif isinstance(now, dict):
        if now.keys() != then.keys():
            yield f"{where}: {sorted(now)} instead of {sorted(then)}"
        for key in now.keys() & then.keys():
            yield from differences(now[key], then[key], f"{where}.{key}")
    elif isinstance(now, list) and now and then:
        yield from differences(now[0], then[0], f"{where}[0]")


@pytest.mark.parametrize(
    ("now", "then", "count"),
    [
        ({"a": 1}, {"a": 2.5}, 0),
        ({"a": None, "b": []}, {"a": "x", "b": [1]}, 0),
        ({"a": 1}, {"b": 1}, 1),
        ([{"a": "x"}], [{"a": 1}], 1),
        ({"a": True}, {"a": 1}, 1),
    ],
)
def test_differences_are_found(now: Any, then: Any, count: int) -> None:
    assert len(list(differences(now, then, ""))) == count
