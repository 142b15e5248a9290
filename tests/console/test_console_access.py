"""The console for everybody: by keyboard alone, on a narrow screen, in the dark, without motion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from browsing import Visit
    from conftest import Visiting

FARNE = "# Farne\n\nThe lighthouse of Farne was built by Ada Brand in 1843."
NARROW = {"width": 360, "height": 640}

# The contrast (WCAG 2.2, 1.4.3) of each piece of text that shows, against what is painted behind it.
FAINT = """() => {
    const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = (colour) => numbers(colour).slice(0, 3).map((part) => {
        const value = part / 255;
        return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    }).reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (one) => {
        for (; one; one = one.parentElement) {
            const colour = getComputedStyle(one).backgroundColor;
            if ((numbers(colour)[3] ?? 1) > 0.99) return colour;
        }
    };
    const faint = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let text; (text = walker.nextNode()); ) {
        const one = text.parentElement;
        if (!text.data.trim() || !one.checkVisibility() || one.closest(".hidden, .skip, option")) continue;
        const style = getComputedStyle(one);
        const inPicture = one.namespaceURI.endsWith("svg");
        const [a, b] = [light(inPicture ? style.fill : style.color), light(behind(one))];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < 4.5) faint.push(`${text.data.trim().slice(0, 30)}: ${contrast.toFixed(2)}`);
    }
    return faint;
}"""
WIDER = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


def prepared(visit: Visit) -> None:
    visit.put("a-file-with-quite-a-long-name-and-no-space-in-it-at-all.md", FARNE)
    for other in ("Leeds", "Tom Vale", "The Royal and Ancient Society of Lighthouse Keepers"):
        visit.fact("Ada Brand", other, description=f"knows {other}")


def each_view(visit: Visit) -> list[str]:
    """Take the page to each of its views, with something in each; gives what is wrong there."""
    wrong = []
    page = visit.open("ask")

    def look(where: str) -> None:
        wrong.extend(f"{where}: {one}" for one in page.evaluate(FAINT))
        if page.evaluate(WIDER) > 0:
            wrong.append(f"{where} is wider than the screen")

    expect(page.locator("#welcome-lead")).not_to_be_empty()
    look("welcome")
    page.get_by_label("Your question").fill("Who built the lighthouse of Farne?")
    page.get_by_role("button", name="Ask").click()
    page.wait_for_selector(".card .passage")
    look("answer")
    page.locator("button.cite").first.click()
    expect(page.locator("mark")).to_be_in_viewport()
    look("source")
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Documents").click()
    expect(page.locator(".row")).to_have_count(4)
    look("documents")
    page.locator("[data-action=delete]").first.click()
    look("dialog")
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Graph").click()
    page.get_by_label("Name of a person").fill("Ada Brand")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#picture .central")).to_be_visible()
    look("graph")
    return wrong


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "viewport", [NARROW, {"width": 1280, "height": 800}], ids=["narrow", "wide"]
)
def test_all_of_it_can_be_read(visiting: Visiting, scheme: str, viewport: dict[str, int]) -> None:
    with visiting(color_scheme=scheme, viewport=viewport) as visit:
        prepared(visit)
        assert each_view(visit) == []
        paper = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        first = int(paper.removeprefix("rgb(").split(",")[0])
        assert (first < 60) is (scheme == "dark")


def test_labels_of_the_picture_stay_inside_it(visiting: Visiting) -> None:
    with visiting(viewport=NARROW) as visit:
        prepared(visit)
        page = visit.open("graph/Ada%20Brand")
        expect(page.locator("#picture .central")).to_be_visible()
        outside = page.evaluate("""() => {
            const frame = document.querySelector("#picture svg").getBoundingClientRect();
            return [...document.querySelectorAll("#picture text, #picture circle")].filter((one) => {
                const {top, right, bottom, left} = one.getBoundingClientRect();
                return top < frame.top || bottom > frame.bottom || left < frame.left || right > frame.right;
            }).length;
        }""")
        assert outside == 0


def focused(page: Page) -> str:
    return page.evaluate("""() => {
        const one = document.activeElement;
        const style = getComputedStyle(one);
        const ring = style.outlineStyle !== "none" || one.matches(".node");
        return `${one.id || one.className.baseVal || one.className || one.tagName}${ring ? "" : " without a ring"}`;
    }""")


def tab_to(page: Page, wanted: str) -> None:
    passed = []
    for _ in range(40):
        page.keyboard.press("Tab")
        passed.append(focused(page))
        assert "without a ring" not in passed[-1]
        if page.evaluate("(wanted) => document.activeElement.matches(wanted)", wanted):
            return
    raise AssertionError(f"{wanted} is not reached by the keyboard, only {passed}")


def test_the_keyboard_alone_will_do(visit: Visit) -> None:
    prepared(visit)
    page = visit.open("")
    expect(page.locator("#welcome-lead")).to_contain_text("passages they rest on")
    page.keyboard.press("Tab")
    assert focused(page) == "skip"
    page.keyboard.press("Enter")
    assert focused(page).startswith("main")
    tab_to(page, "#question")
    page.keyboard.type("Who built the lighthouse of Farne?")
    page.keyboard.press("Enter")
    page.wait_for_selector(".card .passage")
    page.evaluate("document.getElementById('main').focus()")
    tab_to(page, "button.cite")
    page.keyboard.press("Enter")
    expect(page.locator("mark")).to_be_in_viewport()
    expect(page.locator("#source")).to_contain_text("Ada Brand")
    page.keyboard.press("Escape")
    expect(page.locator("button.cite").first).to_be_focused()

    page.get_by_role("link", name="Documents").focus()
    page.keyboard.press("Enter")
    tab_to(page, "#files")
    tab_to(page, "[data-action=delete]")
    page.keyboard.press("Enter")
    tab_to(page, "dialog button.danger")
    page.keyboard.press("Enter")
    expect(page.locator(".row")).to_have_count(3)

    page.get_by_role("link", name="Graph").focus()
    page.keyboard.press("Enter")
    tab_to(page, "#entity")
    page.keyboard.type("Ada Brand")
    page.keyboard.press("Enter")
    expect(page.locator("#picture a").first).to_be_visible()
    tab_to(page, "#picture a:not(.central)")
    page.keyboard.press("Enter")
    expect(page.locator("#facts h2")).not_to_have_text("Ada Brand")


def test_nothing_moves_for_who_wants_it_still(visiting: Visiting) -> None:
    moving = """() => [...document.querySelectorAll("*")].filter((one) =>
        [null, "::after"].some((part) => getComputedStyle(one, part).animationName !== "none")).length"""
    for motion, moves in (("no-preference", True), ("reduce", False)):
        with visiting(reduced_motion=motion) as visit:
            page = visit.open("ask")
            page.route("**/query/stream", lambda route: None)  # it waits for ever
            page.get_by_label("Your question").fill("Who?")
            page.get_by_role("button", name="Ask").click()
            page.wait_for_selector(".answer[aria-busy]")
            assert (page.evaluate(moving) > 0) is moves
            page.unroute_all(behavior="ignoreErrors")
