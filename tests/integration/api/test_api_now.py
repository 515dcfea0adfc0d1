"""`GET /v1/now`: a sentence, the last hour, what waits and why, money, and what is to be seen to."""

from collections import Counter
from datetime import UTC, datetime

import httpx
import pytest

from models import ids
from models.jobs.reading import flow
from tests.conftest import PLAIN
from tests.integration.api.client import PRICE, Api, Body, input_, problem

_COUNTS = ("accepted", "started", "succeeded", "failed", "canceled", "expired")


async def look(api: Api, headers: dict[str, str] | None = None, **query: str) -> Body:
    answer = await api.client.get("/v1/now", params=query, headers=headers or {})
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "private, no-store"
    found: Body = answer.json()
    return found


def summed(now: Body) -> list[int]:
    minutes = now["flow"]
    assert isinstance(minutes, list)
    assert [each["at"] for each in minutes] == sorted(each["at"] for each in minutes)
    return [sum(each[name] for each in minutes) for name in _COUNTS]


def codes(now: Body) -> list[str]:
    needs = now["attention"]
    assert isinstance(needs, list)
    return [each["code"] for each in needs]


async def work(api: Api) -> None:
    await api.life.alter(
        "INSERT INTO workers (id, generate_slots, deliver_slots) VALUES ('w', 64, 1)"
    )


async def test_a_project_in_which_nothing_happens_is_told_so(api: Api) -> None:
    now = await look(api)
    assert now["message"] == (
        "Nothing waits, and no call is under way. Nothing ended in the last hour."
    )
    assert (len(now["flow"]), summed(now)) == (flow.MINUTES, [0] * 6)  # type: ignore[arg-type]
    assert (now["attention"], now["running"], now["budgets"], now["wallet"]) == ([], 0, [], None)
    problem(await api.client.get("/v1/now", params={"tz": "Mars/Olympus"}), 422, "invalid_request")


async def test_what_comes_goes_and_waits_is_counted_minute_by_minute(api: Api) -> None:
    await work(api)
    succeeded, failed, running, canceled = [await api.submit() for _ in range(4)]
    await api.life.succeed(succeeded)
    await api.life.fail(failed)
    lost = await api.life.start(running)
    await api.client.post(f"/v1/jobs/{ids.text(ids.JOB, canceled)}/cancel")
    waiting = await api.submit()
    now = await look(api)
    assert summed(now) == [5, 3, 1, 1, 1, 0]
    assert (now["running"], now["waiting"]["jobs"]) == (1, 1)  # type: ignore[index]
    assert str(now["message"]).startswith("1 call is under way, and 1 job waits")
    assert str(now["message"]).endswith("brought 1 picture; 1 job failed or expired.")
    assert now["today"]["charged"] == {"credits": PRICE, "usd": "0.0455"}  # type: ignore[index]
    assert now["today"]["pictures"] == 1  # type: ignore[index]
    assert now["unknown_charges"] == {
        "calls": 0, "overdue": 0, "held": {"credits": 0, "usd": "0.00"},
    }  # fmt: skip
    await api.life.lose(lost)
    await api.life.expire(waiting)
    now = await look(api)
    assert summed(now)[-1] == 1
    assert now["unknown_charges"]["calls"] == 1  # type: ignore[index]
    assert now["unknown_charges"]["held"]["credits"] == PRICE  # type: ignore[index]
    assert codes(now) == []
    await api.life.alter("UPDATE attempts SET sent_at = sent_at - interval '2 h'")
    assert codes(await look(api)) == ["charges_unknown"]


@pytest.mark.parametrize(
    "holds",
    [
        "SELECT",
        "INSERT INTO pauses (scope, name) VALUES ('all', '')",
        "INSERT INTO pauses (scope, name) SELECT 'project', id::text FROM projects",
        "INSERT INTO pauses (scope, name) SELECT DISTINCT 'model', model FROM jobs",
        "INSERT INTO pauses (scope, name) VALUES ('model', 'of somebody else')",
        "INSERT INTO gates (reason, detail) VALUES ('wallet_empty', 'of another call')",
        "INSERT INTO gates (reason, detail, project_id) SELECT 'provider_down', 'no', id FROM projects",
        "UPDATE projects SET cap = 1",
    ],
)
async def test_the_reasons_are_those_that_each_job_tells_itself(api: Api, holds: str) -> None:
    running = await api.submit()
    await api.life.start(running)
    for _ in range(2):
        await api.submit()
    backoff, keeping, _key = [await api.submit(concurrency_key="one") for _ in range(3)]
    later = "UPDATE jobs SET run_after = now() + interval '1 h' WHERE id = :id"
    await api.life.alter(later, id=backoff)
    await api.life.alter("UPDATE jobs SET phase = 'keep' WHERE id = :id", id=keeping)
    parked = "UPDATE jobs SET run_after = NULL, waiting_reason = 'concurrency_key' WHERE id = :id"
    await api.life.alter(parked, id=_key)
    await api.life.alter(holds)
    listed = (await api.client.get("/v1/jobs", params={"status": "queued"})).json()["data"]
    reasons = (await look(api))["waiting"]["reasons"]  # type: ignore[index]
    assert {each["reason"]: each["jobs"] for each in reasons} == Counter(
        each["waiting_reason"] for each in listed
    )


