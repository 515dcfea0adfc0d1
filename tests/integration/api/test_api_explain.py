"""`GET /v1/jobs/{id}/explain`: what binds a job now, its place, and when it may start."""

from datetime import datetime, timedelta
from typing import TypedDict, cast
from uuid import UUID

import pytest

from models import ids
from tests.integration.api.client import Api, Body, body, path, problem, unknown_until


class Estimate(TypedDict):
    earliest: str
    latest: str | None


class Place(TypedDict):
    in_project: int
    at_least: bool
    projects_waiting: int


class Explanation(TypedDict):
    object: str
    job_id: str
    status: str
    waiting_reason: str | None
    message: str
    binding: list[Body]
    position: Place | None
    start_estimate: Estimate | None
    no_estimate_because: str | None
    running: Body | None


async def explain(api: Api, job: UUID) -> Explanation:
    answer = await api.client.get(path(job, "/explain"))
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "private, no-store"
    return cast("Explanation", answer.json())


def reasons(found: Explanation) -> list[object]:
    return [each["reason"] for each in found["binding"]]


async def work(api: Api, slots: int = 64) -> None:
    """Let a worker be there that can take so many."""
    await api.life.alter(
        "INSERT INTO workers (id, generate_slots, deliver_slots) VALUES ('w', :slots, 1) "
        "ON CONFLICT (id) DO UPDATE SET generate_slots = :slots",
        slots=slots,
    )


async def place(api: Api, job: UUID) -> Place:
    found = (await explain(api, job))["position"]
    assert found is not None
    return found


async def later(api: Api, job: UUID, seconds: int) -> None:
    await api.life.alter(
        "UPDATE jobs SET run_after = now() + :s * interval '1 s', waiting_reason = 'backoff', "
        "attempt = 2 WHERE id = :job",
        job=job, s=seconds,
    )  # fmt: skip


async def test_a_job_whose_turn_has_come_is_bound_by_nothing(api: Api) -> None:
    await work(api)
    found = await explain(api, await api.submit())
    assert (found["object"], found["status"], found["waiting_reason"]) == (
        "explanation", "queued", "queue",
    )  # fmt: skip
    assert reasons(found) == ["queue"]
    assert found["position"] == {"in_project": 0, "at_least": False, "projects_waiting": 1}
    estimate = found["start_estimate"]
    assert estimate is not None
    assert estimate["latest"] is not None
    assert datetime.fromisoformat(estimate["latest"]) - datetime.fromisoformat(
        estimate["earliest"]
    ) == timedelta(seconds=30)


async def test_the_provider_limit_is_told_in_numbers_with_place_and_a_range(api: Api) -> None:
    await work(api, slots=100)
    limit = api.state.settings.provider_limit_floor
    released = [await api.submit() for _ in range(limit)]
    await api.life.dispatch(released[0])  # and the others with it
    await api.life.alter(
        "INSERT INTO attempts (id, job_id, number, start_id, worker, client_request_id, key_prefix, "
        "hold, sent_at) SELECT id, id, 1, id, 'w', CAST(id AS text), '', 1, "
        "now() - :n * interval '1 s' FROM jobs",
        n=limit,
    )
    *_, last = [await api.submit() for _ in range(9)]
    found = await explain(api, last)
    assert reasons(found) == ["provider_limit", "queue"]
    assert found["waiting_reason"] == "provider_limit"
    assert found["binding"][0]["in_flight"] == found["binding"][0]["limit"] == limit
    assert found["position"] == {"in_project": 8, "at_least": False, "projects_waiting": 1}
    assert str(limit) in found["message"]
    estimate = found["start_estimate"]
    assert estimate is not None
    assert estimate["latest"] is not None
    # One call a second: eight go first.
    between = datetime.fromisoformat(estimate["latest"]) - datetime.fromisoformat(
        estimate["earliest"]
    )
    assert timedelta(seconds=0.9) < between < timedelta(seconds=1.5)


async def test_projects_that_wait_take_turns(api: Api) -> None:
    await work(api, slots=1)
    await api.life.start(await api.submit())
    other = await api.another_project()
    for _ in range(3):
        assert (await api.client.post("/v1/jobs", json=body(), headers=other)).status_code == 202
    found = await explain(api, await api.submit())
    assert reasons(found) == ["workers", "fair_share"]
    assert found["waiting_reason"] == "fair_share"
    assert found["position"] == {"in_project": 0, "at_least": False, "projects_waiting": 2}


