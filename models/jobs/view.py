"""The view of a job: the same JSON for GET, lists and webhooks.

Pure functions of rows: nothing here asks the database or the clock.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self
from uuid import UUID

from models import ids
from models.images import urls
from models.money.budgets import BudgetState
from models.money.dollars import usd
from models.platform.jsonable import Json, time
from models.platform.vault import Vault
from models.schema import Attempt, Image, Job
from models.settings import Settings
from models.states import NOT_STARTED

_SHARED_FOR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Presenter:
    """What a view needs beside rows: the address that clients see, and the vault that signs URLs.

    `unknown_for` is how long after it was sent the charge of a lost call may stay unknown.
    """

    public_url: str
    vault: Vault
    unknown_for: timedelta = timedelta(minutes=65)

    @classmethod
    def of(cls, settings: Settings, vault: Vault) -> Self:
        """Build the presenter of a process."""
        return cls(settings.public_url, vault, settings.unknown_for)

    def image_url(self, job: Job, image: Image, now: datetime, suffix: str = "") -> str:
        """Return a signed URL of this image, which needs no key (`models/images/urls.py`)."""
        return self._signed(job, urls.end(image, now), suffix)

    def shared(self, job: Job, image: Image, now: datetime) -> Json:
        """Return a signed URL to show to somebody: it ends within the hour."""
        until = min(now + _SHARED_FOR, image.expires_at).replace(microsecond=0)
        url = self._signed(job, until)
        return {"object": "shared_image", "url": url, "expires_at": time(until)}

    def _signed(self, job: Job, until: datetime, suffix: str = "") -> str:
        path = f"/v1/jobs/{ids.text(ids.JOB, job.id)}/images/0{suffix}"
        return urls.sign(self.vault, self.public_url, path, until)


def status(job: Job) -> str:
    """Return the status that is shown: a dispatched job still looks queued from outside."""
    return "queued" if job.status == "released" else job.status


def etag(job: Job, now: datetime, waiting_reason: str | None) -> str:
    """Return the tag of a job's state: its version, why it waits, and the day that its URLs were signed."""
    # A job that was canceled too late shows its image too.
    signed = job.status in {"succeeded", "canceled"}
    day = f"-{now.astimezone(UTC):%Y%m%d}" if signed else ""
    reason = f"-{waiting_reason}" if waiting_reason else ""
    return f'"{job.version}{reason}{day}"'


def waiting_reason(job: Job, now: datetime, closed_gate: str | None) -> str | None:
    """Return why a job waits: its own reason first, then what holds it: a gate, a pause, a cap."""
    if job.status not in NOT_STARTED:
        return None
    due = job.status == "released" or (job.run_after is not None and job.run_after <= now)
    if due:
        return closed_gate or "queue"
    return job.waiting_reason or "backoff"


def job(
    presenter: Presenter,
    job: Job,
    attempts: Sequence[Attempt],
    images: Sequence[Image],
    now: datetime,
    *,
    closed_gate: str | None = None,
    inline: bytes | None = None,
) -> Json:
    """Show a job. `inline` is the image's bytes, where the caller asked for `b64_json`."""
    shown = next((image for image in images if not image.late), None)
    return {
        "id": ids.text(ids.JOB, job.id),
        "object": "job",
        "sequence": job.version,
        "status": status(job),
        "has_image": shown is not None,
        "charged": _charged(job, attempts),
        "input": job.input if job.erased_at is None else None,
        "metadata": job.meta,
        "tags": job.tags,
        "customer": job.customer,
        "batch_id": batch_id(job),
        "custom_id": job.custom_id,
        "priority": job.priority,
        "created_at": time(job.created_at),
        "started_at": time(job.started_at),
        "finished_at": time(job.finished_at),
        "erased_at": time(job.erased_at),
        "queue_expires_at": time(job.queue_expires_at),
        "deadline": time(job.deadline),
        "expired_by": _expired_by(job),
        "waiting_reason": waiting_reason(job, now, closed_gate),
        "attempts": [_attempt(each) for each in attempts],
        "cost": _cost(presenter, job, attempts),
        "result": None if shown is None else _result(presenter, job, shown, attempts, now, inline),
        "error": None if job.error is None else {**job.error, "charged": _charged(job, attempts)},
        "cancel": _cancel(job),
        "retried_from": None if job.retried_from is None else ids.text(ids.JOB, job.retried_from),
        "reused_from": None if job.reused_from is None else ids.text(ids.JOB, job.reused_from),
    }


