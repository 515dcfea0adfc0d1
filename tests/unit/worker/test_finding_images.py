"""An image that is there is seen, whatever shape the answer has; what is none is not taken for one."""

import json
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.decoding import inline, links
from worker.provider import read
from worker.provider.outcomes import Image, Parked, Refused, TryLater, Unknown, Unusable

URL = "https://cdn.aimlapi.com/generations/x.jpeg"
BYTES = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 3
B64 = b64encode(BYTES).decode()
DATA = f"data:image/jpeg;base64,{B64}"
PAID = {"x-aimlapi-credits-used": "91000"}


def seen(body: object, headers: dict[str, str] = PAID) -> tuple[str | None, bytes | None]:
    """Return the URL and the bytes that are found in an answer."""
    got = read(200, headers, json.dumps(body).encode())
    assert isinstance(got, Image), got
    return got.url, None if got.b64 is None else inline.decode(got.b64)


@pytest.mark.parametrize(
    "body",
    [
        {"data": [{"url": URL, "b64_json": None}], "created": None},
        {"data": [{"url": URL}], "created": 1_772_756_381_665, "error": None},
        {"images": [{"url": URL}]},
        {"data": None, "images": [{"url": URL}]},
        {"data": [], "images": [URL]},
        {"data": [{"error": {"message": "one of two"}}, {"url": URL}]},
        {"data": {"url": URL}},
        {"data": {"images": [{"url": URL}]}},
        {"data": [URL]},
        {"data": URL},
        {"data": [{"url": {"url": URL}}]},
        {"data": [{"url": [URL]}]},
        {"data": [{"image_url": URL}]},
        {"data": [{"image_url": {"url": URL, "detail": "high"}}]},
        {"data": [{"image": {"url": URL}}]},
        {"data": [{"b64_json": URL}]},
        {"image": URL},
        {"image": {"url": URL, "content_type": "image/jpeg"}},
        {"image_url": URL},
        {"output": URL},
        {"output": [URL]},
        {"output": {"images": [{"url": URL}]}},
        {"output": {"image_url": URL}},
        {"result": {"data": [{"url": URL}]}},
        {"url": URL},
        {"urls": [URL]},
        {"image_urls": [URL], "image": URL},
        {"data": {"image_urls": [URL]}, "base_resp": {"status_msg": "success"}},
        {"message": "success", "code": 0, "result": {"sample": URL}},
        {"choices": [{"message": {"images": [{"type": "image_url", "image_url": {"url": URL}}]}}]},
        {"choices": [{"message": {"content": [{"type": "text", "text": "x"}, {"image": URL}]}}]},
        {"choices": [{"message": {"role": "assistant", "content": f"Here: ![a fox]({URL}) !"}}]},
        {"choices": [{"message": {"content": f'<p><img alt="" src="{URL}"/></p>'}}]},
        {"choices": [{"message": {"content": json.dumps({"data": [{"url": URL}]})}}]},
        {"output": {"results": [{"url": URL}], "task_status": "SUCCEEDED"}},
        {"data": {"task_result": {"images": [{"index": 0, "url": URL}]}}},
        {"data": {"sub_task_result_list": [{"final_image_list": [{"img_url": URL}]}]}},
        {"generations": [{"generated_images": [{"id": "x", "url": URL}]}]},
        {"assets": {"image": URL}, "links": [{"rel": "self", "href": "https://api.example/1"}]},
        {"id": "x", "urls": {"get": "https://api.example/1", "web": "https://example/1"}, "output": URL},
        {"response": {"resultImage": URL, "thumbnailUrl": f"{URL}?small"}},
        {"data": [{"thumbnail_url": f"{URL}?small", "url": URL}]},
        {"preview": {"url": f"{URL}?small"}, "fileUrl": URL},
        {"candidates": [{"content": {"parts": [{"fileData": {"fileUri": URL}}]}}]},
        {"generation": {"made": {"with": URL}}},
        json.dumps({"data": [{"url": URL}]}),
        *(
            {"data": [{"url": odd}]}
            for odd in (
                f" {URL}", f"{URL} ", f"{URL}\n", f"\t{URL}\r\n", f"\ufeff{URL}", f'"{URL}"',
                f"<{URL}>", URL.replace("https", "HTTPS"), URL.removeprefix("https:"),
                URL[:20] + "\n" + URL[20:], URL.replace("/", "\\/"), quote(URL, safe=""),
            )
        ),
    ],
    ids=lambda body: json.dumps(body)[:60],
)  # fmt: skip
def test_a_url_is_found_wherever_it_was_seen(body: object) -> None:
    assert seen(body) == (URL, None)


