"""Measures what waits, for the metrics of this process. Every dispatcher sees the same database."""

from dataclasses import asdict
from typing import get_args

from prometheus_client import Gauge

from models import jobs
from models.coordination import aside
from models.images import collector
from models.jobs.queue import backlog
from models.money import hours, prices, wallet
from models.platform.db import Transaction
from models.provider import breakers, gates, limits
from worker.dispatcher.accounting import known_keys
from worker.dispatcher.duty import Dispatcher

_GAUGES = {
    "queued": Gauge("darkroom_jobs_queued", "Jobs that wait"),
    "oldest_queued": Gauge("darkroom_jobs_oldest_queued_seconds", "Age of the oldest that waits"),
    "released": Gauge("darkroom_jobs_released", "Jobs handed to Celery and not started"),
    "running": Gauge("darkroom_jobs_running", "Jobs in the hands of workers"),
    "unknown_charges": Gauge("darkroom_charges_unknown", "Attempts whose charge is unknown"),
    "unknown_credits": Gauge("darkroom_charges_unknown_credits", "Credits that these hold"),
    "deliveries_pending": Gauge("darkroom_deliveries_pending", "Deliveries that wait"),
    "oldest_delivery": Gauge("darkroom_deliveries_overdue_seconds", "How late the latest one is"),
    "deliveries_sending": Gauge("darkroom_deliveries_sending", "Deliveries in flight"),
    "workers": Gauge("darkroom_workers", "Workers that were seen lately"),
    "generate_slots": Gauge("darkroom_generate_slots", "Paid calls these could have in flight"),
}
_GATE = Gauge("darkroom_gate_closed", "1 while nothing is released for this reason", ["reason"])
_GATES_OF_PROJECTS = Gauge(
    "darkroom_project_gates_closed",
    "Projects to which a gate is closed for this reason",
    ["reason"],
)
_LIMIT = Gauge("darkroom_provider_limit", "Paid calls that may be in flight, as far as found out")
_IN_FLIGHT = Gauge("darkroom_provider_calls", "Paid calls in flight, or about to be")
_FAILURES = Gauge(
    "darkroom_breaker_failures", "Answers in a row that went wrong, as of the last one", ["cause"]
)
_LEFT_OVER = Gauge(
    "darkroom_charges_left_to_operator",
    "Unknown charges that only `python -m models resolve` can end",
    ["because"],
)
_WALLET = Gauge("darkroom_wallet_credits", "Our balance at the provider, as it was last read")
_WALLET_LEFT = Gauge("darkroom_wallet_seconds_left", "How long it lasts at the last hour's rate")
_PRICE = Gauge("darkroom_price_credits", "What one image costs at present", ["model"])
_DRIFTS = Gauge(
    "darkroom_price_drifts", "Charges of the last hour that were not what was held", ["model"]
)
_DRIFT = Gauge("darkroom_price_drift_credits", "What these differ by, in all", ["model"])
_FOLDED = Gauge("darkroom_usage_folded_age_seconds", "How long ago the last folded hour ended")
_ASIDE = Gauge("darkroom_set_aside", "Rows that a duty failed at and passes by for now", ["duty"])
_BLOBS = Gauge(
    "darkroom_blobs_overdue_seconds", "How long the oldest blob that was erased should be deleted"
)
_REASONS = ("wallet_empty", "provider_key", "provider_down", "paused", "storage")


async def run(dispatcher: Dispatcher) -> bool:
    """Look once; always False."""
    async with dispatcher.database.transaction() as tx:
        seen = await backlog.read(tx, seen=dispatcher.settings.worker_seen)
        closed = await gates.closed(tx)
        of_projects = await gates.of_projects(tx)
        left = await jobs.left_over(tx, known_keys(dispatcher.settings))
        limit, failures = await limits.read(tx, dispatcher.settings), await breakers.counts(tx)
        folded_age, put_by = await hours.age(tx), await aside.counts(tx)
        overdue = await collector.overdue(tx)
        await _measure_money(tx)
    for name, value in asdict(seen).items():
        _GAUGES[name].set(value)
    for duty in get_args(aside.Duty):
        _ASIDE.labels(duty).set(put_by.get(duty, 0))
    for reason in _REASONS:
        _GATE.labels(reason).set(reason in closed)
        _GATES_OF_PROJECTS.labels(reason).set(of_projects.get(reason, 0))
    if folded_age is not None:
        _FOLDED.set(folded_age.total_seconds())
    _BLOBS.set(overdue.total_seconds())
    _LIMIT.set(limit.calls)
    _IN_FLIGHT.set(limit.in_flight)
    for cause in ("errors", "lost"):
        _FAILURES.labels(cause).set(failures.get(cause, 0))
    _LEFT_OVER.labels("too_old").set(left.too_old)
    _LEFT_OVER.labels("key_unknown").set(left.key_unknown)
    return False


async def _measure_money(tx: Transaction) -> None:
    standing = await wallet.read(tx)
    if standing is not None:
        _WALLET.set(standing.credits)
        _WALLET_LEFT.set(standing.seconds_left)
    drifts = {each.model: each for each in await prices.drifts(tx)}
    for model, credits_ in (await prices.present(tx)).items():
        _PRICE.labels(model).set(credits_)
        drift = drifts.get(model)
        _DRIFTS.labels(model).set(0 if drift is None else drift.attempts)
        _DRIFT.labels(model).set(0 if drift is None else drift.credits)