async def test_the_places_that_are_kept_for_other_projects_are_told_with_the_share(
    api: Api,
) -> None:
    await work(api, slots=8)
    await api.life.alter("INSERT INTO limits (id, calls) VALUES (1, 8)")
    await api.another_project()
    released = [await api.submit() for _ in range(7)]
    await api.life.dispatch(released[0])  # and the others with it
    waiting = await api.submit()
    assert reasons(await explain(api, waiting)) == ["queue"], "nobody else was about"
    await api.life.alter(
        "INSERT INTO turns (project_id, turn) SELECT id, 1 FROM projects ON CONFLICT DO NOTHING"
    )
    found = await explain(api, waiting)
    assert reasons(found) == ["fair_share"]
    assert found["waiting_reason"] == "fair_share"
    assert (found["binding"][0]["in_flight"], found["binding"][0]["share"]) == (7, 7)
    assert "the rest are kept for other projects" in found["message"]


async def test_rank_decides_the_place(api: Api) -> None:
    bulk, standard, first = [
        await api.submit(priority=each) for each in ("bulk", "standard", "interactive")
    ]
    ahead = [(await place(api, job))["in_project"] for job in (first, standard, bulk)]
    assert ahead == [0, 1, 2]


async def test_a_long_line_is_counted_to_a_bound(api: Api) -> None:
    job = await api.submit(priority="bulk")
    await api.life.alter(
        "INSERT INTO jobs (id, project_id, key_id, rank, model, input, input_hash, priority, "
        "estimate, queue_expires_at, max_attempts, max_cost, on_unknown_charge) "
        "SELECT gen_random_uuid(), project_id, key_id, created_at, model, '{}', '', priority, 1, "
        "queue_expires_at, 1, 1, 'fail' FROM jobs, generate_series(1, 10001) WHERE id = :job",
        job=job,
    )
    assert await place(api, job) == {
        "in_project": 10_000, "at_least": True, "projects_waiting": 1,
    }  # fmt: skip
    assert "At least 10,000" in (await explain(api, job))["message"]


async def test_without_a_worker_nobody_knows_when(api: Api) -> None:
    found = await explain(api, await api.submit())
    assert reasons(found) == ["workers"]
    assert found["start_estimate"] is None
    assert found["no_estimate_because"] == "no worker that takes jobs was seen lately"


@pytest.mark.parametrize("gate", ["provider_down", "wallet_empty", "provider_key"])
async def test_a_closed_gate_is_told_without_its_details(api: Api, gate: str) -> None:
    await work(api)
    job = await api.submit()
    await api.life.alter("INSERT INTO gates (reason, detail) VALUES (:gate, 'secret')", gate=gate)
    found = await explain(api, job)
    assert reasons(found) == [gate]
    assert found["waiting_reason"] == gate == (await api.job(job))["waiting_reason"]
    assert found["binding"][0]["half_open"] is False
    assert "secret" not in str(found)
    assert found["start_estimate"] is None
    assert gate in (found["no_estimate_because"] or "")


async def test_each_pause_that_holds_it_is_told(api: Api) -> None:
    await work(api)
    job = await api.submit()
    project = str(api.life.caller.project_id)
    for scope, name in (("all", ""), ("model", "another"), ("project", project)):
        await api.life.alter(
            "INSERT INTO pauses (scope, name) VALUES (:scope, :name)", scope=scope, name=name
        )
    found = await explain(api, job)
    assert [each["scope"] for each in found["binding"]] == ["all", "project"]
    assert found["waiting_reason"] == "paused"


async def test_a_project_cap_and_a_key_cap_are_told_in_numbers(api: Api) -> None:
    await work(api)
    await api.life.start(await api.submit(concurrency_key="one"))
    await api.life.alter("UPDATE projects SET cap = 1")
    found = await explain(api, await api.submit())
    assert reasons(found) == ["project_cap"]
    assert (found["binding"][0]["in_flight"], found["binding"][0]["cap"]) == (1, 1)
    parked = [await api.submit(concurrency_key="one") for _ in range(2)]
    await api.life.alter(
        "UPDATE jobs SET run_after = NULL, waiting_reason = 'concurrency_key' "
        "WHERE concurrency_key = 'one' AND status = 'queued'"
    )
    found = await explain(api, parked[1])
    assert reasons(found)[0] == found["waiting_reason"] == "concurrency_key"
    assert (found["binding"][0]["in_flight"], found["binding"][0]["cap"]) == (1, 1)
    assert found["position"] == {"in_project": 1, "at_least": False, "projects_waiting": 1}
    assert found["start_estimate"] is None


