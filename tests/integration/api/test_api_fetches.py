"""`POST /v1/files` with a URL: a worker fetches the picture through the guard, and the caller waits."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from uuid import UUID

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from models.images import fetches
from tests.e2e.receiver import serving
from tests.fixtures.decoders import DECODERS
from tests.fixtures.drawing import draw
from tests.integration.api.client import Api, pointers, problem
from tests.integration.api.test_api_erasures import erased
from tests.integration.api.test_api_references import inline
from worker import fetching
from worker.runtime.context import Context, open_context

URL = "/v1/files"
PNG = draw("png", (64, 48))


@dataclass
class Host:
    """A host of pictures: what it serves by path, and what it was asked for."""

    url: str = ""
    served: dict[str, bytes] = field(default_factory=lambda: {"/a.png": PNG})
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def host() -> Iterator[Host]:
    here = Host()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here.asked.append(self.path)
            body = here.served.get(self.path)
            moved = self.path == "/moved"
            self.send_response(302 if moved else 404 if body is None else 200)
            if moved:
                self.send_header("location", "/a.png")
            self.send_header("content-length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with serving(Handler) as port:
        here.url = f"http://127.0.0.1:{port}"
        yield here


@pytest.fixture
async def worker(api: Api) -> AsyncIterator[Context]:
    settings = api.state.settings.model_copy(update={"aimlapi_key": SecretStr("k")})
    async with open_context(settings, "w1", pictures=DECODERS) as context:
        yield context


async def due(api: Api, at_least: int = 1) -> list[UUID]:
    """Wait until so many are asked for, and hand them out as a dispatcher does."""
    waiting = text("SELECT count(*) FROM fetches WHERE finished_at IS NULL AND due_at <= now()")
    while True:
        async with api.life.database.transaction() as tx:
            if (await tx.scalar(waiting) or 0) >= at_least:
                return await fetches.due(tx)
        await asyncio.sleep(0.01)


async def fetched(api: Api, worker: Context, **body: object) -> httpx.Response:
    """Ask for a picture, and be the worker that fetches it."""
    call = asyncio.create_task(api.client.post(URL, json=body))
    for each in await due(api):
        await fetching.run(worker, each)
    return await call


async def test_a_picture_is_fetched_once_and_kept_as_an_upload(
    api: Api, host: Host, worker: Context
) -> None:
    made = await fetched(api, worker, url=f"{host.url}/moved", customer="anna")
    assert made.status_code == 201, made.text
    file = made.json()
    assert (file["width"], file["content_type"], file["customer"]) == (64, "image/png", "anna")
    assert (await api.client.get(f"{URL}/{file['id']}/content")).content == PNG
    joined = await api.client.post(URL, json={"url": f"{host.url}/moved", "customer": "anna"})
    assert (joined.status_code, joined.json()["id"]) == (200, file["id"])
    assert host.asked == ["/moved", "/a.png"]


async def test_who_asks_for_the_same_waits_for_the_same(
    api: Api, host: Host, worker: Context
) -> None:
    calls = [api.client.post(URL, json={"url": f"{host.url}/a.png"}) for _ in range(5)]
    crowd = asyncio.gather(*calls)
    (fetch,) = await due(api)
    await asyncio.gather(fetching.run(worker, fetch), fetching.run(worker, fetch))
    assert len({each.json()["id"] for each in await crowd}) == 1


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/gone.png", "the URL answered 404."),
        ("/page", "the bytes are no image"),
        ("/large", "takes at most 10,485,760"),
        ("/half.png", "send the whole file"),
        ("/thin.png", "shapes from 1:16 to 16:1"),
    ],
)
async def test_what_is_no_picture_is_refused_in_a_sentence(
    api: Api, host: Host, worker: Context, path: str, says: str
) -> None:
    host.served |= {
        "/page": b"<html>", "/large": PNG + bytes(11 * 1024 * 1024), "/half.png": PNG[:-60],
        "/thin.png": draw("png", (15, 600)),
    }  # fmt: skip
    answer = await fetched(api, worker, url=host.url + path)
    said = problem(answer, 400, "invalid_request")
    assert says in str(said["detail"])
    assert pointers(answer) == ["/url"]
    assert await api.life.count("files") == await api.life.count("remnants") == 0


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/", "https://10.0.0.1/a.png", "ftp://a.example/", "a.png", ""]
)
async def test_an_address_that_may_not_be_reached_is_refused_at_once(api: Api, url: str) -> None:
    answer = await api.client.post(URL, json={"url": url})
    assert answer.status_code == 400, answer.text
    assert pointers(answer) == ["/url"]
    assert await api.life.count("fetches") == 0


async def test_a_worker_asks_the_guard_again_when_it_connects(
    api: Api, host: Host, worker: Context
) -> None:
    closed = worker.settings.model_copy(update={"egress_allow": ()})
    async with open_context(closed, "w2", pictures=DECODERS) as guarded:
        answer = await fetched(api, guarded, url=f"{host.url}/a.png")
    assert "may not be reached" in str(problem(answer, 400, "invalid_request")["detail"])
    assert host.asked == []


async def test_a_picture_that_comes_as_a_url_of_its_own_needs_no_worker(api: Api) -> None:
    made = await api.client.post(URL, json={"url": inline(PNG)})
    assert (made.status_code, made.json()["bytes"]) == (201, len(PNG))
    answer = await api.client.post(URL, json={"url": "data:image/png;base64,AAAA"})
    assert pointers(answer) == ["/url"]


async def test_what_is_lost_with_its_worker_is_handed_out_again_and_in_turns(api: Api) -> None:
    asked = [{"url": f"https://example.com/{n}.png"} for n in range(6)]
    theirs = await api.another_project()
    calls = [asyncio.create_task(api.client.post(URL, json=each)) for each in asked]
    calls.append(asyncio.create_task(api.client.post(URL, json=asked[0], headers=theirs)))
    assert len(await due(api, 7)) == 5, "four of one project, and the other's"
    async with api.life.database.transaction() as tx:
        assert await fetches.due(tx) == []
    for _ in range(2):
        await api.life.alter("UPDATE fetches SET due_at = now() WHERE tries > 0")
        assert len(await due(api)) == 5
    await api.life.alter("UPDATE fetches SET due_at = now(), tries = 3")
    assert await due(api) == []
    for each in calls:
        assert "the workers that tried to fetch it were lost" in (await each).json()["detail"]


async def test_who_is_forgotten_meanwhile_gets_no_file(
    api: Api, host: Host, worker: Context
) -> None:
    call = asyncio.create_task(
        api.client.post(URL, json={"url": f"{host.url}/a.png", "customer": "anna"})
    )
    (fetch,) = await due(api)
    await erased(api, customer="anna")
    await fetching.run(worker, fetch)
    api.state.waiting.drain()
    problem(await call, 404, "not_found")
    assert await api.life.count("files") == await api.life.count("fetches") == 0
