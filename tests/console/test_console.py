"""The console as people use it: documents in, questions, citations, the graph, documents out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page, Route

    from browsing import Visit

# Long enough that the middle is not shown at once from either end, with characters that JavaScript
# counts as two.
BEFORE = "\n\n".join(
    f"The weather of day {n} was fair, and nothing came in. 🌊" for n in range(120)
)
FARNE = "# Farne\n\nThe lighthouse of Farne was built by Ada Brand in 1843."
QUESTION = "Who built the lighthouse of Farne?"
JOINED = [
    ("Ada Brand", "Tom Vale"),
    ("Ada Brand", "Leeds"),
    ("Tom Vale", "Leeds"),
    ("Tom Vale", "Ruth"),
]


def asked(page: Page, question: str) -> None:
    page.get_by_label("Your question").fill(question)
    page.keyboard.press("Enter")
    page.wait_for_selector(".produced")


def test_files_are_sent_and_watched_until_they_answer(visit: Visit, tmp_path: Path) -> None:
    page = visit.open("documents")
    expect(page.get_by_text("Nothing here yet.")).to_be_visible()
    page.evaluate("""() => {
        window.seen = new Set();
        new MutationObserver(() => {
            document.querySelectorAll(".state").forEach((one) => window.seen.add(one.textContent));
        }).observe(document.getElementById("rows"), {childList: true, subtree: true});
    }""")
    (tmp_path / "farne.md").write_text(FARNE)
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 and nothing after it")
    page.set_input_files("#files", [tmp_path / "farne.md", tmp_path / "broken.pdf"])
    expect(page.locator(".row", has_text="farne.md")).to_contain_text("1 passage")
    broken = page.locator(".row", has_text="broken.pdf")
    expect(broken.locator(".state")).to_have_text("Failed")
    expect(broken.locator(".reason")).not_to_be_empty()
    expect(broken.get_by_role("button", name="Retry broken.pdf")).to_be_visible()
    assert page.evaluate("[...window.seen]").count("Sending") == 1
    assert {one for one in visit.requests if one.endswith("/events")} == {
        f"{str(visit.client.base_url).rstrip('/')}{visit.place(f'documents/{name}/events')}"
        for name in ("farne.md", "broken.pdf")
    }
    expect(page.locator("#unfinished")).to_be_hidden()


def test_a_file_can_be_dropped_anywhere(visit: Visit) -> None:
    page = visit.open("ask")
    page.evaluate(
        """(text) => {
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([text], "dropped.md"));
        for (const kind of ["dragover", "drop"]) {
            document.body.dispatchEvent(new DragEvent(kind, {bubbles: true, dataTransfer}));
        }
    }""",
        FARNE,
    )
    expect(page.locator(".row", has_text="dropped.md")).to_contain_text("1 passage")
    expect(page.get_by_label("Workspace")).to_have_value(visit.workspace)


def test_a_citation_opens_its_passage_in_the_document(visit: Visit) -> None:
    visit.put("log.md", f"{BEFORE}\n\n{FARNE}\n\n{BEFORE}")
    page = visit.open("ask")
    asked(page, QUESTION)
    expect(page.locator(".answer")).to_contain_text("Ada Brand")
    expect(page.locator(".answer")).not_to_have_attribute("aria-busy", "true")
    body = {"question": QUESTION}
    answer = visit.client.post(visit.place("query"), json=body).json()
    cited = next(one for one in answer["references"])
    page.locator("button.cite", has_text=str(cited["number"])).first.click()
    text = visit.client.get(visit.place("documents/log.md/text")).text
    expect(page.locator("mark")).to_be_in_viewport()
    assert page.locator("mark").text_content() == text[cited["start"] : cited["end"]]
    while (more := page.get_by_role("button", name=re.compile("^Show what comes"))).count():
        more.first.click()
    assert page.locator(".paper").text_content() == text


def test_without_a_language_model_the_passages_are_shown(visit: Visit) -> None:
    visit.put("farne.md", FARNE)
    page = visit.open("ask")
    asked(page, QUESTION)
    expect(page.locator(".card .passage").first).to_contain_text("built by Ada Brand in 1843")
    expect(page.locator(".produced")).to_contain_text("Quoted from the documents")
    page.locator(".card").first.click()
    expect(page.locator("mark")).to_contain_text("built by Ada Brand in 1843")
    page.keyboard.press("Escape")
    expect(page.locator("#source")).to_be_hidden()


def test_a_passage_of_a_replaced_document_is_not_pointed_at(visit: Visit) -> None:
    visit.put("farne.md", FARNE)
    page = visit.open("ask")
    asked(page, QUESTION)
    place = visit.place("documents/farne.md")
    files = {"file": ("farne.md", b"# Farne\n\nThe lighthouse fell into the sea.")}
    visit.client.put(place, files=files).raise_for_status()
    visit.wait_for("farne.md")
    page.locator("button.cite").first.click()
    expect(page.locator("#source")).to_contain_text("replaced since")
    expect(page.locator("#source mark")).to_be_empty()


def test_a_name_is_seen_among_those_around_it(visit: Visit) -> None:
    visit.put("farne.md", FARNE)
    for one, other in JOINED:
        visit.fact(one, other)
    page = visit.open("graph")
    expect(page.locator("#suggested a", has_text="Ada Brand")).to_be_visible()
    page.get_by_label("Name of a person").press_sequentially("ada b")
    expect(page.locator("#names option[value='Ada Brand']")).to_have_count(1)
    page.get_by_label("Name of a person").fill("ada brand")
    page.keyboard.press("Enter")
    picture = page.locator("#picture svg")
    expect(picture.locator(".central")).to_have_attribute("aria-label", re.compile("^Ada Brand"))
    for name in ("Tom Vale", "Leeds"):
        expect(picture.locator("a", has_text=name)).to_have_count(1)
    assert picture.locator("line.far").count() >= 1
    apart = page.evaluate("""() => [...document.querySelectorAll("#picture circle")].map(
        (one) => [Number(one.getAttribute("cx")), Number(one.getAttribute("cy"))])""")
    assert len({tuple(one) for one in apart}) == len(apart) >= 3
    picture.locator("a", has_text="Tom Vale").click()
    expect(page.locator("#facts h2")).to_have_text("Tom Vale")
    expect(picture.locator("a", has_text="Ruth")).to_have_count(1)
    page.go_back()
    expect(page.locator("#facts h2")).to_have_text("Ada Brand")
    page.locator(".sightings button", has_text="lighthouse").click()
    expect(page.locator("mark")).to_contain_text("built by Ada Brand")


def test_a_name_that_is_not_there_brings_others(visit: Visit) -> None:
    visit.put("farne.md", FARNE)
    page = visit.open("graph/Adele%20Brand")
    expect(page.locator("#facts")).to_contain_text("Did you mean")
    page.locator("#suggested a", has_text="Ada Brand").click()
    expect(page.locator("#facts h2")).to_have_text("Ada Brand")
    assert {*visit.complaints} == {
        "Failed to load resource: the server responded with a status of 404 (Not Found)"
    }
    visit.complaints.clear()


def test_a_document_goes_when_that_is_confirmed(visit: Visit) -> None:
    visit.put("farne.md", FARNE)
    page = visit.open("documents")
    delete = page.get_by_role("button", name="Delete farne.md")
    delete.click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(delete).to_be_focused()
    assert visit.client.get(visit.place("documents/farne.md")).status_code == 200
    delete.click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator(".row")).to_have_count(0)
    assert visit.client.get(visit.place("documents/farne.md")).status_code == 404
    expect(page.locator("#status")).to_have_text("farne.md was deleted.")


def test_another_file_of_the_same_name_replaces_when_that_is_said(
    visit: Visit, tmp_path: Path
) -> None:
    visit.put("farne.md", FARNE)
    page = visit.open("documents")
    expect(page.locator(".row")).to_contain_text("1 passage")
    (tmp_path / "farne.md").write_text("# Farne\n\nThe lighthouse fell into the sea.")
    page.set_input_files("#files", tmp_path / "farne.md")
    expect(page.locator(".row")).to_contain_text("There is another document of that name.")
    with page.expect_response(lambda one: one.request.method == "POST" and one.status == 202):
        page.get_by_role("button", name="Replace it").click()
    visit.wait_for("farne.md")
    expect(page.locator(".row")).to_contain_text("1 passage")
    text = visit.client.get(visit.place("documents/farne.md/text")).text
    assert "fell into the sea" in text
    assert len(visit.complaints) == 1
    assert "409" in visit.complaints.pop()


def test_a_list_that_comes_late_takes_no_question_away(visit: Visit, tmp_path: Path) -> None:
    visit.put("farne.md", FARNE)
    page = visit.open("documents")
    row = page.locator(".row")
    expect(row).to_contain_text("1 passage")
    (tmp_path / "farne.md").write_text("# Farne\n\nThe lighthouse fell into the sea.")
    page.set_input_files("#files", tmp_path / "farne.md")
    expect(row).to_contain_text("There is another document of that name.")
    visit.put("mill.md", "The mill of Farne stands still.")
    refreshed(page)
    expect(page.locator(".row")).to_have_count(2)
    asking = page.locator(".row", has_text="There is another document of that name.")
    expect(asking).to_have_count(1)
    asking.get_by_role("button", name="Keep the old one").click()
    expect(page.locator(".row", has_text="farne.md")).to_contain_text("1 passage")
    visit.complaints.clear()


def test_a_document_that_was_accepted_while_the_list_was_made_stays(
    visit: Visit, tmp_path: Path
) -> None:
    visit.put("farne.md", FARNE)
    page = visit.open("documents")
    expect(page.locator(".row")).to_contain_text("1 passage")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/versions?**", hold)
    refreshed(page)
    page.wait_for_timeout(100)
    [route] = held
    old = route.fetch()
    (tmp_path / "mill.md").write_text("The mill of Farne stands still.")
    page.set_input_files("#files", tmp_path / "mill.md")
    mill = page.locator(".row", has_text="mill.md")
    expect(mill).to_contain_text("1 passage")
    with page.expect_response("**/stats"):
        route.fulfill(response=old)
    expect(mill).to_contain_text("1 passage")
    page.unroute_all()


def test_more_documents_are_shown_than_the_server_lists_at_a_time(visit: Visit) -> None:
    for number in range(5):
        visit.client.post(
            visit.place("documents/text"), json={"text": FARNE, "name": f"{number}.md"}
        )
    page = visit.page
    short = re.compile(r"limit=\d+")
    page.route(
        "**/versions?**", lambda one: one.continue_(url=short.sub("limit=2", one.request.url))
    )
    visit.open("documents")
    expect(page.locator(".row")).to_have_count(5)
    expect(page.locator("#more-documents")).to_be_hidden()
    assert len([one for one in visit.requests if "after=" in one]) == 2


def refreshed(page: Page) -> None:
    """Have the page bring its list up to date, as when one comes back to it."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_a_workspace_is_chosen_and_stays_in_the_address(visit: Visit) -> None:
    visit.put("farne.md", FARNE)
    page = visit.open("documents")
    expect(page.locator(".row")).to_have_count(1)
    page.get_by_label("Workspace").select_option(label="Another…")
    page.get_by_role("dialog").get_by_label("Name").fill("elsewhere")
    page.keyboard.press("Enter")
    expect(page.locator(".row")).to_have_count(0)
    assert "workspace=elsewhere" in page.url
    page.go_back()
    expect(page.locator(".row")).to_have_count(1)
    expect(page.get_by_label("Workspace")).to_have_value(visit.workspace)


def test_a_server_that_is_gone_is_said_with_a_remedy(visit: Visit) -> None:
    visit.put("farne.md", FARNE)
    page = visit.open("ask")
    page.route("**/query/stream", lambda route: route.abort("connectionrefused"))
    page.get_by_label("Your question").fill(QUESTION)
    page.get_by_role("button", name="Ask").click()
    expect(page.locator(".foot")).to_contain_text("rag-engine serve")
    page.unroute("**/query/stream")
    page.get_by_role("button", name="Ask again").click()
    expect(page.locator(".answer").last).to_contain_text("Ada Brand")
    assert len(visit.complaints) == 1
    assert "ERR_CONNECTION_REFUSED" in visit.complaints.pop()


@pytest.mark.parametrize("mode", ["fusion", "naive"])
def test_the_mode_is_chosen(visit: Visit, mode: str) -> None:
    visit.put("farne.md", FARNE)
    page = visit.open("ask")
    page.get_by_label("How to search").select_option(mode)
    asked(page, QUESTION)
    expect(page.locator(".produced")).to_contain_text(f"mode {mode}")
