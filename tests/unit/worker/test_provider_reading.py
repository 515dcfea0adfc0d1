import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from worker.provider import read
from worker.provider.account import pricing
from worker.provider.outcomes import (
    Detail,
    Image,
    Outcome,
    Parked,
    Receipt,
    Refused,
    TryLater,
    Unknown,
    Unusable,
)

FIXTURE = Path(__file__).parents[2] / "fixtures" / "provider-responses.json"
RECORDED: list[dict[str, object]] = json.loads(FIXTURE.read_text())
URL = "https://cdn.aimlapi.com/generations/x.jpeg"
HTML = b"<html><body><h1>Something of the edge</h1></body></html>"
OWN = {
    "title": "Some Error",
    "message": "Some error",
    "instance": "/v1/images/generations",
    "error": {"name": "SomeException", "message": "Some error"},
}


def answer(
    status: int, body: object = None, headers: dict[str, str] | None = None, *, raw: bytes = b""
) -> Outcome:
    return read(status, headers or {}, raw or json.dumps(body).encode())


def asked_for_a_row(logs: list[dict[str, object]]) -> bool:
    return any(line["event"] == "provider.answer_unlisted" for line in logs)


@pytest.mark.parametrize("row", RECORDED, ids=lambda row: str(row["name"]))
def test_each_recorded_answer_is_read_as_the_table_says(row: dict[str, object]) -> None:
    body, expected, status = row["body"], row["outcome"], row["status"]
    assert isinstance(expected, dict)
    assert isinstance(status, int)
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()

    with capture_logs() as logs:
        got = read(status, {"content-type": str(row["content_type"])}, raw)

    assert {
        name: type(got).__name__ if name == "class" else getattr(got, name) for name in expected
    } == expected
    assert got.receipt.http_status == status
    assert not asked_for_a_row([*map(dict, logs)])


def test_all_seventeen_recorded_answers_are_there() -> None:
    assert len({str(row["name"]) for row in RECORDED}) == 17


@dataclass(frozen=True)
class Case:
    name: str
    status: int
    raw: bytes
    expected: str
    charge: str
    asks_for_a_row: bool = False


def own(**extra: object) -> bytes:
    return json.dumps({**OWN, **extra}).encode()


