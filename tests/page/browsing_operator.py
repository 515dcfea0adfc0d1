"""The operator's room: each of its actions, and whom it is open to."""

import re

from conftest import MODEL, Darkroom  # this folder's
from hands import visit
from playwright.sync_api import Page, expect


def test_an_operators_key_opens_one_room_and_no_other_key_does(
    darkroom: Darkroom, page: Page, night: Page
) -> None:
    nav = night.get_by_role("navigation", name="Rooms")
    expect(nav.get_by_role("link")).to_have_text(["Operator", "API"])
    visit(night, darkroom, "#/jobs")
    expect(night.locator("#main")).to_contain_text("lacks the scope jobs:read")
    expect(page.get_by_role("link", name="Operator")).to_have_count(0)
    visit(page, darkroom, "#/operator")
    expect(page.locator("#main")).to_contain_text("lacks the scope operator")


def test_an_operator_pauses_resumes_caps_suspends_and_reads_who_did_it(
    darkroom: Darkroom, night: Page
) -> None:
    darkroom.operator.post("/v1/operator/projects", json={"name": "atelier"})
    visit(night, darkroom, "#/operator")
    stops = night.get_by_role("table", name="Gates and pauses")
    night.get_by_role("button", name="Pause…").click()
    night.get_by_role("dialog").get_by_label("What").select_option("model")
    night.get_by_role("dialog").get_by_label("Model", exact=True).fill("nobody/knows")
    night.get_by_role("dialog").get_by_role("button", name="Pause").click()
    expect(night.get_by_role("alert")).to_contain_text("There is no model 'nobody/knows'")
    night.get_by_role("dialog").get_by_label("Model", exact=True).fill(MODEL)
    night.keyboard.press("Enter")
    expect(stops).to_contain_text(MODEL)
    expect(night.get_by_role("region", name="What needs a person")).to_contain_text("paused")
    paused = stops.get_by_role("row").filter(has_text=MODEL)
    paused.get_by_role("button", name="Resume").click()
    expect(paused).to_have_count(0)
    # The audit log names them, too.
    projects = night.get_by_role("table", name="Projects", exact=True)
    row = projects.get_by_role("row").filter(has_text="atelier")
    row.get_by_role("button", name="Change…").click()
    night.get_by_label("Jobs in flight at once").fill("3")
    night.keyboard.press("Enter")
    expect(row).to_contain_text("3 in flight")
    row.get_by_role("button", name="Pause").click()
    expect(row.locator(".status")).to_have_text("paused")
    expect(stops.get_by_role("row").filter(has_text="atelier")).to_contain_text("has paused it")
    row.get_by_role("button", name="Resume").click()
    expect(row.locator(".status")).to_have_text("active")
    row.get_by_role("button", name="Suspend…").click()
    night.get_by_label("Why").fill("Its invoice is overdue")
    night.get_by_role("dialog").get_by_role("button", name="Suspend").click()
    expect(row).to_contain_text("Its invoice is overdue")
    stopped = stops.get_by_role("row").filter(has_text="atelier")
    expect(stopped).to_contain_text("suspended the project; reinstate it below: Its invoice")
    expect(stopped.get_by_role("button", name="Resume")).to_have_count(0)
    night.get_by_label("Action").select_option("project suspended")
    log = night.get_by_role("table", name="Audit log")
    expect(log.locator("tbody tr").first).to_contain_text("Its invoice is overdue")
    expect(log.locator("tbody tr").first).to_contain_text("127.0.0.1")
    row.get_by_role("button", name="Reinstate").click()
    expect(row.locator(".status")).to_have_text("active")


def test_an_operator_makes_a_project_and_its_key_and_ends_both(
    darkroom: Darkroom, night: Page
) -> None:
    visit(night, darkroom, "#/operator")
    dialog = night.get_by_role("dialog")
    night.get_by_role("button", name="New project…").click()
    dialog.get_by_label("Name").fill("local")
    dialog.get_by_role("button", name="Create").click()
    expect(dialog.get_by_role("alert")).to_contain_text("There is a project 'local' already")
    dialog.get_by_label("Name").fill("pop-up")
    dialog.get_by_role("button", name="Create").click()
    row = (
        night.get_by_role("table", name="Projects", exact=True)
        .get_by_role("row")
        .filter(has_text="pop-up")
    )
    row.get_by_role("button", name="New key…").click()
    dialog.get_by_label("Name").fill("till")
    dialog.get_by_role("button", name="Create").click()
    key = night.get_by_role("dialog").locator(".code code").inner_text()
    night.get_by_role("button", name="I have it").click()
    assert key not in night.content()
    shop = {"authorization": f"Bearer {key}"}
    assert darkroom.client.get("/v1/jobs", headers=shop).json()["data"] == []
    row.get_by_role("button", name="1 key of pop-up").click()
    keys = night.get_by_role("table", name="Keys of all projects").locator("tbody tr")
    expect(keys).to_have_count(1)
    keys.get_by_role("button", name="Revoke…").click()
    night.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(keys.locator(".status")).to_have_text("revoked")
    row.get_by_role("button", name="Delete…").click()
    end = night.get_by_role("button", name="Delete for good")
    expect(end).to_be_disabled()
    night.get_by_label("Its name, to be sure").fill("pop-up")
    end.click()
    expect(row).to_have_count(0)
    night.get_by_label("Deleted ones, too").check()
    gone = (
        night.get_by_role("table", name="Projects", exact=True)
        .get_by_role("row")
        .filter(has_text="deleted prj_")
    )
    expect(gone.locator(".status")).to_have_text(re.compile("delet"))


def test_an_operator_has_a_closed_gate_tried_at_once(darkroom: Darkroom, night: Page) -> None:
    made = darkroom.operator.post("/v1/operator/projects", json={"name": "unlucky"}).json()["id"]
    wish = {"name": "unlucky", "scopes": ["jobs:write", "jobs:read"]}
    key = darkroom.operator.post(f"/v1/operator/projects/{made}/keys", json=wish).json()["key"]
    shop = {"authorization": f"Bearer {key}"}
    body = {"input": {"model": MODEL, "prompt": "[sim: 503]"}, "max_attempts": 1}
    visit(night, darkroom, "#/operator")
    stops = night.get_by_role("table", name="Gates and pauses")
    probe = stops.get_by_role("button", name="Probe now").first
    for _ in range(40):  # as many in a row as the gate takes
        job = darkroom.client.post("/v1/jobs", json=body, headers=shop).json()["id"]
        told = darkroom.client.get(f"/v1/jobs/{job}?wait=5", headers=shop).json()
        if told["finished_at"] is None:
            break
    expect(probe).to_be_visible(timeout=60_000)
    probe.click()
    expect(night.locator(".toast")).to_have_text("The next job tries it.")


def test_an_operator_says_what_a_call_cost_that_nobody_knows(
    darkroom: Darkroom, night: Page
) -> None:
    job = darkroom.submit("An answer that is lost [sim: lost]", max_attempts=1)
    visit(night, darkroom, "#/operator")
    unknown = night.get_by_role("table", name="Unknown charges")
    row = unknown.get_by_role("row").filter(has_text=job[-6:])
    row.get_by_role("button", name="Resolve…").click(timeout=60_000)
    night.get_by_role("dialog").get_by_label("The provider").select_option("free")
    night.get_by_role("button", name="Book it").click()
    expect(row).to_have_count(0)
    night.get_by_label("Action").select_option("charge resolved")
    expect(night.get_by_role("table", name="Audit log")).to_contain_text(job[-6:])
