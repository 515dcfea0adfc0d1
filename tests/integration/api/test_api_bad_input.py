"""What is refused at submission: named field by field, and nothing is created, held or kept."""

import asyncio
import json
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import pytest

from models.settings import Settings
from tests.conftest import PLAIN
from tests.integration.api.client import MODEL, Api, bearer, body, input_, pointers, problem
from tests.integration.api.conftest import Serve

JSON = {"content-type": "application/json"}
LINK = "https://example.com/a.png"


async def assert_nothing_was_left(api: Api) -> None:
    """Nothing created, nothing held, nothing kept."""
    assert await api.life.count("jobs") == 0
    assert await api.life.count("ledger") == 0
    assert api.life.blobs() == []


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        pytest.param({"input": "a cat"}, ["/input"], id="input is no object"),
        pytest.param({"input": None}, ["/input"], id="input is null"),
        pytest.param({"input": input_(prompt=7)}, ["/input/prompt"], id="prompt is a number"),
        pytest.param({"input": input_(prompt=" \t")}, ["/input/prompt"], id="blank prompt"),
        pytest.param({"input": input_(prompt="a\x00b")}, ["/input/prompt"], id="NUL in prompt"),
        pytest.param({"input": input_(prompt="\ud800")}, ["/input/prompt"], id="half a pair"),
        pytest.param({"input": input_(model="dall-e")}, ["/input/model"], id="unknown model"),
        pytest.param({"input": input_(n=2)}, ["/input/n"], id="unknown field of the input"),
        pytest.param({"input": input_(**{"a/b~c": 2})}, ["/input/a~1b~0c"], id="escaped pointer"),
        pytest.param({"input": input_(image_size="8K")}, ["/input/image_size"], id="named size"),
        pytest.param(
            {"input": input_(image_size={"width": 1440, "height": 1440})},
            ["/input/image_size"],
            id="1440x1440",
        ),
        pytest.param(
            {"input": input_(image_size={"width": 2048, "height": 2048, "depth": 1})},
            ["/input/image_size/depth"],
            id="unknown field of the size",
        ),
        pytest.param(
            {"input": input_(image_urls=[LINK] * 15)}, ["/input/image_urls"], id="15 references"
        ),
        pytest.param(
            {"input": input_(image_urls=[LINK, "data:image/png;base64,@@@"])},
            ["/input/image_urls/1"],
            id="broken data: URL",
        ),
        pytest.param(
            {"input": input_(image_urls=["https://169.254.169.254/meta"])},
            ["/input/image_urls/0"],
            id="reference inside",
        ),
        pytest.param(
            {"input": input_(seed=2**63, watermark="no")},
            ["/input/watermark", "/input/seed"],
            id="every mistake at once",
        ),
        pytest.param({"input": input_(seed=10**4000)}, ["/input/seed"], id="huge seed"),
        pytest.param({"promt": 1}, ["/promt"], id="unknown field"),
        pytest.param({"a\x00": 1}, ["/a\x00"], id="unknown field with a NUL"),
        pytest.param(
            {"webhook": {"url": LINK, "secret": "x"}}, ["/webhook/secret"], id="field of webhook"
        ),
        pytest.param({"webhook": {}}, ["/webhook/url"], id="webhook without URL"),
        pytest.param(
            {"webhook": {"url": LINK, "events": ["job.done"]}},
            ["/webhook/events/0"],
            id="unknown event",
        ),
        pytest.param({"tags": ["a"] * 11}, ["/tags"], id="11 tags"),
        pytest.param({"tags": "a"}, ["/tags"], id="tags are no list"),
        pytest.param({"tags": ["ok", "x" * 129]}, ["/tags/1"], id="long tag"),
        pytest.param({"tags": ["a\x00"]}, ["/tags/0"], id="NUL in a tag"),
        pytest.param({"tags": ["\udfff"]}, ["/tags/0"], id="half a pair in a tag"),
        pytest.param({"metadata": {"order": 17}}, ["/metadata/order"], id="metadata is a number"),
        pytest.param({"metadata": {"a/b": "\x00"}}, ["/metadata/a~1b"], id="NUL in metadata"),
        pytest.param({"metadata": {"k": "\ud800"}}, ["/metadata/k"], id="half a pair in metadata"),
        pytest.param({"metadata": {"k\x00": "v"}}, ["/metadata/k\x00"], id="NUL in a name"),
        pytest.param({"metadata": {"": "v"}}, ["/metadata/"], id="metadata without a name"),
        pytest.param({"metadata": {"k": "x" * 513}}, ["/metadata/k"], id="long metadata"),
        pytest.param(
            {"metadata": {str(n): "v" for n in range(17)}}, ["/metadata"], id="17 pairs of metadata"
        ),
        pytest.param({"customer": "c 9"}, ["/customer"], id="customer with a space"),
        pytest.param({"customer": "c9\n"}, ["/customer"], id="customer with a line break"),
        pytest.param({"customer": "c" * 65}, ["/customer"], id="long customer"),
        pytest.param({"priority": "urgent"}, ["/priority"], id="unknown priority"),
        pytest.param({"queue_ttl": 9}, ["/queue_ttl"], id="queue_ttl too short"),
        pytest.param({"queue_ttl": 604_801}, ["/queue_ttl"], id="queue_ttl too long"),
        pytest.param({"queue_ttl": "60"}, ["/queue_ttl"], id="queue_ttl as text"),
        pytest.param({"queue_ttl": True}, ["/queue_ttl"], id="queue_ttl as truth"),
        pytest.param({"queue_ttl": 10**4000}, ["/queue_ttl"], id="huge queue_ttl"),
        pytest.param({"deadline": "2031-12-01T12:00:00"}, ["/deadline"], id="no time zone"),
        pytest.param({"deadline": 1_795_341_641}, ["/deadline"], id="deadline in unix seconds"),
        pytest.param({"deadline": "tomorrow"}, ["/deadline"], id="deadline in words"),
        pytest.param({"deadline": "9999-12-31T23:59:59-12:00"}, ["/deadline"], id="year 10000"),
        pytest.param({"deadline": "0001-01-01T00:00:00+12:00"}, ["/deadline"], id="year 0"),
        pytest.param({"max_attempts": 0}, ["/max_attempts"], id="no attempts"),
        pytest.param({"max_attempts": 11}, ["/max_attempts"], id="11 attempts"),
        pytest.param({"max_cost": 90_999}, ["/max_cost"], id="max_cost too low"),
        pytest.param({"max_cost": 2**63}, ["/max_cost"], id="max_cost too high"),
        pytest.param({"on_unknown_charge": "hope"}, ["/on_unknown_charge"], id="unknown choice"),
        pytest.param({"concurrency_key": "k" * 129}, ["/concurrency_key"], id="long key"),
    ],
)
async def test_a_bad_field_is_named_and_nothing_is_left(
    api: Api, wrong: dict[str, object], named: list[str]
) -> None:
    sent = json.dumps(body(**wrong))
    # With a key: a request is judged before it is fingerprinted.
    answer = await api.client.post(
        "/v1/jobs", content=sent, headers=JSON | {"idempotency-key": "k"}
    )
    problem(answer, 422, "invalid_request")
    assert pointers(answer) == named
    assert all(each["message"] for each in answer.json()["errors"])
    await assert_nothing_was_left(api)