CLOUDFLARE = json.dumps(
    {"title": "Error 502", "status": 502, "detail": "x", "ray_id": "1", "cloudflare_error": True}
).encode()
GOOGLE = json.dumps({"error": {"code": 502, "message": "x", "status": "UNAVAILABLE"}}).encode()
CASES = [
    *(Case(f"{s} html", s, HTML, "Unknown", "unknown") for s in (500, 501, 502, 503, 504, 599)),
    *(Case(f"{s} edge", s, HTML, "Unknown", "unknown") for s in range(520, 528)),
    *(Case(f"{s} own json", s, own(), "Unknown", "unknown") for s in (408, 504, 520, 524, 527)),
    *(Case(f"{s} own json", s, own(), "TryLater", "none") for s in (500, 502, 503)),
    *(
        Case(f"{s} own json", s, own(), "Unknown", "unknown", asks_for_a_row=True)
        for s in (501, 505, 529)
    ),
    Case("500 legacy", 500, b'{"statusCode":500,"message":"x"}', "TryLater", "none"),
    Case("500 empty", 500, b"", "Unknown", "unknown"),
    Case("500 json of nobody", 500, b'{"message":"x"}', "Unknown", "unknown"),
    Case("502 cloudflare json", 502, CLOUDFLARE, "Unknown", "unknown"),
    Case("502 google json", 502, GOOGLE, "Unknown", "unknown"),
    Case("503 json list", 503, b"[1]", "Unknown", "unknown"),
    Case("408 html", 408, HTML, "Unknown", "unknown"),
    *(
        Case(f"{s}", s, own(), "Unknown", "unknown", asks_for_a_row=True)
        for s in (301, 302, 304, 307, 308)
    ),
    *(Case(f"{s}", s, own(), "Refused", "none") for s in (400, 405, 409, 413, 418, 422)),
    *(Case(f"{s} html", s, HTML, "Refused", "none") for s in (404, 413, 422)),
    *(
        Case(f"{s} html", s, HTML, "Unknown", "unknown", asks_for_a_row=True)
        for s in (400, 418, 499)
    ),
    *(Case(f"{s} html", s, HTML, "Parked", "none") for s in (401, 403)),
    Case("402 credits", 402, own(message="Insufficient credits"), "Parked", "none"),
    Case("402 alone", 402, b'{"message":"Payment Required"}', "Parked", "none"),
    Case("402 html", 402, HTML, "Parked", "none"),
    Case("402 empty", 402, b"", "Parked", "none"),
    Case("403 balancer", 403, own(message="refunds: ask the load balancer"), "Parked", "none"),
    Case("429 html", 429, HTML, "TryLater", "none"),
    Case("200 garbage", 200, b"\x00\xff\xfenonsense", "Unknown", "unknown"),
    Case("200 empty", 200, b"", "Unknown", "unknown"),
    Case("200 html", 200, HTML, "Unknown", "unknown"),
    Case("200 cut", 200, b'{"data":[{"url":"https://x/content_policy', "Unknown", "unknown"),
    Case("200 too deep", 200, b"[" * 100_000, "Unknown", "unknown"),
    Case("200 null", 200, b"null", "TryLater", "unknown"),
    Case("200 list", 200, b"[]", "TryLater", "unknown"),
    Case("200 text", 200, b'"ok"', "TryLater", "unknown"),
    Case("200 no data", 200, b'{"data":null}', "TryLater", "unknown"),
    Case("200 odd data", 200, b'{"data":[null],"images":"x"}', "TryLater", "unknown"),
    Case("200 empty url", 200, b'{"data":[{"url":"","b64_json":""}]}', "TryLater", "unknown"),
    Case("200 odd url", 200, b'{"data":[{"url":"https://x/\\u0000"}]}', "Image", "unknown"),
    Case("204", 204, b"", "Unknown", "unknown"),
    Case("202 accepted", 202, b'{"id":"x"}', "Unknown", "unknown", asks_for_a_row=True),
    Case("201 image", 201, json.dumps({"data": [{"url": URL}]}).encode(), "Image", "unknown"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_other_answer_is_read_as_the_table_says(case: Case) -> None:
    with capture_logs() as logs:
        got = answer(case.status, raw=case.raw) if case.raw else read(case.status, {}, b"")
    assert (type(got).__name__, got.charge) == (case.expected, case.charge)
    assert asked_for_a_row([*map(dict, logs)]) is case.asks_for_a_row


@pytest.mark.parametrize("status", [200, 400, 401, 403, 429, 500, 504, 524])
@pytest.mark.parametrize(
    "code",
    ["OutputImageSensitiveContentDetected", "InputImageRiskDetection", "content_policy_violation"],
)
def test_moderation_is_a_refusal_at_any_status(status: int, code: str) -> None:
    got = answer(status, {"error": {"code": code, "message": "no"}})
    assert isinstance(got, Refused)
    assert (got.code, got.message, got.charge) == ("content_refused", "no", "none")


def test_moderation_is_found_in_an_answer_that_is_not_json() -> None:
    got = answer(500, raw=b"upstream: OutputImageSensitiveContentDetected")
    assert isinstance(got, Refused)


@pytest.mark.parametrize("status", [200, 400, 500, 503])
def test_a_broken_moderation_service_is_no_refusal(status: int) -> None:
    body = {"error": {"code": "ContentSecurityDetectionError", "message": "RiskDetection failed"}}
    got = answer(status, body)
    assert isinstance(got, TryLater)
    assert (got.reason, got.counts, got.charge) == ("moderation_down", True, "none")


def test_an_image_is_an_image_whatever_its_prompt_says() -> None:
    got = answer(200, {"data": [{"url": URL, "revised_prompt": "SensitiveContent"}]})
    assert isinstance(got, Image)


def test_a_prompt_repeated_in_an_error_does_not_make_it_moderation() -> None:
    data = [{"received": "content_policy", "path": ["seed"], "message": "Expected integer"}]
    got = answer(400, {**OWN, "error": {"name": "BadRequestException", "data": data}})
    assert isinstance(got, Refused)
    assert (got.code, got.details) == ("invalid_input", (Detail("seed", "Expected integer"),))


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({"X-AimlAPI-Credits-Used": "91000"}, {"meta": {"usage": {"credits_used": 5}}}, 91_000),
        ({"x-aimlapi-usd-spent": "0.0455"}, {"meta": None}, 91_000),
        ({}, {"meta": {"usage": {"credits_used": 91_000}}}, 91_000),
        ({}, {"meta": {"usage": {"credits_used": 91_000.0}}}, 91_000),
        ({}, {"meta": {"usage": {"tokens_used": 91_000}}}, 91_000),
        ({}, {"meta": {"usage": {"usd_spent": 0.0455}}}, 91_000),
        ({}, {"meta": {"usd_spent": 0.0455, "usage": None}}, 91_000),
        ({"x-aimlapi-credits-used": "0"}, {}, 0),
        ({"x-aimlapi-credits-used": "n/a"}, {"meta": {"usage": {"credits_used": 7}}}, 7),
        ({}, {"meta": []}, None),
        ({}, {"meta": {"usage": {"credits_used": None}}}, None),
        ({}, {"meta": {"usage": {"credits_used": True}}}, None),
        ({}, {"meta": {"usage": {"credits_used": -1}}}, None),
        ({}, {"meta": {"usage": {"credits_used": "NaN"}}}, None),
        ({}, {"meta": {"usage": {"credits_used": "1e999999"}}}, None),
    ],
)
def test_credits_are_read_from_wherever_they_are_told_headers_first(
    headers: dict[str, str], body: dict[str, object], expected: int | None
) -> None:
    got = answer(200, {"data": [{"url": URL}], **body}, headers)
    assert isinstance(got, Image)
    assert got.credits == expected
    assert got.charge == ("unknown" if expected is None else "settled")