def batch_id(job: Job) -> str | None:
    """Write the id of a job's batch, or group: the rows of a group have no names."""
    prefix = ids.GROUP if job.custom_id is None else ids.BATCH
    return None if job.batch_id is None else ids.text(prefix, job.batch_id)


def _cancel(job: Job) -> Json | None:
    if job.cancel_requested_at is None:
        return None
    return {"requested_at": time(job.cancel_requested_at), "outcome": job.cancel_outcome}


def _charged(job: Job, attempts: Sequence[Attempt]) -> str:
    """Return whether a job was charged; that of a lost answer may be found out after the job's end."""
    return "unknown" if _unknown(attempts) else "yes" if job.charged else "no"


def _unknown(attempts: Sequence[Attempt]) -> int:
    """Sum what lost answers hold; a call under way is not lost yet."""
    return sum(each.hold for each in attempts if _is_unknown(each))


def _is_unknown(attempt: Attempt) -> bool:
    return attempt.charge == "unknown" and attempt.finished_at is not None


def _expired_by(job: Job) -> str | None:
    """Return which of its two times ended a job: the earlier one, where both have passed."""
    if job.status != "expired" or job.finished_at is None:
        return None
    in_queue = job.queue_expires_at <= job.finished_at
    first = job.deadline is None or job.queue_expires_at <= job.deadline
    return "queue_ttl" if in_queue and first else "deadline"


def _attempt(attempt: Attempt) -> Json:
    return {
        "number": attempt.number,
        "outcome": attempt.outcome,
        "charge": {
            "state": attempt.charge,
            "credits": attempt.credits,
            "adjusted": attempt.adjusted,
        },
        "http_status": attempt.http_status,
        "inference_id": attempt.inference_id,
        "client_request_id": attempt.client_request_id,
        "sent_at": time(attempt.sent_at),
        "finished_at": time(attempt.finished_at),
        "error": attempt.error,
    }


def _cost(presenter: Presenter, job: Job, attempts: Sequence[Attempt]) -> Json:
    credits_ = {
        "estimated": job.estimate,
        "charged": job.charged,
        "adjusted": sum(each.adjusted for each in attempts),
        "unknown": _unknown(attempts),
        "held": job.held,
    }
    in_usd = {name: usd(each) for name, each in credits_.items()}
    until = max((each.sent_at for each in attempts if _is_unknown(each)), default=None)
    return {
        **credits_,
        "unknown_until": None if until is None else time(until + presenter.unknown_for),
        "unit": "credits",
        "usd": in_usd,
    }


def _result(
    presenter: Presenter,
    job: Job,
    image: Image,
    attempts: Sequence[Attempt],
    now: datetime,
    inline: bytes | None,
) -> Json:
    own = (each.credits for each in attempts if each.number == image.attempt)
    credits_ = next(own, None) if job.reused_from is None else 0
    data: Json = {
        "url": presenter.image_url(job, image, now),
        "size": f"{image.width}x{image.height}",
        "content_type": image.content_type,
        "bytes": image.bytes,
        "width": image.width,
        "height": image.height,
        "sha256": image.sha256,
        "expires_at": time(image.expires_at),
        "url_expires_at": time(urls.end(image, now)),
        "thumbnail_url": presenter.image_url(job, image, now, "/thumbnail"),
        "provider_url": image.provider_url,
    }
    if inline is not None:
        data["b64_json"] = b64encode(inline).decode()
    return {"data": [data], "meta": {"usage": {"credits_used": credits_}}}


def event_id(value: UUID) -> str:
    """Write an event's id: the `webhook-id`, the same on every try."""
    return ids.text(ids.EVENT, value)


def budget(standing: BudgetState) -> Json:
    """Show a budget, and where it stands in its present window."""
    rule = standing.budget
    return {
        "id": ids.text(ids.BUDGET, rule.id),
        "object": "budget",
        "scope": rule.scope,
        "key_id": None if rule.key_id is None else ids.text(ids.KEY, rule.key_id),
        "customer": rule.customer,
        "window": rule.window,
        "timezone": rule.timezone,
        "mode": rule.mode,
        "limit": rule.limit,
        "spent": standing.spent,
        "held": standing.held,
        "left": standing.left,
        "window_starts_at": None if rule.window == "total" else time(standing.starts_at),
        "window_ends_at": time(standing.ends_at),
        "unit": "credits",
    }
