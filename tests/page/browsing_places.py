"""Addresses: where each leads, what none can do, and how far down somebody was."""

import re

from conftest import PROMPTS, Darkroom  # this folder's
from hands import visit
from playwright.sync_api import Browser, Page, expect

FAR_DOWN = 400  # pixels


def scroll(page: Page, depth: int) -> None:
    page.evaluate("(depth) => scrollTo(0, depth)", depth)
    expect_depth(page, depth)


def expect_depth(page: Page, depth: int) -> None:
    page.wait_for_function("(depth) => Math.abs(scrollY - depth) < 2", arg=depth)


def test_an_address_that_is_no_ones_asks_for_nothing(darkroom: Darkroom, page: Page) -> None:
    job = darkroom.submit("Nobody's to delete")
    darkroom.finish(job)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for place in (f"webhooks/..%2fjobs%2f{job}", "jobs/100%", "batches/__proto__", f"jobs/{job}0"):
        visit(page, darkroom, f"#/{place}")
        expect(page.get_by_role("heading", name="Nothing here", level=1)).to_be_visible()
    assert [each for each in asked if job in each and "/v1/" in each] == []
    visit(page, darkroom, "#/jobs?since=__proto__")
    expect(page.get_by_role("table", name="Jobs")).to_be_visible()
    visit(page, darkroom, "#/money?days=constructor")
    expect(page.get_by_role("button", name="30 days")).to_have_attribute("aria-pressed", "true")


def test_an_error_in_a_room_leaves_the_others_open(page: Page) -> None:
    page.route("**/v1/now?*", lambda route: route.fulfill(json={"attention": 1}))
    page.reload()
    expect(page.get_by_role("heading", name="This cannot be shown")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("choose another room")
    page.get_by_role("link", name="Jobs", exact=True).click()
    expect(page.get_by_role("table", name="Jobs")).to_be_visible()
    page.unroute_all()
    page.get_by_role("link", name="Now", exact=True).click()
    expect(page.get_by_role("region", name="How it goes")).to_be_visible()


def test_going_back_finds_the_place_and_a_filter_does_not_lose_it(
    darkroom: Darkroom, page: Page
) -> None:
    visit(page, darkroom, "#/jobs?view=gallery")
    expect(page.locator(".gallery li").first).to_be_visible()
    scroll(page, FAR_DOWN)
    page.locator(".gallery li a").nth(6).dispatch_event("click")  # which scrolls nothing
    expect(page.locator(".timeline")).to_be_visible()
    expect_depth(page, 0)
    page.go_back()
    expect(page.locator(".gallery li").first).to_be_visible()
    expect_depth(page, FAR_DOWN)
    visit(page, darkroom, "#/money")
    expect(page.get_by_role("table", name="Ledger")).to_be_visible()
    scroll(page, FAR_DOWN)
    page.get_by_label("Kind").select_option("hold")
    expect(page.get_by_role("table", name="Ledger").locator("td.label").first).to_have_text("hold")
    expect_depth(page, FAR_DOWN)


def test_a_tab_is_called_by_what_it_shows_and_the_heading_takes_the_focus(
    darkroom: Darkroom, page: Page
) -> None:
    expect(page).to_have_title("Now · Darkroom")
    expect(page.locator("h1")).not_to_be_focused()  # nobody has gone anywhere yet
    page.get_by_role("link", name="Jobs", exact=True).click()
    expect(page).to_have_title("Jobs · Darkroom")
    expect(page.locator("h1")).to_be_focused()
    page.get_by_role("searchbox").fill("A-1703")
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.locator("a.prompt").first.click()
    expect(page).to_have_title(f"{PROMPTS[3]} · Darkroom")
    expect(page.locator("h1")).to_be_focused()
    batch = darkroom.client.get("/v1/batches?limit=1").json()["data"][0]
    visit(page, darkroom, f"#/batches/{batch['id']}")
    expect(page).to_have_title(re.compile(r"rows? · Darkroom"))


def test_a_list_that_was_sent_as_a_link_has_nothing_to_go_back_to(
    darkroom: Darkroom, page: Page, chromium: Browser
) -> None:
    for number in range(26):
        darkroom.submit(f"Far down {number}", tags=["linked"])
    visit(page, darkroom, "#/jobs?tag=linked")
    page.get_by_role("button", name="Older").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.get_by_role("button", name="Back")).to_be_enabled()
    other = chromium.new_context(storage_state=page.context.storage_state()).new_page()
    other.goto(page.url)
    expect(other.locator("tbody tr")).to_have_count(1)
    expect(other.get_by_role("button", name="Back")).to_be_disabled()
    other.get_by_role("button", name="Newest").click()
    expect(other.locator("tbody tr")).to_have_count(25)
    other.context.close()
