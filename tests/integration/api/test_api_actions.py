"""`/v1/jobs/actions`: one thing done to every job that a filter leaves, once each, whatever dies."""

import asyncio
from typing import cast
from uuid import UUID

import pytest
from sqlalchemy import text

from models import ids
from models.jobs.actions import doing
from tests.integration.api.client import PRICE, Api, Body, bearer, body, path, pointers, problem
from worker.dispatcher.duties import acting
from worker.dispatcher.duty import Dispatcher
from worker.runtime.app import connect


def dispatcher(api: Api) -> Dispatcher:
    here = api.state
    return Dispatcher(
        here.settings, "d", api.life.database, here.doorbell, connect(here.settings), here.presenter
    )


async def work(api: Api) -> None:
    """Take turns until nothing is left to be done."""
    while await acting.run(dispatcher(api)):
        pass


async def ask(
    api: Api, action: str, headers: dict[str, str] | None = None, /, **filter_: object
) -> Body:
    body = {"action": action, "filter": filter_}
    answer = await api.client.post("/v1/jobs/actions", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    shown: Body = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/actions/{shown['id']}"
    return shown


async def see(api: Api, action: Body) -> Body:
    answer = await api.client.get(f"/v1/jobs/actions/{action['id']}")
    assert answer.status_code == 200, answer.text
    shown: Body = answer.json()
    return shown


async def done(api: Api, action: str, **filter_: object) -> Body:
    asked = await ask(api, action, None, **filter_)
    await work(api)
    return await see(api, asked)


async def preview(api: Api, action: str, **filter_: object) -> tuple[int, int]:
    body = {"action": action, "filter": filter_, "dry_run": True}
    answer = await api.client.post("/v1/jobs/actions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["count"], answer.json()["credits"]


async def failed(api: Api, count: int, **fields: object) -> list[UUID]:
    made = []
    for _ in range(count):
        made.append(await api.submit(**fields))
        await api.life.fail(made[-1])
    return made


async def retried(api: Api) -> list[str]:
    page = (await api.client.get("/v1/jobs", params={"limit": 100})).json()
    return sorted(each["retried_from"] for each in page["data"] if each["retried_from"])


def named(*jobs: UUID) -> list[str]:
    return sorted(ids.text("job", each) for each in jobs)


def reasons(action: Body) -> list[Body]:
    return cast("list[Body]", action["reasons"])


def counts(action: Body) -> tuple[object, ...]:
    return tuple(action[name] for name in ("status", "done", "skipped", "failed"))


async def test_a_dry_run_counts_and_changes_nothing(api: Api) -> None:
    await failed(api, 2, customer="c_9")
    waiting = [await api.submit(customer="c_9") for _ in range(3)]
    await api.submit()
    await api.life.start(waiting[0])
    assert await preview(api, "cancel", customer="c_9") == (3, 2 * PRICE)
    assert await preview(api, "retry", customer="c_9") == (2, 2 * PRICE)
    assert await preview(api, "retry", status=["succeeded"]) == (0, 0)
    assert await preview(api, "erase", customer="c_9") == (2, 0)
    assert await preview(api, "redeliver", customer="c_9") == (0, 0)
    await work(api)
    assert (await api.client.get("/v1/jobs/actions")).json()["data"] == []
    assert await retried(api) == []
    assert {(await api.job(each))["cancel"] for each in waiting} == {None}


async def test_what_a_filter_leaves_is_canceled_and_nothing_else(api: Api) -> None:
    mine = [await api.submit(tags=["a"]) for _ in range(3)]
    other = await api.submit(tags=["b"])
    await api.life.start(mine[1])
    action = await ask(api, "cancel", tag="a", status="queued")
    assert action["count"] == 2
    later = await api.submit(tags=["a"])
    await work(api)
    assert counts(await see(api, action)) == ("completed", 2, 0, 0)
    states = [(await api.job(each))["status"] for each in (*mine, other, later)]
    assert states == ["canceled", "running", "canceled", "queued", "queued"]


async def test_a_call_under_way_is_canceled_as_one_job_is(api: Api) -> None:
    job = await api.submit()
    ref = await api.life.start(job)
    assert counts(await done(api, "cancel", status=["running"])) == ("completed", 1, 0, 0)
    assert (await api.job(job))["cancel"] == {
        "outcome": "pending", "requested_at": (await api.job(job))["cancel"]["requested_at"]  # type: ignore[index]
    }  # fmt: skip
    await api.life.finish(ref)
    assert counts(await done(api, "cancel", status=["running"])) == ("completed", 0, 0, 0)


async def test_a_retry_pays_once_for_each_job_however_often_it_is_asked_for(api: Api) -> None:
    lost = await failed(api, 3)
    fine = await api.submit()
    await api.life.succeed(fine)
    assert counts(await done(api, "retry", created_before="9999-01-01T00:00:00Z")) == (
        "completed", 3, 0, 0,
    )  # fmt: skip
    assert await retried(api) == named(*lost), "what has an image is not paid again, unless asked"
    assert counts(await done(api, "retry", status=["failed"])) == ("completed", 0, 0, 0)
    assert len(await retried(api)) == 3
    await done(api, "retry", status=["succeeded"])
    assert await retried(api) == named(*lost, fine)


async def test_a_retry_stops_where_a_budget_has_no_room_and_another_one_goes_on(api: Api) -> None:
    lost = await failed(api, 5)
    budget = {"window": "total", "limit": 2 * PRICE, "mode": "hard"}
    await api.client.put("/v1/budgets", json=budget)
    stopped = await done(api, "retry", status=["failed"])
    assert counts(stopped) == ("stopped", 2, 0, 0)
    because = stopped["stopped_because"]
    assert isinstance(because, dict)
    assert because["code"] == "budget_exceeded"
    assert "0 of 182,000 credits left" in because["detail"]
    assert len(await retried(api)) == 2
    await api.client.put("/v1/budgets", json=budget | {"limit": 9 * PRICE})
    assert counts(await done(api, "retry", status=["failed"])) == ("completed", 3, 0, 0)
    assert await retried(api) == named(*lost)


async def test_what_never_arrived_is_sent_again_to_whoever_takes_it(api: Api) -> None:
    hook = {"url": "https://example.com/hook"}
    job = await api.submit(webhook={"url": "https://example.com/own"})
    await api.client.post("/v1/webhooks", json=hook)
    disabled = (await api.client.post("/v1/webhooks", json=hook)).json()["id"]
    await api.life.succeed(job)
    await api.client.patch(f"/v1/webhooks/{disabled}", json={"enabled": False})
    ended = "UPDATE deliveries SET state = 'exhausted', next_at = NULL, finished_at = now()"
    await api.life.alter(ended)
    arrived = await api.submit()
    await api.life.succeed(arrived)
    assert await preview(api, "redeliver", status=["succeeded"]) == (1, 0)
    assert counts(await done(api, "redeliver", status=["succeeded"])) == ("completed", 1, 0, 0)
    told = (await api.client.get(f"/v1/jobs/{ids.text('job', job)}/deliveries")).json()["data"]
    states = sorted((each["state"], each["endpoint_id"] == disabled) for each in told)
    assert states == [("exhausted", True), ("pending", False), ("pending", False)]


async def test_finished_jobs_are_erased_and_the_others_left(api: Api) -> None:
    job = await api.submit(customer="c_9")
    await api.life.succeed(job)
    waiting = await api.submit(customer="c_9")
    assert counts(await done(api, "erase", customer="c_9")) == ("completed", 1, 0, 0)
    assert (await api.job(job))["input"] is None
    assert (await api.job(waiting))["erased_at"] is None
    assert counts(await done(api, "erase", customer="c_9")) == ("completed", 0, 0, 0)


async def test_it_goes_through_a_history_in_bounded_looks(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doing, "SLICE", 2)
    monkeypatch.setattr(doing, "_LOOKED_THROUGH", 3)
    made = [await api.submit(tags=["rare"] if n in {1, 6, 7, 8} else []) for n in range(10)]
    assert counts(await done(api, "cancel", tag="rare")) == ("completed", 4, 0, 0)
    ended = [n for n, job in enumerate(made) if (await api.job(job))["status"] == "canceled"]
    assert ended == [1, 6, 7, 8]


async def test_two_dispatchers_do_each_job_once(api: Api) -> None:
    lost = await failed(api, 12)
    action = await ask(api, "retry", status=["failed"])
    await asyncio.gather(*(work(api) for _ in range(3)))
    assert counts(await see(api, action)) == ("completed", 12, 0, 0)
    assert await retried(api) == named(*lost)


async def test_one_that_died_in_the_middle_of_a_job_has_done_it_not_at_all(api: Api) -> None:
    lost = await failed(api, 3)
    action = await ask(api, "retry", status=["failed"])
    action_id = ids.parse(ids.ACTION, str(action["id"]))
    assert action_id is not None
    async with api.life.database.transaction() as tx:
        await doing.act(tx, api.life.presenter, action_id, lost[0])
        await tx.rollback()  # as Postgres ends the transaction of the dead
    async with api.life.database.transaction() as tx:
        assert await doing.act(tx, api.life.presenter, action_id, lost[0])
    async with api.life.database.transaction() as tx:
        assert not await doing.act(tx, api.life.presenter, action_id, lost[0]), "it is behind it"
    await work(api)
    assert counts(await see(api, action)) == ("completed", 3, 0, 0)
    assert await retried(api) == named(*lost)


async def test_a_job_that_fails_is_noted_and_holds_up_no_other(api: Api) -> None:
    made = [await api.submit() for _ in range(3)]
    await api.life.alter(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'this row is poison'; END $$"
    )
    when = f"WHEN (OLD.id = '{made[1]}') EXECUTE FUNCTION refuse()"
    await api.life.alter(f"CREATE TRIGGER poison BEFORE UPDATE ON jobs FOR EACH ROW {when}")
    try:
        action = await done(api, "cancel", status=["queued"])
    finally:
        await api.life.alter("DROP TRIGGER poison ON jobs")
        await api.life.alter("DROP FUNCTION refuse")
    assert counts(action) == ("completed", 2, 0, 1)
    (reason,) = reasons(action)
    assert (reason["code"], reason["count"], reason["job"]) == (
        "internal_error", 1, ids.text("job", made[1]),
    )  # fmt: skip
    assert "this row is poison" in str(reason["message"])
    assert [(await api.job(each))["status"] for each in made] == ["canceled", "queued", "canceled"]


async def test_what_changes_before_its_turn_is_skipped_and_says_why(api: Api) -> None:
    made = [await api.submit(tags=["a"]) for _ in range(2)]
    action = await ask(api, "cancel", tag="a")
    action_id = ids.parse(ids.ACTION, str(action["id"]))
    assert action_id is not None
    async with api.life.database.transaction() as tx:
        look = await doing.look(tx, action_id)
    assert look is not None
    assert list(look.jobs) == made
    await api.client.post(f"/v1/jobs/{ids.text('job', made[0])}/cancel")
    for job in look.jobs:
        async with api.life.database.transaction() as tx:
            await doing.act(tx, api.life.presenter, action_id, job)
    seen = await see(api, action)
    assert counts(seen) == ("running", 1, 1, 0)
    assert [each["code"] for each in reasons(seen)] == ["changed"]


async def test_an_old_max_cost_that_pays_for_no_call_is_a_reason(api: Api) -> None:
    (job,) = await failed(api, 1, max_cost=PRICE)
    await api.life.alter("UPDATE jobs SET max_cost = 1")
    action = await done(api, "retry", status=["failed"])
    assert counts(action) == ("completed", 0, 1, 0)
    (reason,) = reasons(action)
    assert (reason["code"], reason["job"]) == ("conflict", ids.text("job", job))


async def test_an_action_that_is_called_off_touches_no_other_job(api: Api) -> None:
    await api.submit()
    action = await ask(api, "cancel", status=["queued"])
    off = await api.client.post(f"/v1/jobs/actions/{action['id']}/cancel")
    assert off.json()["status"] == "canceled"
    await work(api)
    assert counts(await see(api, action)) == ("canceled", 0, 0, 0)
    ended = await done(api, "cancel", status=["queued"])
    again = (await api.client.post(f"/v1/jobs/actions/{ended['id']}/cancel")).json()
    assert again == ended


async def test_a_key_that_is_taken_back_takes_its_actions_along(api: Api) -> None:
    made = (await api.client.post("/v1/keys", json={"name": "k", "scopes": ["jobs:write"]})).json()
    await api.submit()
    action = await ask(api, "cancel", bearer(made["key"]), status=["queued"])
    await api.client.delete(f"/v1/keys/{made['id']}")
    await work(api)
    seen = await see(api, action)
    assert counts(seen) == ("stopped", 0, 0, 0)
    assert seen["stopped_because"]["code"] == "key_revoked"  # type: ignore[index]


async def test_a_full_queue_makes_a_retry_wait_and_not_fail(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await failed(api, 2)
    action = await ask(api, "retry", status=["failed"])
    full = api.state.settings.model_copy(update={"queued_max": 1})
    monkeypatch.setattr(api.state, "settings", full)
    await work(api)
    assert counts(await see(api, action)) == ("running", 0, 0, 0)
    monkeypatch.undo()
    await work(api)
    assert counts(await see(api, action)) == ("completed", 2, 0, 0)


async def test_a_request_that_is_repeated_makes_no_second_action(api: Api) -> None:
    key = {"idempotency-key": "tidy"}
    first = await ask(api, "cancel", key, tag="a")
    body = {"action": "cancel", "filter": {"tag": "a"}}
    again = await api.client.post("/v1/jobs/actions", json=body, headers=key)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (202, "true")
    assert again.json() == first
    other = body | {"action": "erase"}
    problem(
        await api.client.post("/v1/jobs/actions", json=other, headers=key),
        422, "idempotency_key_reuse",
    )  # fmt: skip
    theirs = await api.client.post(
        "/v1/jobs/actions", json=body, headers=key | await api.another_project()
    )
    assert theirs.json()["id"] != first["id"]


async def test_a_project_has_so_many_actions_under_way(api: Api) -> None:
    made = [await ask(api, "cancel", tag=f"t{n}") for n in range(api.state.settings.actions_max)]
    body = {"action": "cancel", "filter": {"tag": "a"}}
    problem(await api.client.post("/v1/jobs/actions", json=body), 409, "limit_reached")
    page = (await api.client.get("/v1/jobs/actions", params={"limit": 4})).json()
    assert [each["id"] for each in page["data"]] == [each["id"] for each in made[:-5:-1]]
    params = {"limit": "100", "cursor": page["next_cursor"]}
    rest = (await api.client.get("/v1/jobs/actions", params=params)).json()
    assert [each["id"] for each in rest["data"]] == [each["id"] for each in made[-5::-1]]
    await work(api)
    assert (await api.client.post("/v1/jobs/actions", json=body)).status_code == 202


async def test_the_filter_is_that_of_the_list(api: Api) -> None:
    job = await api.submit(
        tags=["a"], customer="c_9", metadata={"order": "A-17"}, webhook={"url": "https://e.com/h"}
    )
    await api.submit()
    shown = await api.job(job)
    filter_ = {
        "tag": "a",
        "customer": "c_9",
        "metadata": {"order": "A-17"},
        "status": ["queued", "failed"],
        "waiting_reason": "queue",
        "erased": False,
        "search": "lighthouse",
        "model": "m",
        "created_after": "2020-01-01T00:00:00.000Z",
        "created_before": "2999-01-01T00:00:00.000Z",
    } | {"model": shown["input"]["model"]}  # type: ignore[index]
    action = await ask(api, "cancel", **filter_)
    assert action["filter"] == filter_
    assert action["count"] == 1
    await work(api)
    assert counts(await see(api, action)) == ("completed", 1, 0, 0)
    assert (await api.job(job))["status"] == "canceled"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"action": "pay", "filter": {"tag": "a"}}, ["/action"]),
        ({"action": "cancel"}, ["/filter"]),
        ({"action": "erase", "filter": {}}, ["/filter"]),
        ({"action": "erase", "filter": {"metadata": {}}}, ["/filter"]),
        ({"action": "erase", "filter": {"customer": None}}, ["/filter"]),
        ({"action": "erase", "filter": {"status": ["done"]}}, ["/filter/status/0"]),
        ({"action": "erase", "filter": {"status": []}}, ["/filter/status"]),
        ({"action": "erase", "filter": {"colour": "red"}}, ["/filter/colour"]),
        ({"action": "erase", "filter": {"tag": "\0"}}, ["/filter/tag"]),
        ({"action": "erase", "filter": {"tag": "a"}, "dry_run": "yes"}, ["/dry_run"]),
        ({"action": "erase", "filter": {"created_after": "yesterday"}}, ["/filter/created_after"]),
    ],
)
async def test_what_cannot_be_meant_is_refused(api: Api, body: Body, named: list[str]) -> None:
    answer = await api.client.post("/v1/jobs/actions", json=body)
    problem(answer, 422, "invalid_request")
    assert pointers(answer) == named


