"""The rooms that are about many jobs: Now, Batches, and what is done to all that a filter leaves."""

import io
import re
import zipfile

from conftest import Darkroom  # this folder's
from hands import reach, visit
from playwright.sync_api import FilePayload, Page, Route, expect

BAD = """custom_id,prompt,image_size
a,A harbour in the morning,2K
b,,2K
c,A harbour at noon,huge
d,A harbour in the evening,2K
"""


def csv(rows: str, name: str = "harbours.csv") -> FilePayload:
    return {"name": name, "mimeType": "text/csv", "buffer": rows.encode()}


def batches(darkroom: Darkroom) -> list[str]:
    found = darkroom.client.get("/v1/batches", params={"limit": 100}).json()["data"]
    return [each["id"] for each in found]


def test_now_says_how_it_goes_and_hears_of_it_by_itself(darkroom: Darkroom, page: Page) -> None:
    told = page.get_by_role("region", name="How it goes")
    expect(told).to_contain_text("The last hour brought")
    figures = page.locator(".figures")
    for name in ("Under way", "Waiting", "Spent today", "Wallet", "Unknown charges"):
        expect(figures).to_contain_text(name)
    expect(page.locator(".budgets")).to_contain_text("The project")
    expect(page.locator(".strip img").first).to_be_visible()
    job = darkroom.submit("Seen from afar [sim: latency=25]")
    expect(told).to_contain_text("under way", timeout=20_000)
    page.get_by_text("The same as a table").click()
    rows = page.get_by_role("table", name="The last hour, by the minute").locator("tbody tr")
    expect(rows).to_have_count(60)
    darkroom.client.post(f"/v1/jobs/{job}/cancel")


def test_what_needs_a_person_leads_there(darkroom: Darkroom, page: Page) -> None:
    made = darkroom.batch("prompt\nOne\nTwo\n", max_cost="91000").json()["id"]
    needs = page.get_by_role("list", name="What needs a person")
    expect(needs).to_contain_text("A batch of 2 rows is paused", timeout=60_000)
    needs.get_by_role("listitem").filter(has_text="A batch").get_by_role("link").click()
    expect(page.locator(".story")).to_contain_text("raise the most that it may cost")
    page.get_by_role("button", name="Change…").click()
    page.get_by_label("At most, in US dollars").fill("1")
    page.get_by_role("dialog").get_by_role("button", name="Change").click()
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".head .status")).to_have_text("completed", timeout=60_000)
    assert made in page.url


def test_every_mistake_of_a_file_is_seen_before_anything_is_paid(
    darkroom: Darkroom, page: Page
) -> None:
    before = batches(darkroom)
    visit(page, darkroom, "#/batches")
    page.get_by_label("File of rows").set_input_files([csv(BAD)])
    mistakes = page.get_by_role("table", name="Mistakes").locator("tbody tr")
    expect(mistakes).to_have_count(2)
    expect(mistakes.nth(0)).to_contain_text("b")
    expect(mistakes.nth(1)).to_contain_text("huge")
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_disabled()
    assert batches(darkroom) == before
    page.get_by_label("Leave out the rows that cannot be used").check()
    expect(page.locator(".price")).to_contain_text("182,000 credits for 2 pictures")
    page.get_by_label("At most, in US dollars").fill("0.05")
    expect(page.locator(".figures")).to_contain_text("the others wait for what is left over")
    start = page.get_by_role("button", name="Start")
    for typed in ("0", "5-"):  # neither is a limit, nor no limit
        page.get_by_label("At most, in US dollars").clear()
        page.get_by_label("At most, in US dollars").press_sequentially(typed)
        expect(page.locator(".terms").get_by_role("alert")).to_be_visible()
        expect(start).to_be_disabled()
    page.get_by_label("At most, in US dollars").fill("")
    assert batches(darkroom) == before
    page.get_by_role("button", name="Start 2 rows").click()
    expect(page.locator("h1")).to_have_text("2 rows")
    expect(page.locator(".head .status")).to_have_text("completed", timeout=90_000)
    expect(page.locator(".story")).to_contain_text("every one of 2 rows has its picture")
    expect(page.locator(".figures")).to_contain_text("rows that could not be used")


