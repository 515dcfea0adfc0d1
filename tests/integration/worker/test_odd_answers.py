"""Odd answers of the provider, over HTTP: what was paid is kept or told of, and never paid again."""

import json
from dataclasses import dataclass, replace
from uuid import UUID

import pytest

from deploy.simulator import Running
from models import ids, jobs
from models.accounts.callers import Caller
from models.commands import parsing
from models.jobs.attempts import Answer
from models.jobs.attempts.evidence import Evidence
from models.jobs.view import Presenter
from models.platform.db import Database
from models.settings import Settings
from tests.fixtures import spending
from tests.fixtures.making import Bench
from tests.fixtures.spending import PRICE, House
from worker.dispatcher.account import reconciling


@dataclass(frozen=True)
class End:
    """How a job ended, or where it stands; `calls` is None when it may be called for again by now."""

    status: str
    code: str | None
    charged: int
    calls: int | None


KEPT = End("succeeded", None, PRICE, 1)
ENDS = {
    # An image is kept, whatever its answer looks like.
    "long_header, ok": KEPT,
    "many_headers=3000, ok": KEPT,
    "odd_headers, ok": KEPT,
    "short_body, ok": KEPT,
    "gzip, ok": KEPT,
    "url_long, ok": KEPT,
    "url_spaces, ok": KEPT,
    "url_object, ok": KEPT,
    "url_data, ok": KEPT,
    "url_in_b64, ok": KEPT,
    "image_url, ok": KEPT,
    "image_key, ok": KEPT,
    "output_list, ok": KEPT,
    "b64_data, ok": KEPT,
    "b64_lines, ok": KEPT,
    "b64_url, ok": KEPT,
    "bare_image, ok": KEPT,
    "image_redirect, ok": KEPT,
    "image_long_header, ok": KEPT,
    "image_gzip, ok": KEPT,
    "image_coding, ok": KEPT,
    "image_206, ok": KEPT,
    "lost_tail, ok": KEPT,
    # What is paid and no image ends the job.
    "paid_empty, ok": End("failed", "paid_without_image", PRICE, 1),
    "paid_odd, ok": End("failed", "paid_without_image", PRICE, 1),
    "not_json, ok": End("failed", "paid_without_image", PRICE, 1),
    "half_body, ok": End("failed", "paid_without_image", PRICE, 1),
    "half_priced, ok": End("failed", "paid_without_image", PRICE, 1),
    # An error inside of a success is what it is outside.
    "200_invalid, ok": End("failed", "invalid_input", 0, 1),
    "200_invalid_paid, ok": End("failed", "invalid_input", PRICE, 1),
    "item_invalid, ok": End("failed", "invalid_input", 0, 1),
    "200_false, ok": End("failed", "invalid_input", 0, 1),
    "200_gone, ok": End("failed", "model_unavailable", 0, 1),
    "200_moderation, ok": End("failed", "content_refused", 0, 1),
}


async def end(house: House, job_id: UUID) -> End:
    job = await house.bench.job(job_id)
    code = job["error"] and job["error"]["code"]
    calls = None if job["status"] == "queued" else len(await house.bench.attempts(job_id))
    return End(job["status"], code, job["charged"], calls)


async def test_each_odd_answer_is_paid_once_and_ends_as_it_should(house: House) -> None:
    made = zip(ENDS, await house.spend(*ENDS), strict=True)
    assert {script: await end(house, job_id) for script, job_id in made} == ENDS


@pytest.mark.parametrize(
    "script", ["200_slow_down", "200_wallet", "402", "429_quota", "400_billing"]
)
async def test_an_odd_answer_that_asks_for_patience_costs_nothing(
    house: House, script: str
) -> None:
    (job_id,) = await house.spend(script)
    assert await end(house, job_id) == End("queued", None, 0, None)