async def test_a_prompt_of_a_megabyte_is_refused_without_being_repeated(api: Api) -> None:
    answer = await api.client.post("/v1/jobs", json=body(input=input_(prompt="x" * 1_000_000)))
    problem(answer, 422, "invalid_request")
    assert pointers(answer) == ["/input/prompt"]
    assert len(answer.content) < 2_000
    await assert_nothing_was_left(api)


@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:169.254.169.254]/",
        "https://10.0.0.8/hook",
        "https://user:password@example.com/",
        "ftp://example.com/",
        "not a URL",
        "",
    ],
)
async def test_a_webhook_to_a_forbidden_place_is_refused(api: Api, url: str) -> None:
    answer = await api.client.post("/v1/jobs", json=body(webhook={"url": url}))
    problem(answer, 422, "egress_refused")
    assert pointers(answer) == ["/webhook/url"]
    await assert_nothing_was_left(api)


async def test_without_exceptions_loopback_plain_http_and_other_ports_are_refused(
    settings: Settings, serving: Serve
) -> None:
    closed = settings.model_copy(update={"egress_allow": ()})
    async with serving(closed) as api:
        for url in (
            "http://127.0.0.1:9/hook", "https://127.0.0.1/hook", "http://example.com/",
            "https://example.com:8443/",
        ):  # fmt: skip
            answer = await api.client.post("/v1/jobs", json=body(webhook={"url": url}))
            problem(answer, 422, "egress_refused")
        await assert_nothing_was_left(api)
        answer = await api.client.post("/v1/jobs", json=body(webhook={"url": "https://a.example/"}))
        assert answer.status_code == 202


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b'{"input": ', id="cut off"),
        pytest.param(b"input=1", id="a form"),
        pytest.param(b'{"input": {"model": "m", "prompt": "\xff"}}', id="not UTF-8"),
        pytest.param('{"input": {}}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b"[" * 10_000, id="10,000 open brackets"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="100,000 levels of lists"),
        pytest.param(b'{"a":' * 10_000 + b"1" + b"}" * 10_000, id="10,000 levels of objects"),
        pytest.param(b'{"queue_ttl": NaN}', id="NaN"),
        pytest.param(b'{"queue_ttl": -Infinity}', id="Infinity"),
        pytest.param(b'{"queue_ttl": 1e999}', id="a number that overflows"),
        pytest.param(b'{"queue_ttl": ' + b"9" * 10_000 + b"}", id="a number of 10,000 digits"),
        pytest.param(b'{"tags": [], "tags": ["a"]}', id="a field twice"),
        pytest.param(b'{"metadata": {"k": "1", "k": "2"}}', id="a field of metadata twice"),
        pytest.param(b'{"input": {}} {}', id="two documents"),
        pytest.param(b'{"\\ud800": 1}', id="a name that is half a pair"),
        pytest.param(
            b'{"metadata": {"\\ud800": "v"}}', id="a name of metadata that is half a pair"
        ),
        pytest.param(b" ", id="a blank"),
    ],
)
async def test_what_is_no_json_is_malformed(api: Api, sent: bytes) -> None:
    answer = await api.client.post(
        "/v1/jobs", content=sent, headers=JSON | {"idempotency-key": "k"}
    )
    problem(answer, 400, "malformed_json")
    assert len(answer.content) < 2_000
    await assert_nothing_was_left(api)


