"""Several tabs of one browser: they share its six connections and its session."""

from conftest import Darkroom  # this folder's
from hands import visit
from playwright.sync_api import Page, Route, expect

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


def never_answer(_: Route) -> None:
    """Take a request, and leave it at that."""
