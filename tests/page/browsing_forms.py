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


def test_a_sweep_that_is_stopped_leaves_the_other_jobs_as_they_are(
    darkroom: Darkroom, page: Page
) -> None:
    jobs = [darkroom.submit(f"Kept {number}", tags=["stopped"]) for number in range(3)]
    for job in jobs:
        darkroom.finish(job)
    visit(page, darkroom, "#/jobs?tag=stopped")
    page.get_by_label("Choose every job of this page").check()
    page.get_by_role("button", name="Erase…").click()
    gate = Gate(page, "**/v1/jobs/*", "DELETE")
    dialog = page.get_by_role("dialog")
    with page.expect_request(lambda request: request.method == "DELETE"):
        dialog.get_by_role("button", name="Erase 3 jobs").click()
    dialog.get_by_role("button", name="Stop").click()
    expect(dialog).to_contain_text("Stopping")
    gate.let_through()
    expect(dialog).to_contain_text("Stopped: 1 of 3 jobs was done.")
    dialog.get_by_role("button", name="Close").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    shown = [darkroom.client.get(f"/v1/jobs/{job}").json() for job in jobs]
    assert [each["erased_at"] is None for each in shown].count(True) == 2