@pytest.mark.parametrize("depth", [200, 300, 700])
async def test_a_deep_field_is_refused_like_any_unknown_field(api: Api, depth: int) -> None:
    nested = "[" * depth + "]" * depth
    sent = f'{{"input": {{"model": "{MODEL}", "prompt": "p", "x": {nested}}}}}'
    answer = await api.client.post(
        "/v1/jobs", content=sent, headers=JSON | {"idempotency-key": "k"}
    )
    problem(answer, 422, "invalid_request")
    assert pointers(answer) == ["/input/x"]
    await assert_nothing_was_left(api)


@pytest.mark.parametrize("sent", [b"", b"null", b"[]", b'"job"', b"7", b"{}"])
async def test_a_body_that_is_no_submission_is_refused(api: Api, sent: bytes) -> None:
    answer = await api.client.post("/v1/jobs", content=sent, headers=JSON)
    said = problem(answer, 422, "invalid_request")
    assert pointers(answer) == (["/input"] if sent == b"{}" else [""])
    assert sent == b"{}" or "send a JSON object" in str(said["detail"])
    await assert_nothing_was_left(api)


async def test_a_request_without_a_body_is_refused(api: Api) -> None:
    for route in ("/v1/jobs", "/v1/quotes", "/v1/webhooks"):
        answer = await api.client.post(route)
        said = problem(answer, 422, "invalid_request")
        assert pointers(answer) == [""]
        assert "it has no body; send a JSON object" in str(said["detail"])


@pytest.mark.parametrize(
    "type_",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json",
     "application/jsonp", "application/json; charset=latin-1", "application/merge-patch+json", ""],
)  # fmt: skip
async def test_a_body_of_another_type_is_refused(api: Api, type_: str) -> None:
    sent = json.dumps(body())
    answer = await api.client.post("/v1/jobs", content=sent, headers={"content-type": type_})
    said = problem(answer, 415, "unsupported_media_type")
    assert "application/json" in str(said["detail"])
    await assert_nothing_was_left(api)


