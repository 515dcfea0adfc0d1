"""What holds answers and events against OpenAPI is itself strict: it cannot pass what is not told there."""

import json

import httpx
import pytest

from api.contract.openapi import examples
from tests.fixtures.promises import PROMISES, Broken

JOB = httpx.Request("GET", "http://darkroom/v1/jobs/job_01kar4d2c9ez7t6p1m8n5q0rvw")
ALWAYS = {"X-Request-Id": "r-1", "ETag": '"1"'}
EVENT = {"type": "ping", "timestamp": "2026-11-22T10:00:00.000Z"}
TESTED = {"endpoint_id": examples.ENDPOINT["id"], "url": "https://example.com/", "events": []}


def answer(status: int, body: object, request: httpx.Request = JOB) -> httpx.Response:
    return httpx.Response(status, json=body, request=request, headers=ALWAYS)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (answer(200, examples.JOB | {"colour": "red"}), "colour"),
        (answer(200, {k: v for k, v in examples.JOB.items() if k != "cost"}), '"cost" is a required'),
        (answer(200, examples.JOB | {"status": "released"}), "released"),
        (answer(200, examples.JOB | {"error": {"code": "oops"}}), "$.error"),
        (answer(200, examples.JOB | {"deadline": "2026-11-22T10:00:00+01:00"}), "$.deadline"),
        (answer(201, examples.JOB), "no such status"),
        (answer(404, examples.JOB), "no application/json"),
        (answer(202, examples.JOB, httpx.Request("POST", f"{JOB.url}/cancel")), "no such status"),
    ],
)  # fmt: skip
async def test_what_openapi_does_not_tell_is_a_broken_promise(
    given: httpx.Response, told: str
) -> None:
    with pytest.raises(Broken) as broken:
        await PROMISES.keep(given)
    assert told in str(broken.value)


async def test_what_openapi_tells_is_kept() -> None:
    await PROMISES.keep(answer(200, examples.JOB))
    await PROMISES.keep(httpx.Response(304, request=JOB, headers=ALWAYS))
    PROMISES.keep_event("ping", json.dumps(EVENT | {"data": TESTED}).encode())


@pytest.mark.parametrize("wrong", [{}, TESTED | {"more": 1}, TESTED | {"events": ["job.lost"]}])
def test_an_event_that_openapi_does_not_tell_is_a_broken_promise(wrong: dict[str, object]) -> None:
    with pytest.raises(Broken, match="event ping"):
        PROMISES.keep_event("ping", json.dumps(EVENT | {"data": wrong}).encode())
