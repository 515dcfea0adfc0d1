"""Keys, webhooks and money: each of their actions, and what an empty room teaches."""

import json
import re
import subprocess
from datetime import UTC, date, datetime, timedelta

from conftest import Darkroom  # this folder's
from hands import link_of, newcomer, visit
from playwright.sync_api import Browser, Page, expect

FIRST = {"jobs": "job", "batches": "batch", "webhooks": "webhook", "money": "budget"}


def enter(page: Page, darkroom: Darkroom, room: str) -> None:
    """Open a room, and wait until the one before is gone."""
    page.goto(f"{darkroom.url}/#/{room}")
    expect(page.get_by_role("heading", name=room.capitalize(), level=1)).to_be_visible()


def test_what_an_empty_room_shows_works_as_it_is_pasted(darkroom: Darkroom, page: Page) -> None:
    key = newcomer(darkroom, "first steps")
    page.goto(link_of(darkroom, key))
    expect(page.get_by_role("heading", name="No job yet")).to_be_visible()
    shell = ("/usr/bin/env", "no_proxy=127.0.0.1", f"DARKROOM_KEY={key}", "/bin/sh", "-c")
    for room, makes in FIRST.items():
        enter(page, darkroom, room)
        shown = page.locator(".empty .code code")
        expect(shown).to_be_visible()
        typed = shown.inner_text().replace("https://example.com", darkroom.url)
        done = subprocess.run([*shell, typed], capture_output=True, check=True)
        assert json.loads(done.stdout)["object"] == makes, done.stdout
    page.reload()
    expect(page.locator(".budgets")).to_contain_text("$10.00")


def test_nobody_is_shown_what_their_key_may_not_do(darkroom: Darkroom, page: Page) -> None:
    key = newcomer(darkroom, "onlooker", "usage:read")
    page.goto(link_of(darkroom, key))
    expect(page.locator(".empty")).to_contain_text("A key with the scope admin sets one.")
    expect(page.locator(".empty .code")).to_have_count(0)
    key = newcomer(darkroom, "onlooker", "jobs:read")
    page.goto(link_of(darkroom, key))
    for room, says in (("jobs", "makes the first"), ("batches", "sends the first")):
        enter(page, darkroom, room)
        expect(page.locator(".empty")).to_contain_text(f"A key with the scope jobs:write {says}.")
        expect(page.locator(".empty .code")).to_have_count(0)


def test_keys_are_made_shown_once_rotated_and_revoked(darkroom: Darkroom, page: Page) -> None:
    visit(page, darkroom, "#/keys")
    used = page.get_by_role("row").filter(has_text="this session").locator("time")
    expect(used).to_have_count(2)  # when it was made, and when it was last used
    page.get_by_role("button", name="New key").click()
    page.get_by_label("Name").fill("press")
    page.get_by_role("button", name="Create").click()
    key = page.get_by_role("dialog").locator(".code code").inner_text()
    assert re.fullmatch(r"dr_live_[0-9a-z]{12}_[0-9a-z]{47}", key)
    page.get_by_role("button", name="I have it").click()
    assert key not in page.content()
    row = page.get_by_role("row").filter(has_text="press")
    row.get_by_role("button", name="Rotate…").click()
    page.get_by_role("button", name="in an hour").click()
    page.get_by_role("button", name="I have it").click()
    expect(row.filter(has_text="ending")).to_have_count(1)
    row.filter(has_text="active").get_by_role("button", name="Revoke…").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(row.filter(has_text="revoked")).to_have_count(1)


def test_an_endpoint_is_registered_tested_rotated_disabled_and_deleted(
    darkroom: Darkroom, page: Page
) -> None:
    visit(page, darkroom, "#/webhooks")
    page.get_by_role("button", name="New endpoint").click()
    page.get_by_label("URL").fill("http://127.0.0.1:9/other")
    page.get_by_role("button", name="Register").click()
    expect(page.get_by_role("dialog").locator(".code code")).to_contain_text("whsec_")
    page.get_by_role("button", name="I have it").click()
    page.get_by_role("link", name="http://127.0.0.1:9/other").click()
    page.get_by_role("button", name="Send a test").click()
    expect(page.locator(".note")).to_contain_text("Not delivered", timeout=40_000)
    page.get_by_role("button", name="Rotate secret").click()
    page.get_by_role("button", name="I have it").click()
    page.get_by_role("button", name="Send again what failed").click()
    page.get_by_role("button", name="Disable").click()
    page.get_by_role("button", name="Enable").click()
    expect(page.get_by_role("button", name="Disable")).to_be_visible()
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="Webhooks")).to_be_visible()