async def test_each_action_needs_the_scopes_of_its_single_job(api: Api) -> None:
    body = {"action": "redeliver", "filter": {"tag": "a"}}
    writer = await api.key_with("jobs:write")
    for dry in (False, True):
        asked = body | {"dry_run": dry}
        answer = await api.client.post("/v1/jobs/actions", json=asked, headers=writer)
        assert "'webhooks'" in str(problem(answer, 403, "scope_missing")["detail"])
    both = await api.key_with("jobs:write", "webhooks")
    answer = await api.client.post("/v1/jobs/actions", json=body, headers=both)
    assert answer.status_code == 202


async def test_a_project_that_requires_keys_requires_them_of_retries(api: Api) -> None:
    await api.life.alter("UPDATE projects SET idempotency_required = true")
    headers = await api.key_with("jobs:write")
    for action, status in (("retry", 422), ("cancel", 202)):
        body = {"action": action, "filter": {"tag": "a"}}
        answer = await api.client.post("/v1/jobs/actions", json=body, headers=headers)
        assert answer.status_code == status, answer.text


async def test_three_equal_retries_at_once_pay_once_and_say_what_became_of_the_others(
    api: Api,
) -> None:
    lost = await failed(api, 3)
    asked = [await ask(api, "retry", None, status=["failed"]) for _ in range(3)]
    assert [each["count"] for each in asked] == [3, 3, 3]
    await work(api)
    first, *others = [await see(api, each) for each in asked]
    assert counts(first) == ("completed", 3, 0, 0)
    for each in others:
        assert (each["count"], *counts(each)) == (3, "completed", 0, 3, 0)
        (told,) = reasons(each)
        assert (told["code"], told["count"], told["job"]) == ("changed", 3, None)
    assert await retried(api) == named(*lost)