@pytest.mark.parametrize(
    "body",
    [
        {"data": [{"url": None, "b64_json": B64}]},
        {"data": [{"b64_json": DATA}]},
        {"data": [{"url": DATA}]},
        {"data": [{"url": f" {DATA}\n"}]},
        {"data": [{"url": B64}]},
        {"data": [{"image_url": {"url": DATA}}]},
        {"data": [{"b64": B64}]},
        {"data": [{"base64": B64}]},
        {"images": [B64]},
        {"images": [DATA]},
        {"image": DATA},
        {"output": DATA},
        {"candidates": [{"content": {"parts": [{"text": "x"}, {"inlineData": {"data": B64}}]}}]},
        {
            "candidates": [
                {"content": {"parts": [{"inline_data": {"mime_type": "x", "data": B64}}]}}
            ]
        },
        {"choices": [{"message": {"images": [{"image_url": {"url": DATA}}], "content": ""}}]},
        {"choices": [{"message": {"content": f"![]({DATA})"}}]},
        {"output": [{"type": "image_generation_call", "result": B64}]},
        {"predictions": [{"mimeType": "image/png", "bytesBase64Encoded": B64}]},
        {"data": {"binary_data_base64": [B64], "image_urls": None}},
        {"artifacts": [{"base64": B64, "finishReason": "SUCCESS"}]},
        {"anything": {"at": [{"all": B64}]}},
        {"data": [{"image": {"type": "Buffer", "data": [*BYTES]}}]},
    ],
    ids=lambda body: json.dumps(body)[:50],
)
def test_bytes_are_found_wherever_they_were_seen(body: object) -> None:
    assert seen(body) == (None, BYTES)


@pytest.mark.parametrize("extra", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "write",
    [
        lambda text: text.rstrip("="),
        lambda text: text + "==",
        lambda text: text.replace("+", "-").replace("/", "_"),
        lambda text: "\n".join(text[at : at + 76] for at in range(0, len(text), 76)) + "\n",
        lambda text: "\r\n".join(text[at : at + 64] for at in range(0, len(text), 64)),
        lambda text: "\\n".join(text[at : at + 76] for at in range(0, len(text), 76)),
        lambda text: " ".join(text[at : at + 10] for at in range(0, len(text), 10)),
        lambda text: f"  {text}\t",
        lambda text: text.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
        lambda text: text.replace("/", "\\/"),
        lambda text: f"data:image/jpeg;base64,{text}",
        lambda text: f"DATA:IMAGE/PNG;name=a.png;BASE64, {text}",
        lambda text: f"image/jpeg;base64,{text}",
        lambda text: f'"data:;base64,{text}"',
    ],
)
def test_base_64_is_read_as_it_is_really_written(write: object, extra: int) -> None:
    bytes_ = BYTES + b"\xfb\xef\xff"[:extra]
    assert callable(write)
    assert inline.decode(write(b64encode(bytes_).decode())) == bytes_


@given(st.binary(max_size=200))
def test_whatever_was_written_in_either_alphabet_is_read(data: bytes) -> None:
    for written in (b64encode(data), urlsafe_b64encode(data)):
        assert inline.decode(written.decode()) == data
        assert inline.decode(written.decode().rstrip("=")) == data


@pytest.mark.parametrize("text", ["<html>not an image</html>", "no base 64!!", "AA=AAAA", "é" * 9])
def test_what_is_no_base_64_is_none(text: str) -> None:
    assert inline.decode(text) is None


@pytest.mark.parametrize("written", ["&amp;", "&AMP;", "&#38;", "&#x26;", "&amp;amp;", "\\u0026"])
def test_a_query_out_of_html_is_the_one_that_was_signed(written: str) -> None:
    url = f"{URL}?a=1{written}copy=2{written}sig=3"
    assert seen({"data": [{"url": url}]}) == (f"{URL}?a=1&copy=2&sig=3", None)