@pytest.mark.parametrize(("told", "charge"), [(0, "none"), (91_000, "settled")])
def test_a_success_without_an_image_is_charged_as_it_says(told: int, charge: str) -> None:
    got = answer(200, {"data": [], "meta": {"usage": {"credits_used": told}}})
    assert isinstance(got, Unusable if told else TryLater)
    assert got.charge == charge


def test_an_error_that_names_a_price_was_charged_whatever_the_documentation_says() -> None:
    assert answer(500, OWN, {"x-aimlapi-credits-used": "91000"}).charge == "settled"


def test_a_receipt_keeps_what_the_ledger_is_asked_for_later() -> None:
    headers = {"X-Inference-Id": "inf-1", "X-Request-Id": "req-1", "X-AIMLAPI-Credits-Used": "9"}
    got = answer(200, {"data": [{"url": URL}]}, headers)
    assert got.receipt == Receipt(
        http_status=200, inference_id="inf-1", request_id="req-1", credits=9
    )


@pytest.mark.parametrize(
    ("name", "details"),
    [
        (
            "validation",
            (Detail("image_size", "Invalid enum value. Expected '2K' | '4K', received '8K'"),),
        ),
        (
            "validation_list_message",
            (
                Detail("", "prompt must be a string"),
                Detail("", "model should not be empty"),
            ),
        ),
        (
            "min_pixels",
            (
                Detail(
                    "size",
                    "The parameter `size` specified in the request is not valid: "
                    "image size must be at least 3686400 pixels.",
                ),
            ),
        ),
    ],
)
def test_the_providers_field_errors_are_handed_on(name: str, details: tuple[Detail, ...]) -> None:
    row = next(row for row in RECORDED if row["name"] == name)
    got = answer(400, row["body"])
    assert isinstance(got, Refused)
    assert got.details == details


def test_a_message_can_be_stored_whatever_the_provider_wrote() -> None:
    got = answer(400, {"statusCode": 400, "message": "a\0b\ud800" + "x" * 10_000})
    assert isinstance(got, Refused)
    assert got.message.startswith("ab?")
    assert len(got.message) < 600


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"Retry-After": "12"}, timedelta(seconds=12)),
        (
            {
                "Date": "Sun, 01 Mar 2026 12:00:00 GMT",
                "Retry-After": "Sun, 01 Mar 2026 12:00:12 GMT",
            },
            timedelta(seconds=12),
        ),
    ],
)
def test_slow_down_says_how_long_and_does_not_count(
    headers: dict[str, str], expected: timedelta | None
) -> None:
    got = answer(429, {"statusCode": "429", "message": "Too Many Requests"}, headers)
    assert isinstance(got, TryLater)
    assert (got.reason, got.retry_after, got.counts) == ("slow_down", expected, False)