async def test_backoff_names_its_end_and_no_start_is_forecast_before_it(api: Api) -> None:
    await work(api)
    job = await api.submit()
    await later(api, job, 600)
    found = await explain(api, job)
    assert reasons(found) == ["backoff"]
    assert found["binding"][0]["attempts"] == 2
    estimate = found["start_estimate"]
    assert estimate is not None
    assert estimate["earliest"] == found["binding"][0]["until"]


async def test_a_full_budget_is_named(api: Api) -> None:
    await work(api)
    job = await api.submit()
    budget = {"window": "day", "limit": 100, "mode": "hard"}
    assert (await api.client.put("/v1/budgets", json=budget)).status_code == 200
    await api.life.alter("UPDATE jobs SET run_after = NULL, waiting_reason = 'budget'")
    found = await explain(api, job)
    assert reasons(found) == ["budget"]
    assert "0 of 100 credits left" in found["message"]
    assert found["position"] is None
    assert found["no_estimate_because"] == "it waits for something other than its turn"


async def test_a_follower_names_its_leader(api: Api) -> None:
    await work(api)
    leader, follower = [await api.submit(reuse="exact") for _ in range(2)]
    found = await explain(api, follower)
    assert found["waiting_reason"] == "following"
    assert found["binding"][0]["leader"] == ids.text(ids.JOB, leader)


async def test_an_unknown_charge_names_the_attempt(api: Api) -> None:
    await work(api)
    job = await api.submit(on_unknown_charge="wait")
    await api.life.lose(await api.life.start(job))
    found = await explain(api, job)
    assert found["waiting_reason"] == "unknown_charge"
    (binding,) = found["binding"]
    assert binding["attempts"] == [1]
    shown = await api.job(job)
    until = unknown_until(shown)
    assert binding["until"] == until
    assert "whether attempt 1 was charged. The job goes on once" in found["message"]
    assert f"has not shown it by {until}." in found["message"]
    (attempt,) = cast("list[Body]", shown["attempts"])
    waits = datetime.fromisoformat(until) - datetime.fromisoformat(str(attempt["sent_at"]))
    assert waits == timedelta(minutes=65)  # the longest call, and four lags

    await api.life.alter("UPDATE attempts SET sent_at = sent_at - interval '2 hours'")
    late = await explain(api, job)
    due = unknown_until(await api.job(job))
    assert f"shows it, as was due by {due}, or an operator tells" in late["message"]


async def test_a_running_job_says_since_when_and_how_long_it_takes(api: Api) -> None:
    await api.life.succeed(await api.submit())
    await api.life.alter("UPDATE attempts SET sent_at = finished_at - interval '40 s'")
    job = await api.submit()
    await api.life.start(job)
    found = await explain(api, job)
    running = found["running"]
    assert running is not None
    assert (found["status"], running["phase"], running["typical_seconds"]) == (
        "running", "call", 40.0,
    )  # fmt: skip
    assert str(running["since"]) in found["message"]
    assert (found["binding"], found["waiting_reason"]) == ([], None)


async def test_a_dispatched_job_begins_any_moment(api: Api) -> None:
    await work(api)
    job = await api.submit()
    await api.life.dispatch(job)
    found = await explain(api, job)
    assert (found["status"], found["waiting_reason"]) == ("queued", "queue")
    assert found["start_estimate"] is not None


@pytest.mark.parametrize("ending", ["succeed", "fail", "expire"])
async def test_a_finished_job_says_that_it_has_ended(api: Api, ending: str) -> None:
    job = await api.submit()
    await getattr(api.life, ending)(job)
    found = await explain(api, job)
    assert found["no_estimate_because"] == "it has ended"
    assert str((await api.job(job))["finished_at"]) in found["message"]
    assert (found["binding"], found["position"], found["start_estimate"]) == ([], None, None)


async def test_another_projects_job_is_not_explained_and_the_scope_is_demanded(api: Api) -> None:
    job = await api.submit()
    headers = await api.another_project()
    answer = await api.client.get(path(job, "/explain"), headers=headers)
    problem(answer, 404, "not_found")
    writer = await api.key_with("jobs:write")
    problem(await api.client.get(path(job, "/explain"), headers=writer), 403, "scope_missing")
