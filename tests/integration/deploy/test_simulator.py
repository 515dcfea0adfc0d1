"""The simulator over real HTTP: each scenario, its money, its log, its images and its restarts."""

import asyncio
import base64
import io
import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import jsonschema
import pytest
from PIL import Image, ImageFile

from deploy import simulator
from deploy.simulator import clock, scenarios
from deploy.simulator.scenarios.table import TABLE, Delivery, Scenario
from tests.conftest import PLAIN

PRICE = 91_000
LITE = "bytedance/seedream-5-0-lite-preview"
SMALL = {"width": 1920, "height": 1920}
SCHEMAS = Path(simulator.__file__).with_name("schemas") / "account"
GENERATIONS = "/v1/images/generations"


@dataclass(frozen=True)
class Caller:
    """A client of one running simulator."""

    running: simulator.Running
    http: httpx.AsyncClient

    async def generate(
        self, prompt: str = "a fox", client_id: str | None = None, **fields: object
    ) -> httpx.Response:
        headers = {"X-Client-Request-Id": client_id} if client_id else {}
        body = {"model": LITE, "prompt": prompt, **fields}
        return await self.http.post(GENERATIONS, json=body, headers=headers)

    async def read(self, path: str, **query: str) -> dict[str, object]:
        answer = await self.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        body: dict[str, object] = answer.json()
        return body

    async def log(self, **query: str) -> list[dict[str, object]]:
        return (await self.http.get("/v2/logs", params={"period": "24h", **query})).json()["data"]  # type: ignore[no-any-return]  # JSON of a known shape

    async def calls(self) -> list[dict[str, object]]:
        return (await self.http.get("/_simulator/calls")).json()["calls"]  # type: ignore[no-any-return]  # JSON of a known shape

    async def configure(self, **settings: object) -> None:
        answer = await self.http.put("/_simulator/config", json=settings)
        assert answer.status_code == 200, answer.text

    @property
    def charged(self) -> int:
        usage = (e for e in self.running.world.wallet.entries if e.type == "MODEL_USAGE")
        return sum(entry.credits for entry in usage)


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    async with simulator.serve(simulator.Config()) as running, client(running) as http:
        yield Caller(running, http)


def client(running: simulator.Running, key: str = "simulator-key") -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=running.url, headers=headers, timeout=20, verify=PLAIN)


