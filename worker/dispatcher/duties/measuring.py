"""Measures what waits, for the metrics of this process.

Every dispatcher sees the same database and shows the same figures: of several take `max()`, never `sum()`.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from typing import get_args

from prometheus_client import Gauge

from models import jobs
from models.accounts import expiring
from models.coordination import aside
from models.images import collector
from models.jobs.queue import backlog, demand
from models.jobs.queue.backlog import Waiting
from models.money import hours, prices, wallet
from models.operating import limits as limits_over_time
from models.platform.db.direct import Direct
from models.provider import breakers, gates, limits
from models.settings import Settings
from models.states import Priority, WaitingReason
from models.webhooks import endpoints
from worker.dispatcher.account.accounting import known_keys
from worker.dispatcher.duty import Dispatcher
from worker.dispatcher.rows import each_direct


def _gauge(name: str, said: str, *labels: str) -> Gauge:
    return Gauge(name, f"{said} (the same from every dispatcher)", labels)


_GAUGES = {
    "released": _gauge("darkroom_jobs_released", "Jobs handed to Celery and not started"),
    "running": _gauge("darkroom_jobs_running", "Jobs in the hands of workers"),
    "unknown_charges": _gauge("darkroom_charges_unknown", "Attempts whose charge is unknown"),
    "unknown_credits": _gauge(
        "darkroom_charges_unknown_credits", "Credits that unknown charges hold"
    ),
    "oldest_unknown": _gauge(
        "darkroom_charges_unknown_oldest_seconds",
        "How long ago the call of the oldest unknown charge was sent",
    ),
    "deliveries_pending": _gauge("darkroom_deliveries_pending", "Deliveries that wait"),
    "oldest_delivery": _gauge(
        "darkroom_deliveries_overdue_seconds", "How late the most overdue delivery is"
    ),
    "deliveries_sending": _gauge("darkroom_deliveries_sending", "Deliveries in flight"),
    "workers": _gauge("darkroom_workers", "Workers that were seen lately"),
    "generate_slots": _gauge(
        "darkroom_generate_slots", "Paid calls that the workers seen lately could have in flight"
    ),
}
_QUEUED = _gauge("darkroom_jobs_queued", "Jobs that wait")
_OLDEST = _gauge("darkroom_jobs_oldest_queued_seconds", "Age of the oldest job that waits")
_WAITING = _gauge("darkroom_jobs_waiting", "Jobs that wait for this", "reason")
_RUNNABLE = _gauge(
    "darkroom_jobs_oldest_runnable_seconds",
    "Age of the oldest job that waits for a place or a gate alone",
    "priority",
)
_WANTED = _gauge(
    "darkroom_slots_wanted",
    "Places of workers that could be of use now, within the provider's limit: scale on this",
    "kind",
)
_GATE = _gauge("darkroom_gate_closed", "1 while nothing is released for this reason", "reason")
_GATES_OF_PROJECTS = _gauge(
    "darkroom_project_gates_closed", "Projects to which a gate is closed for this reason", "reason"
)
_LIMIT = _gauge("darkroom_provider_limit", "Paid calls that may be in flight, as far as found out")
_IN_FLIGHT = _gauge("darkroom_provider_calls", "Paid calls in flight, or about to be")
_FAILURES = _gauge(
    "darkroom_breaker_failures", "Answers in a row that went wrong, as of the last one", "cause"
)
_LEFT_OVER = _gauge(
    "darkroom_charges_left_to_operator",
    "Unknown charges that only `python -m models resolve` can end",
    "because",
)
_EXPECTED = _gauge(
    "darkroom_charges_unknown_expected_seconds",
    "How long a charge may stay unknown while the provider's books answer",
)
_WALLET = _gauge("darkroom_wallet_credits", "Our balance at the provider, as it was last read")
_WALLET_LEFT = _gauge(
    "darkroom_wallet_seconds_left", "How long the wallet lasts at the last hour's rate"
)
_PRICE = _gauge("darkroom_price_credits", "What one image costs at present", "model")
_DRIFTS = _gauge(
    "darkroom_price_drifts", "Charges of the last hour that were not what was held", "model"
)
_DRIFT = _gauge(
    "darkroom_price_drift_credits",
    "What charges of the last hour differ by from what was held, in all",
    "model",
)
_FOLDED = _gauge("darkroom_usage_folded_age_seconds", "How long ago the last folded hour ended")
_ASIDE = _gauge("darkroom_set_aside", "Rows that a duty failed at and passes by for now", "duty")
_BLOBS = _gauge(
    "darkroom_blobs_overdue_seconds", "For how long the oldest erased blob should have been deleted"
)
_ENDPOINTS = _gauge("darkroom_endpoints", "Webhook endpoints of all projects", "state")
_KEYS = _gauge("darkroom_api_keys_expiring", "API keys that end within a week, unreplaced")
_REASONS = ("wallet_empty", "provider_key", "provider_down", "paused", "storage")
_WEEK = timedelta(days=7)


async def run(dispatcher: Dispatcher) -> bool:
    """Measure once; always False. What cannot be measured hides none of the other figures."""
    await each_direct(
        dispatcher,
        "measure",
        partial(_measure_queue, settings=dispatcher.settings),
        _measure_gates,
        partial(_measure_charges, settings=dispatcher.settings),
        _measure_money,
        _measure_upkeep,
    )
    return False


async def _measure_queue(direct: Direct, settings: Settings) -> None:
    seen = await backlog.read(direct, seen=settings.worker_seen)
    limit = await limits.read(direct, settings)
    wanted = await demand.wanted(direct, limit=limit.calls, tries_cap=settings.webhook_in_flight)
    _show_waiting(await backlog.waiting(direct))
    for name, value in asdict(seen).items():
        _GAUGES[name].set(value)
    for kind, places in asdict(wanted).items():
        _WANTED.labels(kind).set(places)
    await limits_over_time.sample(direct, limit.calls, limit.in_flight)
    _LIMIT.set(limit.calls)
    _IN_FLIGHT.set(limit.in_flight)


def _show_waiting(lines: Sequence[Waiting]) -> None:
    _QUEUED.set(sum(each.jobs for each in lines))
    _OLDEST.set(max((each.oldest for each in lines), default=0))
    for reason in get_args(WaitingReason):
        _WAITING.labels(reason).set(sum(each.jobs for each in lines if each.reason == reason))
    for priority in get_args(Priority):
        runnable = (each for each in lines if each.runnable and each.priority == priority)
        _RUNNABLE.labels(priority).set(max((each.oldest for each in runnable), default=0))


async def _measure_gates(direct: Direct) -> None:
    closed = await gates.closed(direct)
    of_projects = await gates.of_projects(direct)
    failures = await breakers.counts(direct)
    for reason in _REASONS:
        _GATE.labels(reason).set(reason in closed)
        _GATES_OF_PROJECTS.labels(reason).set(of_projects.get(reason, 0))
    for cause in ("errors", "lost"):
        _FAILURES.labels(cause).set(failures.get(cause, 0))


async def _measure_charges(direct: Direct, settings: Settings) -> None:
    left = await jobs.left_over(direct, known_keys(settings))
    _LEFT_OVER.labels("too_old").set(left.too_old)
    _LEFT_OVER.labels("key_unknown").set(left.key_unknown)
    _EXPECTED.set(settings.unknown_for.total_seconds())


async def _measure_money(direct: Direct) -> None:
    account = await wallet.read(direct)
    if account is not None:
        _WALLET.set(account.credits)
        _WALLET_LEFT.set(account.seconds_left)
    drifts = {each.model: each for each in await prices.drifts(direct)}
    for model, credits_ in (await prices.present(direct)).items():
        _PRICE.labels(model).set(credits_)
        drift = drifts.get(model)
        _DRIFTS.labels(model).set(0 if drift is None else drift.attempts)
        _DRIFT.labels(model).set(0 if drift is None else drift.credits)


async def _measure_upkeep(direct: Direct) -> None:
    put_by, folded_age = await aside.counts(direct), await hours.age(direct)
    for duty in get_args(aside.Duty):
        _ASIDE.labels(duty).set(put_by.get(duty, 0))
    if folded_age is not None:
        _FOLDED.set(folded_age.total_seconds())
    _BLOBS.set((await collector.overdue(direct)).total_seconds())
    for state, found in (await endpoints.count(direct)).items():
        _ENDPOINTS.labels(state).set(found)
    _KEYS.set(await expiring.count(direct, _WEEK))
