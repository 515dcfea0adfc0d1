"""Erasing a job: nothing of what was asked for or came of it is left; ids, charges and times are."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from uuid import UUID

import pytest
from psycopg.rows import DictRow

from models import ids, jobs
from models.accounts.callers import Caller
from models.errors import Erased, NotFinished, NotFound
from models.jobs import Idempotency
from models.jobs.attempts import Answer
from models.jobs.view import Presenter
from models.platform.db import Database
from models.platform.vault import Vault
from models.webhooks import deliveries, endpoints
from tests.fixtures.making import IMAGE, KEPT, LOST, PRICE, Bench, asked

PROMPT = "Ann in a red coat"
ASKED: dict[str, object] = {
    "prompt": PROMPT,
    "metadata": {"who": "Ann"},
    "tags": ("Ann",),
    "customer": "c_9",
    "concurrency_key": "Ann",
    "webhook_url": "https://hooks.example/Ann?token=Ann",
}


@pytest.fixture
async def bench(database: Database, presenter: Presenter, caller: Caller, vault: Vault) -> Bench:
    """A project whose endpoint is told of everything that ends a job."""
    bench = Bench(database, presenter, caller)
    await bench.do(
        lambda tx: endpoints.register(
            tx, vault, caller.project_id, endpoints.Wish("https://r.example/")
        )
    )
    return bench


async def erase(bench: Bench, job_id: UUID) -> None:
    await bench.do(lambda tx: jobs.erase(tx, bench.caller.project_id, job_id))


async def succeeded(bench: Bench, **changes: object) -> UUID:
    ref = await bench.running(**changes)
    received = await bench.receive(ref, replace(IMAGE, provider_url="https://cdn.example/Ann.jpg"))
    assert received is not None
    await bench.succeed(received[1], replace(KEPT, provider_url="https://cdn.example/Ann.jpg"))
    return ref.job_id


async def failed(bench: Bench, **changes: object) -> UUID:
    ref = await bench.running(**changes)
    error: dict[str, object] = {"code": "invalid_input", "message": f"no: {PROMPT}"}
    answer = Answer("refused", "none", None, 400, error=error)
    await bench.do(
        lambda tx: jobs.refuse(
            tx, bench.presenter, ref, answer, code="invalid_input", message=f"no: {PROMPT}",
            details=[{"path": "prompt", "message": PROMPT}],
        )
    )  # fmt: skip
    return ref.job_id


def written(rows: Mapping[str, Sequence[DictRow]]) -> str:
    return str({table: [dict(row) for row in found] for table, found in rows.items()})


@pytest.mark.parametrize("end", [succeeded, failed], ids=["succeeded", "failed"])
async def test_nothing_of_its_content_is_left_in_any_row(bench: Bench, end: object) -> None:
    assert callable(end)
    job_id: UUID = await end(bench, **ASKED)
    assert "Ann" in written(await bench.everything_of(job_id))
    ledger = await bench.ledger(job_id)
    await erase(bench, job_id)
    left = await bench.everything_of(job_id)
    assert "Ann" not in written(left)
    assert left["images"] == []
    assert (await bench.ledger(job_id), await bench.audit()) == (ledger, [])


async def test_ids_charges_times_and_the_code_of_an_error_stay(bench: Bench) -> None:
    job_id = await failed(bench, **ASKED)
    before = await bench.job(job_id)
    await erase(bench, job_id)
    job = await bench.job(job_id)
    same = ("id", "status", "created_at", "started_at", "finished_at", "charged", "customer")
    assert [job[name] for name in same] == [before[name] for name in same]
    assert job["erased_at"] is not None
    assert job["version"] == before["version"] + 1, "its ETag is another"
    assert job["error"]["code"] == "invalid_input"
    (attempt,) = await bench.attempts(job_id)
    assert attempt["error"]["code"] == "invalid_input"


async def test_only_a_finished_job_of_the_project_can_be_erased(bench: Bench) -> None:
    ref = await bench.running()
    with pytest.raises(NotFinished):
        await erase(bench, ref.job_id)
    with pytest.raises(NotFound):
        await erase(bench, ids.new())


async def test_erasing_twice_changes_nothing_more(bench: Bench) -> None:
    job_id = await succeeded(bench, **ASKED)
    await erase(bench, job_id)
    once = await bench.everything_of(job_id)
    await erase(bench, job_id)
    assert await bench.everything_of(job_id) == once


async def test_endpoints_are_still_told_of_it_and_the_jobs_own_url_is_not(bench: Bench) -> None:
    job_id = await succeeded(bench, **ASKED)
    await erase(bench, job_id)
    told = await bench.rows(
        "SELECT d.endpoint_id IS NULL AS own, d.state, d.url, convert_from(e.body, 'UTF8') AS body"
        " FROM deliveries d JOIN events e ON e.id = d.event_id WHERE d.job_id = :id ORDER BY 1",
        id=job_id,
    )
    assert [(row["own"], row["state"], row["url"]) for row in told] == [
        (False, "pending", "https://r.example/"),
        (True, "aborted", "https://hooks.example"),
    ]
    assert '"erased":true' in told[0]["body"]
    assert ids.text(ids.JOB, job_id) in told[0]["body"]
    assert '"charged":91000' in told[0]["body"]


async def test_what_was_bound_for_the_jobs_own_url_cannot_be_sent_again(bench: Bench) -> None:
    job_id = await succeeded(bench, **ASKED)
    await erase(bench, job_id)
    (own,) = await bench.rows(
        "SELECT id FROM deliveries WHERE job_id = :id AND endpoint_id IS NULL", id=job_id
    )
    with pytest.raises(Erased):
        await bench.do(lambda tx: deliveries.redeliver(tx, bench.caller.project_id, own["id"]))


async def test_an_erased_jobs_image_is_not_reused_and_a_borrowed_one_stays(bench: Bench) -> None:
    first = await succeeded(bench)
    second = await bench.submit(reuse="exact")
    await erase(bench, first)
    third = await bench.submit(reuse="exact")
    assert (await bench.job(third))["reused_from"] == second, "the second has it by itself"
    await erase(bench, second)
    await erase(bench, third)
    assert (await bench.job(await bench.submit(reuse="exact")))["status"] == "queued"


async def test_a_job_that_took_anothers_image_shows_it_after_that_one_was_erased(
    bench: Bench, caller: Caller
) -> None:
    first = await succeeded(bench)
    second = await bench.submit(reuse="exact")
    await erase(bench, first)
    found = await bench.do(lambda tx: jobs.read(tx, caller.project_id, second))
    assert found.image is not None
    assert found.image.sha256 == KEPT.sha256


async def test_an_erased_job_cannot_be_retried(bench: Bench) -> None:
    job_id = await succeeded(bench)
    await erase(bench, job_id)
    with pytest.raises(Erased):
        await bench.do(lambda tx: jobs.retry(tx, bench.presenter, bench.caller, job_id))


async def test_its_idempotency_key_still_names_it(bench: Bench) -> None:
    name: Idempotency = ("submit", "k", sha256(b"body").digest())

    async def submit() -> tuple[UUID, bool]:
        job, replayed = await bench.do(
            lambda tx: jobs.submit(tx, bench.presenter, bench.caller, asked(), idempotency=name)
        )
        return job.id, replayed

    job_id, _ = await submit()
    await bench.cancel(job_id)
    await erase(bench, job_id)
    assert await submit() == (job_id, True)


async def test_a_late_answer_settles_the_charge_and_brings_no_image_back(bench: Bench) -> None:
    ref = await bench.running(on_unknown_charge="fail")
    await bench.lose(ref, LOST)
    await erase(bench, ref.job_id)
    late = replace(IMAGE, provider_url="https://cdn.example/Ann.jpg")
    assert await bench.receive(ref, late) is None, "there is nothing to keep"
    (attempt,) = await bench.attempts(ref.job_id)
    assert (attempt["charge"], attempt["credits"], attempt["provider_url"]) == (
        "settled", PRICE, None,
    )  # fmt: skip
    assert (await bench.job(ref.job_id))["charged"] == PRICE
    assert "job.charge_resolved" in await bench.events(ref.job_id)
    assert await bench.audit() == []


async def test_a_late_image_that_was_on_its_way_is_left_to_be_deleted(bench: Bench) -> None:
    ref = await bench.running(on_unknown_charge="fail")
    await bench.lose(ref, LOST)
    assert await bench.receive(ref) == ("late", ref)
    await erase(bench, ref.job_id)
    await bench.keep_late(ref)
    assert await bench.rows("SELECT 1 FROM images") == []
    (mark,) = await bench.rows("SELECT sha256 FROM remnants")
    assert mark["sha256"] == KEPT.sha256
