"""Changes come in by themselves, also after the server was away, a proxy cut the line, or the tab slept."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Darkroom, signed_in  # this folder's
from playwright.sync_api import Browser, Page, expect
from proxies import Proxy

SOON = 60_000  # milliseconds


@pytest.fixture
def proxy(darkroom: Darkroom) -> Iterator[Proxy]:
    between = Proxy(int(darkroom.url.rpartition(":")[2]))
    yield between
    between.close()


@pytest.fixture
def far(darkroom: Darkroom, chromium: Browser, proxy: Proxy) -> Iterator[Page]:
    """A browser that is signed in behind the proxy."""
    link = darkroom.link().replace(darkroom.url, proxy.url)
    yield from signed_in(chromium, link, "Now")


def demand_rows(page: Page, jobs: list[str]) -> None:
    """Each job is there once, and nothing else."""
    expect(page.locator("tbody tr")).to_have_count(len(jobs), timeout=SOON)
    shown = page.locator("tbody td.wide .id > span").evaluate_all(
        "all => all.map(each => each.title)"
    )
    assert shown == jobs[::-1]


def test_what_happened_while_nobody_was_told_is_caught_up_with(
    darkroom: Darkroom, far: Page, proxy: Proxy
) -> None:
    far.goto(f"{proxy.url}/#/jobs?tag=unheard")
    live, lost = far.locator(".live"), far.locator(".lost")
    expect(far.get_by_role("heading", name="No job is like that")).to_be_visible()
    expect(live).to_have_text("Live")
    expect(live).to_be_visible()
    proxy.leave()
    jobs = [darkroom.submit(f"Unheard of {number}", tags=["unheard"]) for number in range(3)]
    expect(live).to_have_text("Reconnecting")
    expect(lost).to_contain_text("Not connected since")
    proxy.come_back()
    demand_rows(far, jobs)
    expect(live).to_have_text("Live")
    expect(lost).to_be_empty()
    for number in range(2):  # as one does that ends every connection after 30 seconds
        proxy.cut()
        jobs.append(darkroom.submit(f"Cut off {number}", tags=["unheard"]))
        demand_rows(far, jobs)


def test_a_server_that_starts_again_is_found_again(darkroom: Darkroom, page: Page) -> None:
    page.goto(f"{darkroom.url}/#/jobs?tag=restart")
    expect(page.locator(".live")).to_have_text("Live")
    os.kill(api_of(darkroom), signal.SIGKILL)
    expect(page.locator(".live")).to_have_text("Reconnecting")
    darkroom.wait_until_ready()
    job = darkroom.submit("After the restart", tags=["restart"])
    demand_rows(page, [job])
    expect(page.locator(".live")).to_have_text("Live")


def test_a_tab_that_has_slept_sees_what_it_missed(darkroom: Darkroom, page: Page) -> None:
    page.goto(f"{darkroom.url}/#/jobs?tag=asleep")
    expect(page.locator(".live")).to_have_text("Live")
    devtools = page.context.new_cdp_session(page)
    devtools.send("Page.setWebLifecycleState", {"state": "frozen"})
    jobs = [darkroom.submit(f"Unseen {number}", tags=["asleep"]) for number in range(2)]
    for job in jobs:
        darkroom.finish(job)
    devtools.send("Page.setWebLifecycleState", {"state": "active"})
    demand_rows(page, jobs)
    expect(page.locator("tbody .status")).to_have_text(["succeeded", "succeeded"])


def test_a_job_that_ends_unheard_is_shown_as_it_ended(
    darkroom: Darkroom, far: Page, proxy: Proxy
) -> None:
    job = darkroom.submit("Its end is not heard [sim: latency=6]")
    far.goto(f"{proxy.url}/#/jobs/{job}")
    expect(far.locator(".head .status")).to_have_text(re.compile("queued|running"))
    proxy.leave()
    darkroom.finish(job)
    proxy.come_back()
    expect(far.locator(".head .status")).to_have_text("succeeded", timeout=SOON)
    expect(far.locator(".timeline li").filter(has_text="Call 1")).to_have_count(1)
    expect(far.locator(".picture img")).to_be_visible()


def api_of(darkroom: Darkroom) -> int:
    """Find the stack's api among its children."""
    for each in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((each / "stat").read_text().rpartition(")")[2].split()[1])
            command = (each / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has ended meanwhile
            continue
        if parent == darkroom.process and b"api" in command:
            return int(each.name)
    pytest.fail("the stack has no api")
