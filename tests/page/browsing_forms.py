"""What is typed, chosen and sent: done once, stopped when asked to, and nothing of it dropped unsaid."""

from conftest import Darkroom  # this folder's
from hands import visit
from playwright.sync_api import Page, Route, expect


class Gate:
    """Holds requests of one method back, until they are let through."""

    def __init__(self, page: Page, path: str, method: str) -> None:
        self._held: list[Route] = []
        self._method = method
        page.route(path, self._meet)

    def _meet(self, route: Route) -> None:
        if route.request.method == self._method:
            self._held.append(route)
        else:
            route.continue_()

    def let_through(self) -> int:
        """Let all that wait go on; returns how many did."""
        held, self._held = self._held, []
        for each in held:
            each.continue_()
        return len(held)


def test_a_double_click_makes_one_key(darkroom: Darkroom, page: Page) -> None:
    visit(page, darkroom, "#/keys")
    gate = Gate(page, "**/v1/keys", "POST")
    page.get_by_role("button", name="New key").click()
    page.get_by_label("Name").fill("clicked twice")
    create = page.get_by_role("button", name="Create")
    create.dblclick()
    expect(create).to_be_disabled()
    assert gate.let_through() == 1
    expect(page.get_by_role("dialog").locator(".code code")).to_contain_text("dr_live_")
    names = [each["name"] for each in darkroom.client.get("/v1/keys").json()["data"]]
    assert names.count("clicked twice") == 1