def test_what_is_wrong_with_our_key_is_not_told_in_the_providers_words() -> None:
    got = answer(401, {**OWN, "message": "Incorrect key sk-live-123"})
    assert isinstance(got, Parked)
    assert "sk-live" not in repr(got)


def test_an_image_does_not_show_where_anyone_could_fetch_it() -> None:
    assert URL not in repr(answer(200, {"data": [{"url": URL, "b64_json": "AAAA"}]}))


def test_the_line_that_asks_for_a_row_does_not_repeat_the_answer() -> None:
    with capture_logs() as logs:
        answer(501, {**OWN, "prompt": "a secret prompt"})
    assert logs[0]["status"] == 501
    assert "a secret prompt" not in repr(logs)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(
        ["data", "images", "meta", "usage", "error", "message", "path", "url", "credits_used"]
    ), inner),
)  # fmt: skip


@given(status=st.integers(100, 599), body=JSON)
def test_no_answer_breaks_the_reading(status: int, body: object) -> None:
    with capture_logs():
        got = answer(status, body)
    assert isinstance(got, Image | TryLater | Refused | Parked | Unknown | Unusable)


PRICE = {"kind": "fixed", "currency": "USD", "units": [{"price": 0.0455, "per": "image"}]}


@pytest.mark.parametrize(
    ("priced", "expected"),
    [
        (PRICE, 91_000),
        ({**PRICE, "units": [{"price": "45.5", "per": 1000, "unit": "images"}]}, 91_000),
        ({**PRICE, "units": [{"price": 0.0455}]}, 91_000),
        ({**PRICE, "currency": "CREDITS", "units": [{"price": 91_000, "per": 1}]}, 91_000),
        ({"kind": "variants", "variants": [{"price": 0.0455}, {"price": 0.0455}]}, 91_000),
        ({"kind": "variants", "variants": [{"price": 0.05}, {"price": 0.0455}]}, 100_000),
        ({"kind": "variants", "variants": [{"price": 0.05}, {"price": 2, "unit": "token"}]}, None),
        ({"kind": "variants", "variants": []}, None),
        ({**PRICE, "units": [{"price": 0.01, "unit": "megapixel", "per": 1}]}, None),
        ({**PRICE, "units": [{"price": 0}]}, None),
        ({**PRICE, "units": [{"price": 2, "per": "1M tokens"}]}, None),
        ({**PRICE, "units": [{"price": 2, "per": 0}]}, None),
        ({**PRICE, "units": [{"price": 2, "per": "second"}]}, None),
        ({**PRICE, "units": [{"cost": 2}]}, None),
        ({**PRICE, "currency": "EUR"}, None),
        ({"kind": "variable", "units": [{"price": 1}]}, None),
        ({"kind": "fixed", "units": "?"}, None),
        (None, None),
    ],
)
def test_a_price_is_told_only_when_it_is_known_ahead(priced: object, expected: int | None) -> None:
    body = {"data": [None, {"id": "other"}, {"id": "a", "aliases": ["b"], "pricing": priced}]}
    found = {model: each.credits for model, each in pricing.of_models(body, "abc").items()}
    assert found == ({} if expected is None else {"a": expected, "b": expected})


def test_each_variant_is_told_with_the_fields_that_it_is_for() -> None:
    listed = [
        {"when": {"resolution": each}, "price": price, "unit": "image", "per": 1}
        for each, price in (("1K", 0.1), ("4K", 0.2))
    ]
    priced = {"kind": "variants", "dimensions": ["resolution"], "variants": listed}
    quote = pricing.of_models({"data": [{"id": "a", "pricing": priced}]}, "a")["a"]
    assert quote.credits == 400_000
    assert [(each.when, each.credits) for each in quote.variants] == [
        ({"resolution": "1K"}, 200_000),
        ({"resolution": "4K"}, 400_000),
    ]


def test_the_price_is_that_of_the_endpoint_that_makes_images() -> None:
    def entry(kind: str, price: float) -> object:
        return {"id": "a", "type": kind, "pricing": {**PRICE, "units": [{"price": price}]}}

    types = {"openai/images-edits": 3, "openai/images-generations": 1, "openai/chat-completions": 2}
    rows = [entry(kind, price) for kind, price in types.items()]
    assert pricing.of_models({"data": rows}, "a")["a"].credits == 2_000_000
    assert pricing.of_models({"data": rows[:1] + rows[2:]}, "a") == {}
