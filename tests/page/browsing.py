"""The page in Chromium, against the running stack: signing in, jobs."""

import time

from conftest import PROMPTS, Darkroom  # this folder's
from hands import demand_no_secret, visit
from playwright.sync_api import Browser, Page, Route, expect


def test_a_link_signs_in_once_and_no_secret_stays_in_the_browser(
    darkroom: Darkroom, chromium: Browser
) -> None:
    context = chromium.new_context()
    page, link = context.new_page(), darkroom.link()
    page.goto(link)
    expect(page.get_by_role("heading", name="Now", level=1)).to_be_visible()
    assert "drs_" not in page.url
    (cookie,) = context.cookies()
    assert cookie["httpOnly"] is True
    assert cookie["sameSite"] == "Strict"
    demand_no_secret(page, darkroom, "now")
    again = chromium.new_context().new_page()
    again.goto(link)
    expect(again.get_by_role("alert")).to_contain_text("used before")
    page.goto(link)  # who is signed in stays so
    expect(page.locator(".toast")).to_contain_text("used before")
    page.goto(darkroom.link(darkroom.operator))  # and becomes who the next link says
    expect(page.get_by_role("heading", name="Operator", level=1)).to_be_visible()
    assert "drs_" not in page.url
    context.close()
    again.context.close()


