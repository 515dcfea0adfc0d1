"""`cancel` in every state, and `retry` from the terminal ones."""

import asyncio
from uuid import UUID

import pytest

from models import ids, jobs
from models.jobs.attempts import Answer
from models.money import prices
from tests.integration.api.client import (
    MODEL,
    PRICE,
    Api,
    Body,
    cost,
    input_,
    job_id,
    path,
    problem,
    unknown_until,
)


async def canceled(api: Api, job: UUID) -> Body:
    """Cancel a job; always answered with the job."""
    answer = await api.client.post(path(job, "/cancel"))
    assert answer.status_code == 200, answer.text
    assert answer.headers["etag"]
    shown: Body = answer.json()
    assert shown == await api.job(job)
    return shown


def outcome(shown: Body) -> object:
    """Return how a cancel came out."""
    cancel = shown["cancel"]
    assert isinstance(cancel, dict)
    assert set(cancel) == {"requested_at", "outcome"}
    assert cancel["requested_at"]
    return cancel["outcome"]


@pytest.mark.parametrize("state", ["queued", "released"])
async def test_a_job_that_has_not_started_is_prevented_and_holds_nothing(
    api: Api, state: str
) -> None:
    job = await api.submit()
    if state == "released":
        await api.life.dispatch(job)
    shown = await canceled(api, job)
    assert (shown["status"], outcome(shown)) == ("canceled", "prevented")
    assert shown["finished_at"]
    assert shown["cost"] == cost(estimated=PRICE)
    assert (shown["has_image"], shown["charged"]) == (False, "no")
    assert await canceled(api, job) == shown, "to cancel again changes nothing"


async def test_a_call_under_way_is_not_aborted_and_its_image_is_kept(api: Api) -> None:
    job = await api.submit()
    ref = await api.life.start(job)
    pending = await canceled(api, job)
    assert (pending["status"], outcome(pending)) == ("running", "pending")
    assert await canceled(api, job) == pending
    await api.life.finish(ref)
    late = await canceled(api, job)
    assert (late["status"], outcome(late)) == ("canceled", "too_late")
    assert late["result"]
    assert late["cost"] == cost(estimated=PRICE, charged=PRICE)
    assert (late["has_image"], late["charged"]) == (True, "yes"), "it is not to be missed"


async def test_a_call_that_fails_uncharged_was_prevented(api: Api) -> None:
    job = await api.submit()
    ref = await api.life.start(job)
    await canceled(api, job)
    async with api.life.database.transaction() as tx:
        await jobs.refuse(
            tx,
            api.life.presenter,
            ref,
            Answer("refused", "none"),
            code="invalid_input",
            message="no",
        )
    shown = await canceled(api, job)
    assert (shown["status"], outcome(shown)) == ("canceled", "prevented")


async def test_a_call_whose_answer_is_lost_leaves_the_charge_unknown(api: Api) -> None:
    job = await api.submit()
    ref = await api.life.start(job)
    await canceled(api, job)
    await api.life.lose(ref)
    shown = await canceled(api, job)
    assert (shown["status"], outcome(shown)) == ("canceled", "unknown")
    assert shown["cost"] == cost(unknown_until(shown), estimated=PRICE, unknown=PRICE, held=PRICE)
    assert (shown["has_image"], shown["charged"]) == (False, "unknown")


@pytest.mark.parametrize("state", ["succeeded", "failed", "expired"])
async def test_a_finished_job_is_given_as_it_is(api: Api, state: str) -> None:
    job = await api.submit()
    await {"succeeded": api.life.succeed, "failed": api.life.fail, "expired": api.life.expire}[
        state
    ](job)
    shown = await canceled(api, job)
    assert (shown["status"], shown["cancel"]) == (state, None)


async def test_ten_cancels_at_once_are_one(api: Api) -> None:
    job = await api.submit()
    shown = await asyncio.gather(*(canceled(api, job) for _ in range(10)))
    assert all(each == shown[0] for each in shown)
    assert await api.life.count("events") == 1
    assert await api.life.count("ledger WHERE kind = 'release'") == 1


