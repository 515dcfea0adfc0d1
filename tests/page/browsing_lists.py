"""Lists of every room: narrowed, paged, and what is done to jobs that were chosen one by one."""

import re

from conftest import Darkroom  # this folder's
from hands import visit
from playwright.sync_api import Locator, Page, expect

PAGE = 25  # rows


def rows(page: Page, name: str) -> Locator:
    return page.get_by_role("table", name=name, exact=True).locator("tbody tr")


def demand_pages(page: Page, pages: str, shown: Locator, older: str, newest: str) -> None:
    """Go to the second page of a list, which has one row, and back."""
    for _ in range(2):
        expect(shown).to_have_count(PAGE)
        page.get_by_role("navigation", name=pages, exact=True).get_by_role(
            "button", name=older
        ).click()
        expect(shown).to_have_count(1)
        page.get_by_role("navigation", name=pages, exact=True).get_by_role(
            "button", name=newest
        ).click()
    expect(shown).to_have_count(PAGE)


def test_long_lists_come_page_by_page(darkroom: Darkroom, page: Page) -> None:
    batch = darkroom.batch("prompt\n" + "A buoy\n" * (PAGE + 1)).json()["id"]
    visit(page, darkroom, f"#/batches/{batch}")
    demand_pages(page, "Pages of rows", rows(page, "Rows"), "Further on", "First")
    page.get_by_role("link", name="As jobs").click()
    expect(page.get_by_role("heading", name="Jobs", level=1)).to_be_visible()
    assert f"batch={batch}" in page.url
    demand_pages(page, "Pages", rows(page, "Jobs"), "Older", "Newest")
    page.get_by_role("button", name="Older").click()
    expect(rows(page, "Jobs")).to_have_count(1)
    page.get_by_role("button", name="Back").click()
    expect(rows(page, "Jobs")).to_have_count(PAGE)


def test_jobs_are_narrowed_by_every_filter(darkroom: Darkroom, page: Page) -> None:
    told = {"customer": "c_narrow", "tags": ["narrow"]}
    darkroom.finish(darkroom.submit("The only one", **told))
    visit(page, darkroom, "#/jobs")
    page.get_by_text("More filters").click()
    page.get_by_label("Created within").select_option("1 hour")
    page.get_by_label("Charge of a call").select_option("settled")
    for label, value in (("Customer", "c_narrow"), ("Tag", "narrow")):
        page.get_by_role("search").get_by_label(label).fill(value)
        page.keyboard.press("Tab")
    expect(rows(page, "Jobs")).to_have_count(1)
    for word in ("since=1+hour", "charge_state=settled", "customer=c_narrow", "tag=narrow"):
        assert word in page.url
    page.get_by_label("Waits for").select_option("backoff")
    page.get_by_role("link", name="Show every job").click()
    expect(rows(page, "Jobs").nth(1)).to_be_visible()


