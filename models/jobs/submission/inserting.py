"""The row of a new job and its hold: one statement, in the plain way and in the general one.

It returns what the database has decided, and which gate or pause holds the job. It inserts nothing where
another job has the same Idempotency-Key already, or leads those of the same input.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    Interval,
    LargeBinary,
    Uuid,
    cast,
    func,
    literal,
    null,
    select,
)
from sqlalchemy import inspect as mapped
from sqlalchemy.dialects.postgresql import insert as insert_or_skip
from sqlalchemy.orm import aliased

from models import ids
from models.accounts.callers import Caller
from models.errors import ProjectSuspended
from models.jobs.endings.following import Place
from models.jobs.reading.filtering import closed_to
from models.money import ledger
from models.platform import tracing
from models.platform.db import Base
from models.platform.db.statements import Row, Statement, given, loaded, prepared
from models.schema import Job
from models.states import IdempotentRoute, OnUnknown, Priority, Reuse

# Ageing for free: a bulk job is overtaken by interactive ones for an hour, and then no longer.
HANDICAP: dict[Priority, timedelta] = {
    "interactive": timedelta(0),
    "standard": timedelta(minutes=5),
    "bulk": timedelta(minutes=60),
}

_JOBS = Base.metadata.tables["jobs"]
_GIVEN = (
    *("id", "key_id", "held", "idempotency_route", "idempotency_key", "fingerprint"),
    *("waiting_reason", "model", "input", "input_hash", "estimate", "large", "priority", "tags"),
    *("meta", "customer", "concurrency_key", "webhook_url", "webhook_events", "deadline"),
    *("max_attempts", "max_cost", "on_unknown_charge", "reuse", "retried_from", "traceparent"),
)


# What the database decides, and what the hold and the gates are told by.
_DECIDED = (
    *(
        "created_at",
        "status",
        "phase",
        "version",
        "fence",
        "attempt",
        "counted",
        "run_after",
        "rank",
    ),
    *("queue_expires_at", "finished_at", "charged"),
)
_NEEDED = ("id", "project_id", "key_id", "customer", "held", "model")

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


def values(
    caller: Caller, submission: Submission, idempotency: Idempotency | None
) -> dict[str, object]:
    """Return the columns that are known before the job is there, by their attributes.

    Raises `ProjectSuspended`.
    """
    demand_accepting(caller)
    route, key, fingerprint = idempotency or (None, None, None)
    return {
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


def later(submission: Submission) -> dict[str, object]:
    """Return what is added to the time at which the database takes it."""
    return {"handicap": HANDICAP[submission.priority], "queue_ttl": submission.queue_ttl}


class Insertions(NamedTuple):
    """The statement for each place that a job may have: the queue, behind a leader, or done.

    All are given `values`, with what `at` adds, and `later`.
    """

    queued: Statement
    following: Statement
    done: Statement

    def at(self, place: Place) -> tuple[Statement, Mapping[str, object]]:
        """Return the statement for this place, and in which of its values such a job differs."""
        if place.image is not None:
            taken = {"held": 0, "waiting_reason": None, "reused_from": place.image.job_id}
            return self.done, taken
        if place.leader_id is not None:
            return self.following, {"waiting_reason": "following", "leader_id": place.leader_id}
        return self.queued, {}


def insertions(owner: CTE, *others: CTE, **row: ColumnElement[Any]) -> Insertions:
    """Write them for the project that `owner` selects, if it does; `row` are more columns of the job."""
    follows = {"run_after": null(), "leader_id": given("leader_id", Uuid())}
    done = {
        "status": literal("succeeded"),
        "finished_at": func.now(),
        "reused_from": given("reused_from", Uuid()),
    }
    return Insertions(
        *(_insertion(owner, *others, **place, **row) for place in ({}, follows, done))
    )


def made(known: Mapping[str, object], row: Row) -> Job:
    """Return the job that was inserted with these values, by the row that its statement gave back."""
    return loaded(Job, {**known, **row})


def _insertion(owner: CTE, *others: CTE, **place: ColumnElement[Any]) -> Statement:
    of = mapped(Job).columns
    times = [func.now() + given(name, Interval()) for name in ("handicap", "queue_ttl")]
    # The driver says every type but these, whose NULL would be a text.
    types = {name: of[name].type for name in _GIVEN}
    known = [
        cast(given(name, type_), type_) if isinstance(type_, LargeBinary) else given(name, type_)
        for name, type_ in types.items()
    ]
    made = (
        insert_or_skip(_JOBS)
        .from_select(
            ["project_id", "rank", "queue_expires_at", *place, *(of[n].name for n in _GIVEN)],
            select(owner.c.id, *times, *place.values(), *known),
        )
        .on_conflict_do_nothing()
        .returning(*(of[name] for name in (*_DECIDED, *_NEEDED)))
        .cte("made")
    )
    held = ledger.appended(made, (literal(1), "hold", made.c.held, None)).cte("held")
    gate = closed_to(aliased(Job, made)).label("gate")
    shown = select(*(made.c[name] for name in _DECIDED), func.now().label("now"), gate)
    return prepared(shown.add_cte(*(() if "reused_from" in place else (held, *others))))


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