@pytest.mark.parametrize(
    ("script", "gate"),
    [("402", ["wallet_empty"]), ("429_quota", ["wallet_empty"]), ("200_wallet", ["wallet_empty"]),
     ("400_billing", ["wallet_empty"]),
     ("429", []), ("200_slow_down", [])],
)  # fmt: skip
async def test_money_closes_the_gate_and_a_limit_does_not(
    house: House, script: str, gate: list[str]
) -> None:
    world = house.provider.world  # its account has less than a call costs, as far as we know
    world.config = replace(world.config, price=1)
    world.wallet.move(PRICE // 2 - world.wallet.balance)
    await house.spend(script)
    rows = await house.bench.rows("SELECT reason FROM gates")
    assert [row["reason"] for row in rows] == gate


async def test_a_job_whose_tries_are_used_up_says_what_the_last_one_met(house: House) -> None:
    job_id = await house.submit("item_error", max_attempts=1)
    await house.work()
    error = (await house.bench.job(job_id))["error"]
    assert error["code"] == "attempts_exhausted"
    assert error["message"].endswith("The last one: generation failed")


async def test_the_providers_words_are_told(house: House) -> None:
    for script in ("200_invalid", "200_false", "item_invalid"):
        (job_id,) = await house.spend(script)
        error = (await house.bench.job(job_id))["error"]
        assert error["message"] == "expected the aspect ratio to be between 1/16 and 16"
        assert error["retryable"] is False


async def test_what_was_paid_for_nothing_is_kept_for_the_operator(
    house: House,
) -> None:
    (job_id,) = await house.spend("paid_odd")
    job = await house.bench.job(job_id)
    assert job["error"]["retryable"] is True
    (attempt,) = await house.bench.attempts(job_id)
    assert (attempt["outcome"], attempt["charge"]) == ("unusable", "settled")
    (kept,) = await house.bench.rows("SELECT * FROM evidence")
    assert json.loads(kept["body"])["generation"]["file"]["id"] == "file-7f3a"
    assert (kept["attempt_id"], kept["length"]) == (attempt["id"], len(kept["body"]))

    asked = parsing.parser().parse_args(["evidence", attempt["client_request_id"]])
    shown = await asked.run(house.bench.database, asked, house.settings)
    assert shown.text == kept["body"].decode()
    assert "bytes, application/json" in shown.aside

    await house.bench.do(lambda tx: jobs.erase(tx, house.bench.caller.project_id, job_id))
    assert await house.bench.rows("SELECT * FROM evidence") == []
    assert ids.text(ids.JOB, job_id) in attempt["client_request_id"]


@pytest.mark.parametrize("script", ["half_body", "half_priced", "half_silent"])
async def test_what_came_of_a_broken_answer_is_kept_for_the_operator(
    house: House, script: str
) -> None:
    await house.spend(script)
    (kept,) = await house.bench.rows("SELECT * FROM evidence")
    assert kept["body"].startswith(b'{"')
    assert kept["length"] == len(kept["body"]) < 200


async def test_a_half_answer_that_names_no_price_is_tried_again(house: House) -> None:
    (job_id,) = await house.spend("half_silent, ok", on_unknown_charge="retry")
    assert (await house.bench.job(job_id))["status"] == "succeeded"
    assert [row["outcome"] for row in await house.bench.attempts(job_id)] == ["unknown", "image"]


@pytest.mark.parametrize("told", [1, 91_000_000])
@pytest.mark.parametrize("script", ["paid_odd", "half_body", "half_priced"])
async def test_a_doubted_price_without_an_image_ends_the_job_and_the_books_settle_it(
    house: House, script: str, told: int
) -> None:
    (job_id,) = await house.spend(f"{script}+told={told}, ok", on_unknown_charge="retry")
    job, (attempt,) = await house.bench.job(job_id), await house.bench.attempts(job_id)
    assert (job["status"], job["error"]["code"]) == ("failed", "paid_without_image")
    assert (attempt["outcome"], attempt["charge"], job["held"]) == ("unusable", "unknown", PRICE)
    assert len(await house.bench.rows("SELECT * FROM evidence")) == 1

    await reconciling.run(house.reader)

    job, (attempt,) = await house.bench.job(job_id), await house.bench.attempts(job_id)
    assert (job["status"], job["charged"], job["held"]) == ("failed", PRICE, 0)
    assert (attempt["charge"], attempt["credits"]) == ("settled", PRICE)
    assert len(await house.events("job.charge_resolved")) == 1


async def test_evidence_goes_with_its_job(
    database: Database, presenter: Presenter, caller: Caller
) -> None:
    bench = Bench(database, presenter, caller)
    ref = await bench.running()
    answer = Answer("unusable", "settled", PRICE, 200, evidence=Evidence("text/html", 9, b"odd"))
    await bench.refuse(ref, answer)
    assert [row["body"] for row in await bench.rows("SELECT body FROM evidence")] == [b"odd"]
    await bench.run("DELETE FROM jobs WHERE id = :id", id=ref.job_id)
    assert await bench.rows("SELECT * FROM evidence") == []


async def test_answers_that_are_paid_for_nothing_close_the_gate_in_the_end(
    settings: Settings, database: Database, caller: Caller, provider: Running
) -> None:
    async with spending.opened(settings, database, caller, provider, breaker_errors=3) as house:
        await house.spend("paid_odd", "paid_empty", "not_json")
        rows = await house.bench.rows("SELECT reason FROM gates")
        assert [row["reason"] for row in rows] == ["provider_down"]


async def test_an_image_is_seen_in_the_shapes_of_the_trade(house: House) -> None:
    shapes = ("url_amp", "chat_image", "inline_data", "image_no_end")
    for job_id in await house.spend(*(f"{shape}, ok" for shape in shapes)):
        job = await house.bench.job(job_id)
        assert (job["status"], job["charged"], job["attempt"]) == ("succeeded", PRICE, 1), job[
            "input"
        ]


async def test_a_missing_image_with_410_is_the_same_as_404(house: House) -> None:
    (job_id,) = await house.spend("image_410")
    assert (await house.bench.job(job_id))["waiting_reason"] == "image_download"
