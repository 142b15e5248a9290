"""A browser and a server for each file of tests of the console; each test has its own workspace.

Not for all files: while it is open, Playwright's event loop runs, and no other test has one then.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Protocol

import pytest

import browsing
from serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    import httpx
    from playwright.sync_api import Browser

_numbers = itertools.count(1)


class Visiting(Protocol):
    """Opens a profile of the browser, with options as Playwright has them."""

    def __call__(self, **profile: object) -> AbstractContextManager[browsing.Visit]: ...


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browsing.browser() as found:
        yield found


@pytest.fixture(scope="module")
def server(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server without keys and without a language model."""
    with serving(tmp_path_factory.mktemp("console") / "data") as (_, client):
        yield client


@pytest.fixture
def visiting(chromium: Browser, server: httpx.Client) -> Visiting:
    """Of a test that visits more than once, or in its own way; all visits share a workspace."""
    workspace = f"test-{next(_numbers)}"
    return lambda **profile: browsing.visiting(chromium, server, workspace, **profile)


@pytest.fixture
def visit(visiting: Visiting) -> Iterator[browsing.Visit]:
    with visiting() as visit:
        yield visit
