"""HTTP itself, on every route: HEAD, slashes, clients that go away, headers of every answer."""

import asyncio
import json
import re
import socket
from urllib.parse import urlsplit

import httpx
import pytest
from structlog.testing import capture_logs

from models.errors import refusals
from models.settings import Settings
from tests.conftest import PLAIN
from tests.integration.api.client import Api, body, path, problem
from tests.integration.api.conftest import Serve
from tests.integration.api.contract import OPEN, PAGES, Operation, one_of_each, operations
from tests.integration.api.life import PICTURE
from tests.integration.api.test_api_wait import waiting

NOT_THE_SAME = {"x-request-id", "ratelimit", "date", "content-length"}  # of metrics, which move


def reads() -> list[Operation]:
    """List every route that answers a GET to whoever has a key."""
    return [each for each in operations() if each.method == "GET"]


STREAMED = ("events", "results")  # whose length nobody knows before


async def counted(api: Api, **labels: str) -> float:
    """Read how many answers the process has counted with these labels."""
    told = (await api.client.get("/metrics")).text
    wanted = [f'{name}="{value}"' for name, value in labels.items()]
    lines = re.findall(r"^darkroom_http_requests_total{(.*)} (.*)$", told, re.MULTILINE)
    return sum(float(value) for found, value in lines if all(each in found for each in wanted))


def connect(api: Api, request: bytes) -> socket.socket:
    """Send the beginning of a request by hand."""
    where = urlsplit(api.url)
    sent = socket.create_connection((where.hostname or "", where.port or 0))
    sent.sendall(request)
    return sent


async def test_head_answers_as_get_without_a_body(api: Api) -> None:
    things = await one_of_each(api)
    for each in reads():
        if each.path.endswith(("/thumbnail", "/references/{n}", "/{kind}")):
            continue  # it is not drawn here, and the job was given none
        got, head = [await asked.ask(api.client, things, {}) for asked in (each, each.as_head())]
        assert got.status_code == head.status_code, str(each)
        assert (got.status_code in {200, 204}, head.content) == (True, b""), str(each)
        ignored = NOT_THE_SAME | ({"transfer-encoding"} if each.path.endswith(STREAMED) else set())
        assert without(got, ignored) == without(head, ignored), str(each)
    for page in sorted(OPEN | PAGES):
        head = await api.client.head(page)
        assert (head.status_code, head.content) == (200, b""), page


def without(answer: httpx.Response, names: set[str]) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in names}


async def test_a_refused_head_is_refused_as_a_get_is(api: Api) -> None:
    assert (await api.client.head("/v1/jobs/job_nope")).status_code == 404
    assert (await api.client.head("/v1/jobs?nope=1")).status_code == 422
    refused = await api.client.head(path(await api.submit(), "/cancel"))
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    wrong = await api.client.put("/v1/models")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")
    for asked, allowed in (
        ("/v1/jobs", "GET, HEAD, POST"),
        (path(await api.submit()), "GET, HEAD, DELETE"),
        ("/v1/webhooks/whk_nope", "GET, HEAD, PATCH, DELETE"),
        ("/docs", "GET, HEAD"),
        ("/healthz", "GET, HEAD"),
    ):
        refused = await api.client.request("OPTIONS", asked)
        assert (refused.status_code, refused.headers["allow"]) == (405, allowed), asked
    assert await api.life.count("jobs WHERE status = 'canceled'") == 0


async def test_head_knows_no_range_and_reads_no_stream_to_its_end(api: Api) -> None:
    job = await api.submit()
    stream = await asyncio.wait_for(api.client.head(path(job, "/events")), 5)
    assert (stream.status_code, stream.content) == (200, b"")
    await waiting(api, 0)
    await api.life.succeed(job)
    image = await api.client.head(path(job, "/images/0"), headers={"range": "bytes=0-9"})
    assert (image.status_code, image.headers["content-length"]) == (200, str(len(PICTURE)))
    assert "content-range" not in image.headers


async def test_a_slash_at_the_end_is_no_route_and_leads_nowhere(api: Api) -> None:
    things = await one_of_each(api)
    foreign = {"host": "evil.example", "x-forwarded-host": "evil.example", "forwarded": "host=evil"}
    for each in operations():
        answer = await each.with_slash().ask(api.client, things, foreign)
        said = problem(answer, 404, "not_found")
        assert "slash" in str(said["detail"]), str(each)
        assert "location" not in answer.headers
    for page in sorted(OPEN | PAGES - {"/"}):
        assert (await api.client.get(f"{page}/")).status_code == 404, page
    made = await api.client.post("/v1/jobs", json=body(), headers=foreign)
    shown = await api.client.get(made.headers["location"], headers=foreign)
    assert "evil" not in str((made.headers, made.text, shown.headers, shown.text))
    assert made.headers["location"].startswith("/v1/jobs/job_")


async def test_every_answer_says_that_it_is_what_it_says(api: Api) -> None:
    things = await one_of_each(api)
    for each in operations():
        for headers in ({}, {"authorization": "Bearer no"}):
            answer = await each.ask(api.client, things, headers)
            assert answer.headers["x-content-type-options"] == "nosniff", str(each)
    for page in sorted(OPEN | PAGES | {"/nowhere"}):
        assert (await api.client.get(page)).headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("route", ["/v1/jobs", "/v1/quotes", "/v1/webhooks/project-secret/rotate"])
