"""Submitting: one idempotency key makes one job, and a refusal makes none."""

import asyncio
from collections import Counter
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import jobs
from models.errors import KeyReuse, NotFinished, NotFound
from models.ids import JOB, text
from models.jobs import Idempotency
from models.platform.db import Transaction
from models.platform.vault import Vault
from tests.conftest import make_project
from tests.fixtures.making import PRICE, Bench, asked

KEY: Idempotency = ("submit", "order-17", b"a body")


async def submit(
    bench: Bench, idempotency: Idempotency | None = KEY, **changes: object
) -> tuple[UUID, bool]:
    job, known = await bench.do(
        lambda tx: jobs.submit(
            tx, bench.presenter, bench.caller, asked(**changes), idempotency=idempotency  # type: ignore[arg-type] # a test names what it changes
        )
    )  # fmt: skip
    return job.id, known


async def test_a_hundred_submissions_with_one_key_make_one_job(bench: Bench) -> None:
    made = await asyncio.gather(*(submit(bench) for _ in range(100)))

    assert len({job_id for job_id, _ in made}) == 1
    assert Counter(known for _, known in made) == {False: 1, True: 99}
    assert await bench.ledger(made[0][0]) == [(1, "hold", PRICE)]
    assert len(await bench.rows("SELECT 1 FROM jobs")) == 1
    assert await bench.audit() == []


async def test_a_hundred_submissions_without_a_key_make_a_hundred_jobs(bench: Bench) -> None:
    made = await asyncio.gather(*(submit(bench, None) for _ in range(100)))
    assert len({job_id for job_id, known in made if not known}) == 100
    assert await bench.audit() == []


async def test_a_key_with_another_body_is_refused_and_names_the_job_it_made(bench: Bench) -> None:
    job_id, _ = await submit(bench)
    with pytest.raises(KeyReuse, match=text(JOB, job_id)):
        await submit(bench, ("submit", "order-17", b"another body"))
    assert len(await bench.rows("SELECT 1 FROM jobs")) == 1


async def test_racing_bodies_under_one_key_leave_one_job_and_refuse_the_rest(bench: Bench) -> None:
    made = await asyncio.gather(
        *(submit(bench, ("submit", "k", bytes([n % 2]))) for n in range(20)), return_exceptions=True
    )
    refused = [each for each in made if isinstance(each, KeyReuse)]
    accepted = {each[0] for each in made if isinstance(each, tuple)}
    assert (len(refused), len(accepted)) == (10, 1)


async def test_a_key_belongs_to_its_project_and_its_route(bench: Bench, vault: Vault) -> None:
    other = Bench(
        bench.database, bench.presenter, (await make_project(bench.database, vault, "other"))[0]
    )
    made = [
        await submit(bench), await submit(other), await submit(bench, ("retry", *KEY[1:])),
        await submit(bench),
    ]  # fmt: skip
    assert [known for _, known in made] == [False, False, False, True]
    assert len({job_id for job_id, _ in made}) == 3


async def test_a_refused_submission_does_not_use_up_its_key_and_rings_nobody(
    bench: Bench, rings: list[tuple[str, str]]
) -> None:
    async def submit_and_fail(tx: Transaction) -> None:
        await jobs.submit(tx, bench.presenter, bench.caller, asked(), idempotency=KEY)
        raise LookupError

    with pytest.raises(LookupError):
        await bench.do(submit_and_fail)

    assert rings == []
    assert await bench.rows("SELECT 1 FROM jobs") == []
    assert (await submit(bench))[1] is False
    assert rings == [("jobs", "")]


async def test_a_new_job_waits_in_its_place_for_as_long_as_it_said(bench: Bench) -> None:
    job_id, _ = await submit(bench, None, priority="bulk", queue_ttl=timedelta(seconds=90))
    job = await bench.job(job_id)
    assert (job["status"], job["waiting_reason"], job["phase"]) == ("queued", "queue", "call")
    assert (job["version"], job["fence"], job["attempt"]) == (1, 0, 0)
    assert job["rank"] - job["created_at"] == timedelta(minutes=60)
    assert job["queue_expires_at"] - job["created_at"] == timedelta(seconds=90)
    assert job["max_cost"] == 2 * PRICE


async def test_a_retry_is_a_new_job_with_the_same_input(bench: Bench) -> None:
    first = await bench.submit(
        prompt="a fox", priority="bulk", tags=("a", "b"), metadata={"k": "v"}, customer="c_9",
        concurrency_key="x", webhook_url="https://example.com/h", webhook_events=("job.failed",),
        queue_ttl=timedelta(hours=3), max_attempts=7, max_cost=5 * PRICE, on_unknown_charge="wait",
    )  # fmt: skip
    await bench.cancel(first)

    again, known = await bench.do(lambda tx: jobs.retry(tx, bench.presenter, bench.caller, first))

    old, new = await bench.job(first), await bench.job(again.id)
    same = (
        "model", "input", "input_hash", "estimate", "priority", "tags", "metadata", "customer",
        "concurrency_key", "webhook_url", "webhook_events", "max_attempts", "max_cost",
        "on_unknown_charge",
    )  # fmt: skip
    assert {name: new[name] for name in same} == {name: old[name] for name in same}
    assert new["queue_expires_at"] - new["created_at"] == timedelta(hours=3)
    assert (new["retried_from"], new["status"], known) == (first, "queued", False)
    assert await bench.audit() == []


async def test_twenty_retries_with_one_key_make_one_job(bench: Bench) -> None:
    first = await bench.submit()
    await bench.cancel(first)

    made = await asyncio.gather(
        *(
            bench.do(
                lambda tx: jobs.retry(
                    tx,
                    bench.presenter,
                    bench.caller,
                    first,
                    idempotency=jobs.retry_name(first, "k"),
                )
            )
            for _ in range(20)
        )
    )

    assert len({job.id for job, _ in made}) == 1


async def test_only_a_finished_job_of_ones_own_project_is_retried(
    bench: Bench, vault: Vault
) -> None:
    job_id = await bench.submit()
    stranger = (await make_project(bench.database, vault, "other"))[0]
    with pytest.raises(NotFinished):
        await bench.do(lambda tx: jobs.retry(tx, bench.presenter, bench.caller, job_id))
    await bench.cancel(job_id)
    with pytest.raises(NotFound):
        await bench.do(lambda tx: jobs.retry(tx, bench.presenter, stranger, job_id))


names, simple = st.text(max_size=5), st.none() | st.integers() | st.text(max_size=5)
json_values = simple | st.lists(simple, max_size=3) | st.dictionaries(names, simple, max_size=3)


@given(st.dictionaries(names, json_values, max_size=5))
def test_a_fingerprint_does_not_see_the_order_of_fields(body: dict[str, object]) -> None:
    turned = dict(reversed(body.items()))
    assert jobs.fingerprint(body) == jobs.fingerprint(turned)
    assert jobs.fingerprint(body) != jobs.fingerprint({**body, "one more": 1})
