"""Groups over HTTP: `n` jobs of one submission, one id, one decision about money, one end that is told."""

import asyncio
import json

import pytest
from sqlalchemy import text

from models.jobs import batches
from tests.integration.api.client import PRICE, Api, Body, body, input_, job_id, path, problem

URL = "https://example.com/mine"


async def made(
    api: Api, n: int = 3, headers: dict[str, str] | None = None, **fields: object
) -> Body:
    """Make a group."""
    answer = await api.client.post("/v1/jobs", json=body(n=n, **fields), headers=headers)
    assert answer.status_code == 202, answer.text
    shown: Body = answer.json()
    assert answer.headers["location"] == f"/v1/batches/{shown['id']}"
    return shown


def jobs_of(group: Body) -> list[Body]:
    found = group["jobs"]
    assert isinstance(found, list)
    return found


async def look(api: Api, group: Body) -> Body:
    """Let the dispatcher do what there is to be done, and read the group."""
    for each in await batches.due(api.life.database.direct, 50):
        async with api.life.database.transaction() as tx:
            await batches.advance(tx, api.life.presenter, each)
    answer = await api.client.get(f"/v1/batches/{group['id']}")
    assert answer.status_code == 200, answer.text
    shown: Body = answer.json()
    return shown


async def told(api: Api) -> list[tuple[str, str, Body]]:
    """Return every delivery: its event's type, its URL, the event's data."""
    async with api.life.database.transaction() as tx:
        rows = await tx.execute(
            text(
                "SELECT type, url, body FROM deliveries d JOIN events e ON e.id = event_id ORDER BY d.id"
            )
        )
        return [(type_, url, json.loads(sent)["data"]) for type_, url, sent in rows]


async def test_a_group_is_so_many_jobs_each_with_its_own_seed(api: Api) -> None:
    group = await made(api, 3, input=input_(seed=7), metadata={"order": "A-17"})
    assert (group["object"], group["total"], group["metadata"]) == ("group", 3, {"order": "A-17"})
    assert str(group["id"]).startswith("group_")
    found = jobs_of(group)
    assert [each["input"]["seed"] for each in found] == [7, 8, 9]  # type: ignore[index]
    assert {each["batch_id"] for each in found} == {group["id"]}
    assert {each["waiting_reason"] for each in found} == {"queue"}
    assert group["credits"]["held"] == 3 * PRICE  # type: ignore[index]
    drawn = [each["input"]["seed"] for each in jobs_of(await made(api, 2))]  # type: ignore[index]
    assert drawn[1] == drawn[0] + 1


async def test_the_last_seed_is_followed_by_the_first(api: Api) -> None:
    group = await made(api, 2, input=input_(seed=(1 << 63) - 1))
    seeds = [each["input"]["seed"] for each in jobs_of(group)]  # type: ignore[index]
    assert seeds == [(1 << 63) - 1, -(1 << 63)]


@pytest.mark.parametrize("n", [0, 11, 2.0, "2", True])
async def test_a_group_has_one_to_ten_jobs(api: Api, n: object) -> None:
    answer = await api.client.post("/v1/jobs", json=body(n=n))
    said = problem(answer, 422, "invalid_request")
    assert [each["pointer"] for each in said["errors"]] == ["/n"]  # type: ignore[attr-defined]


async def test_a_group_is_one_decision_about_the_budget(api: Api) -> None:
    rule = {"window": "day", "limit": 4 * PRICE, "mode": "hard"}
    assert (await api.client.put("/v1/budgets", json=rule)).status_code == 200
    problem(await api.client.post("/v1/jobs", json=body(n=5)), 402, "budget_exceeded")
    assert await api.life.count("jobs") == await api.life.count("batches") == 0
    assert await api.life.count("ledger") == 0
    await made(api, 4)


async def test_its_end_is_told_once_with_all_of_its_jobs(api: Api) -> None:
    hook = {"url": "https://example.com/hook", "events": ["group.completed", "batch.completed"]}
    assert (await api.client.post("/v1/webhooks", json=hook)).status_code == 201
    group = await made(api, 2, webhook={"url": URL})
    first, second = jobs_of(group)
    await api.life.succeed(job_id(first["id"]))
    assert (await look(api, group))["status"] == "running"
    assert await told(api) == []
    await api.life.fail(job_id(second["id"]))
    over = await look(api, group)
    assert (over["status"], over["counts"]["succeeded"], over["counts"]["failed"]) == (  # type: ignore[index]
        "completed", 1, 1,
    )  # fmt: skip
    assert over["credits"]["charged"] == PRICE  # type: ignore[index]
    await look(api, group)
    heard = await told(api)
    assert [(type_, url) for type_, url, _ in heard] == [
        ("group.completed", "https://example.com/hook"), ("group.completed", URL),
    ]  # fmt: skip
    data = heard[0][2]
    assert [each["status"] for each in jobs_of(data)] == ["succeeded", "failed"]
    assert jobs_of(data)[0]["result"]["data"][0]["url"]  # type: ignore[index]
    assert "input" not in data
    assert {each["input"] for each in jobs_of(data)} == {None}


