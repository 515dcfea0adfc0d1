"""A client's own retries: its answers are cut off, and nothing is paid twice."""

import asyncio
import json
import socket
from uuid import UUID

import httpx

from tests.integration.api.client import Api, job_id
from tests.integration.api.test_api_generations import URL, asked, ended, queued


def counting(count: int) -> dict[str, str]:
    return {"x-stainless-retry-count": str(count)}


async def cut(api: Api, times: int = 1, count: int | None = None) -> list[UUID]:
    """Send calls, and hang up when their jobs are there; returns those, oldest first."""
    headers = {} if count is None else counting(count)
    posts = [
        asyncio.create_task(api.client.post(URL, json=asked(), headers=headers))
        for _ in range(times)
    ]
    made = await jobs(api, times)
    for post in posts:
        post.cancel()
    await asyncio.gather(*posts, return_exceptions=True)
    return made


async def cut_in_the_middle(api: Api, count: int) -> None:
    """Send a call, and hang up as soon as its answer begins."""
    request = api.client.build_request("POST", URL, json=asked(), headers=counting(count))
    host, port = httpx.URL(api.url).host, httpx.URL(api.url).port
    reader, writer = await asyncio.open_connection(host, port)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    writer.write(f"POST {URL} HTTP/1.1\r\n{head}\r\n".encode() + request.content)
    await reader.readexactly(5)
    writer.transport.abort()


async def jobs(api: Api, count: int) -> list[UUID]:
    found = await queued(api, count)
    assert len(found) == count
    return found


async def answered(api: Api, headers: dict[str, str] | None = None) -> UUID:
    answer = await api.client.post(URL, json=asked(), headers=headers)
    assert answer.status_code == 200, answer.text
    return job_id(answer.json()["data"][0]["job_id"])


async def lost(api: Api, count: int) -> None:
    """Wait until so many calls are known to be lost."""
    while await api.life.count("calls WHERE lost_at IS NOT NULL") < count:  # noqa: ASYNC110 - no event
        await asyncio.sleep(0.02)


async def test_ten_clients_that_lose_their_connection_get_the_ten_they_asked_for(api: Api) -> None:
    made = await cut(api, 10, 0)
    await lost(api, 10)
    retries = asyncio.gather(*(answered(api, counting(1)) for _ in range(10)))
    for job in made:
        await ended(api, api.life.succeed(job, job.bytes), job)
    assert sorted(await retries) == made
    assert await api.life.count("jobs") == 10


async def test_an_answer_that_is_cut_off_is_given_again(api: Api) -> None:
    calls = [asyncio.create_task(cut_in_the_middle(api, 0)) for _ in range(5)]
    made = await jobs(api, 5)
    for job in made:
        await ended(api, api.life.succeed(job, job.bytes), job)
    await asyncio.gather(*calls)
    again = [asyncio.create_task(cut_in_the_middle(api, 1)) for _ in range(5)]
    await asyncio.gather(*again)
    assert sorted([await answered(api, counting(2)) for _ in range(5)]) == made
    assert await api.life.count("jobs") == 5


async def test_a_client_that_does_not_count_joins_what_it_lost_and_only_that(api: Api) -> None:
    (job,) = await cut(api)
    await lost(api, 1)
    await ended(api, api.life.succeed(job), job)
    assert await answered(api) == job
    await cut(api)  # it was answered: this is another image
    assert await api.life.count("jobs") == 2


async def test_a_client_that_leaves_cancels_nothing(api: Api) -> None:
    (job,) = await cut(api)
    await ended(api, api.life.succeed(job), job)
    assert (await api.job(job))["status"] == "succeeded"


async def test_a_stream_that_breaks_off_is_joined_too(api: Api) -> None:
    async with api.client.stream("POST", URL, json=asked(stream=True)) as answer:
        await anext(answer.aiter_raw())
    (job,) = await jobs(api, 1)
    await lost(api, 1)
    await ended(api, api.life.succeed(job), job)
    again = await api.client.post(URL, json=asked(stream=True))
    event = json.loads(again.text.split("data: ")[1])
    assert job_id(event["job_id"]) == job
    assert await api.life.count("jobs") == 1


async def test_a_repetition_that_finds_the_job_failed_is_told_so_and_pays_nothing(api: Api) -> None:
    (job,) = await cut(api)
    await lost(api, 1)
    await ended(api, api.life.expire(job), job)
    for _ in range(2):
        answer = await api.client.post(URL, json=asked())
        assert (answer.status_code, answer.json()["code"]) == (502, "expired")
    assert await api.life.count("jobs") == 1


async def test_an_answer_that_was_sent_whole_and_not_read_is_lost_too(api: Api) -> None:
    unread = asyncio.create_task(closed_unread(api))
    (job,) = await jobs(api, 1)
    await ended(api, api.life.succeed(job), job)
    await unread
    await lost(api, 1)
    assert await answered(api) == job  # although it does not count
    again = asyncio.create_task(answered(api))  # that one was read: this is another image
    (other,) = await jobs(api, 1)
    await ended(api, api.life.succeed(other), other)
    assert await again == other != job


async def closed_unread(api: Api) -> None:
    """Send a call, and close its connection when all of the answer is there, most of it unread."""
    request = api.client.build_request("POST", URL, json=asked())
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.settimeout(0)
        await loop.sock_connect(connection, (httpx.URL(api.url).host, httpx.URL(api.url).port))
        whole = f"POST {URL} HTTP/1.1\r\n{head}\r\n".encode() + request.content
        await loop.sock_sendall(connection, whole)
        await loop.sock_recv(connection, 5)
        while await api.life.count("calls WHERE answered_at IS NOT NULL") == 0:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.02)