async def raw_call(url: str, scenario: str) -> bytes | None:
    """Return all bytes of the answer, or None when the connection was reset."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = json.dumps({"model": LITE, "prompt": "a fox", "image_size": SMALL}).encode()
    head = (
        f"POST {GENERATIONS} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n"
        f"Authorization: Bearer simulator-key\r\nX-Simulator-Scenario: {scenario}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    try:
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionResetError:
        return None
    finally:
        writer.close()


STATUSES = {
    "401": 401,
    "403_credits": 403,
    "403_funds": 403,
    "403_other": 403,
    "403_html": 403,
    "402": 402,
    "404": 404,
    "400_billing": 400,
    "429_quota": 429,
    "429": 429,
    "429_retry_after": 429,
    "moderation_400": 400,
    "moderation_500": 500,
    "moderation_down": 400,
    "500": 500,
    "503": 503,
    "502_html": 502,
    "502_charged": 502,
    "504_uncharged": 504,
    "504_charged": 504,
    "524": 524,
    "524_charged": 524,
}


@pytest.mark.parametrize("row", TABLE.values(), ids=lambda row: row.name)
async def test_each_scenario_answers_and_charges_as_its_row_says(
    caller: Caller, row: Scenario
) -> None:
    short = "=0.05" if row.name in {"latency", "hang", "drip"} else ""
    raw = await raw_call(caller.running.url, row.name + short)

    match row.delivery:
        case Delivery.RESET:
            assert raw is None
        case Delivery.FIN:
            assert raw == b""
        case Delivery.GARBAGE:
            assert raw is not None
            assert not raw.startswith(b"HTTP")
        case Delivery.HALF_HEADERS:
            assert raw is not None
            assert raw.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"\r\n\r\n" not in raw
        case Delivery.HALF_BODY:
            head, _, body = (raw or b"").partition(b"\r\n\r\n")
            assert int(re.findall(rb"Content-Length: (\d+)", head)[0]) > len(body) > 0
        case _:
            assert raw is not None
            assert raw.startswith(b"HTTP/1.1 %d " % STATUSES.get(row.name, 200))
            assert b"x-simulator: darkroom" in raw

    assert caller.charged == (PRICE if row.charged else 0)
    (call,) = await caller.calls()
    assert call["scenario"] == row.name
    assert call["charged"] == caller.charged
    assert call["answered_at"] is not None
    log = await caller.log()
    expected = ["succeeded" if row.charged else "failed"] if row.logged else []
    assert [line["status"] for line in log] == expected
    assert caller.running.world.wallet.held == 0


@pytest.mark.parametrize(
    ("play", "status", "told", "logged", "moved"),
    [
        ("500+charged", 500, None, ("succeeded", PRICE), [-PRICE]),
        ("moderation_400+charged+logged_failed", 400, None, ("failed", 0), [-PRICE]),
        ("ok+free", 200, PRICE, ("failed", 0), []),
        ("ok+told=1", 200, 1, ("succeeded", PRICE), [-PRICE]),
        ("ok+told=0", 200, 0, ("succeeded", PRICE), [-PRICE]),
        ("ok+failed_with_cost", 200, PRICE, ("failed", PRICE), [-PRICE]),
        ("ok+failed_first", 200, PRICE, ("failed", 0), [-PRICE]),
        ("ok+failed_first=0", 200, PRICE, ("succeeded", PRICE), [-PRICE]),
        ("ok+odd_row", 200, PRICE, ("settling", PRICE), [-PRICE]),
        ("ok+twice", 200, PRICE, ("succeeded", PRICE), [-PRICE, -PRICE]),
        ("ok+adjusted", 200, PRICE, ("succeeded", PRICE), [-PRICE, -9_000]),
    ],
)
async def test_a_lie_parts_what_is_answered_logged_and_charged(
    caller: Caller,
    play: str,
    status: int,
    told: int | None,
    logged: tuple[str, int],
    moved: list[int],
) -> None:
    answer = await caller.generate(f"a fox [sim: {play}]", "job_1:1")

    assert answer.status_code == status
    if told is not None:
        assert answer.json()["meta"]["usage"]["credits_used"] == told
    (line,) = await caller.log()
    assert (line["status"], line["cost"]["credits"]) == logged  # type: ignore[index]  # as published
    entries = caller.running.world.wallet.entries[1:]
    assert [entry.signed for entry in entries] == moved
    assert {entry.reference_id for entry in entries} <= {line["inference_id"]}


async def test_a_charge_may_be_refunded_later(caller: Caller) -> None:
    await caller.generate("a fox [sim: ok+refunded]")
    entries = caller.running.world.wallet.entries
    while len(entries) < 3:  # noqa: ASYNC110  # the simulator has no event to wait for here
        await asyncio.sleep(0)
    assert [(entry.type, entry.signed) for entry in entries[1:]] == [
        ("MODEL_USAGE", -PRICE), ("REFUND", PRICE),
    ]  # fmt: skip
    assert entries[1].reference_id == entries[2].reference_id is not None


async def test_the_log_may_lose_the_clients_id(caller: Caller) -> None:
    await caller.generate("a fox [sim: ok+no_client_id]", "job_1:1")
    (line,) = await caller.log()
    assert line["client_request_id"] is None


async def test_the_accounts_clock_may_be_wrong(caller: Caller) -> None:
    await caller.configure(skew=-75)
    answer = await caller.generate()
    made = parsedate_to_datetime(answer.headers["Date"])
    (line,) = await caller.log(period="1h")
    entry = (await caller.read("/v2/billing/transactions", type="MODEL_USAGE"))["data"][0]  # type: ignore[index]  # as published
    for written in (line["created"], entry["created_at"]):
        behind = made - datetime.fromisoformat(str(written))
        assert timedelta(seconds=70) < behind < timedelta(seconds=80)
    late = {"start": clock.text(made - timedelta(seconds=60)), "end": clock.text(made)}
    assert (await caller.read("/v2/logs", **late))["data"] == []


async def test_a_good_call_gets_the_published_answer_and_headers(caller: Caller) -> None:
    answer = await caller.generate(client_id="job_1:1", image_size="2K")

    assert answer.status_code == 200
    body = answer.json()
    assert body["meta"] == {"usage": {"credits_used": PRICE}}
    assert body["data"][0]["size"] == "2048x2048"
    assert body["data"][0]["url"].startswith(caller.running.url + "/cdn/generations/")
    assert answer.headers["x-client-request-id"] == "job_1:1"
    assert answer.headers["x-aimlapi-credits-used"] == str(PRICE)
    assert float(answer.headers["x-aimlapi-usd-spent"]) == 0.0455
    (line,) = await caller.log()
    assert line["inference_id"] == answer.headers["x-inference-id"]
    assert line["request_id"] == answer.headers["x-request-id"]
    assert line["client_request_id"] == "job_1:1"


async def test_a_client_request_id_that_is_not_allowed_is_dropped_and_billed(
    caller: Caller,
) -> None:
    answer = await caller.generate(client_id="not allowed/1")

    assert answer.status_code == 200
    assert "x-client-request-id" not in answer.headers
    assert (await caller.log())[0]["client_request_id"] is None
    assert caller.charged == PRICE


@pytest.mark.parametrize(
    ("fields", "path", "code"),
    [
        ({"image_size": "8K"}, ["image_size"], "invalid_enum_value"),
        ({"image_size": {"width": 9000}}, ["image_size", "width"], "too_big"),
        ({"image_size": {"widht": 2048}}, ["image_size"], "unrecognized_keys"),
        ({"image_urls": []}, ["image_urls"], "too_small"),
        ({"image_urls": ["ftp://x/y.png"]}, ["image_urls", 0], "invalid_string"),
        ({"n": 2}, [], "unrecognized_keys"),
        ({"prompt": 7}, ["prompt"], "invalid_type"),
        ({"seed": "one"}, ["seed"], "invalid_type"),
        ({"model": "openai/gpt-5"}, ["model"], "invalid_enum_value"),
    ],
)
async def test_a_body_outside_the_schema_is_refused_with_its_field(
    caller: Caller, fields: dict[str, object], path: list[object], code: str
) -> None:
    answer = await caller.generate(**fields)  # type: ignore[arg-type]  # wrong on purpose

    assert answer.status_code == 400
    issue = answer.json()["error"]["data"][0]
    assert (issue["path"], issue["code"]) == (path, code)
    assert caller.charged == 0


async def test_a_missing_prompt_and_a_body_that_is_not_json_are_refused(caller: Caller) -> None:
    missing = await caller.http.post(GENERATIONS, json={"model": LITE})
    broken = await caller.http.post(GENERATIONS, content=b"{")

    assert missing.json()["error"]["data"][0]["path"] == ["prompt"]
    assert (missing.status_code, broken.status_code) == (400, 400)


async def test_too_few_pixels_are_refused_in_the_upstreams_words(caller: Caller) -> None:
    answer = await caller.generate(image_size={"width": 1440, "height": 1440})

    assert answer.status_code == 400
    assert "at least 3686400 pixels" in answer.json()["error"]["message"]


async def test_references_may_be_urls_and_inline_images(caller: Caller) -> None:
    inline = "data:image/png;base64," + base64.b64encode(b"png").decode()
    urls = [caller.running.url + "/reference/t-rex.png", inline]

    assert (await caller.generate(image_urls=urls)).status_code == 200


async def test_a_script_goes_by_the_calls_of_its_job_and_its_last_play_repeats(
    caller: Caller,
) -> None:
    prompt = "a fox [sim: 429, latency=0.01+500, ok, 503]"
    seen = [(await caller.generate(prompt, f"job_a:{n}")).status_code for n in range(1, 6)]
    other = await caller.generate(prompt, "job_b:1")

    assert seen == [429, 500, 200, 503, 503]
    assert other.status_code == 429


async def test_an_unknown_scenario_is_refused_and_costs_nothing(caller: Caller) -> None:
    answer = await caller.generate("a fox [sim: explode]")

    assert answer.status_code == 400
    assert "unknown scenario" in answer.json()["message"]
    assert caller.charged == 0
    assert caller.running.world.wallet.held == 0


async def test_retry_after_is_the_number_that_was_asked_for(caller: Caller) -> None:
    answer = await caller.generate("a fox [sim: 429_retry_after=7]")

    assert answer.headers["retry-after"] == "7"


async def test_rates_are_the_same_for_the_same_seed() -> None:
    async def outcomes(seed: int) -> list[int]:
        config = simulator.Config(seed=seed, rates={"500": 0.3, "429": 0.2})
        async with simulator.serve(config) as running, client(running) as http:
            return [(await Caller(running, http).generate()).status_code for _ in range(40)]

    first = await outcomes(7)
    assert first == await outcomes(7)
    assert first != await outcomes(8)
    assert set(first) == {200, 429, 500}


async def test_calls_take_their_latency_give_or_take_the_spread(caller: Caller) -> None:
    await caller.configure(latency=20, spread=0.5)
    drawn = [caller.running.world.latency() for _ in range(200)]
    assert all(10 <= each <= 30 for each in drawn)
    assert min(drawn) < 12
    assert max(drawn) > 28
    await caller.configure(latency=0, spread=0.5)
    assert (await caller.generate()).status_code == 200


async def test_the_limit_holds_and_does_not_spend_a_script(caller: Caller) -> None:
    await caller.configure(limit=2, latency=0.3)

    calls = [caller.generate("a fox [sim: 500, ok]", f"job_{n}:1") for n in range(5)]
    answers = await asyncio.gather(*calls)

    assert sorted(answer.status_code for answer in answers) == [429, 429, 429, 500, 500]
    assert caller.running.world.peak_in_flight == 2
    limited = next(n for n, answer in enumerate(answers) if answer.status_code == 429)
    again = await caller.generate("a fox [sim: 500, ok]", f"job_{limited}:2")
    assert again.status_code == 500


async def test_holds_count_against_the_balance_and_are_rolled_back() -> None:
    config = simulator.Config(balance_usd=2 * PRICE / 2_000_000, latency=0.3)
    async with simulator.serve(config) as running, client(running) as http:
        caller = Caller(running, http)
        answers = await asyncio.gather(
            caller.generate("a [sim: 500]"), caller.generate("b"), caller.generate("c")
        )
        assert [answer.status_code for answer in answers].count(403) == 1
        poor = next(answer for answer in answers if answer.status_code == 403)
        assert poor.json()["error"]["data"]["kind"] == "err_insufficent_credits"

        await http.post("/_simulator/topup", json={"usd": 1})
        assert (await caller.generate()).status_code == 200
        billing = await caller.read("/v2/billing")
        ledger = await caller.read("/_simulator/ledger")

    assert billing == {"current_balance": ledger["balance"] / 2_000_000, "currency": "USD"}  # type: ignore[operator]  # JSON


async def test_money_is_conserved_whatever_happens_to_the_calls() -> None:
    rates = {name: 0.04 for name, row in TABLE.items() if row.number is None}
    rates = dict(list(rates.items())[:24])
    config = simulator.Config(rates=rates, limit=12, latency=0.01, pictures="stamped")
    async with simulator.serve(config) as running:
        url, world = running.url, running.world
        await asyncio.gather(*(raw_call(url, "") for _ in range(5)))
        async with client(running) as http:
            caller = Caller(running, http)
            calls = (caller.generate(f"fox {n}", f"job_{n}:1") for n in range(150))
            await asyncio.gather(*calls, return_exceptions=True)
            ledger = await caller.read("/_simulator/ledger")
            witnessed = await caller.calls()

    assert len(witnessed) == 155
    paid = sum(int(str(call["charged"])) for call in witnessed)
    assert ledger["charged"] == paid > 0
    assert ledger["held"] == 0
    assert ledger["balance"] == 200_000_000 - paid
    assert world.wallet.balance == sum(entry.signed for entry in world.wallet.entries)


async def test_a_caller_who_hangs_up_is_charged_all_the_same(caller: Caller) -> None:
    await caller.configure(latency=0.2)
    with pytest.raises(httpx.ReadTimeout):
        await caller.http.post(GENERATIONS, json={"model": LITE, "prompt": "x"}, timeout=0.05)
    assert caller.charged == 0

    async with asyncio.timeout(5):
        while not caller.charged:  # noqa: ASYNC110  # the simulator has no event to wait for here
            await asyncio.sleep(0.02)

    assert caller.charged == PRICE


async def test_a_hanging_call_is_charged_before_it_answers(caller: Caller) -> None:
    body = {"model": LITE, "prompt": "x [sim: hang=30]"}
    with pytest.raises(httpx.ReadTimeout):
        await caller.http.post(GENERATIONS, json=body, timeout=0.5)

    assert caller.charged == PRICE
    assert [line["status"] for line in await caller.log()] == ["succeeded"]


async def test_images_are_jpegs_of_the_asked_size_for_get_alone(caller: Caller) -> None:
    answer = await caller.generate(image_size={"width": 2560, "height": 1440}, seed=3)
    url = answer.json()["data"][0]["url"]

    image = await caller.http.get(url)
    head = await caller.http.head(url)
    forged = await caller.http.get(url[:-4] + "0000")

    assert image.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(image.content)) as picture:
        picture.load()
        assert (picture.format, picture.size) == ("JPEG", (2560, 1440))
    assert (head.status_code, forged.status_code) == (403, 403)


async def test_the_same_prompt_seed_and_size_give_the_same_bytes(caller: Caller) -> None:
    async def image(prompt: str, seed: int) -> bytes:
        answer = await caller.generate(prompt, seed=seed, image_size=SMALL)
        return (await caller.http.get(answer.json()["data"][0]["url"])).content

    fox = await image("a fox", 1)
    assert fox == await image("a fox", 1)
    assert fox != await image("a fox", 2)
    assert fox != await image("a hen", 1)


async def test_prompts_in_any_script_are_drawn(caller: Caller) -> None:
    prompt = r"caf\u00e9 \u732b \ud83e\udd8a and half a pair \ud83e"
    body = f'{{"model": "{LITE}", "prompt": "{prompt}"}}'
    answer = await caller.http.post(GENERATIONS, content=body)

    image = await caller.http.get(answer.json()["data"][0]["url"])
    assert image.content.startswith(b"\xff\xd8")


async def test_base64_is_the_image_itself(caller: Caller) -> None:
    answer = await caller.generate(response_format="b64_json", image_size=SMALL)

    item = answer.json()["data"][0]
    assert "url" not in item
    with Image.open(io.BytesIO(base64.b64decode(item["b64_json"]))) as picture:
        assert picture.size == (1920, 1920)


async def test_defects_are_in_the_image_and_not_in_the_answer(caller: Caller) -> None:
    async def url(scenario: str) -> str:
        answer = await caller.generate(f"a fox [sim: {scenario}]", image_size=SMALL)
        found: str = answer.json()["data"][0]["url"]
        return found

    truncated = await caller.http.get(await url("truncated_image"))
    assert truncated.status_code == 200
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    with (
        Image.open(io.BytesIO(truncated.content)) as picture,
        pytest.raises(OSError, match="trunc"),
    ):
        picture.load()
    with pytest.raises(httpx.RemoteProtocolError):
        await caller.http.get(await url("cut_image"))
    assert (await caller.http.get(await url("not_an_image"))).content.startswith(b"<html>")
    odd = await caller.http.get(await url("png_with_workflow"))
    with pytest.raises(ValueError, match="too large"):
        Image.open(io.BytesIO(odd.content))
    assert (await caller.http.get(await url("image_gone"))).status_code == 404


async def test_stamped_pictures_differ_in_bytes_and_not_in_pixels(caller: Caller) -> None:
    await caller.configure(pictures="stamped")
    images = []
    for _ in range(2):
        answer = await caller.generate(image_size=SMALL)
        images.append((await caller.http.get(answer.json()["data"][0]["url"])).content)

    assert images[0] != images[1]
    with Image.open(io.BytesIO(images[0])) as one, Image.open(io.BytesIO(images[1])) as two:
        assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize(("name", "kind"), [("t-rex.png", "PNG"), ("blue-mug.jpg", "JPEG")])
async def test_reference_images_are_pictures(caller: Caller, name: str, kind: str) -> None:
    answer = await caller.http.get(f"/reference/{name}")

    with Image.open(io.BytesIO(answer.content)) as picture:
        assert (picture.format, picture.size) == (kind, (512, 512))


async def test_the_log_lags_pages_and_filters(caller: Caller) -> None:
    for n in range(5):
        await caller.generate("a fox [sim: ok, 500]", f"job_{n % 2}:{n}")
    await caller.configure(log_lag=3600)
    assert await caller.log() == []
    await caller.configure(log_lag=0)

    pages = [
        await caller.read("/v2/logs", period="1h", limit="2", offset=str(o)) for o in (0, 2, 4)
    ]
    ids = [row["client_request_id"] for page in pages for row in page["data"]]  # type: ignore[attr-defined]  # JSON
    assert ids == ["job_0:4", "job_1:3", "job_0:2", "job_1:1", "job_0:0"]
    assert [page["pagination"] for page in pages] == [
        {"limit": 2, "offset": 0, "total": 5, "has_more": True},
        {"limit": 2, "offset": 2, "total": 5, "has_more": True},
        {"limit": 2, "offset": 4, "total": 5, "has_more": False},
    ]
    failed = await caller.log(status="failed")
    assert {row["cost"]["credits"] for row in failed} == {0}  # type: ignore[index]  # JSON
    assert len(failed) == 3
    assert len(await caller.log(model="seedream-5-0-lite-preview")) == 5
    assert await caller.log(model="a,b") == []


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"period": "24h", "start": "2026-01-01"},
        {"period": "soon"},
        {"start": "2026-01-01"},
        {"start": "2026-01-02", "end": "2026-01-01"},
        {"start": "2026-01-01", "end": "2026-05-01"},
        {"period": "24h", "limit": "101"},
        {"period": "24h", "offset": "-1"},
        {"period": "24h", "status": "succeeded,failed"},
    ],
)
async def test_a_wrong_question_to_the_log_is_a_400(caller: Caller, query: dict[str, str]) -> None:
    assert (await caller.http.get("/v2/logs", params=query)).status_code == 400


async def test_the_log_answers_so_many_requests_a_minute(caller: Caller) -> None:
    await caller.configure(log_requests=3)

    answers = [await caller.http.get("/v2/logs", params={"period": "1h"}) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]


async def test_the_ledger_pages_by_its_cursor_and_holds_no_failures(caller: Caller) -> None:
    made = [await caller.generate("x [sim: ok, 500]", f"job_{n}:1") for n in range(4)]
    await caller.generate("x [sim: 500]")
    seen: list[object] = []
    cursor: dict[str, str] = {}
    while True:
        page = await caller.read("/v2/billing/transactions", limit="2", **cursor)
        seen += [row["reference_id"] for row in page["data"]]  # type: ignore[attr-defined]  # JSON
        pagination: dict[str, str] = page["pagination"]  # type: ignore[assignment]  # JSON
        if not pagination["has_more"]:
            break
        cursor = {"cursor": pagination["next_cursor"]}

    assert seen == [*(answer.headers["x-inference-id"] for answer in reversed(made)), None]
    for wrong in ({"offset": "1"}, {"cursor": cursor["cursor"] + "A"}, {"from": "2026-01-01"}):
        answer = await caller.http.get("/v2/billing/transactions", params=wrong)
        assert answer.status_code == 400, wrong


@pytest.mark.parametrize(
    ("file", "path"),
    [
        ("billing-v2", "/v2/billing"),
        ("logs-v2", "/v2/logs?period=24h"),
        ("billing-transactions-v2", "/v2/billing/transactions"),
        ("models", "/v1/models?include=all"),
        ("model-metrics", "/models/metrics"),
    ],
)
async def test_the_account_answers_as_published(caller: Caller, file: str, path: str) -> None:
    await caller.generate("a fox", "job_1:1")
    await caller.generate("a fox [sim: 500]")
    published = json.loads((SCHEMAS / f"{file}.openapi.json").read_bytes())["paths"]
    (get,) = (route["get"] for route in published.values())
    schema = get["responses"]["200"]["content"]["application/json"]["schema"]

    answer = await caller.http.get(path)

    nullable = json.loads(json.dumps(schema), object_hook=_as_json_schema)
    jsonschema.Draft202012Validator(nullable).validate(answer.json())


def _as_json_schema(part: dict[str, object]) -> dict[str, object]:
    return {**part, "type": [part["type"], "null"]} if part.get("nullable") else part


async def test_the_catalogue_has_a_price_and_an_etag(caller: Caller) -> None:
    await caller.configure(price=100_000)
    answer = await caller.http.get(
        "/v1/models", params={"id": "seedream-5-0-lite-preview", "include": "pricing"}
    )

    (model,) = answer.json()["data"]
    assert model["id"] == LITE
    assert model["pricing"]["units"][0]["price"] == 0.05
    known = {"If-None-Match": answer.headers["etag"]}
    again = await caller.http.get(str(answer.url), headers=known)
    assert again.status_code == 304
    assert (await caller.http.get("/models/metrics?model=x")).status_code == 400


async def test_a_new_price_is_charged_and_shown(caller: Caller) -> None:
    await caller.configure(price=120_000)

    answer = await caller.generate()

    assert answer.json()["meta"]["usage"]["credits_used"] == 120_000
    assert caller.charged == 120_000


async def test_a_wrong_key_is_refused_and_a_retired_one_still_reads(caller: Caller) -> None:
    await caller.generate("a fox", "job_1:1")
    await caller.configure(key="the-next-key")

    assert (await caller.generate()).status_code == 401
    assert [row["client_request_id"] for row in await caller.log()] == ["job_1:1"]
    async with client(caller.running, "the-next-key") as http:
        assert await Caller(caller.running, http).log() == []
    async with client(caller.running, "nobody") as http:
        answer = await http.get("/v2/billing")
    assert answer.status_code == 401
    assert answer.json()["error"]["name"] == "UnauthorizedException"


async def test_a_wrong_setting_changes_nothing(caller: Caller) -> None:
    wrongs: list[object] = [
        {"limit": 3, "rates": {"explode": 1}},
        {"latency": "long"},
        {"spread": 1.5},
        {"price": 0},
        {"port": 1},
        [],
    ]
    for wrong in wrongs:
        answer = await caller.http.put("/_simulator/config", json=wrong)
        assert answer.status_code == 400, wrong
    assert caller.running.world.config == simulator.Config()


async def test_rates_may_be_written_as_on_the_command_line(caller: Caller) -> None:
    await caller.configure(rates="429_retry_after=9=1")

    answer = await caller.generate()

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "9")


@pytest.mark.parametrize("text", ["500=0.7,429=0.7", "500=-1", "explode=0.1", "500=much", "ok=3=1"])
def test_rates_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"rates|scenario|number"):
        scenarios.read_rates(text)


async def test_the_wallet_can_be_drained_and_says_so(caller: Caller) -> None:
    await caller.http.post("/_simulator/topup", json={"usd": -100})

    assert (await caller.generate()).status_code == 403
    drained = await caller.read("/v2/billing/transactions", direction="CHARGE", type="ADJUSTMENT")
    assert len(drained["data"]) == 1  # type: ignore[arg-type]  # JSON
    assert (await caller.read("/v2/billing"))["current_balance"] == 0
    for wrong in (b"{", b"[]", b'{"usd": 0}', b'{"usd": "all"}'):
        answer = await caller.http.post("/_simulator/topup", content=wrong)
        assert answer.status_code == 400, wrong


async def test_a_charge_may_land_after_the_answer(caller: Caller) -> None:
    await caller.configure(charge_lag=3600)
    await caller.generate()

    query = {"type": "MODEL_USAGE"}
    assert (await caller.read("/v2/billing/transactions", **query))["data"] == []
    await caller.configure(charge_lag=0)
    assert len((await caller.read("/v2/billing/transactions", **query))["data"]) == 1  # type: ignore[arg-type]  # JSON


async def test_metrics_are_of_calls_that_succeeded(caller: Caller) -> None:
    await caller.generate("x [sim: 500]")
    assert (await caller.read("/models/metrics"))["models"] == []
    await caller.generate("x [sim: latency=0.1]")

    (row,) = (await caller.http.get("/models/metrics", params={"aliases": LITE})).json()["models"]

    assert 100 <= row["metrics"]["duration_ms"]["p99"] < 5000
    assert (await caller.read("/models/metrics", aliases="nobody"))["models"] == []


async def test_the_witness_can_be_read_from_a_number_on(caller: Caller) -> None:
    for n in range(3):
        await caller.generate("a fox", f"job_{n}:1")

    later = await caller.http.get("/_simulator/calls?after=2")

    assert [call["client_request_id"] for call in later.json()["calls"]] == ["job_2:1"]
    assert (await caller.http.get("/_simulator/calls?after=x")).status_code == 400


async def test_a_restart_keeps_money_calls_scripts_and_images(tmp_path: Path) -> None:
    config = simulator.Config(data=tmp_path)
    async with simulator.serve(config) as running, client(running) as http:
        caller = Caller(running, http)
        first = await caller.generate("a fox [sim: ok, 500]", "job_1:1", image_size=SMALL)
        path = first.json()["data"][0]["url"].removeprefix(running.url)
        image = (await http.get(path)).content
        await http.post("/_simulator/topup", json={"usd": 5})
        before = [await caller.read(p) for p in ("/_simulator/ledger", "/_simulator/calls")]
    with (tmp_path / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"kind":"entry","torn')
    assert b"simulator-key" not in (tmp_path / "journal.jsonl").read_bytes()

    for _ in range(2):  # the second time proves that the torn line did not spoil the next
        async with simulator.serve(config) as running, client(running) as http:
            caller = Caller(running, http)
            after = [await caller.read(p) for p in ("/_simulator/ledger", "/_simulator/calls")]
            assert after == before
            assert (await http.get(path)).content == image
            assert len(await caller.log()) == len(before[1]["calls"])  # type: ignore[arg-type]  # JSON
            again = await caller.generate("a fox [sim: ok, 500]", "job_1:2")
            assert again.status_code == 500
            before = [await caller.read(p) for p in ("/_simulator/ledger", "/_simulator/calls")]


async def test_a_call_in_flight_when_the_simulator_dies_has_failed(tmp_path: Path) -> None:
    process = await _start("--data", str(tmp_path), "--latency", "30")
    url = await _url(process)
    call = asyncio.create_task(raw_call(url, "ok"))
    async with (
        httpx.AsyncClient(base_url=url, trust_env=False, verify=PLAIN) as http,
        asyncio.timeout(10),
    ):
        while not (await http.get("/_simulator/")).json()["in_flight"]:  # noqa: ASYNC110  # another process: nothing to wait for
            await asyncio.sleep(0.02)
    process.kill()
    await process.wait()
    await call

    async with simulator.serve(simulator.Config(data=tmp_path)) as running, client(running) as http:
        caller = Caller(running, http)
        assert [row["status"] for row in await caller.log()] == ["failed"]
        assert caller.running.world.wallet.available == 200_000_000


async def test_the_command_says_where_it_listens_and_stops_on_a_signal() -> None:
    process = await _start("--rates", "500=1", "--key", "k")
    url = await _url(process)
    async with httpx.AsyncClient(base_url=url, trust_env=False, verify=PLAIN) as http:
        page = await http.get("/")
        answer = await http.post(
            GENERATIONS,
            json={"model": LITE, "prompt": "x"},
            headers={"Authorization": "Bearer k"},
        )
    process.send_signal(signal.SIGTERM)
    rest, errors = await process.communicate()

    assert "This is a simulator" in page.text
    assert page.headers["x-simulator"] == "darkroom"
    assert answer.status_code == 500
    assert (process.returncode, rest) == (0, b"")
    assert b"no model runs here" in errors


async def test_the_command_refuses_what_cannot_be() -> None:
    process = await _start("--price", "0")
    _, errors = await process.communicate()

    assert process.returncode == 2
    assert errors.startswith(b"simulator: ")


async def test_a_thousand_calls_in_flight_are_held_by_one_process() -> None:
    config = simulator.Config(latency=1.0, pictures="stamped")
    async with simulator.serve(config) as running:
        answers = await asyncio.gather(*(raw_call(running.url, "ok") for _ in range(1000)))

        assert all(raw is not None and raw.startswith(b"HTTP/1.1 200") for raw in answers)
        assert running.world.peak_in_flight == 1000
        assert len(running.world.wallet.entries) == 1001


async def _start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deploy.simulator",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=Path(simulator.__file__).parents[2],
    )


async def _url(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
    found = re.fullmatch(r"simulator listening on (http://127\.0\.0\.1:\d+)\n", line)
    assert found, line
    return found[1]
