"""What a process counts and measures of itself, by the names that `/metrics` shows.

Labels have few values each, whatever clients send: a route's template, never a path; no workspace,
no document, no key.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

# A second series for each, of which nobody asks anything.
disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY: Final = CollectorRegistry()
"""All of them, and nothing that other libraries register."""

_QUICK: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)  # seconds
_LONG: Final = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800)  # seconds

REQUESTS: Final = Histogram(
    "rag_http_request_seconds",
    "Time of a request to the end of its response, by the template of its route. `unmatched` are "
    "those that no route took, for want of one or because they were refused before.",
    ["method", "route", "status"],
    buckets=_QUICK,
    registry=REGISTRY,
)
REQUESTS_UNDER_WAY: Final = Gauge(
    "rag_http_requests_in_progress", "Requests that are being answered.", registry=REGISTRY
)
REFUSED: Final = Counter(
    "rag_http_requests_refused_total",
    "Requests that were refused or cut short to bound load, by the code of the problem.",
    ["code"],
    registry=REGISTRY,
)
QUESTIONS: Final = Histogram(
    "rag_question_seconds",
    "Time that questions took: `search` until the passages were there, `answer` from there to the "
    "end of the answer.",
    ["mode", "stage"],
    buckets=_QUICK,
    registry=REGISTRY,
)
LLM_CALLS: Final = Counter(
    "rag_llm_calls_total",
    "Calls of the language model: `ok`, `cancelled` by who asked, or the name of the error.",
    ["outcome"],
    registry=REGISTRY,
)
LLM_SECONDS: Final = Histogram(
    "rag_llm_call_seconds",
    "Time of a call of the language model to the end of its reply, whatever the outcome.",
    buckets=_QUICK,
    registry=REGISTRY,
)
LLM_TOKENS: Final = Counter(
    "rag_llm_tokens_total",
    "Tokens as the language model counted them, `prompt` or `completion`.",
    ["kind"],
    registry=REGISTRY,
)
ATTEMPTS: Final = Counter(
    "rag_ingest_attempts_total",
    "Attempts of this process at versions of documents, by the version's status afterwards: "
    "`pending` was put off.",
    ["status"],
    registry=REGISTRY,
)
STAGES: Final = Histogram(
    "rag_ingest_stage_seconds",
    "Time of the stages that versions went through in this process.",
    ["stage"],
    buckets=_LONG,
    registry=REGISTRY,
)
STORE_UP: Final = Gauge(
    "rag_store_up",
    "Whether the store told what it holds, 1 or 0. If not, the following ones are NaN.",
    registry=REGISTRY,
)
QUEUE: Final = Gauge(
    "rag_queue_versions",
    "Versions of documents that wait (`pending`) or are worked on (`running`), in all workspaces.",
    ["status"],
    registry=REGISTRY,
)
QUEUE_AGE: Final = Gauge(
    "rag_queue_oldest_seconds",
    "Since the oldest version that waits was requested; 0 where none waits.",
    registry=REGISTRY,
)
WORKSPACES: Final = Gauge("rag_store_workspaces", "Workspaces.", registry=REGISTRY)
HELD: Final = Gauge(
    "rag_store_items",
    "What all workspaces hold together, counting what is visible only.",
    ["kind"],
    registry=REGISTRY,
)
BUILD: Final = Gauge("rag_build_info", "Always 1; the release.", ["version"], registry=REGISTRY)

ProcessCollector(namespace="rag", registry=REGISTRY)
