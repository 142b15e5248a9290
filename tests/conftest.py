"""What holds for every test: no settings from outside, no blocking call in the event loop."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import HealthCheck, Phase, settings

import neo4j_server

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

pytest.register_assert_rewrite("rag_engine.testing")

# Read now: the tests themselves see no variable that begins with RAG_.
_DATA_REQUIRED = bool(os.environ.get("RAG_REQUIRE_DATA"))
_NEO4J_REQUIRED = bool(os.environ.get("RAG_REQUIRE_NEO4J"))

_OURS = [
    name
    for name in ("rag_engine", "rag_engine_cli", "rag_engine_lightrag", "rag_engine_api")
    if find_spec(name)
]
_CALM = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

settings.register_profile(
    "ci", deadline=None, derandomize=True, print_blob=True, suppress_health_check=_CALM
)
settings.register_profile("dev", deadline=None, print_blob=True, suppress_health_check=_CALM)
settings.register_profile(
    "few", deadline=None, derandomize=True, max_examples=10, suppress_health_check=_CALM
)
settings.register_profile(
    "soak",
    deadline=None,
    print_blob=True,
    max_examples=5_000,
    suppress_health_check=_CALM,
    phases=[Phase.generate, Phase.shrink],
)
settings.register_profile(
    "unshrunk",  # for who wants to know that something fails, and not on how little
    parent=settings.get_profile("ci"),
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test sees the defaults, whatever the developer has set."""
    for name in list(os.environ):
        if name.startswith(("RAG_", "NEO4J_")):
            monkeypatch.delenv(name)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the Neo4j server now, so that no test's time goes into it."""
    if (
        any("neo4j" in item.name for item in session.items)
        and not session.config.option.collectonly
    ):
        with suppress(neo4j_server.NoServer):
            neo4j_server.server()


@pytest.fixture(autouse=True)
def no_blocking_in_the_event_loop() -> Iterator[None]:
    """A blocking call of our code inside the event loop raises `BlockingError`.

    The tests themselves may touch files: what is watched is `rag_engine` and the services.
    """
    with blockbuster_ctx(_OURS, excluded_modules=["rag_engine.testing"]) as watched:
        # Coverage locks its data at the first line of a file, wherever that is run.
        watched.functions["threading.Lock.acquire"].can_block_in(
            "coverage/collector.py", "lock_data"
        )
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With `RAG_REQUIRE_DATA` a test that was skipped for want of data or of a store has failed.

    A missing store or data set is a visible skip on a developer's machine, and a hole in CI. Such
    skips begin with "no": "No store 'x'", "no parser samples at …". Those that want a Neo4j server
    have failed with `RAG_REQUIRE_NEO4J`.
    """
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ").lower()
        server = reason.startswith("no store 'neo4j'")
        if reason.startswith("no ") and (_NEO4J_REQUIRED if server else _DATA_REQUIRED):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} must not be skipped here: {reason}"
    return report