def test_endpoints_show_how_they_have_answered(darkroom: Darkroom, page: Page) -> None:
    visit(page, darkroom, "#/webhooks")
    row = page.get_by_role("row").filter(has_text="http://127.0.0.1:9/hooks/darkroom")
    expect(row).to_contain_text("0 %")  # nobody is there
    expect(row.get_by_role("img", name=re.compile("Hour by hour: 0 % of"))).to_be_visible()
    row.get_by_role("link", name="http://127.0.0.1:9/hooks/darkroom").click()
    day = page.get_by_role("region", name="The last 24 hours")
    expect(day).to_contain_text(re.compile(r"0 % of \d+ tries succeeded"))
    day.get_by_text("The same as a table").click()
    expect(day.get_by_role("table", name="Hour by hour")).to_contain_text("0 %")
    page.get_by_role("table", name="Deliveries").get_by_role("link").first.click()
    expect(page.locator("h1")).not_to_contain_text("127.0.0.1")  # the job that it tells of
    page.get_by_role("table", name="Deliveries").get_by_role("link").first.click()
    expect(page.locator("h1")).to_have_text("http://127.0.0.1:9/hooks/darkroom")


def test_money_is_grouped_bounded_and_saved(darkroom: Darkroom, page: Page) -> None:
    visit(page, darkroom, "#/money")
    expect(page.locator(".figures")).to_contain_text("$")
    page.get_by_label("Group by").select_option("customer")
    expect(page.get_by_role("table", name="Spent by customer")).to_contain_text("c_1")
    page.get_by_role("button", name="New budget").click()
    page.get_by_label("US dollars").fill("5")
    page.get_by_role("dialog").get_by_label("Customer").fill("c_1")
    page.get_by_role("button", name="Set").click()
    expect(page.locator(".budgets")).to_contain_text("Customer c_1")
    page.get_by_role("button", name="New budget").click()
    page.get_by_role("dialog").get_by_label("Customer").fill("c_1")
    expect(page.get_by_role("dialog")).to_contain_text("It replaces the one of $5.00 each month.")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Delete the budget of Customer c_1").click()
    page.get_by_role("dialog").get_by_role("button", name="Leave it").click()
    expect(page.locator(".budgets")).to_contain_text("Customer c_1")
    page.get_by_role("button", name="Delete the budget of Customer c_1").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator(".budgets")).not_to_contain_text("Customer c_1")
    page.get_by_role("button", name="New budget").click()
    page.get_by_label("US dollars").fill("7")
    page.get_by_role("dialog").get_by_label("Key").select_option(index=1)
    page.get_by_role("button", name="Set").click()
    expect(page.locator(".budgets")).to_contain_text("$7.00")
    page.get_by_role("button", name=re.compile("Delete the budget of Key")).click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator(".budgets")).not_to_contain_text("$7.00")
    page.get_by_label("Month").select_option(index=1)  # the present one
    assert "month=" in page.url
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save as CSV").click()
    assert saved.value.suggested_filename == "ledger.csv"
    assert saved.value.path().read_text().startswith("at,made_at,job,")


def test_each_day_is_one_bar_also_where_clocks_change(
    darkroom: Darkroom, chromium: Browser
) -> None:
    page = chromium.new_context(timezone_id="Europe/Berlin").new_page()
    page.clock.set_fixed_time(datetime(2026, 11, 29, 22, 30, tzinfo=UTC))  # clocks: 25 October
    page.goto(darkroom.link())
    expect(page.get_by_role("heading", name="Now", level=1)).to_be_visible()
    with page.expect_request(re.compile(r"/v1/usage\?")) as asked:
        page.goto(f"{darkroom.url}/#/money?days=90")
    assert "from=2026-08-31T22%3A00%3A00" in asked.value.url  # midnight there
    bars = page.get_by_role("img", name="Charged on each day").locator("title")
    expect(bars).to_have_count(90)
    days = [each.partition(":")[0] for each in bars.all_text_contents()]
    assert days == [str(date(2026, 9, 1) + timedelta(days=after)) for after in range(90)]
    page.context.close()