async def test_a_group_told_of_is_never_more_than_twenty_kilobytes(api: Api) -> None:
    much = {f"{n:064d}": "\u0001" * 512 for n in range(16)}
    group = await made(api, 10, webhook={"url": URL}, metadata=much)
    for each in jobs_of(group):
        await api.life.succeed(job_id(each["id"]))
    await look(api, group)
    ((_, _, data),) = await told(api)
    assert len(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()) < 20_000
    assert len(jobs_of(data)) == 10


async def test_whoever_lists_events_hears_of_each_job_too(api: Api) -> None:
    group = await made(api, 2, webhook={"url": URL, "events": ["job.succeeded"]})
    for each in jobs_of(group):
        await api.life.succeed(job_id(each["id"]))
    await look(api, group)
    types = [type_ for type_, _, _ in await told(api)]
    assert types == ["job.succeeded", "job.succeeded", "group.completed"]


async def test_one_key_makes_one_group_or_one_job(api: Api) -> None:
    key = {"idempotency-key": "k-1"}
    first = await made(api, 3, key)
    again = await api.client.post("/v1/jobs", json=body(n=3), headers=key)
    assert (again.json()["id"], again.headers["idempotent-replayed"]) == (first["id"], "true")
    assert [each["id"] for each in again.json()["jobs"]] == [each["id"] for each in jobs_of(first)]
    for other in (body(n=2), body()):
        refused = await api.client.post("/v1/jobs", json=other, headers=key)
        problem(refused, 422, "idempotency_key_reuse")
    at_once = [
        api.client.post("/v1/jobs", json=body(n=2), headers={"idempotency-key": "k-2"})
        for _ in range(6)
    ]
    assert len({each.json()["id"] for each in await asyncio.gather(*at_once)}) == 1
    assert (await api.life.count("jobs"), await api.life.count("batches")) == (5, 2)
    found = await api.client.get("/v1/jobs", params={"idempotency_key": "k-2"})
    assert len(found.json()["data"]) == 1
    listed = await api.client.get("/v1/jobs", params={"batch": str(first["id"])})
    assert len(listed.json()["data"]) == 3


async def test_images_that_are_there_are_taken_and_the_group_is_over(api: Api) -> None:
    first = await made(api, 2, input=input_(seed=7))
    for each in jobs_of(first):
        await api.life.succeed(job_id(each["id"]))
    group = await made(api, 3, input=input_(seed=7), reuse="exact")
    assert [each["status"] for each in jobs_of(group)] == ["succeeded", "succeeded", "queued"]
    assert group["credits"]["held"] == PRICE  # type: ignore[index]
    await api.life.succeed(job_id(jobs_of(group)[2]["id"]))
    assert (await look(api, group))["status"] == "completed"


async def test_a_group_is_waited_for_streamed_stopped_and_made_anew(api: Api) -> None:
    key = {"idempotency-key": "waited-for"}
    at_once = await made(api, 2, key)
    waiting = asyncio.create_task(api.client.post("/v1/jobs?wait=20", json=body(n=2), headers=key))
    for each in jobs_of(at_once):
        await api.life.fail(job_id(each["id"]))
    await look(api, at_once)
    answer = await waiting
    assert (answer.status_code, answer.json()["status"]) == (200, "completed")
    where = f"/v1/batches/{answer.json()['id']}"
    stream = await api.client.get(f"{where}/events")
    assert "event: group\n" in stream.text
    again = await api.client.post(f"{where}/retry")
    assert again.status_code == 202, again.text
    assert (again.json()["object"], again.json()["retried_from"]) == ("group", answer.json()["id"])
    group = await look(api, again.json())
    assert {each["waiting_reason"] for each in jobs_of(group)} == {"queue"}
    steer = f"/v1/batches/{group['id']}"
    assert (await api.client.post(f"{steer}/pause")).json()["paused_for"] == "request"
    paused = await look(api, group)
    assert {each["waiting_reason"] for each in jobs_of(paused)} == {"batch"}
    assert (await api.client.post(f"{steer}/resume")).json()["status"] == "running"
    resumed = await look(api, group)
    assert {each["waiting_reason"] for each in jobs_of(resumed)} == {"queue"}
    canceled = await api.client.post(f"{steer}/cancel")
    assert canceled.json()["cancel"]["prevented"] == 2
    assert (await look(api, group))["status"] == "canceled"
    shown = await api.client.get(path(job_id(jobs_of(group)[0]["id"])))
    assert shown.json()["status"] == "canceled"