def test_chosen_jobs_are_canceled_and_run_again(darkroom: Darkroom, page: Page) -> None:
    quick = darkroom.submit("Chosen, and there", tags=["chosen"])
    darkroom.finish(quick)
    slow = darkroom.submit("Chosen, and slow [sim: latency=20]", tags=["chosen"])
    visit(page, darkroom, "#/jobs?tag=chosen")
    page.get_by_label("Choose every job of this page").check()
    chosen = page.get_by_role("region", name="Chosen jobs")
    expect(chosen).to_contain_text("2 jobs chosen")
    chosen.get_by_role("button", name="Cancel…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("1 of the chosen jobs is left out")
    dialog.get_by_role("button", name="Cancel 1 job").click()
    expect(dialog).to_have_count(0)
    assert darkroom.client.get(f"/v1/jobs/{slow}").json()["cancel"] is not None
    page.get_by_label(f"Choose {quick}").check()
    chosen.get_by_role("button", name="Run again…").click()
    expect(dialog).to_contain_text("for $0.0455 (91,000 credits) as a rule")
    dialog.get_by_role("button", name="Run again 1 job").click()
    expect(rows(page, "Jobs")).to_have_count(3)


def test_a_job_runs_again_as_it_is_and_its_picture_is_saved(darkroom: Darkroom, page: Page) -> None:
    job = darkroom.submit("A pier, twice")
    darkroom.finish(job)
    visit(page, darkroom, f"#/jobs/{job}")
    with page.expect_download() as saved:
        page.get_by_role("link", name="Download").click()
    assert saved.value.path().read_bytes()[:3] == b"\xff\xd8\xff"  # a JPEG
    page.get_by_role("button", name="Run again", exact=True).click()
    expect(page.locator(".facts")).to_contain_text("Runs again")
    assert job not in page.url
    expect(page.locator("h1")).to_have_text("A pier, twice")


def test_all_of_a_list_is_canceled(darkroom: Darkroom, page: Page) -> None:
    jobs = [darkroom.submit("Slow [sim: latency=20]", tags=["all-slow"]) for _ in range(2)]
    visit(page, darkroom, "#/jobs?tag=all-slow")
    page.get_by_role("button", name="Do to all of them…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("2 jobs fit.")
    dialog.get_by_role("button", name="Cancel 2 jobs").click()
    expect(page.locator(".note")).to_contain_text("2 done", timeout=30_000)
    for job in jobs:
        assert darkroom.client.get(f"/v1/jobs/{job}").json()["cancel"] is not None


def test_a_reference_is_given_as_a_link(darkroom: Darkroom, page: Page) -> None:
    visit(page, darkroom, "#/playground")
    page.get_by_label("Image URLs").fill("https://example.com/cup.png")
    page.get_by_role("button", name="Add link").click()
    expect(page.locator(".code")).to_contain_text("https://example.com/cup.png")
    expect(page.locator(".reference")).to_contain_text("https://example.com/cup.png")


def test_money_is_looked_at_over_a_time_and_by_kind(darkroom: Darkroom, page: Page) -> None:
    visit(page, darkroom, "#/money")
    page.get_by_role("button", name="7 days").click()
    expect(page.get_by_role("img", name="Charged on each day").locator("rect")).to_have_count(7)
    page.get_by_label("Kind").select_option("hold")
    kinds = rows(page, "Ledger").locator("td:nth-child(2)")
    expect(kinds.filter(has_not_text="hold")).to_have_count(0)
    expect(kinds.first).to_have_text("hold")


def test_an_operator_looks_at_a_longer_time_and_at_one_project(
    darkroom: Darkroom, night: Page
) -> None:
    visit(night, darkroom, "#/operator")
    night.get_by_role("button", name="24 hours").click()
    expect(night.get_by_role("button", name="24 hours")).to_have_attribute("aria-pressed", "true")
    assert "over=24+hours" in night.url
    night.get_by_role("link", name="of its project").first.click()
    narrowed = night.get_by_role("button", name="Every project")
    expect(narrowed).to_be_visible()
    narrowed.click()
    expect(narrowed).to_have_count(0)


def test_words_in_the_search_box_are_in_effect_before_anything_is_done(
    darkroom: Darkroom, page: Page
) -> None:
    darkroom.finish(darkroom.submit("A heron at dusk", tags=["birds"]))
    darkroom.finish(darkroom.submit("A wren at dawn", tags=["birds"]))
    visit(page, darkroom, "#/jobs?tag=birds")
    expect(rows(page, "Jobs")).to_have_count(2)
    page.get_by_role("searchbox").fill("heron")
    page.get_by_role("button", name="Do to all of them…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("search: heron")
    dialog.get_by_role("button", name="Leave it").click()
    expect(rows(page, "Jobs")).to_have_count(1)
    page.get_by_role("searchbox").fill("")  # as the cross in it does
    expect(rows(page, "Jobs")).to_have_count(2)


def test_a_filter_that_is_typed_is_taken_by_enter(darkroom: Darkroom, page: Page) -> None:
    darkroom.finish(darkroom.submit("For c_enter", customer="c_enter"))
    visit(page, darkroom, "#/jobs")
    page.get_by_text("More filters").click()
    page.get_by_label("Customer").fill("c_enter")
    page.keyboard.press("Enter")
    expect(rows(page, "Jobs")).to_have_count(1)
    expect(page.get_by_label("Customer")).to_have_value("c_enter")
    assert "customer=c_enter" in page.url


def test_chosen_jobs_stay_chosen_while_the_list_moves_on(darkroom: Darkroom, page: Page) -> None:
    first = darkroom.submit("Chosen once", tags=["moves-on"])
    darkroom.finish(first)
    visit(page, darkroom, "#/jobs?tag=moves-on&since=1+hour")
    page.get_by_label(f"Choose {first}").check()
    for number in range(PAGE):  # which push it off the page
        darkroom.submit(f"Newer {number}", tags=["moves-on"])
    expect(page.get_by_label(f"Choose {first}")).to_have_count(0, timeout=60_000)
    chosen = page.get_by_role("region", name="Chosen jobs")
    expect(chosen).to_contain_text("1 job chosen")
    chosen.get_by_role("button", name="Erase…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".preview li")).to_have_text(re.compile("Chosen once"))
    dialog.get_by_role("button", name="Erase 1 job").click()
    expect(dialog).to_have_count(0)
    assert darkroom.client.get(f"/v1/jobs/{first}").json()["erased_at"] is not None