def test_a_batch_is_sent_and_canceled_by_the_keyboard_alone(page: Page) -> None:
    reach(page, "Batches")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Batches", level=1)).to_be_visible()
    reach(page, "Choose a file")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files([csv("prompt\n" + "A slow one [sim: latency=20]\n" * 2)])
    expect(page.locator(".price")).to_contain_text("for 2 pictures")
    reach(page, "Start 2 rows")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("2 rows")
    reach(page, "Cancel…")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("Enter")  # the focus has come back to where it was
    reach(page, "Cancel the batch")
    page.keyboard.press("Enter")
    expect(page.locator(".story")).to_contain_text("cancel")


def test_the_rows_of_a_batch_change_while_it_runs(darkroom: Darkroom, page: Page) -> None:
    rows = "first,A quick one [sim: latency=3]\nsecond,A slow one [sim: latency=40]\n"
    made = darkroom.batch(f"custom_id,prompt\n{rows}").json()["id"]
    visit(page, darkroom, f"#/batches/{made}")
    shown = page.get_by_role("table", name="Rows").locator("tbody tr")
    expect(shown.nth(0).locator(".status")).to_have_text("succeeded")
    expect(page.locator(".head .status")).to_have_text("running")
    darkroom.client.post(f"/v1/batches/{made}/cancel")


def test_a_charge_that_is_found_out_later_comes_in_by_itself(
    darkroom: Darkroom, page: Page
) -> None:
    job = darkroom.submit("Its answer is lost [sim: lost]", max_attempts=1)
    darkroom.finish(job)
    visit(page, darkroom, f"#/jobs/{job}")
    expect(page.locator(".facts")).to_contain_text("partly unknown")
    said = {"verdict": "charged", "credits": 91_000}
    answer = darkroom.operator.post(f"/v1/operator/charges/{job}/1/resolve", json=said)
    assert answer.status_code == 200, answer.text
    expect(page.locator(".story")).to_contain_text("It cost $0.0455 (91,000 credits).")


def test_the_results_of_a_batch_are_files(darkroom: Darkroom, page: Page) -> None:
    made = darkroom.batch("custom_id,prompt\nfirst,A pier\nsecond,A buoy\n").json()["id"]
    visit(page, darkroom, f"#/batches/{made}")
    expect(page.locator(".head .status")).to_have_text("completed", timeout=90_000)
    rows = page.get_by_role("table", name="Rows").locator("tbody tr")
    expect(rows.nth(1)).to_contain_text("second")
    files = {}
    for name in ("CSV", "NDJSON", "Pictures, as ZIP"):
        with page.expect_download() as saved:
            page.get_by_role("link", name=name, exact=True).click()
        files[saved.value.suggested_filename] = saved.value.path().read_bytes()
    assert b"first" in files["results.csv"]
    assert files["results.ndjson"].count(b"\n") == 2
    assert len(zipfile.ZipFile(io.BytesIO(files["images.zip"])).namelist()) >= 2


