"""`/v1/erasures`: nothing of a customer is left in any row or byte, the books stay, and there is proof."""

import asyncio
import json
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import cast
from uuid import UUID

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import select, text

from models import ids
from models.images import collector
from models.images.storage import Store
from models.jobs import batches, erasures
from models.money import audit
from models.schema import Job
from tests.fixtures.drawing import draw
from tests.integration.api.client import (
    PRICE,
    Api,
    Body,
    body,
    input_,
    job_id,
    path,
    pointers,
    problem,
)
from tests.integration.api.life import PICTURE
from worker.dispatcher.duties import acting, budgeting, erasing
from worker.dispatcher.duty import Dispatcher
from worker.runtime.app import connect

WHO, PROMPT, ORDER = "c_9-anna", "Anna Karenina in a red coat", "order-of-anna"


def dispatcher(api: Api) -> Dispatcher:
    here = api.state
    return Dispatcher(
        here.settings, "d", api.life.database, here.doorbell, connect(here.settings), here.presenter
    )


async def work(api: Api) -> None:
    """Take steps until there is nothing to do but to wait."""
    while await erasing.run(dispatcher(api)):
        pass


async def wait(api: Api) -> None:
    """Let the time to look again have come, and take steps."""
    await api.life.alter("UPDATE erasures SET next_at = now()")
    await work(api)


async def sweep(api: Api) -> None:
    """Delete the bytes that nobody refers to, as the dispatcher does after the grace."""
    await api.life.alter("UPDATE remnants SET since = since - interval '1 h'")
    async with api.life.database.transaction() as tx:
        swept, _ = await collector.sweep(tx, 100)
    for each in swept:
        await Store(api.life.storage_url).remove(str(each.project_id), each.sha256)
    async with api.life.database.transaction() as tx:
        await collector.gone(tx, swept)


async def ask(api: Api, headers: dict[str, str] | None = None, /, **body: object) -> Body:
    answer = await api.client.post("/v1/erasures", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    shown: Body = answer.json()
    assert answer.headers["location"] == f"/v1/erasures/{shown['id']}"
    return shown


async def see(api: Api, erasure: Body) -> Body:
    answer = await api.client.get(f"/v1/erasures/{erasure['id']}")
    assert answer.status_code == 200, answer.text
    shown: Body = answer.json()
    return shown


async def erased(api: Api, **body: object) -> Body:
    """Ask for an erasure, and see it through."""
    asked = await ask(api, **body)
    await work(api)
    await sweep(api)
    await wait(api)
    seen = await see(api, asked)
    assert seen["status"] == "completed", seen
    return seen


def dump(api: Api) -> str:
    """Write down every row of every table, bytes as what they say, and every byte of the store."""
    said: list[str] = []
    with psycopg.connect(api.state.settings.database_url.get_secret_value()) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (table,) in found.fetchall():
            rows = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table)))
            said += (_said(value) for row in rows for value in row)
    said += (each.read_bytes().decode("latin-1") for each in api.life.blobs())
    said += (str(each) for each in Path(api.life.storage_url).rglob("*"))
    return "\n".join(said)