async def test_what_came_and_went_before_its_turn_adds_up(api: Api) -> None:
    lost = await failed(api, 2)
    waiting = [await api.submit() for _ in range(3)]
    action = await ask(api, "retry", None, status=["failed"])
    await api.client.post(path(lost[0], "/retry"))
    for each in waiting:
        await api.life.fail(each)
    await work(api)
    seen = await see(api, action)
    assert (seen["count"], *counts(seen)) == (4, "completed", 4, 0, 0)


async def test_actions_go_with_the_jobs_of_their_time(api: Api) -> None:
    action = await done(api, "cancel", tag="a")
    await ask(api, "cancel", tag="b")
    await api.life.alter("UPDATE actions SET finished_at = now() - interval '100 d' WHERE cursor IS NULL"
                         " AND status = 'completed'")  # fmt: skip
    async with api.life.database.transaction() as tx:
        assert await doing.forget(tx, api.state.settings.job_retention, 100) == 1
        assert await tx.scalar(text("SELECT count(*) FROM actions")) == 1
    problem(await api.client.get(f"/v1/jobs/actions/{action['id']}"), 404, "not_found")


async def test_the_rows_of_a_batch_are_chosen_by_its_id(api: Api) -> None:
    rows = {"items": [body(custom_id=str(n)) for n in range(2)]}
    batch = (await api.client.post("/v1/batches", json=rows)).json()["id"]
    other = await api.submit()
    action = await done(api, "cancel", batch=batch)
    assert action["filter"] == {"batch": batch}
    assert counts(action) == ("completed", 2, 0, 0)
    assert (await api.job(other))["status"] == "queued"
