"""The view of a batch or group: the same JSON for GET, lists, streams and webhooks."""

from datetime import timedelta

from models.jobs.batches.accepting import name, written
from models.jobs.batches.reading import LATELY, Standing
from models.jobs.view import Presenter
from models.money.dollars import usd
from models.platform.jsonable import Json, time
from models.schema import Batch

_ERRORS = 10  # codes that are told


def show(presenter: Presenter, standing: Standing) -> Json:
    """Show where a batch stands; a group with its jobs."""
    shown = _shown(standing)
    if standing.batch.kind == "group":
        shown["jobs"] = [each.show(presenter) for each in standing.jobs]
    return shown


def _shown(standing: Standing) -> Json:
    batch = standing.batch
    return {
        "id": written(batch),
        "object": batch.kind,
        "status": batch.status,
        "paused_for": batch.paused_for,
        "created_at": time(batch.created_at),
        "finished_at": time(batch.finished_at),
        "metadata": batch.meta,
        "total": batch.total,
        "skipped": batch.skipped,
        "counts": _counts(standing),
        "progress": _progress(standing),
        "credits": _credits(standing),
        "max_cost": batch.max_cost,
        "priority": batch.priority,
        "stop_on": None if batch.stop_after is None else {"failures": batch.stop_after},
        "top_errors": _top_errors(batch),
        "cancel": _cancel(standing),
        "retried_from": batch.retried_from and name(batch.kind, batch.retried_from),
        "sequence": batch.version,
    }


def _counts(standing: Standing) -> Json:
    batch = standing.batch
    return {
        "queued": max(batch.total - standing.ended - standing.running, 0),
        "running": min(standing.running, batch.total - standing.ended),
        "succeeded": batch.succeeded,
        "failed": batch.failed,
        "canceled": batch.canceled,
        "expired": batch.expired,
    }


def _progress(standing: Standing) -> Json:
    """Tell the pace of the last minute, and when it ends at that; nobody knows while it stands."""
    left = standing.batch.total - standing.ended
    moves = standing.batch.status == "running" and standing.lately > 0
    eta = standing.now + LATELY * left / standing.lately if moves and left else None
    return {
        "done": standing.ended,
        "percent": 100 * standing.ended // max(standing.batch.total, 1),
        "per_minute": round(standing.lately * (timedelta(minutes=1) / LATELY)),
        "eta": time(eta),
    }


def _credits(standing: Standing) -> Json:
    """Tell what its rows hold, were charged, and may have been charged: never more than `max_cost`."""
    charged = standing.batch.settled - standing.unknown
    credits_ = {
        "held": standing.batch.committed - standing.batch.settled,
        "charged": max(charged, 0),
        "unknown": standing.unknown,
    }
    return {**credits_, "unit": "credits", "usd": {name: usd(n) for name, n in credits_.items()}}


def _top_errors(batch: Batch) -> list[Json]:
    found = [
        {"code": code, "count": told["count"], "message": told["message"]}
        for code, told in batch.errors.items()
        if isinstance(told, dict)
    ]
    return sorted(found, key=lambda each: (-each["count"], each["code"]))[:_ERRORS]


def _cancel(standing: Standing) -> Json | None:
    batch = standing.batch
    if batch.cancel_requested_at is None:
        return None
    return {
        "requested_at": time(batch.cancel_requested_at),
        "prevented": batch.canceled - batch.too_late,
        "too_late": batch.too_late,
        "pending": batch.total - standing.ended,
    }
