"""What strangers write is text on the console, wherever it shows; keys stay in the tab."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

import browsing
from command_line import started
from rag_engine.testing.openai_server import OpenAIServer, Reply
from serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx
    from playwright.sync_api import Browser, Page

    from browsing import Visit

IMAGE = "<img src=x onerror=window.hacked=1>"
HOSTILE = (
    f"{IMAGE}<script>window.hacked=1</script><svg onload=window.hacked=1>"
    "![x](http://evil.example/x.png) [click](javascript:window.hacked=1) http://evil.example"
)
REPLY = f"""# Findings {IMAGE}

The lighthouse is *old*, and **Ada Brand** built `it` [1]. {HOSTILE} [7]

- one [1]
- two {IMAGE}

```html
{IMAGE}
```
"""
KEY_FIELD = "API key"


def harmless(page: Page) -> None:
    """Nothing that a document brought is an element of the page."""
    assert page.evaluate("window.hacked") is None
    assert (
        page.evaluate(
            """() => [...document.querySelectorAll("img, script, iframe, object, a")].filter(
        (one) => ![...one.attributes].every(({name, value}) =>
            !name.startsWith("on") && !/evil|javascript:/.test(value))
            || (one.tagName === "IMG" && !one.closest(".brand"))).length"""
        )
        == 0
    )
    assert page.evaluate("document.scripts.length") == 1


def test_names_and_texts_of_documents_are_text(visit: Visit, tmp_path: Path) -> None:
    page = visit.open("documents")
    name = f"{IMAGE}.md"
    (tmp_path / name).write_text(f"# {IMAGE}\n\nThe lighthouse was built by Ada. {HOSTILE}")
    page.set_input_files("#files", tmp_path / name)
    row = page.locator(".row", has_text=name)
    expect(row).to_contain_text("passage")
    row.get_by_role("button", name=f"Delete {name}").click()
    expect(page.get_by_role("dialog")).to_contain_text(name)
    page.keyboard.press("Escape")
    row.get_by_role("button", name=f"View {name}").click()
    expect(page.locator(".paper")).to_contain_text(HOSTILE)
    harmless(page)
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Ask").click()
    page.get_by_label("Your question").fill(f"Who built the lighthouse? {IMAGE}")
    page.keyboard.press("Enter")
    expect(page.locator(".card .passage").first).to_contain_text(IMAGE)
    expect(page.locator(".turn h2")).to_contain_text(IMAGE)
    harmless(page)


def test_names_in_the_graph_are_text(visit: Visit) -> None:
    visit.fact("Ada Brand", IMAGE, keywords=HOSTILE)
    visit.fact("Ada Brand", type=IMAGE, description=HOSTILE)
    page = visit.open("graph/Ada%20Brand")
    expect(page.locator("#facts .relations")).to_contain_text(IMAGE)
    expect(page.locator("#facts")).to_contain_text(HOSTILE)
    harmless(page)
    page.locator("#picture a").last.click()
    expect(page.locator("#facts h2")).to_have_text(IMAGE)
    expect(page.locator("#picture .central title")).to_contain_text(IMAGE)
    harmless(page)


def test_an_answer_is_text_whatever_the_server_lets_through(visit: Visit) -> None:
    page = visit.open("ask")
    page.evaluate(
        """async (reply) => {
            const {prose} = await import("./console/prose.js");
            document.querySelector("main").append(...prose(reply, () => null));
        }""",
        REPLY,
    )
    main = page.locator("main")
    expect(main.locator("> h3")).to_have_text(f"Findings {IMAGE}")
    expect(main.locator("> pre code")).to_have_text(IMAGE)
    expect(main.locator("> p")).to_contain_text(HOSTILE)
    expect(main.locator("> ul > li").last).to_have_text(f"two {IMAGE}")
    harmless(page)


def test_what_could_run_is_refused_by_the_browser_too(visit: Visit) -> None:
    page = visit.open("ask")
    expect(page.locator("#send")).to_be_visible()
    for tried in (
        "document.body.innerHTML = '<b>x</b>'",
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.hacked=1'}))",
    ):
        with pytest.raises(Exception, match=r"Trusted(HTML|Script)"):
            page.evaluate(f"() => {{ {tried} }}")
    page.evaluate("""() => {
        const image = document.createElement("img");
        image.src = "http://evil.example/x.png";
        document.body.append(image);
        const button = document.createElement("button");
        button.setAttribute("style", "color: red");
        document.body.append(button);
    }""")
    page.wait_for_timeout(300)
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("getComputedStyle(document.body.lastChild).color") != "rgb(255, 0, 0)"
    assert any("img-src" in one for one in visit.complaints)
    assert any("style-src" in one for one in visit.complaints)
    visit.complaints.clear()
    visit.requests[:] = [one for one in visit.requests if one != "http://evil.example/x.png"]


# ---------------------------------------------------------------- with a model, and with keys


@pytest.fixture(scope="module")
def locked(
    chromium: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[httpx.Client, dict[str, str]]]:
    """A server with keys and a language model, and the keys by scope; its client may do all."""
    data = tmp_path_factory.mktemp("locked") / "data"
    keys = {}
    for scope in ("read", "admin"):
        with started(data, "keys", "create", scope, "--scope", scope) as making:
            keys[scope] = making.communicate(timeout=60)[0].strip()
    with OpenAIServer(Reply(text=REPLY)) as model, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAG_LLM_BASE_URL", model.base_url)
        patch.setenv("RAG_LLM_MODEL", "small")
        with serving(data) as (_, client):
            client.headers["Authorization"] = f"Bearer {keys['admin']}"
            yield client, keys


@pytest.fixture
def guarded(
    chromium: Browser, locked: tuple[httpx.Client, dict[str, str]]
) -> Iterator[tuple[Visit, dict[str, str]]]:
    client, keys = locked
    with browsing.visiting(chromium, client, "guarded") as visit:
        visit.put("farne.md", "# Farne\n\nThe lighthouse of Farne was built by Ada Brand in 1843.")
        yield visit, keys


def bring(page: Page, key: str) -> None:
    page.get_by_label(KEY_FIELD).fill(key)
    page.keyboard.press("Enter")


def refused(visit: Visit, *statuses: int) -> None:
    """The browser wrote these statuses to its console, and nothing else."""
    told = {one for one in visit.complaints if "responded with a status of" in one}
    assert set(visit.complaints) == told
    assert {one.split("status of ")[1][:3] for one in told} == set(map(str, statuses))
    visit.complaints.clear()


def test_a_model_writes_and_what_it_writes_is_text(
    guarded: tuple[Visit, dict[str, str]],
) -> None:
    visit, keys = guarded
    page = visit.open("ask")
    bring(page, keys["read"])
    page.get_by_label("Your question").fill("Who built the lighthouse?")
    page.keyboard.press("Enter")
    expect(page.locator(".produced")).to_contain_text("Written by small")
    answer = page.locator(".answer")
    expect(answer.locator("strong")).to_have_text("Ada Brand")
    expect(answer.locator("em")).to_have_text("old")
    expect(answer.locator("h3")).to_contain_text("Findings")
    expect(answer.locator("li")).to_have_count(2)
    expect(answer.locator("pre code")).to_contain_text("img src=x")
    expect(answer.locator("a")).to_have_count(0)
    expect(answer.locator("button.cite")).to_have_count(2)
    expect(page.locator("#status")).to_contain_text("Answer: ")
    harmless(page)
    answer.locator("button.cite").first.click()
    expect(page.locator("mark")).to_contain_text("built by Ada Brand")
    refused(visit, 401)


def test_a_key_is_asked_for_and_stays_in_the_tab(
    guarded: tuple[Visit, dict[str, str]],
) -> None:
    visit, keys = guarded
    page = visit.open("documents")
    bring(page, "rag-wrong")
    expect(page.get_by_role("dialog")).to_contain_text("not known")
    bring(page, keys["read"])
    expect(page.locator(".row")).to_contain_text("farne.md")
    page.reload()
    expect(page.locator(".row")).to_contain_text("farne.md")
    assert page.evaluate("Object.values(sessionStorage)") == [keys["read"]]
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    assert not any(keys["read"] in one for one in visit.requests)
    assert page.get_by_label(KEY_FIELD).count() == 0
    refused(visit, 401)


def test_what_a_key_may_not_do_is_said_where_it_was_tried(
    guarded: tuple[Visit, dict[str, str]],
) -> None:
    visit, keys = guarded
    page = visit.open("documents")
    bring(page, keys["read"])
    page.get_by_role("button", name="Delete farne.md").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator(".row")).to_contain_text("This needs the scope 'write'")
    refused(visit, 401, 403)
    page.get_by_role("button", name="Key", exact=True).click()
    bring(page, keys["admin"])
    page.get_by_role("button", name="Delete farne.md").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator(".row")).to_have_count(0)


def test_without_a_key_the_page_says_how_to_go_on(guarded: tuple[Visit, dict[str, str]]) -> None:
    visit, _ = guarded
    page = visit.open("documents")
    page.get_by_label(KEY_FIELD).press("Escape")
    expect(page.get_by_role("alert")).to_contain_text("Without a key")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_label(KEY_FIELD)).to_be_focused()
    refused(visit, 401)
