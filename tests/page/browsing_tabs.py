"""Several tabs of one browser: they share its six connections and its session."""

from conftest import Darkroom  # this folder's
from hands import link_of, newcomer, visit
from playwright.sync_api import Browser, Page, Route, expect

SOON = 60_000  # milliseconds
CONNECTIONS = 6  # that a browser opens to a host over HTTP/1.1


def turn(page: Page, state: str) -> None:
    """Let a tab go behind another (`hidden`), or come back: without a screen every tab is in front."""
    page.evaluate(
        "(hidden) => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        state == "hidden",
    )


def test_tabs_that_nobody_sees_leave_the_connections_to_others(
    darkroom: Darkroom, page: Page
) -> None:
    tabs = [page, *(page.context.new_page() for _ in range(CONNECTIONS))]
    for each in tabs:
        visit(each, darkroom, "#/jobs?tag=tabs")
        expect(each.locator(".live")).to_have_text("Live")
        expect(each.locator(".live")).to_be_visible()
        turn(each, "hidden")
        expect(each.locator(".live")).to_be_hidden()
    job = darkroom.submit("Seen once it is looked at", tags=["tabs"])
    for each in (tabs[0], tabs[-1]):
        turn(each, "seen")
        expect(each.locator(".live")).to_be_visible()
        expect(each.get_by_label(f"Choose {job}")).to_be_visible(timeout=SOON)


def test_a_request_that_is_stuck_is_said_to_have_failed(darkroom: Darkroom, page: Page) -> None:
    page.clock.install()
    page.reload()
    page.route("**/v1/keys", never_answer)
    with page.expect_request("**/v1/keys"):
        visit(page, darkroom, "#/keys")
    page.clock.run_for(61_000)
    expect(page.get_by_role("alert")).to_contain_text("has not answered within 60 seconds")
    page.unroute_all()


def test_a_tab_shows_no_other_project_than_it_says(darkroom: Darkroom, page: Page) -> None:
    visit(page, darkroom, "#/jobs")
    expect(page.locator(".project strong")).to_have_text("local")
    other = page.context.new_page()
    other.goto(link_of(darkroom, newcomer(darkroom, "second tab")))
    expect(other.locator(".project strong")).to_have_text("second tab")
    expect(page.locator(".project strong")).to_have_text("second tab")
    expect(page.get_by_role("heading", name="No job yet")).to_be_visible()


def test_a_token_that_another_tab_has_renewed_is_asked_for_anew(
    darkroom: Darkroom, page: Page
) -> None:
    visit(page, darkroom, "#/keys")
    page.evaluate(
        "async () => { const { csrf_token } = await (await fetch('session')).json();"
        " await fetch('session/renew', { method: 'POST', headers: { 'x-csrf-token': csrf_token } }); }"
    )
    page.get_by_role("button", name="New key").click()
    page.get_by_label("Name").fill("after a renewal")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("dialog").locator(".code code")).to_contain_text("dr_live_")


def test_who_is_not_signed_out_is_told_so(page: Page) -> None:
    page.context.set_offline(True)
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator(".toast")).to_contain_text("Not signed out. The server does not answer.")
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    page.context.set_offline(False)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)  # it was asked for


def test_who_is_thrown_out_is_told_why(darkroom: Darkroom, chromium: Browser) -> None:
    wish = {"name": "thrown out", "scopes": ["jobs:read"]}
    made = darkroom.client.post("/v1/keys", json=wish).json()
    page = chromium.new_context().new_page()
    page.goto(link_of(darkroom, made["key"]))
    page.get_by_role("link", name="Playground").click()
    page.get_by_label("Prompt").fill("Half a thought")
    page.get_by_role("link", name="Now", exact=True).click()
    expect(page.get_by_role("heading", name="Now", level=1)).to_be_visible()
    darkroom.client.delete(f"/v1/keys/{made['id']}")
    expect(page.get_by_role("alert")).to_contain_text("The session has ended", timeout=SOON)
    page.get_by_label("API key").fill(darkroom.key)
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Playground").click()
    expect(page.get_by_label("Prompt")).to_have_value("Half a thought")
    page.context.close()


def never_answer(_: Route) -> None:
    """Take a request, and leave it at that."""
