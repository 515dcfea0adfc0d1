"""Every room in both themes and at every width: what is seen, by eye, by axe and by the keyboard alone."""

import pytest
from conftest import SHOTS, Darkroom, listen  # this folder's
from hands import demand_no_secret, look, painted, reach, settle, visit
from playwright.sync_api import Browser, Page, expect

ROOMS = {
    "now": "#/now",
    "jobs": "#/jobs",
    "gallery": "#/jobs?view=gallery",
    "playground": "#/playground",
    "batches": "#/batches",
    "webhooks": "#/webhooks",
    "money": "#/money",
    "keys": "#/keys",
}
EMPTY = ("now", "jobs", "batches", "webhooks", "money")
WIDTHS = {390: 844, 1280: 900, 2560: 1440}
PAINT = 1_000  # milliseconds


def rooms_of(darkroom: Darkroom) -> dict[str, str]:
    """List every room with something in it."""
    words = {
        "job": "picture 1 in the light",
        "job-retried": "harbour in fog",
        "job-failed": "A poster that is",
    }
    found = {
        name: darkroom.client.get("/v1/jobs", params={"search": each}).json()["data"][0]["id"]
        for name, each in words.items()
    }
    hook = darkroom.client.get("/v1/webhooks").json()["data"][0]["id"]
    of_one = {name: f"#/jobs/{job}" for name, job in found.items()}
    batch = darkroom.client.get("/v1/batches").json()["data"][-1]["id"]
    return ROOMS | of_one | {"endpoint": f"#/webhooks/{hook}", "batch": f"#/batches/{batch}"}


def test_the_keyboard_alone_is_enough(darkroom: Darkroom, chromium: Browser) -> None:
    page = chromium.new_context(viewport={"width": 1280, "height": 900}).new_page()
    complaints = listen(page)
    page.goto(darkroom.url)
    expect(page.get_by_label("API key")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.type(darkroom.key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Now", level=1)).to_be_visible()
    reach(page, "Playground")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Playground")).to_be_visible()
    reach(page, "Prompt")
    page.keyboard.type("By keyboard alone")
    page.keyboard.press("Tab")
    reach(page, "Make the picture")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("By keyboard alone")
    assert complaints == []
    page.context.close()


def stranger(darkroom: Darkroom) -> str:
    """Make a project that has nothing yet, and a link into it."""
    told = darkroom.operator.get("/v1/operator/projects").json()["data"]
    named = {each["name"]: each["id"] for each in told}
    if "newcomer" not in named:
        made = darkroom.operator.post("/v1/operator/projects", json={"name": "newcomer"}).json()
        named["newcomer"] = made["id"]
    wish = {"name": "first", "scopes": ["admin"]}
    key = darkroom.operator.post(
        f"/v1/operator/projects/{named['newcomer']}/keys", json=wish
    ).json()["key"]
    made = darkroom.client.post("/session/link", headers={"authorization": f"Bearer {key}"}).json()
    return str(made["url"])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_room_is_drawn_at_every_width_and_axe_finds_nothing(
    darkroom: Darkroom, chromium: Browser, theme: str
) -> None:
    SHOTS.mkdir(exist_ok=True)
    serious: list[str] = []
    for width, height in WIDTHS.items():
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=theme
        )  # type: ignore[arg-type]  # a word of Playwright's
        page = context.new_page()
        complaints = listen(page)
        page.goto(darkroom.url)
        expect(page.get_by_label("API key")).to_be_visible()
        look(page, f"sign-in-{width}-{theme}", serious)
        page.goto(darkroom.link())
        expect(page.get_by_role("heading", name="Now", level=1)).to_be_visible()
        for name, place in rooms_of(darkroom).items():
            visit(page, darkroom, place)
            settle(page)
            look(page, f"{name}-{width}-{theme}", serious)
            demand_no_secret(page, darkroom, name)
        page.goto(stranger(darkroom))
        expect(page.get_by_role("heading", name="No job yet")).to_be_visible()
        for name in EMPTY:
            visit(page, darkroom, ROOMS[name])
            settle(page)
            look(page, f"{name}-empty-{width}-{theme}", serious)
        page.goto(darkroom.link(darkroom.operator))
        expect(page.get_by_role("heading", name="The provider's limit")).to_be_visible()
        settle(page)
        look(page, f"operator-{width}-{theme}", serious)
        assert complaints == []
        context.close()
    assert serious == []


def test_it_is_painted_within_a_second(page: Page) -> None:
    paints = []
    for _ in range(5):  # the best of them: what else this machine does is not the page's
        page.reload()
        expect(page.locator(".flow")).to_be_visible()
        paints.append(painted(page))
    print(f"first contentful paint after {min(paints):.0f} to {max(paints):.0f} ms")  # noqa: T201 - a figure
    assert min(paints) <= PAINT
