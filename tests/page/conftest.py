"""A Darkroom as `make up` starts it, with some jobs in it, and Debian's Chromium that looks at it.

These run in an environment of their own (`make page-test`): a browser's driver is no part of the project's.
"""

import re
import shutil
import socket
import subprocess
import time
import zlib
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / ".page"
CHROMIUM = shutil.which("chromium")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MODEL = "bytedance/seedream-5-0-lite-preview"
START = 180.0  # seconds for everything to be up, on a busy machine
expect.set_options(timeout=30_000)  # milliseconds, on a busy machine
_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PROMPTS = (
    "Espresso cup on wet concrete, morning light, product photo",
    "Botanical plate of a pomegranate, 18th century engraving",
    "Isometric greenhouse with ferns and a small robot gardener",
    "A red fox crossing a snowy street at night, neon reflections",
    "Hand-knitted sweater on a marble table, catalogue photo",
    "Bauhaus poster for a jazz concert, teal and vermilion",
    "A harbour in fog [sim: 429, 500, ok]",
    "A poster that is refused [sim: moderation_400]",
)


@dataclass(frozen=True)
class Darkroom:
    """The running stack: address, a key of every scope, clients of it and an operator, data, process."""

    url: str
    key: str
    client: httpx.Client
    operator: httpx.Client
    data: Path
    process: int

    def link(self, client: httpx.Client | None = None) -> str:
        """Make a link that signs in once, as this client's key."""
        made: str = (client or self.client).post("/session/link").json()["url"]
        return made

    def submit(self, prompt: str, image_urls: Sequence[str] = (), **options: object) -> str:
        """Submit a job; returns its id."""
        references = {"image_urls": image_urls} if image_urls else {}
        body = {"input": {"model": MODEL, "prompt": prompt, **references}, **options}
        answer = self.client.post("/v1/jobs", json=body)
        assert answer.status_code == 202, answer.text
        made: str = answer.json()["id"]
        return made

    def see(self, job: str) -> None:
        """Wait until a picture has its thumbnail."""
        until = time.monotonic() + START
        while self.client.get(f"/v1/jobs/{job}/images/0/thumbnail").status_code != 200:
            assert time.monotonic() < until, "no thumbnail is drawn"

    def wait_for_price(self, model: str) -> None:
        """Wait until a model can be called: a dispatcher asks for prices after it has started."""
        until = time.monotonic() + START
        while model not in {each["id"] for each in self.client.get("/v1/models").json()["data"]}:
            assert time.monotonic() < until, f"{model} has no price"

    def wait_until_ready(self) -> None:
        """Wait until the api answers again."""
        until = time.monotonic() + START
        while True:
            try:
                if self.client.get("/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                assert time.monotonic() < until, "the api does not come back"

    def batch(self, rows: str, **query: str) -> httpx.Response:
        """Send a batch as CSV."""
        headers = {"content-type": "text/csv"}
        return self.client.post("/v1/batches", content=rows, params=query, headers=headers)

    def finish(self, job: str) -> dict[str, object]:
        """Wait until a job has ended."""
        while True:
            shown: dict[str, object] = self.client.get(f"/v1/jobs/{job}?wait=30").json()
            if shown["finished_at"] is not None:
                return shown


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the Python be named that Darkroom runs on."""
    parser.addoption("--python", required=True, help="of the environment with Darkroom's packages")
    parser.addoption("--jobs", type=int, default=5_000_000, help="that lie in the tables")


@pytest.fixture(scope="session")
def darkroom(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Darkroom]:
    """Start the stack, and fill it a little."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    data, log = tmp_path_factory.mktemp("up"), tmp_path_factory.mktemp("log") / "up.log"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = (f"DARKROOM_PORT={port}", f"DARKROOM_DATA={data / 'data'}")
    python = request.config.getoption("--python")
    command = ["env", *settings, python, "-m", "deploy.local", "up"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    try:
        until = time.monotonic() + START
        while "it stays up" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            process_wait(process, 0.2)
        key = (data / "data" / "api-key").read_text().strip()
        assert re.search(r"look at it, within a minute: http\S+/#/sign-in/drs_", log.read_text())
        url = f"http://127.0.0.1:{port}"
        night = (data / "data" / "operator-key").read_text().strip()
        with client_of(url, key) as client, client_of(url, night) as operator:
            running = Darkroom(url, key, client, operator, data / "data", process.pid)
            fill(running)
            yield running
    finally:
        process.terminate()
        process.wait(60)


def client_of(url: str, key: str) -> httpx.Client:
    """Open a client that presents a key."""
    headers = {"authorization": f"Bearer {key}"}
    return httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False)


def process_wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for a while, or until a process ends."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def fill(darkroom: Darkroom) -> None:
    """Make some of everything that the rooms show."""
    events = ["job.succeeded", "job.failed"]
    hook = {"url": "http://127.0.0.1:9/hooks/darkroom", "events": events, "description": "Shop"}
    assert darkroom.client.post("/v1/webhooks", json=hook).status_code == 201
    budget = {"scope": "project", "window": "month", "limit": 20_000_000, "mode": "hard"}
    assert darkroom.client.put("/v1/budgets", json=budget).status_code == 200
    rows = "".join(f"plate-{n},Botanical plate number {n}\n" for n in range(6))
    catalogue = f"custom_id,prompt\n{rows}plate-6,A plate that is refused [sim: moderation_400]\n"
    answer = darkroom.batch(catalogue)
    assert answer.status_code == 202, answer.text
    made = [
        darkroom.submit(
            prompt,
            metadata={"order": f"A-{1700 + number}"},
            customer=f"c_{number % 3}",
            tags=[("catalog", "campaign")[number % 2]],
        )
        for number, prompt in enumerate(PROMPTS)
    ]
    references = [dyed(200, 60, 40), dyed(40, 90, 160)]
    told = {"customer": "c_0", "metadata": {"order": "A-1720"}, "tags": ["catalog"]}
    made.append(
        darkroom.submit("The cup of picture 1 in the light of picture 2", references, **told)
    )
    for job in made:
        if darkroom.finish(job)["has_image"]:
            darkroom.see(job)


def dyed(*colour: int) -> str:
    """Draw a reference, as a data URL: from a colour to white."""
    side = 256
    rows = (
        b"\0" + bytes(c + (255 - c) * x // side for x in range(side) for c in colour)
        for _ in range(side)
    )
    header = side.to_bytes(4) * 2 + bytes((8, 2, 0, 0, 0))
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b""))
    chunks = (
        len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)
        for kind, data in parts
    )
    return f"data:image/png;base64,{b64encode(PNG_SIGNATURE + b''.join(chunks)).decode()}"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def page(darkroom: Darkroom, chromium: Browser) -> Iterator[Page]:
    """A browser that is signed in; whatever it complains of fails the test."""
    yield from signed_in(chromium, darkroom.link(), "Now")


@pytest.fixture
def night(darkroom: Darkroom, chromium: Browser) -> Iterator[Page]:
    """A browser that is signed in with an operator's key."""
    yield from signed_in(chromium, darkroom.link(darkroom.operator), "Operator")


def signed_in(chromium: Browser, link: str, room: str) -> Iterator[Page]:
    """Open a browser, which begins in a room."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened = context.new_page()
    opened.set_default_timeout(30_000)
    complaints = listen(opened)
    opened.goto(link)
    opened.get_by_role("heading", name=room, level=1).wait_for()
    yield opened
    context.close()
    assert complaints == []


def listen(page: Page) -> list[str]:
    """Collect what goes wrong in a page: errors of scripts, and violations of its policy."""
    complaints: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        refused = "Failed to load resource" in message.text  # a refusal that the page shows itself
        if message.type in {"error", "warning"} and not refused:
            complaints.append(message.text)

    page.on("console", hear)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints
