"""A real browser without a window, which tests drive as a person would."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS: Final = (
    "--no-sandbox",  # tests may be run by root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDE: Final = {"width": 1280, "height": 800}
PATIENCE: Final = 30_000  # milliseconds

expect.set_options(timeout=PATIENCE)


@contextmanager
def browser() -> Iterator[Browser]:
    """The browser of this machine; without one the test is skipped."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("No browser to test the console with. Install one: apt-get install chromium")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=list(OPTIONS))
        yield found
        found.close()


@dataclass
class Visit:
    """A page in a browser profile of its own, and what happened behind it.

    Attributes:
        client: Of the same server, for what a test sets up.
        workspace: The one that the page shows.
        requests: Addresses the page asked for.
        complaints: What it wrote to its console, broken promises and pop-ups included.
    """

    page: Page
    client: httpx.Client
    workspace: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self, view: str) -> Page:
        """Go to a view of the page."""
        base = str(self.client.base_url).rstrip("/")
        self.page.goto(f"{base}/?workspace={quote(self.workspace)}#{view}")
        return self.page

    def place(self, path: str) -> str:
        """The address of a route in the workspace."""
        return f"/api/v1/workspaces/{self.workspace}/{path}"

    def put(self, name: str, text: str) -> None:
        """Have a document indexed."""
        files = {"files": (name, text.encode())}
        self.client.post(self.place("documents"), files=files).raise_for_status()
        self.wait_for(name)

    def fact(self, name: str, target: str | None = None, **more: str) -> None:
        """Have something known of an entity, or of what joins two."""
        body = {"name": name, "target": target, **more}
        added = self.client.post(self.place("graph/facts"), json=body).raise_for_status().json()
        self.wait_for(added["version"]["document_id"])

    def wait_for(self, id: str) -> None:
        """Wait until a document is indexed."""
        place = self.place(f"documents/{quote(id, safe='')}/events")
        with self.client.stream("GET", place) as events:
            names = [line for line in events.iter_lines() if line.startswith("event: ")]
        assert names[-1] == "event: indexed"

    def strangers(self) -> list[str]:
        """Addresses on other hosts than the server."""
        own = urlsplit(str(self.client.base_url)).netloc
        return [
            one
            for one in self.requests
            if not one.startswith("blob:") and urlsplit(one).netloc != own
        ]


@contextmanager
def visiting(
    chromium: Browser, client: httpx.Client, workspace: str, **profile: object
) -> Iterator[Visit]:
    """A visit to a server; at its end nothing may have gone wrong that the test did not take out."""
    context = chromium.new_context(**{"viewport": WIDE, **profile})  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    visit = Visit(page=page, client=client, workspace=workspace)
    page.on("request", lambda request: visit.requests.append(request.url))
    page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    page.on("dialog", lambda dialog: visit.complaints.append(f"a pop-up: {dialog.message}"))
    page.on(
        "console",
        lambda said: (
            visit.complaints.append(said.text) if said.type in ("error", "warning") else None
        ),
    )
    yield visit
    assert visit.complaints == []
    assert visit.strangers() == []
    context.close()
