"""Examples in the description of the routes: requests as they were sent, and what was answered.

`scripts/make_examples.py` asked a server for them, over the demo's documents.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI

from rag_engine_api.description import amend

FILE: Final = Path(__file__).parent / "examples.json"
PROBLEM: Final = "problem"
_EXAMPLES: Final[dict[str, dict[str, Any]]] = json.loads(FILE.read_text("utf-8"))


def operations(described: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The routes of a description, each with its name; those in a workspace's path have the same."""
    for methods in described["paths"].values():
        for operation in methods.values():
            yield operation["operationId"].replace("_in_workspace", ""), operation


def show_examples(app: FastAPI) -> None:
    """Let an application's description of itself have an example for every request and response."""

    def change(described: dict[str, Any]) -> None:
        for name, operation in operations(described):
            if name in _EXAMPLES:  # tests see to it; the description is there without it too
                _add(operation, _EXAMPLES[name], _EXAMPLES[PROBLEM])

    amend(app, change)


def _add(operation: dict[str, Any], known: dict[str, Any], problem: dict[str, Any]) -> None:
    for parameter in operation.get("parameters", ()):
        if parameter.get("required") and parameter["name"] in known["parameters"]:
            parameter["example"] = known["parameters"][parameter["name"]]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        content["example"] = known["request"]
    for status, response in operation["responses"].items():
        answers = (problem if status == "default" else known)["responses"]
        for kind, content in response.get("content", {}).items():
            if kind in answers:
                content["example"] = answers[kind]
