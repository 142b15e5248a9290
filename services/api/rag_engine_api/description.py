"""The description of the routes, beyond what FastAPI makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI


def amend(app: FastAPI, change: Callable[[dict[str, Any]], None]) -> None:
    """Let a function change what an application says of itself, once, when it is first asked."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        fresh = app.openapi_schema is None
        whole = describe()
        if fresh:
            change(whole)
        return whole

    app.openapi = described  # type: ignore[method-assign]