def test_a_batch_is_paused_resumed_canceled_and_run_again(darkroom: Darkroom, page: Page) -> None:
    slow = "".join(f"s{n},A slow one [sim: latency=6]\n" for n in range(12))
    made = darkroom.batch(f"custom_id,prompt\n{slow}").json()["id"]
    visit(page, darkroom, f"#/batches/{made}")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".head .status")).to_have_text("paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".head .status")).to_have_text("running")
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the batch").click()
    expect(page.locator(".story")).to_contain_text("cancel")
    bad = darkroom.batch("prompt\nIt is refused [sim: moderation_400]\nA gull\n").json()["id"]
    visit(page, darkroom, f"#/batches/{bad}")
    expect(page.get_by_role("table", name="Errors")).to_contain_text(
        "content_refused", timeout=60_000
    )
    page.get_by_role("button", name="Run 1 row again").click(timeout=60_000)
    expect(page.locator("h1")).to_have_text("1 row", timeout=30_000)
    assert bad not in page.url


def test_all_that_a_filter_leaves_is_looked_at_first_and_then_erased(
    darkroom: Darkroom, page: Page
) -> None:
    for number in range(3):
        darkroom.finish(darkroom.submit(f"Swept {number}", tags=["broom"]))
    visit(page, darkroom, "#/jobs?tag=broom")
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save as CSV").click()
    assert saved.value.path().read_text().count("Swept") == 3
    page.get_by_role("button", name="Do to all of them…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("tag: broom")
    dialog.get_by_role("button", name="Run again", exact=True).click()
    expect(dialog.get_by_role("button", name="Run again 0 jobs")).to_be_disabled()
    dialog.get_by_role("button", name="Erase", exact=True).click()
    expect(dialog).to_contain_text("3 jobs fit.")
    assert len(darkroom.client.get("/v1/jobs?tag=broom").json()["data"]) == 3
    dialog.get_by_role("button", name="Erase 3 jobs").click()
    expect(page.locator(".note")).to_contain_text("3 done", timeout=30_000)
    assert darkroom.client.get("/v1/jobs?tag=broom").json()["data"] == []


def test_all_that_waits_is_canceled_and_all_that_failed_runs_again(
    darkroom: Darkroom, page: Page
) -> None:
    failed = darkroom.submit("It is refused [sim: moderation_400]", tags=["second-chance"])
    darkroom.finish(failed)
    visit(page, darkroom, "#/jobs?tag=second-chance&status=failed")
    page.get_by_role("button", name="Do to all of them…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Run again", exact=True).click()
    expect(dialog).to_contain_text(
        "1 job fits. Makes new jobs of those, for $0.0455 (91,000 credits)"
    )
    dialog.get_by_role("button", name="Run again 1 job").click()
    expect(page.locator(".note")).to_contain_text("1 done", timeout=30_000)
    made = darkroom.client.get("/v1/jobs?tag=second-chance").json()["data"]
    assert [each["retried_from"] for each in made] == [failed, None]


def test_webhooks_of_a_list_are_sent_again(darkroom: Darkroom, page: Page) -> None:
    hook = {"url": "http://127.0.0.1:9/away", "events": ["job.succeeded"]}
    made = darkroom.client.post("/v1/webhooks", json=hook).json()["id"]
    darkroom.client.patch(f"/v1/webhooks/{made}", json={"enabled": False})
    darkroom.finish(darkroom.submit("Told of later", tags=["told-later"]))
    darkroom.client.patch(f"/v1/webhooks/{made}", json={"enabled": True})
    visit(page, darkroom, "#/jobs?tag=told-later")
    page.get_by_role("button", name="Do to all of them…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Send webhooks again").click()
    dialog.get_by_role("button", name="Send again for 1 job").click()
    expect(page.locator(".note")).to_contain_text("1 done", timeout=30_000)
    darkroom.client.delete(f"/v1/webhooks/{made}")


def test_an_action_that_goes_on_is_called_off(darkroom: Darkroom, page: Page) -> None:
    darkroom.finish(darkroom.submit("Called off", tags=["called-off"]))
    page.route("**/v1/jobs/actions?*", show_as_running)
    visit(page, darkroom, "#/jobs?tag=called-off")
    page.get_by_role("button", name="Do to all of them…").click()
    page.get_by_role("dialog").get_by_role("button", name="Erase", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Erase 1 job").click()
    with page.expect_request(re.compile(r"/v1/jobs/actions/act_\w+/cancel$")) as asked:
        page.locator(".note").get_by_role("button", name="Call it off").first.click()
    assert asked.value.method == "POST"
    page.unroute_all()
    expect(page.locator(".note").filter(has_text="1 done")).to_be_visible(timeout=30_000)


def show_as_running(route: Route) -> None:
    """Let every action go on, as one of many jobs does."""
    answer = route.fetch()
    told = answer.json()
    for each in told["data"]:
        each["status"] = "running"
    route.fulfill(response=answer, json=told)
