"""What tests do with a page, and what they demand of it in every room."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import SHOTS, Darkroom  # this folder's
from playwright.sync_api import Page, expect


def visit(page: Page, darkroom: Darkroom, place: str) -> None:
    page.goto(f"{darkroom.url}/{place}")
    expect(page.locator("#main h1").first).to_be_visible()


def newcomer(darkroom: Darkroom, name: str, scope: str = "admin") -> str:
    """Make a key of a project that has nothing yet."""
    told = darkroom.operator.get("/v1/operator/projects").json()["data"]
    named = {each["name"]: each["id"] for each in told}
    if name not in named:
        made = darkroom.operator.post("/v1/operator/projects", json={"name": name}).json()
        named[name] = made["id"]
    wish = {"name": "first", "scopes": [scope]}
    made = darkroom.operator.post(f"/v1/operator/projects/{named[name]}/keys", json=wish).json()
    return str(made["key"])


def link_of(darkroom: Darkroom, key: str) -> str:
    """Make a link that signs in once, as a key."""
    headers = {"authorization": f"Bearer {key}"}
    return str(darkroom.client.post("/session/link", headers=headers).json()["url"])


def reach(page: Page, name: str) -> None:
    """Press Tab until what has this name has the focus, and can be seen to have it."""
    told = (
        "() => { const on = document.activeElement;"
        " return [on.labels?.[0]?.innerText ?? on.innerText ?? '', getComputedStyle(on).outlineStyle] }"
    )
    page.wait_for_selector(
        ".room:not([data-fresh])", state="attached"
    )  # before that nothing takes it
    for _ in range(60):
        page.keyboard.press("Tab")
        text, outline = page.evaluate(told)
        if text.strip() == name:
            assert outline != "none"
            return
    pytest.fail(f"{name} cannot be reached by Tab")


def settle(page: Page) -> None:
    """Wait until everything is there that the room shows, down to the last picture."""
    # What is there may ask for more.
    page.evaluate(
        "async () => { const main = document.querySelector('#main'); let still = 0;"
        " while ((still = main.ariaBusy === 'false' ? still + 1 : 0) < 10)"
        " await new Promise(requestAnimationFrame); }"
    )
    # A picture is fetched once it comes near.
    page.evaluate(
        "async () => { for (let y = 0; y < document.body.scrollHeight; y += innerHeight) { scrollTo(0, y);"
        " for (const _ of [1, 2]) await new Promise(requestAnimationFrame); } scrollTo(0, 0); }"
    )
    page.wait_for_function("() => [...document.images].every(each => each.complete)")


def demand_no_secret(page: Page, darkroom: Darkroom, room: str) -> None:
    """Look for what opens anything: in all that the page has, keeps, or is called."""
    kept = page.evaluate(
        "() => [document.documentElement.outerHTML, document.cookie, location.href,"
        " JSON.stringify({...localStorage, ...sessionStorage, ...history.state})].join(' ')"
    )
    (cookie,) = page.context.cookies()
    for secret in (darkroom.key, cookie["value"], "drs_", "whsec_", "sig="):
        assert secret not in kept, (room, secret)


def look(page: Page, name: str, serious: list[str]) -> None:
    """Keep a screenshot, and what axe finds wrong; nothing reaches beyond the screen, or itself."""
    page.screenshot(path=SHOTS / f"{name}.png", full_page=page.viewport_size["width"] < 2000)
    for each in Axe().run(page).response["violations"]:
        if each["impact"] in {"serious", "critical"}:
            targets = [str(node["target"]) for node in each["nodes"][:3]]
            serious.append(f"{name}: {each['id']} {targets}")
    if page.evaluate("() => document.documentElement.scrollWidth > innerWidth"):
        serious.append(f"{name}: wider than the screen")
    hidden = page.locator(".scroll").evaluate_all(
        "all => all.filter(each => each.checkVisibility() && each.scrollWidth > each.clientWidth)"
        ".map(each => each.ariaLabel)"
    )
    serious.extend(f"{name}: {each} is cut off" for each in hidden)


# What moves without having been asked to, as browsers count it: https://web.dev/articles/cls
_JUMPS = """
    window.jumps = 0; window.jumped = [];
    new PerformanceObserver((list) => { for (const each of list.getEntries()) if (!each.hadRecentInput) {
        window.jumps += each.value;
        for (const { node } of each.sources) window.jumped.push(`${node?.nodeName} ${node?.className}`);
    } }).observe({ type: 'layout-shift', buffered: true });
"""


def count_jumps(page: Page) -> None:
    """Let every document of a page count how much moves in it by itself."""
    page.add_init_script(_JUMPS)


def jumps(page: Page, place: str) -> tuple[float, list[str]]:
    """Open a room anew; returns by how much it moved until all was there, and what did."""
    page.goto("about:blank")
    page.goto(place)
    expect(page.locator("#main h1").first).to_be_visible()
    settle(page)
    return page.evaluate("() => window.jumps"), page.evaluate("() => [...new Set(window.jumped)]")


def painted(page: Page) -> float:
    """Wait until something is painted, which may be after it is there; returns when, in milliseconds."""
    first = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    return float(page.wait_for_function(first).json_value())