async def test_a_key_is_told_what_its_scopes_allow(api: Api) -> None:
    await work(api)
    await api.client.put("/v1/budgets", json={"window": "day", "limit": 0})
    await api.client.post("/v1/webhooks", json={"url": "https://example.com/hooks"})
    await api.life.alter(
        "UPDATE endpoints SET enabled = false, disabled_reason = 'it failed', disabled_at = now()"
    )
    whole = await look(api)
    assert codes(whole) == ["budget_full", "endpoint_disabled"]
    assert [each["left"] for each in whole["budgets"]] == [0]  # type: ignore[attr-defined]
    reader = await look(api, await api.key_with("jobs:read"))
    assert (reader["today"], reader["budgets"], codes(reader)) == (None, None, [])
    assert reader["unknown_charges"]["held"] is None  # type: ignore[index]
    finance = await look(api, await api.key_with("jobs:read", "usage:read"))
    assert codes(finance) == ["budget_full"]
    assert codes(await look(api, await api.another_project())) == []


async def test_the_wallet_is_told_to_the_operators_project_alone(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.life.alter("INSERT INTO wallet (id, credits, state) VALUES (1, 182000, 'low')")
    await api.life.succeed(await api.submit())
    assert (await look(api))["wallet"] is None
    named = api.state.settings.model_copy(update={"operator_project": "shop"})
    monkeypatch.setattr(api.state, "settings", named)
    now = await look(api)
    purse = now["wallet"]
    assert isinstance(purse, dict)
    assert (purse["credits"], purse["usd"], purse["last_hour_credits"]) == (182_000, "0.091", PRICE)
    assert datetime.fromisoformat(purse["ends_at"]) > datetime.now(UTC)
    assert codes(now) == ["wallet_runs_out"]
    assert (await look(api, await api.another_project()))["wallet"] is None
    assert (await look(api, await api.key_with("jobs:read")))["wallet"] is None


async def test_what_stops_everything_is_said_first(api: Api) -> None:
    await api.submit()
    now = await look(api)
    assert codes(now) == ["no_worker"]
    assert str(now["message"]).startswith("Jobs wait, and no worker is there to take them. 1 job")
    await work(api)
    await api.life.alter("INSERT INTO gates (reason, detail) VALUES ('wallet_empty', 'call 7')")
    now = await look(api)
    assert codes(now) == ["gate_wallet_empty"]
    assert str(now["message"]).startswith("The wallet at the provider is empty")
    assert "call 7" not in str(now)
    await api.life.alter("UPDATE projects SET suspended_at = now(), suspended_reason = 'unpaid'")
    assert codes(await look(api)) == ["suspended"]


async def test_a_batch_that_its_money_has_paused_is_told(api: Api) -> None:
    await work(api)
    items = [{"custom_id": name, "input": input_()} for name in "ab"]
    made = (await api.client.post("/v1/batches", json={"items": items})).json()
    await api.client.post(f"/v1/batches/{made['id']}/pause")
    assert codes(await look(api)) == []  # somebody wanted it
    await api.life.alter("UPDATE batches SET paused_for = 'max_cost'")
    now = await look(api)
    assert now["attention"] == [{
        "code": "batch_paused",
        "message": "A batch of 2 rows is paused: what is left costs more than its max_cost.",
        "see": f"/v1/batches/{made['id']}",
    }]  # fmt: skip
    async with httpx.AsyncClient(
        base_url=api.url, headers=await api.another_project(), trust_env=False, verify=PLAIN
    ) as other:
        assert (await other.get("/v1/now")).json()["attention"] == []


_MANY = """
    INSERT INTO jobs SELECT (jsonb_populate_record(j, jsonb_build_object(
           'id', left(j.id::text, 14) || substr(gen_random_uuid()::text, 15), 'batch_row', null))).*
      FROM jobs j, generate_series(1, :many) n
"""


async def test_a_flood_is_counted_as_far_as_it_matters(api: Api) -> None:
    await work(api)
    await api.submit()
    await api.life.alter(_MANY, many=flow.MOST + 10)
    now = await look(api)
    assert summed(now)[0] == flow.MOST
    assert [each["at_least"] for each in now["flow"]].count(True) == 1  # type: ignore[attr-defined]