async def test_a_finished_job_can_be_retried_as_a_new_one(api: Api) -> None:
    asked = {"tags": ["a"], "metadata": {"k": "v"}, "customer": "c1", "priority": "bulk"}
    job = await api.submit(input=input_(seed=7), queue_ttl=60, max_attempts=2, **asked)
    await api.life.fail(job)
    old = await api.job(job)
    answer = await api.client.post(path(job, "/retry"))
    assert answer.status_code == 202
    fresh = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{fresh['id']}"
    assert answer.headers["retry-after"]
    assert fresh["id"] != old["id"]
    assert fresh["retried_from"] == old["id"]
    assert fresh["status"] == "queued"
    assert {name: fresh[name] for name in ("input", *asked)} == {
        name: old[name] for name in ("input", *asked)
    }
    assert (fresh["attempts"], fresh["error"], fresh["cost"]["held"]) == ([], None, PRICE)
    assert await api.job(job) == old


@pytest.mark.parametrize("state", ["succeeded", "expired", "canceled"])
async def test_every_terminal_state_can_be_retried(api: Api, state: str) -> None:
    job = await api.submit()
    if state == "canceled":
        await canceled(api, job)
    else:
        await {"succeeded": api.life.succeed, "expired": api.life.expire}[state](job)
    assert (await api.client.post(path(job, "/retry"))).status_code == 202


@pytest.mark.parametrize("state", ["queued", "running"])
async def test_a_job_that_is_not_finished_cannot_be_retried(api: Api, state: str) -> None:
    job = await api.submit()
    if state == "running":
        await api.life.start(job)
    said = problem(await api.client.post(path(job, "/retry")), 409, "not_finished")
    assert said["retryable"] is True
    assert state in str(said["detail"])
    assert await api.life.count("jobs") == 1


async def test_a_retry_with_a_key_is_made_once(api: Api) -> None:
    job = await api.submit()
    await api.life.fail(job)
    headers = {"idempotency-key": "again"}
    answers = await asyncio.gather(
        *(api.client.post(path(job, "/retry"), headers=headers) for _ in range(10))
    )
    assert {each.status_code for each in answers} == {202}
    assert len({each.json()["id"] for each in answers}) == 1
    assert sum("idempotent-replayed" not in each.headers for each in answers) == 1
    other = await api.submit()
    await api.life.fail(other)
    reused = await api.client.post(path(other, "/retry"), headers=headers)
    problem(reused, 422, "idempotency_key_reuse")


async def test_a_retry_holds_what_a_call_costs_now(api: Api) -> None:
    await api.life.fail(job := await api.submit())
    async with api.life.database.transaction() as tx:
        assert await prices.quote(tx, MODEL, PRICE + 1_000)
    again = (await api.client.post(path(job, "/retry"))).json()
    assert (again["cost"]["estimated"], again["cost"]["held"]) == (PRICE + 1_000, PRICE + 1_000)
    assert await api.life.count(f"jobs WHERE max_cost = {2 * PRICE}") == 2, "it is kept"


async def test_a_retry_that_its_max_cost_does_not_pay_for_any_more_is_refused(api: Api) -> None:
    job = await api.submit(max_cost=PRICE)
    await api.life.fail(job)
    async with api.life.database.transaction() as tx:
        assert await prices.quote(tx, MODEL, PRICE + 1_000)
    said = problem(await api.client.post(path(job, "/retry")), 409, "conflict")
    assert "92,000 credits now" in str(said["detail"])
    assert await api.life.count("jobs") == 1


async def test_a_retry_that_came_before_gives_its_job_whatever_became_of_the_old(api: Api) -> None:
    job = await api.submit()
    await api.life.fail(job)
    headers = {"idempotency-key": "again"}
    first = (await api.client.post(path(job, "/retry"), headers=headers)).json()
    assert (await api.client.delete(path(job))).status_code == 204
    again = await api.client.post(path(job, "/retry"), headers=headers)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (202, "true")
    assert again.json()["id"] == first["id"]


async def test_a_retry_can_itself_be_retried(api: Api) -> None:
    job = await api.submit()
    await canceled(api, job)
    second = job_id((await api.client.post(path(job, "/retry"))).json()["id"])
    await canceled(api, second)
    third = (await api.client.post(path(second, "/retry"))).json()
    assert third["retried_from"] == ids.text(ids.JOB, second)