def test_a_key_signs_in_and_signing_out_ends_it(darkroom: Darkroom, chromium: Browser) -> None:
    page = chromium.new_context().new_page()
    page.goto(darkroom.url)
    page.get_by_label("API key").fill("dr_live_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("mistyped")
    page.get_by_label("API key").fill(darkroom.key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Now", level=1)).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    page.reload()
    expect(page.get_by_label("API key")).to_be_visible()
    page.context.close()


def test_scopes_decide_what_is_shown_and_a_revoked_key_ends_its_session(
    darkroom: Darkroom, chromium: Browser
) -> None:
    wish = {"name": "reader", "scopes": ["jobs:read"]}
    made = darkroom.client.post("/v1/keys", json=wish).json()
    page = chromium.new_context().new_page()
    page.goto(darkroom.url)
    page.get_by_label("API key").fill(made["key"])
    page.keyboard.press("Enter")
    nav = page.get_by_role("navigation", name="Rooms")
    expect(nav.get_by_role("link")).to_have_text(["Now", "Jobs", "Playground", "Batches", "API"])
    page.goto(f"{darkroom.url}/#/keys")
    expect(page.locator("#main")).to_contain_text("lacks the scope admin")
    darkroom.client.delete(f"/v1/keys/{made['id']}")
    until = time.monotonic() + 60  # it may work for five seconds still
    while not page.get_by_label("API key").is_visible():
        assert time.monotonic() < until, "the session outlives its key"
        page.reload()
        page.locator("h1").first.wait_for()
    page.context.close()


def test_a_preview_that_is_gone_is_asked_for_once(darkroom: Darkroom, page: Page) -> None:
    job = darkroom.submit("Its preview is gone", tags=["no-preview"])
    darkroom.finish(job)
    asked: list[str] = []
    thumbnail = f"/v1/jobs/{job}/images/0/thumbnail"

    def lose(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=410)

    page.route(f"**{thumbnail}", lose)
    for minutes, times in ((0, 3), (10, 1)):  # one that has just ended may be drawn yet
        asked.clear()
        page.clock.install(time=time.time() + 60 * minutes)
        page.goto("about:blank")
        visit(page, darkroom, "#/jobs?tag=no-preview&view=gallery")
        expect(page.locator(".blank.large")).to_be_visible()
        for _ in range(3):
            page.clock.run_for(6_000)
            expect(page.locator(".blank.large")).to_be_visible()
        assert min(len(asked), 3) == times
    page.unroute_all()


def test_jobs_are_searched_narrowed_and_paged_and_the_back_button_works(
    darkroom: Darkroom, page: Page
) -> None:
    visit(page, darkroom, "#/jobs")
    search = page.get_by_role("searchbox")
    for words, prompt in (("A-1703", PROMPTS[3]), ("POMEGRANATE", PROMPTS[1])):
        search.fill(words)
        search.press("Enter")
        expect(page.locator("tbody tr")).to_have_count(1)
        expect(page.locator("tbody tr")).to_contain_text(prompt)
    page.go_back()
    expect(page.locator("tbody tr")).to_contain_text(PROMPTS[3])
    page.goto(f"{darkroom.url}/#/jobs")
    page.get_by_label("status").select_option("failed")
    expect(page.locator("tbody .status").first).to_have_text("failed")
    assert "status=failed" in page.url
    page.get_by_role("button", name="Gallery").click()
    expect(page.locator(".gallery li").first).to_be_visible()
    page.goto(f"{darkroom.url}/#/jobs?search=nothing+is+like+this")
    expect(page.get_by_role("heading", name="No job is like that")).to_be_visible()


def test_a_job_is_run_again_edited_shared_and_erased(darkroom: Darkroom, page: Page) -> None:
    job = darkroom.submit("A kite over dunes")
    darkroom.finish(job)
    visit(page, darkroom, f"#/jobs/{job}")
    page.get_by_role("button", name="Share").click()
    link = page.get_by_role("dialog").locator(".code code").inner_text()
    page.get_by_role("dialog").get_by_role("button", name="Copy link").click()
    assert page.evaluate("() => navigator.clipboard.readText()") == link
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Edit and run again").click()
    expect(page.get_by_label("Prompt")).to_have_value("A kite over dunes")
    page.get_by_label("Prompt").fill("A kite over dunes, in ink")
    page.get_by_role("button", name="Run again").click()
    expect(page.locator("h1")).to_have_text("A kite over dunes, in ink")
    expect(page.locator(".facts")).to_contain_text("Runs again")
    expect(page.locator(".head .status")).to_have_text("succeeded", timeout=60_000)
    page.get_by_role("button", name="Erase…").click()
    page.get_by_role("dialog").get_by_role("button", name="Erase", exact=True).click()
    expect(page.locator(".story")).to_contain_text("were erased")
    expect(page.locator(".picture")).to_contain_text("The picture is gone")


def test_a_delivery_is_sent_again(darkroom: Darkroom, page: Page) -> None:
    visit(page, darkroom, "#/jobs?tag=darkroom-example")  # its webhook was delivered
    page.locator("a.prompt").first.click()
    page.get_by_role("button", name="Send again").first.click()
    expect(page.locator(".toast")).to_have_text("It is sent again.")


def test_a_job_that_is_under_way_is_canceled(darkroom: Darkroom, page: Page) -> None:
    job = darkroom.submit("A slow one [sim: latency=20]")
    visit(page, darkroom, f"#/jobs/{job}")
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.locator(".timeline")).to_contain_text("Cancel asked for")


def test_several_jobs_are_erased_after_a_look(darkroom: Darkroom, page: Page) -> None:
    for number in range(2):
        darkroom.finish(darkroom.submit(f"To be erased {number}", tags=["sweep"]))
    visit(page, darkroom, "#/jobs?tag=sweep")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_label("Choose every job of this page").check()
    page.get_by_role("button", name="Erase…").click()
    expect(page.get_by_role("dialog").locator(".preview li")).to_have_count(2)
    page.get_by_role("button", name="Erase 2 jobs").click()
    expect(
        page.get_by_role("heading", name="No job is like that")
    ).to_be_visible()  # nor has it tags


def test_new_jobs_come_in_by_themselves(darkroom: Darkroom, page: Page) -> None:
    visit(page, darkroom, "#/jobs")
    expect(page.locator(".live")).to_be_visible()
    darkroom.submit("It came by itself")
    expect(page.locator("tbody")).to_contain_text("It came by itself", timeout=15_000)