def test_a_url_and_bytes_beside_each_other_are_both_kept() -> None:
    assert seen({"data": [{"url": URL, "b64_json": B64}]}) == (URL, BYTES)


@pytest.mark.parametrize(
    "body",
    [
        {"data": [{"url": ""}]},
        {"data": [{"url": "https://"}]},
        {"data": [{"url": "https:///x.jpeg"}]},
        {"data": [{"url": "https://a\0b/x.jpeg"}]},
        {"data": [{"url": "/generations/x.jpeg"}]},
        {"data": [{"url": "ftp://cdn.example/x.jpeg"}]},
        {"data": [{"url": "javascript:alert(1)"}]},
        {"data": [{"url": "https://cdn.example/" + "x" * links.LONGEST}]},
        {"data": [{"b64_json": b64encode(b"<html>sorry</html>").decode()}]},
        {"data": [{"b64_json": "AAAA"}]},
        {"data": [{"file_id": "file-1"}]},
        {"input": {"image_urls": [URL]}, "data": []},
        {"image_urls": [URL], "data": []},
        {"request": {"image": DATA}},
        {"messages": [{"content": [{"image_url": {"url": URL}}]}]},
        {"data": [{"thumbnail": {"url": URL}, "status_url": URL, "mask": B64}]},
        {"id": "x", "urls": {"get": URL, "cancel": URL, "web": URL}},
        {"links": [{"rel": "self", "href": URL}]},
        {"status": "queued", "response_url": "https://queue.example/requests/1"},
        {"choices": [{"message": {"content": "see https://docs.example/a.png"}}]},
        {"message": "moved", "see": [{"url": URL}]},
        {"id": "gen-1", "status": "queued"},
        {"error": {"message": "see https://docs.example", "url": URL}},
        {"message": "moved", "url": URL},
        [], "ok", None, {}, 1,
    ],
    ids=lambda body: json.dumps(body)[:60],
)  # fmt: skip
def test_what_was_paid_and_is_no_image_is_not_paid_again(body: object) -> None:
    raw = json.dumps(body).encode()
    got = read(200, PAID, raw)
    assert isinstance(got, Unusable)
    assert (got.charge, got.credits) == ("settled", 91_000)
    assert got.evidence is not None
    assert (got.evidence.body, got.evidence.length) == (raw, len(raw))


@pytest.mark.parametrize("status", [200, 201, 202, 203, 206, 299])
@pytest.mark.parametrize("raw", [b"", b"<html>", b'{"data": [{"url": https://', b"\xff\x00"])
def test_nor_is_what_cannot_be_read_at_all(status: int, raw: bytes) -> None:
    assert isinstance(read(status, PAID, raw), Unusable)
    unpriced = read(status, {}, raw)
    assert isinstance(unpriced, Unknown)
    assert unpriced.evidence is not None
    assert isinstance(read(status, {"x-aimlapi-credits-used": "0"}, raw), Unknown)


def test_evidence_is_bounded() -> None:
    got = read(200, {**PAID, "content-type": "text/html"}, b"x" * 1_000_000)
    assert got.evidence is not None
    assert (len(got.evidence.body), got.evidence.length) == (65_536, 1_000_000)
    assert got.evidence.content_type == "text/html"


@pytest.mark.parametrize("tail", ["", ',"size":"2048x2048"}],"meta":{"us'])
def test_of_an_answer_that_was_cut_off_the_url_is_taken_if_it_came_whole(tail: str) -> None:
    got = read(200, PAID, f'{{"created":1,"data":[{{"url":"{URL}"{tail}'.encode())
    assert isinstance(got, Image)
    assert got.url == URL
    assert isinstance(read(200, PAID, f'{{"data":[{{"url":"{URL}'.encode()), Unusable)


EXPECTED = "expected the aspect ratio to be between 1/16 and 16"


