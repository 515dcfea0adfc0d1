"""Answers that were lost after the request was read: unknown, never "nothing was sent", then found out.

The provider has no idempotency key, so a call whose answer is lost may have been paid. For each way in
which an answer is lost: the attempt says so at once, and the provider's log settles it later to just
what the simulator charged.
"""

from collections.abc import Iterator, Mapping

import pytest

from tests.e2e import witnesses
from tests.e2e.shapes import Event
from tests.e2e.stage import CALL, PRICE, Stage, eventually

pytestmark = pytest.mark.long  # each waits for processes or walks far: `make long`

CHARGED, FREE = "settled", "released"
LOST = {
    "fin": FREE,
    "fin_charged": CHARGED,
    "reset_before_charge": FREE,
    "reset_after_charge": CHARGED,
    "half_headers": CHARGED,
    "half_silent": CHARGED,
    "garbage": CHARGED,
    "502_html": FREE,
    "524": FREE,
    f"hang={CALL + 1:g}": CHARGED,
    "lost": FREE,  # never in the log: believed free when it is absent at the lag, and at four lags
}


@pytest.fixture(scope="module", autouse=True)
def _books_balance(stage: Stage) -> Iterator[None]:
    yield
    witnesses.check(stage)


@pytest.fixture(scope="module")
def given_up(stage: Stage) -> Mapping[str, str]:
    """Submit, for every way to lose an answer, a job that fails then; returns their ids."""
    events = ["job.failed", "job.charge_resolved"]
    webhook = {"url": stage.receiver.url, "events": events}
    return {
        script: stage.submit(script, on_unknown_charge="fail", webhook=webhook) for script in LOST
    }


@pytest.fixture(scope="module")
def tried_again(stage: Stage) -> Mapping[str, str]:
    """Submit, for every way to lose an answer, a job that is tried again; returns their ids."""
    return {script: stage.submit(f"{script}, ok") for script in LOST}


@pytest.mark.parametrize("script", LOST)
def test_a_lost_answer_is_unknown_until_the_log_tells_what_it_cost(
    stage: Stage, given_up: Mapping[str, str], script: str
) -> None:
    job_id = given_up[script]
    if script == "lost":  # the log proves that it has gone on by a call that was made later
        stage.finish(stage.submit())
    job = stage.resolved(job_id)
    at_the_end = _event(stage, job_id, "job.failed").data
    assert (at_the_end.outcomes, at_the_end.charges) == (["unknown"], ["unknown"])
    assert (at_the_end.failure.code, at_the_end.failure.charged) == ("outcome_unknown", "unknown")
    assert at_the_end.cost.unknown == at_the_end.cost.held == PRICE
    (call,) = stage.calls(job_id)
    assert job.charges == [LOST[script]]
    assert job.cost.charged == call.charged == (PRICE if LOST[script] == CHARGED else 0)
    assert job.cost.unknown == job.cost.held == 0
    assert _event(stage, job_id, "job.charge_resolved").data.cost == job.cost


@pytest.mark.parametrize("script", LOST)
def test_a_job_whose_answer_was_lost_tries_once_more_and_keeps_both_books(
    stage: Stage, tried_again: Mapping[str, str], script: str
) -> None:
    job = stage.resolved(tried_again[script])
    assert job.status == "succeeded"
    assert job.outcomes == ["unknown", "image"]
    assert job.charges == [LOST[script], "settled"]
    assert job.cost.charged == sum(call.charged for call in stage.calls(job.id))


def test_a_job_that_waits_for_its_charge_tries_again_when_it_was_free(stage: Stage) -> None:
    job = stage.finish(stage.submit("reset_before_charge, ok", on_unknown_charge="wait"))
    assert job.status == "succeeded"
    assert job.charges == ["released", "settled"]


def test_a_job_that_waits_for_its_charge_fails_when_it_was_paid(stage: Stage) -> None:
    job = stage.finish(stage.submit("reset_after_charge", on_unknown_charge="wait"))
    assert job.status == "failed"
    assert (job.failure.code, job.failure.charged) == ("paid_without_image", "yes")
    assert job.charges == ["settled"]


def test_a_provider_that_cannot_be_reached_costs_nothing_and_no_try(stage: Stage) -> None:
    stage.actor("simulator").kill()
    job_id = stage.submit("ok", max_attempts=1)
    eventually(lambda: len(stage.job(job_id).attempts) > 1, "two attempts at an absent provider")
    stage.start("simulator")
    job = stage.finish(job_id)
    assert job.status == "succeeded"
    assert set(job.outcomes[:-1]) == {"try_later"}
    assert set(job.charges[:-1]) == {"none"}


def _event(stage: Stage, job_id: str, type_: str) -> Event:
    eventually(lambda: bool(stage.receiver.of(job_id, type_)), f"{type_} of {job_id}")
    return stage.receiver.of(job_id, type_)[0]