@pytest.mark.parametrize("sent", [b"", b'{"input'])
async def test_who_goes_away_in_the_middle_of_a_body_is_no_bug(
    api: Api, route: str, sent: bytes
) -> None:
    labels = {"route": route, "status": "499"}
    before = await counted(api, **labels)
    with capture_logs() as logs:
        connect(
            api,
            f"POST {route} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {api.key}\r\n"
            "content-type: application/json\r\ncontent-length: 1000\r\n\r\n".encode()
            + sent,
        ).close()
        async with asyncio.timeout(10):
            while await counted(api, **labels) == before:  # noqa: ASYNC110 - a counter has no event
                await asyncio.sleep(0.01)
    (line,) = [each for each in logs if each.get("status") == 499]
    assert (line["event"], line["log_level"]) == ("http.answered", "info")
    assert {each["log_level"] for each in logs} == {"info"}
    assert await counted(api, status="500") == 0
    assert await api.life.count("jobs") == 0


@pytest.mark.parametrize("rest", ["?wait=60", "/events"])
async def test_who_goes_away_while_waiting_is_no_bug(api: Api, rest: str) -> None:
    job = await api.submit()
    status = "499" if rest == "?wait=60" else "200"  # a stream had begun
    before = await counted(api, status=status, method="GET")
    with capture_logs() as logs:
        held = connect(
            api,
            f"GET {path(job, rest)} HTTP/1.1\r\nhost: a\r\n"
            f"authorization: Bearer {api.key}\r\n\r\n".encode(),
        )
        await waiting(api, 1)
        held.close()
        await waiting(api, 0)
        async with asyncio.timeout(10):
            while int(status) not in [each.get("status") for each in logs]:  # noqa: ASYNC110 - nor a log
                await asyncio.sleep(0.01)
    assert {each["log_level"] for each in logs} == {"info"}
    async with asyncio.timeout(10):
        while await counted(api, status=status, method="GET") == before:  # noqa: ASYNC110 - nor a counter
            await asyncio.sleep(0.01)
    assert (await api.job(job))["status"] == "queued"


async def test_who_goes_away_in_the_middle_of_an_image_is_no_bug(api: Api) -> None:
    job = await api.submit()
    await api.life.succeed(job, b"\xff\xd8\xff" + bytes(16 * 1024 * 1024))
    with capture_logs() as logs:
        half = connect(
            api,
            f"GET {path(job, '/images/0')} HTTP/1.1\r\nhost: a\r\n"
            f"authorization: Bearer {api.key}\r\n\r\n".encode(),
        )
        await asyncio.to_thread(half.recv, 1024)
        half.close()
        async with asyncio.timeout(10):
            while not any("images" in str(each.get("route")) for each in logs):  # noqa: ASYNC110 - nor a log
                await asyncio.sleep(0.01)
    assert {each["log_level"] for each in logs} == {"info"}


async def test_the_root_says_what_this_is(api: Api) -> None:
    async with httpx.AsyncClient(base_url=api.url, trust_env=False, verify=PLAIN) as stranger:
        said = (await stranger.get("/")).json()
        assert (said["name"], said["docs"], said["openapi"]) == (
            "Darkroom", "/docs", "/openapi.json",
        )  # fmt: skip
        described = (await stranger.get(said["openapi"])).json()
        assert said["version"] == described["info"]["version"]
        page = await stranger.get("/", headers={"accept": "text/html,*/*;q=0.8"})
        assert "<title>Darkroom</title>" in page.text
        assert (page.headers["vary"], page.status_code) == ("Accept", 200)


async def test_the_pages_run_nothing_but_what_is_served_here(api: Api) -> None:
    async with httpx.AsyncClient(base_url=api.url, trust_env=False, verify=PLAIN) as stranger:
        page = await stranger.get("/docs")
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert {"docs/swagger-ui-bundle.js", "docs/swagger-ui.css", "docs/start.js"} <= {*linked}
        for each in linked:
            answer = await stranger.get(f"/{each}")
            assert answer.status_code == 200, each
            assert len(answer.content) > 100, each
        assert json.dumps("openapi.json") in (await stranger.get("/docs/start.js")).text
        for nowhere in ("redoc.standalone.js", "..%2f__init__.py", "favicon.png"):
            assert (await stranger.get(f"/docs/{nowhere}")).status_code == 404


async def test_the_type_of_a_problem_leads_to_what_its_code_means(api: Api) -> None:
    refused = problem(await api.client.get("/v1/jobs/job_nothing"), 404, "not_found")
    page, _, anchor = str(refused["type"]).rpartition("#")
    assert page == f"{api.state.settings.public_url}/errors"
    async with httpx.AsyncClient(base_url=api.url, trust_env=False, verify=PLAIN) as stranger:
        shown = await stranger.get("/errors")
    assert (shown.status_code, shown.headers["content-type"]) == (200, "text/html; charset=utf-8")
    told = re.findall(r'<tr id="(\w+)">', shown.text)
    assert anchor in told
    assert sorted(told) == sorted(
        [*(each.code for each in refusals()), "method_not_allowed", "http_error"]
    )


async def test_below_a_path_location_and_type_name_it(settings: Settings, serving: Serve) -> None:
    below = settings.model_copy(update={"public_url": "https://example.com/darkroom/"})
    async with serving(below) as api:
        made = await api.client.post("/v1/jobs", json=body())
        job_id = made.json()["id"]
        assert made.headers["location"] == f"/darkroom/v1/jobs/{job_id}"
        again = await api.client.post(f"/v1/jobs/{job_id}/cancel")
        assert again.status_code == 200
        retried = await api.client.post(f"/v1/jobs/{job_id}/retry")
        assert retried.headers["location"] == f"/darkroom/v1/jobs/{retried.json()['id']}"
        refused = problem(await api.client.get("/v1/none"), 404, "not_found")
        assert refused["type"] == "https://example.com/darkroom/errors#not_found"
        # By hand: these bytes are no request, and no app sees them.
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(api.url).port)
        writer.write(b"what is this\r\n\r\n")
        answer = await reader.read()
        writer.close()
        assert b"https://example.com/darkroom/errors#malformed_request" in answer