def _said(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def parts(erasure: Body) -> tuple[Body, Body]:
    return cast("Body", erasure["jobs"]), cast("Body", erasure["removed"])


def picture() -> bytes:
    return draw("PNG", (32, 32), "RGB")


async def of_anna(api: Api, reference: bytes, **fields: object) -> UUID:
    """Submit a job that names somebody wherever a job can."""
    url = f"data:image/png;base64,{b64encode(reference).decode()}"
    asked = body(
        input=input_(prompt=PROMPT, image_urls=[url]),
        customer=WHO, metadata={"order": ORDER, "of": WHO}, tags=[f"tag of {WHO}"],
        concurrency_key=WHO, webhook={"url": f"https://example.com/{WHO}?for={ORDER}"},
    )  # fmt: skip
    named = {"idempotency-key": f"{WHO}:{ORDER}:{fields.get('n', 0)}"}
    answer = await api.client.post("/v1/jobs", json=asked, headers=named)
    assert answer.status_code == 202, answer.text
    found = ids.parse(ids.JOB, answer.json()["id"])
    assert found is not None
    return found


async def a_life(api: Api, reference: bytes) -> list[UUID]:
    """Let a customer have done whatever a customer does; returns the jobs."""
    await api.client.post(
        "/v1/webhooks",
        json={"url": "https://example.com/h", "events": ["job.succeeded", "budget.threshold"]},
    )
    rule = {"scope": "customer", "customer": WHO, "window": "day", "limit": PRICE, "mode": "soft"}
    await api.client.put("/v1/budgets", json=rule)
    done = await of_anna(api, reference)
    await api.life.succeed(done)
    refused = await of_anna(api, reference, n=1)
    await api.life.fail(refused)
    words = {"code": "content_refused", "message": f"no: {PROMPT}"}
    told = "UPDATE attempts SET error = CAST(:words AS jsonb) WHERE outcome = 'refused'"
    await api.life.alter(told, words=json.dumps(words))
    before = await of_anna(api, reference, n=2)  # erased long ago, as single jobs are
    await api.client.post(path(before, "/cancel"))
    await api.client.delete(path(before))
    await budgeting.tell(dispatcher(api), budgeting.Round())
    removed = await of_anna(api, reference, n=3)  # and one that retention has taken
    await api.life.succeed(removed, PICTURE + b"2")
    async with api.life.database.transaction() as tx:
        await collector.mark(tx, await collector.of(tx, [removed]))
        await tx.execute(text("DELETE FROM jobs WHERE id = :id"), {"id": removed})
    filter_ = {"action": "redeliver", "filter": {"customer": WHO, "search": PROMPT}}
    await api.client.post("/v1/jobs/actions", json=filter_)
    await acting.run(dispatcher(api))
    rows = {"items": [body(customer=WHO, custom_id=f"{WHO}-row")]}
    batch = await api.client.post("/v1/batches", json=rows | {"metadata": {"for": WHO}})
    assert batch.status_code == 202, batch.text
    await _fold(api)
    upload = {"file": (f"{WHO}.png", reference)}
    kept = await api.client.post("/v1/files", files=upload, data={"customer": WHO})
    assert kept.status_code == 201
    waiting = await of_anna(api, reference, n=4)
    row = (await api.client.get("/v1/jobs", params={"custom_id": f"{WHO}-row"})).json()["data"][0]
    return [done, refused, before, waiting, job_id(row["id"])]


async def _fold(api: Api) -> None:
    """Fold what has happened, as it is folded when its hour is over."""
    await api.life.alter(
        "INSERT INTO usage_hours (project_id, hour, key_id, model, customer, submitted, charged)"
        " SELECT project_id, date_trunc('hour', created_at, 'UTC') - n * interval '1 hour', key_id,"
        " model, who, 1, 7 FROM jobs, generate_series(0, 60, 20) n, (VALUES (:who), (NULL)) w (who)"
        " WHERE status = 'succeeded'",
        who=WHO,
    )


async def test_nothing_of_a_customer_is_left_in_any_row_or_byte(api: Api) -> None:
    reference = picture()
    made = await a_life(api, reference)
    other = await api.submit(customer="c_8", metadata={"order": "A-1"})
    whole = dump(api)
    for named in (WHO, PROMPT, ORDER):
        assert named in whole, "it would be found"
    assert (reference.decode("latin-1") in whole, PICTURE.decode("latin-1") in whole) == (
        True,
        True,
    )
    ledger = await _ledger(api)
    used = await _used(api)

    proof = await erased(api, customer=WHO)

    left = dump(api)
    for named in (WHO, PROMPT, ORDER, "Anna"):
        assert named not in left
    assert api.life.blobs() == []
    assert await _ledger(api) == ledger, "the books stay, to the credit"
    assert await _used(api) == used
    assert await differences(api) == []
    assert (await api.job(other))["customer"] == "c_8"
    jobs, removed = parts(proof)
    total = sum(int.from_bytes(sha256(ids.text("job", j).encode()).digest()) for j in made)
    assert jobs == {
        "erased": 5, "canceled": 2, "waiting": 0, "sha256": f"{total % (1 << 256):064x}",
    }  # fmt: skip
    assert {name for name, count in removed.items() if not count} == {"calls"}
    assert (proof["about"], proof["phase"]) == (None, "completed")
    assert WHO not in str(proof)


async def differences(api: Api) -> list[audit.Difference]:
    """Audit the jobs and the budgets."""
    async with api.life.database.transaction() as tx:
        made = list(await tx.scalars(select(Job.id)))
        return await audit.of_jobs(tx, made) + await audit.of_budgets(tx)


async def _ledger(api: Api) -> list[tuple[object, ...]]:
    rows = (
        "SELECT id, job_id, attempt, kind, credits FROM ledger WHERE kind <> 'release' ORDER BY id"
    )
    async with api.life.database.transaction() as tx:
        return [tuple(row) for row in await tx.execute(text(rows))]


async def _used(api: Api) -> tuple[object, ...]:
    sums = "SELECT sum(submitted), sum(charged), min(hour), max(hour) FROM usage_hours"
    async with api.life.database.transaction() as tx:
        return tuple((await tx.execute(text(sums))).one())


async def test_a_call_under_way_is_waited_for_and_its_image_erased(api: Api) -> None:
    job = await api.submit(customer=WHO)
    ref = await api.life.start(job)
    asked = await ask(api, customer=WHO)
    await work(api)
    seen = await see(api, asked)
    assert (seen["status"], seen["phase"], parts(seen)[0]["waiting"]) == ("running", "jobs", 1)
    assert seen["about"] == {"customer": WHO}
    assert (await api.job(job))["cancel"] is not None
    await api.life.finish(ref)
    await wait(api)
    seen = await see(api, asked)
    assert (seen["phase"], seen["completed_at"]) == ("images", None), "its bytes are still there"
    assert len(api.life.blobs()) == 1
    await sweep(api)
    await wait(api)
    seen = await see(api, asked)
    assert (seen["status"], parts(seen)[0]["erased"], parts(seen)[0]["canceled"]) == (
        "completed", 1, 1,
    )  # fmt: skip
    assert api.life.blobs() == []
    assert (await api.job(job))["cost"] != 0
    assert await differences(api) == []


async def test_what_is_accepted_after_the_request_is_left_alone(api: Api) -> None:
    await api.submit(customer=WHO)
    asked = await ask(api, customer=WHO)
    later = await api.submit(customer=WHO, metadata={"order": ORDER})
    await work(api)
    await wait(api)
    assert parts(await see(api, asked))[0]["erased"] == 1
    shown = await api.job(later)
    assert (shown["customer"], shown["metadata"], shown["status"]) == (
        WHO, {"order": ORDER}, "queued",
    )  # fmt: skip
    async with api.life.database.transaction() as tx:
        lines = await tx.execute(text("SELECT job_id, customer FROM ledger WHERE kind = 'hold'"))
        assert {row.job_id: row.customer for row in lines}[later] == WHO


async def test_a_budget_that_is_made_meanwhile_counts_what_is_still_named(api: Api) -> None:
    await api.submit(customer=WHO)
    asked = await ask(api, customer=WHO)
    rule = {"scope": "customer", "customer": WHO, "window": "day", "limit": 9 * PRICE}
    assert (await api.client.put("/v1/budgets", json=rule)).json()["held"] == PRICE
    await work(api)
    await wait(api)
    assert (await see(api, asked))["status"] == "completed"
    (budget,) = (await api.client.get("/v1/budgets")).json()["data"]
    assert (budget["held"], budget["spent"]) == (0, 0)
    assert await differences(api) == []


async def test_budgets_that_are_made_meanwhile_agree_with_the_ledger_at_every_step(
    api: Api,
) -> None:
    for n in range(3):
        await api.life.finish(await api.life.start(await api.submit(customer=WHO, tags=[str(n)])))
    other = {"scope": "customer", "customer": "c_other", "window": "day", "limit": 9 * PRICE}
    await api.submit(customer="c_other")
    asked = await ask(api, customer=WHO)
    erasure_id = ids.parse(ids.ERASURE, str(asked["id"]))
    assert erasure_id is not None
    for window in ("day", "month", "total"):
        for rule in (other, {**other, "customer": WHO}):
            await api.client.put("/v1/budgets", json={**rule, "window": window})
    database, presenter = api.life.database, api.life.presenter
    async with database.transaction() as tx:
        found = await erasures.advance(tx, erasure_id)
    for left, each in enumerate(reversed(found or ())):
        async with database.transaction() as tx:
            await erasures.forget_job(tx, presenter, erasure_id, each)
        assert await differences(api) == [], left
    shown = (await api.client.get("/v1/budgets")).json()["data"]
    held = {(each["customer"], each["window"]): each["held"] for each in shown}
    assert held == {
        (who, window): PRICE if who == "c_other" else 0
        for who in ("c_other", WHO)
        for window in ("day", "month", "total")
    }


async def test_whoever_dies_in_the_middle_every_step_is_done_once(api: Api) -> None:
    for n in range(5):
        await api.submit(customer=WHO, tags=[str(n)])
    asked = await ask(api, customer=WHO)
    erasure_id = ids.parse(ids.ERASURE, str(asked["id"]))
    assert erasure_id is not None
    database, presenter = api.life.database, api.life.presenter
    async with database.transaction() as tx:
        found = await erasures.advance(tx, erasure_id)
    assert found is not None
    assert len(found) == 5
    for each in found[:2]:
        async with database.transaction() as tx:
            assert await erasures.forget_job(tx, presenter, erasure_id, each) == each
            await tx.rollback()  # as Postgres ends the transaction of the dead
        assert (await api.job(each))["customer"] == WHO
        async with database.transaction() as tx:
            assert await erasures.forget_job(tx, presenter, erasure_id, each) == each
        async with database.transaction() as tx:
            assert await erasures.forget_job(tx, presenter, erasure_id, each) is None
    for _ in range(8):  # whatever the step is, it is as if it had not been
        async with database.transaction() as tx:
            await erasures.advance(tx, erasure_id)
            await tx.rollback()
        await asyncio.gather(*(erasing.run(dispatcher(api)) for _ in range(2)))
        await api.life.alter("UPDATE erasures SET next_at = now()")
    seen = await see(api, asked)
    jobs, removed = parts(seen)
    assert (seen["status"], jobs["erased"], jobs["canceled"]) == ("completed", 5, 5)
    assert removed["ledger_lines"] == 10, "a hold and its release of each"
    assert WHO not in dump(api)


async def test_jobs_are_forgotten_by_their_ids_or_their_order_and_keep_their_customer(
    api: Api,
) -> None:
    key = {"idempotency-key": f"{ORDER}-1"}
    asked = body(customer="c_9", metadata={"order": ORDER})
    one = (await api.client.post("/v1/jobs", json=asked, headers=key)).json()["id"]
    two = ids.text("job", await api.submit(customer="c_9", metadata={"order": ORDER}))
    other = ids.text("job", await api.submit(metadata={"order": "A-1"}))
    filter_ = {"metadata": {"order": ORDER}}
    await api.client.post("/v1/jobs/actions", json={"action": "redeliver", "filter": filter_})
    await acting.run(dispatcher(api))
    first = await erased(api, job_ids=[one, one])
    assert (first["subject"], parts(first)[0]["erased"]) == ("jobs", 1)
    shown = (await api.client.get(f"/v1/jobs/{one}")).json()
    assert (shown["input"], shown["metadata"], shown["customer"]) == (None, {}, "c_9")
    again = await api.client.post("/v1/jobs", json=asked, headers=key)
    assert again.json()["id"] != one, "its key is forgotten, so a repetition is a new job"
    await api.client.post(f"/v1/jobs/{again.json()['id']}/cancel")
    second = await erased(api, metadata={"order": ORDER})
    assert (second["subject"], parts(second)[0]["erased"]) == ("metadata", 2)
    assert parts(second)[1]["actions"] == 1
    assert (await api.client.get(f"/v1/jobs/{two}")).json()["metadata"] == {}
    assert (await api.client.get(f"/v1/jobs/{other}")).json()["metadata"] == {"order": "A-1"}
    assert ORDER not in dump(api)


async def test_the_proof_is_found_by_who_knows_the_name(api: Api) -> None:
    proof = await erased(api, customer=WHO)
    await erased(api, customer="c_8")
    assert parts(proof)[0]["erased"] == 0
    listed = (await api.client.get("/v1/erasures", params={"customer": WHO})).json()
    assert [each["id"] for each in listed["data"]] == [proof["id"]]
    page = (await api.client.get("/v1/erasures", params={"limit": 1})).json()
    assert page["data"][0]["id"] != proof["id"]
    rest = (await api.client.get("/v1/erasures", params={"cursor": page["next_cursor"]})).json()
    assert [each["id"] for each in rest["data"]] == [proof["id"]]
    theirs = await api.another_project()
    foreign = await api.client.get("/v1/erasures", params={"customer": WHO}, headers=theirs)
    assert foreign.json()["data"] == []


async def test_a_submission_that_began_before_the_request_is_waited_for(api: Api) -> None:
    async with api.life.database.transaction() as tx:
        await tx.execute(text("SELECT 1"))  # it has begun, and has not accepted anything yet
        asked = await ask(api, customer=WHO)
        await work(api)
        assert (await see(api, asked))["phase"] == "jobs"
    await wait(api)
    assert (await see(api, asked))["status"] == "completed"


async def of_several(api: Api, *customers: str) -> Body:
    """Make a batch of a row for each, which says of itself what is of somebody; the first row fails."""
    rows = [body(customer=who, custom_id=f"{who}-{n}") for n, who in enumerate(customers)]
    mine = {"url": f"https://example.com/{ORDER}", "events": ["batch.progress"]}
    asked = {"items": rows, "metadata": {"order": ORDER}, "webhook": mine}
    made = await api.client.post("/v1/batches", json=asked)
    assert made.status_code == 202, made.text
    await turn(api)
    listed = await api.client.get(f"/v1/batches/{made.json()['id']}/items")
    await api.life.fail(job_id(listed.json()["data"][0]["id"]))
    quoted = (
        """UPDATE jobs SET error = jsonb_set(error, '{message}', to_jsonb(CAST(:said AS text)))"""
    )
    await api.life.alter(f"{quoted} WHERE status = 'failed' AND NOT tallied", said=f"no: {PROMPT}")
    await turn(api)
    batch: Body = made.json()
    return batch


async def turn(api: Api) -> None:
    """Take a turn with each batch."""
    for each in await batches.due(api.life.database.direct, 50):
        async with api.life.database.transaction() as tx:
            await batches.advance(tx, api.life.presenter, each)


async def test_what_is_said_of_a_batch_goes_with_its_last_row(api: Api) -> None:
    batch = await of_several(api, "c_9", "c_9")
    assert ORDER in dump(api)
    assert PROMPT in dump(api)
    await erased(api, customer="c_9")
    left = dump(api)
    assert (ORDER in left, PROMPT in left) == (False, False)
    await turn(api)
    shown = (await api.client.get(f"/v1/batches/{batch['id']}")).json()
    assert (shown["status"], shown["metadata"]) == ("completed", {})
    assert shown["top_errors"][0]["code"] == "content_refused"


async def test_a_batch_of_others_too_keeps_what_is_said_of_it_and_quotes_the_erased_no_more(
    api: Api,
) -> None:
    batch = await of_several(api, "c_9", "c_8")
    await erased(api, customer="c_9")
    assert PROMPT not in dump(api)
    shown = (await api.client.get(f"/v1/batches/{batch['id']}")).json()
    assert shown["metadata"] == {"order": ORDER}
    assert shown["counts"]["failed"] == 1


async def test_what_was_told_of_a_group_goes_with_each_of_its_jobs(api: Api) -> None:
    hook = {"url": "https://example.com/h", "events": ["group.completed"]}
    await api.client.post("/v1/webhooks", json=hook)
    asked = body(n=2, customer="c_9", tags=[ORDER])
    group = (await api.client.post("/v1/jobs", json=asked)).json()
    for each in group["jobs"]:
        await api.life.succeed(job_id(each["id"]))
    await turn(api)
    first, second = (each["id"] for each in group["jobs"])
    await erased(api, job_ids=[first])
    told = "SELECT body FROM events WHERE type = 'group.completed'"
    async with api.life.database.transaction() as tx:
        jobs = json.loads((await tx.execute(text(told))).scalar_one())["data"]["jobs"]
    assert [each.get("erased", False) for each in jobs] == [True, False]
    await erased(api, job_ids=[second])
    assert ORDER not in dump(api)


async def test_an_image_that_another_job_has_too_stays_for_that_one(api: Api) -> None:
    first = await api.submit(customer=WHO)
    await api.life.succeed(first)
    second = await api.submit(customer="c_8")
    await api.life.succeed(second)
    await erased(api, customer=WHO)
    assert (await api.client.get(path(second, "/images/0"))).content == PICTURE
    problem(await api.client.get(path(first, "/images/0")), 410, "erased")


async def test_a_request_that_is_repeated_makes_no_second_erasure(api: Api) -> None:
    key = {"idempotency-key": f"forget {WHO}".replace(" ", "-")}
    first = await ask(api, key, customer=WHO)
    await work(api)
    await wait(api)
    again = await api.client.post("/v1/erasures", json={"customer": WHO}, headers=key)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (202, "true")
    assert again.json()["id"] == first["id"]
    other = await api.client.post("/v1/erasures", json={"customer": "c_8"}, headers=key)
    problem(other, 422, "idempotency_key_reuse")
    assert WHO not in dump(api)


async def test_who_may_not_make_budgets_may_not_erase_them(api: Api) -> None:
    headers = await api.key_with("jobs:write", "jobs:read", "webhooks", "usage:read")
    answer = await api.client.post("/v1/erasures", json={"customer": WHO}, headers=headers)
    problem(answer, 403, "scope_missing")


async def test_a_job_of_another_project_is_none(api: Api) -> None:
    mine = ids.text("job", await api.submit())
    theirs = await api.another_project()
    answer = await api.client.post("/v1/erasures", json={"job_ids": [mine]}, headers=theirs)
    assert mine in str(problem(answer, 404, "not_found")["detail"])


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, ""),
        ({"customer": WHO, "metadata": {"a": "b"}}, ""),
        ({"job_ids": []}, ""),
        ({"metadata": {}}, ""),
        ({"customer": ""}, "/customer"),
        ({"customer": "Anna K."}, "/customer"),
        ({"job_ids": ["job_1"]}, "/job_ids"),
        ({"job_ids": ["job_1"] * 1001}, "/job_ids"),
        ({"metadata": {"a": 1}}, "/metadata/a"),
        ({"name": "Anna"}, "/name"),
    ],
)
async def test_what_cannot_be_meant_is_refused(api: Api, body: Body, named: str) -> None:
    answer = await api.client.post("/v1/erasures", json=body)
    problem(answer, 422, "invalid_request")
    assert pointers(answer) == [named]