@pytest.mark.parametrize(
    "type_", ["application/json", 'Application/JSON; charset="UTF-8"', "application/json;v=1"]
)
async def test_json_by_any_of_its_names_is_taken(api: Api, type_: str) -> None:
    sent = json.dumps(body())
    answer = await api.client.post("/v1/jobs", content=sent, headers={"content-type": type_})
    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("name", "value"),
    [("Idempotency-Key", "k"), ("Authorization", ""), ("Content-Type", "application/json")],
)
@pytest.mark.parametrize("other", [False, True], ids=["the same twice", "two values"])
async def test_a_header_of_one_value_comes_once(
    api: Api, name: str, value: str, *, other: bool
) -> None:
    value = value or f"Bearer {api.key}"
    twice = [(name, value), (name, f"{value}x" if other else value)]
    named = {each: text for each, text in api.client.headers.items() if each != name.lower()}
    sent = {"content-type": "application/json"} if name != "Content-Type" else {}
    headers = [*(named | sent).items(), *twice]
    async with httpx.AsyncClient(base_url=api.url, trust_env=False, verify=PLAIN) as client:
        client.headers = httpx.Headers()
        answer = await client.post("/v1/jobs", content=json.dumps(body()), headers=headers)
    problem(answer, 422, "invalid_request")
    assert pointers(answer) == [f"header:{name}"]
    await assert_nothing_was_left(api)


async def test_a_compressed_body_is_refused_and_told_to_come_as_it_is(api: Api) -> None:
    for route in ("/v1/jobs", "/v1/batches", "/v1/images/generations", "/v1/files"):
        for coding, status in (("gzip", 415), ("br, gzip", 415), ("identity", 422)):
            headers = JSON | {"content-encoding": coding}
            answer = await api.client.post(route, content="{}", headers=headers)
            spoken = status == 422 and route.startswith(("/v1/images", "/v1/files"))
            assert answer.status_code == (400 if spoken else status), (route, answer.text)
            if status == 415:
                said = problem(answer, 415, "unsupported_media_type")
                assert f'"{coding}"' in str(said["detail"])
                assert answer.headers["accept-encoding"] == "identity"


@pytest.fixture
async def small(settings: Settings, serving: Serve) -> AsyncIterator[Api]:
    """An API that takes bodies of 2 MB."""
    async with serving(settings.model_copy(update={"body_max_bytes": 2_000_000})) as api:
        yield api


async def test_a_body_over_the_limit_is_refused_by_its_announced_length(small: Api) -> None:
    answer = await small.client.post("/v1/jobs", content=b" " * 2_000_001, headers=JSON)
    said = problem(answer, 413, "body_too_large")
    assert "2,000,000" in str(said["detail"])
    await assert_nothing_was_left(small)


async def test_a_body_over_the_limit_is_refused_while_it_is_read(small: Api) -> None:
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1
            yield b" " * 100_000
            await asyncio.sleep(0)

    address = urlsplit(small.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {small.key}\r\n"
    writer.write(f"{head}Content-Type: application/json\r\n".encode())
    writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
    answering = asyncio.create_task(reader.readuntil(b"\r\n"))
    async for chunk in chunks():
        writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        await writer.drain()
        if answering.done():
            break
    assert await answering == b"HTTP/1.1 413 Request Entity Too Large\r\n"
    assert sent < 100, "the answer came before the body had ended"
    writer.close()
    await writer.wait_closed()
    await assert_nothing_was_left(small)


async def test_a_chunked_body_over_the_limit_gets_a_problem(small: Api) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(25):
            yield b" " * 100_000

    answer = await small.client.post("/v1/jobs", content=chunks(), headers=JSON)
    problem(answer, 413, "body_too_large")


async def test_other_routes_take_only_small_bodies(api: Api) -> None:
    answer = await api.client.post("/v1/webhooks", content=b" " * 1_048_577, headers=JSON)
    problem(answer, 413, "body_too_large")


async def test_who_has_no_key_is_told_so_before_the_body_is_read(small: Api) -> None:
    address = urlsplit(small.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
    writer.write(b"Content-Length: 1000000\r\n\r\n{")
    assert await asyncio.wait_for(reader.readuntil(b"\r\n"), 5) == b"HTTP/1.1 401 Unauthorized\r\n"
    writer.close()
    await writer.wait_closed()


async def test_a_body_is_not_judged_for_whoever_has_no_key(api: Api) -> None:
    answer = await api.client.post("/v1/jobs", content=b"{", headers=JSON | bearer("dr_live_x"))
    problem(answer, 401, "unauthenticated")
