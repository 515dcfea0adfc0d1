"""What is known of a job before it is there, as the statement that makes it is given it.

Times are told from the database's clock, and what it decides is in the row that it gives back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import inspect as mapped

from models import ids
from models.accounts.callers import Caller
from models.errors import ProjectSuspended
from models.platform import tracing
from models.platform.db.statements import Row, as_rows, loaded
from models.schema import Job
from models.states import IdempotentRoute, OnUnknown, Priority, Reuse

# Ageing for free: a bulk job is overtaken by interactive ones for an hour, and then no longer.
HANDICAP: dict[Priority, timedelta] = {
    "interactive": timedelta(0),
    "standard": timedelta(minutes=5),
    "bulk": timedelta(minutes=60),
}

# The columns that are given, by their attributes.
GIVEN = (
    *("id", "key_id", "held", "idempotency_route", "idempotency_key", "fingerprint"),
    *("waiting_reason", "model", "input", "input_hash", "estimate", "large", "priority", "tags"),
    *("meta", "customer", "concurrency_key", "webhook_url", "webhook_events", "deadline"),
    *("max_attempts", "max_cost", "on_unknown_charge", "reuse", "retried_from", "traceparent"),
)

# SQLAlchemy takes three times as long to find out that a column was not told.
_EMPTY = dict.fromkeys(mapped(Job).column_attrs.keys())

# A request's name: its route, the caller's key, a fingerprint.
Idempotency = tuple[IdempotentRoute, str, bytes]


@dataclass(frozen=True, slots=True)
class Submission:
    """A checked request for one image; `input` is as it is stored and shown."""

    model: str
    input: dict[str, object]
    input_hash: bytes
    estimate: int
    large: bool = False
    priority: Priority = "standard"
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] | None = None
    customer: str | None = None
    concurrency_key: str | None = None
    webhook_url: str | None = None
    webhook_events: tuple[str, ...] | None = None
    queue_ttl: timedelta = timedelta(days=1)
    deadline: datetime | None = None
    max_attempts: int = 5
    max_cost: int | None = None
    on_unknown_charge: OnUnknown = "retry"
    reuse: Reuse = "never"
    retried_from: UUID | None = None


def demand_accepting(caller: Caller) -> None:
    """Raise `ProjectSuspended` for a project that accepts no job."""
    if caller.suspended:
        raise ProjectSuspended(
            "The operator has suspended this project: it accepts no job. What it has can be read."
        )


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A job that is to be made: its columns that are `known` before it is there, by their attributes."""

    known: Mapping[str, Any]
    handicap: timedelta
    queue_ttl: timedelta

    @classmethod
    def of(
        cls, caller: Caller, submission: Submission, idempotency: Idempotency | None
    ) -> "Candidate":
        """Return it as one that goes into the queue. Raises `ProjectSuspended`."""
        demand_accepting(caller)
        route, key, fingerprint = idempotency or (None, None, None)
        known = {
            "project_id": caller.project_id,
            "id": ids.new(),
            "key_id": caller.key_id,
            "held": submission.estimate,
            "idempotency_route": route,
            "idempotency_key": key,
            "fingerprint": fingerprint,
            "waiting_reason": "queue",
            "traceparent": tracing.carried(),
            **_columns(submission),
        }
        return cls(known, HANDICAP[submission.priority], submission.queue_ttl)

    def at(self, **differs: object) -> "Candidate":
        """Return it with other values in these columns."""
        return replace(self, known={**self.known, **differs}) if differs else self

    def made(self, row: Row) -> Job:
        """Return the job that was made, by the row that the statement gave back."""
        return loaded(Job, {**_EMPTY, **self.known, **row})


def asked(candidates: Sequence[Candidate]) -> dict[str, object]:
    """Return what a statement is given for jobs of one project; with budgets, of one key and customer."""
    known = candidates[0].known
    held = sum(each.known["held"] for each in candidates)
    return {
        **known,
        "held": held,
        "rows": as_rows([_row(each) for each in candidates]),
    }


def _row(candidate: Candidate) -> dict[str, object]:
    """Return what the statement reads of one."""
    known = candidate.known
    row = {name: known[name] for name in GIVEN if known[name] is not None}
    return row | {"handicap": candidate.handicap, "queue_ttl": candidate.queue_ttl}


def _columns(submission: Submission) -> dict[str, object]:
    """Return the columns that a submission fills as it stands, by their attributes."""
    return {
        "model": submission.model,
        "input": submission.input,
        "input_hash": submission.input_hash,
        "estimate": submission.estimate,
        "large": submission.large,
        "priority": submission.priority,
        "tags": list(submission.tags),
        "meta": submission.metadata or {},
        "customer": submission.customer,
        "concurrency_key": submission.concurrency_key,
        "webhook_url": submission.webhook_url,
        "webhook_events": None
        if submission.webhook_events is None
        else list(submission.webhook_events),
        "deadline": submission.deadline,
        "max_attempts": submission.max_attempts,
        "max_cost": 2 * submission.estimate if submission.max_cost is None else submission.max_cost,
        "on_unknown_charge": submission.on_unknown_charge,
        "reuse": submission.reuse,
        "retried_from": submission.retried_from,
    }