@pytest.mark.parametrize("headers", [{}, PAID], ids=["free", "paid"])
@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": "InvalidParameter", "message": EXPECTED}},
        {"error": {"code": None, "type": "invalid_request_error", "message": EXPECTED}},
        {"error": {"name": "BadRequestException", "message": EXPECTED}},
        {"error": {"message": EXPECTED}},
        {"error": EXPECTED},
        {"errors": [{"message": EXPECTED}]},
        {"error": {"code": 400, "message": EXPECTED}},
        {"statusCode": 400, "message": EXPECTED},
        {"status": 422, "title": "Unprocessable", "message": EXPECTED},
        {"data": [{"url": None, "error": {"code": "InvalidParameter", "message": EXPECTED}}]},
        {"data": [{"error": EXPECTED}]},
        {"images": [{"error": {"code": "UnsupportedSize", "message": EXPECTED}}]},
        {"data": {"error": {"code": "MissingParameter", "message": EXPECTED}}},
        {"data": [], "error": {"code": "InvalidParameter", "msg": EXPECTED}},
        {"success": False, "message": EXPECTED},
        {"ok": False, "data": None, "msg": EXPECTED},
        {"status": "failed", "detail": EXPECTED},
    ],
    ids=lambda body: json.dumps(body)[:60],
)
def test_an_error_inside_a_success_is_told_in_the_providers_words(
    body: object, headers: dict[str, str]
) -> None:
    got = read(200, headers, json.dumps(body).encode())
    assert isinstance(got, Refused), got
    assert (got.code, got.message) == ("invalid_input", EXPECTED)
    assert got.charge == ("settled" if headers else "none")


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        ({"code": "InternalServiceError", "message": "generation failed"}, TryLater, "empty_answer"),
        ({"code": "ServerOverloaded", "message": "try again"}, TryLater, "empty_answer"),
        ({"message": "Internal error: unexpected end of input"}, TryLater, "empty_answer"),
        ({"message": "Invalid response from upstream, try again later"}, TryLater, "empty_answer"),
        ({"code": "Whatever", "message": "hm"}, TryLater, "empty_answer"),
        ({"code": 503, "message": "invalid state"}, TryLater, "empty_answer"),
        ({"code": "RateLimitExceeded", "message": "slow"}, TryLater, "slow_down"),
        ({"code": "rate_limit_exceeded", "type": "requests", "message": "x"}, TryLater, "slow_down"),
        ({"code": 429, "message": "Too Many Requests"}, TryLater, "slow_down"),
        ({"code": "insufficient_quota", "message": "x"}, Parked, "wallet_empty"),
        (
            {"type": "invalid_request_error", "code": "billing_hard_limit_reached", "message": "x"},
            Parked,
            "wallet_empty",
        ),
        ({"code": "AccountOverdueError", "message": "x"}, Parked, "wallet_empty"),
        ({"code": 402, "message": "x"}, Parked, "wallet_empty"),
        ({"name": "OutOfFundsException", "message": "x"}, Parked, "wallet_empty"),
        ({"message": "x", "data": {"kind": "err_insufficent_credits"}}, Parked, "wallet_empty"),
        ({"code": "ContentSecurityDetectionError", "message": "x"}, TryLater, "moderation_down"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("inside", ["error", "item"])
def test_other_errors_inside_a_success_are_what_they_are_outside(
    error: dict[str, object], kind: type[object], reason: str, inside: str
) -> None:
    body: dict[str, object] = (
        {"error": error} if inside == "error" else {"data": [{"error": error}]}
    )
    got = read(200, {}, json.dumps(body).encode())
    assert (type(got), getattr(got, "reason", None)) == (kind, reason)
    # Charged for it, another call would be too.
    assert isinstance(read(200, PAID, json.dumps(body).encode()), Unusable)


@pytest.mark.parametrize(
    "error",
    [
        {"code": "ModelNotFound", "message": "x"},
        {"code": "model_not_found", "message": "The model `x` does not exist"},
        {"message": "The model bytedance/seedream does not exist or you have no access to it."},
        {"code": 404, "message": "x"},
    ],
)
def test_a_model_that_is_gone_inside_a_success_is_gone(error: dict[str, object]) -> None:
    for body in ({"error": error}, {"data": [{"error": error}]}):
        got = read(200, {}, json.dumps(body).encode())
        assert isinstance(got, Refused), got
        assert (got.code, got.charge) == ("model_unavailable", "none")


@pytest.mark.parametrize("magic", [BYTES, b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_an_answer_that_is_the_image_is_an_image(magic: bytes) -> None:
    got = read(200, PAID | {"content-type": "image/jpeg"}, magic)
    assert isinstance(got, Image)
    assert (got.charge, inline.decode(got.b64 or "")) == ("settled", magic)
    assert not isinstance(read(500, {}, magic), Image)


@pytest.mark.parametrize("raw", [URL, f"{URL}\n", f'"{URL}"', f" <{URL}>"])
def test_so_is_one_that_is_its_url(raw: str) -> None:
    got = read(200, PAID, raw.encode())
    assert isinstance(got, Image)
    assert (got.url, got.charge) == (URL, "settled")


@pytest.mark.parametrize("raw", [B64, DATA, f'"{B64}"\n', b64encode(BYTES * 9).decode()])
def test_so_is_one_that_is_its_base_64(raw: str) -> None:
    got = read(200, PAID, raw.encode())
    assert isinstance(got, Image)
    assert (inline.decode(got.b64 or "") or b"").startswith(BYTES)


def test_a_text_that_begins_with_a_url_is_none() -> None:
    assert isinstance(read(200, PAID, f"{URL} is away".encode()), Unusable)
    assert isinstance(read(200, PAID, f'<html><img src="{URL}"></html>'.encode()), Unusable)


def test_whatever_is_inside_of_what_an_answer_ends() -> None:
    nested = json.dumps({"data": [{"url": URL}]})
    for _ in range(20):
        nested = json.dumps({"data": [{"url": nested}]}) if len(nested) < 100_000 else nested
    for text in ("![](" * 100_000, "<img " * 100_000, "[" * 100_000, "{" * 100_000, nested):
        read(200, PAID, json.dumps({"choices": [{"message": {"content": text}}]}).encode())


def test_base_64_that_came_through_a_form_is_read() -> None:
    for extra in range(3):
        written = b64encode(BYTES + bytes(extra)).decode()
        assert inline.decode(written.replace("+", " ")) == BYTES + bytes(extra)


@pytest.mark.parametrize("status", [400, 403, 422, 429, 500, 503])
@pytest.mark.parametrize(
    "error",
    [
        {"code": "billing_hard_limit_reached", "message": "Billing hard limit has been reached"},
        {"name": "OutOfFundsException", "message": "You've run out of funds"},
        {"name": "BadRequestException", "message": "Insufficient balance to complete this call"},
        {"name": "X", "message": "x", "data": {"kind": "err_insufficent_credits"}},
    ],
)
def test_the_wallet_is_the_wallet_whatever_the_status(
    status: int, error: dict[str, object]
) -> None:
    got = read(status, {}, json.dumps({"error": error}).encode())
    assert isinstance(got, Parked), got
    assert (got.reason, got.certain) == ("wallet_empty", False)


@pytest.mark.parametrize("told", ["the prompt “top up billing, overdue” is too long", "bad size"])
def test_a_message_that_only_speaks_of_money_is_about_the_input(told: str) -> None:
    error = {"name": "BadRequestException", "message": told}
    assert isinstance(read(400, {}, json.dumps({"error": error}).encode()), Refused)


def test_moderation_inside_a_success_is_a_refusal_that_may_have_been_charged() -> None:
    error = {"code": "OutputImageSensitiveContentDetected", "message": "no"}
    for headers, charge in (({}, "none"), (PAID, "settled")):
        got = read(200, headers, json.dumps({"data": [{"error": error}]}).encode())
        assert isinstance(got, Refused)
        assert (got.code, got.message, got.charge) == ("content_refused", "no", charge)


@pytest.mark.parametrize(
    "message",
    [
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
        "billing_hard_limit_reached",
        "Credits exhausted",
        "Your credits have been used up",
        "You've run out of credits",
        "Insufficient balance",
    ],
)
@pytest.mark.parametrize("shape", ["code", "message"])
def test_a_429_about_money_is_the_wallet(message: str, shape: str) -> None:
    error = {"message": "x", "type": "x", shape: message}
    got = read(429, {}, json.dumps({"error": error}).encode())
    assert isinstance(got, Parked)
    assert got.reason == "wallet_empty"


@pytest.mark.parametrize(
    "message", ["Too Many Requests", "Rate limit reached", "quota of 5 a minute"]
)
def test_any_other_429_is_slow_down(message: str) -> None:
    assert isinstance(read(429, {}, json.dumps({"message": message}).encode()), TryLater)
