"""(new) → queued in one round trip, for the plain case, which nearly every submission is.

One statement takes the project's row as the foreign keys would, inserts the job and its hold, and gives
back what the database has decided. Where more has to be looked at (a window of a budget that is new or has
no room, an Idempotency-Key that came before, reuse, references), it inserts nothing, and `submit` takes
its time.

A budget that is being made or changed holds the project's row, and writes it. Whoever waited for it sees
that row as it then is, though not the budget (READ COMMITTED, "EvalPlanQual"): so a project without
budgets is asked whether it still is one (`budgeted`), and of one that has some the row must be the one that
the statement saw.
"""

from sqlalchemy import (
    CTE,
    Interval,
    LargeBinary,
    Uuid,
    cast,
    column,
    func,
    insert,
    literal_column,
    select,
)
from sqlalchemy import inspect as mapped
from sqlalchemy.dialects.postgresql import insert as insert_or_skip
from sqlalchemy.orm import aliased

from models import ids
from models.accounts.projects import Caller
from models.images.references import kept_in
from models.jobs.reading import Snapshot, closed_to
from models.jobs.submitting import HANDICAP, Idempotency, Submission, columns
from models.money import budgets
from models.platform.db import Base
from models.platform.direct import Direct, Statement, given, loaded, prepared
from models.schema import Job, Project

_TABLES = Base.metadata.tables
_GIVEN = (
    *("id", "key_id", "held", "idempotency_route", "idempotency_key", "fingerprint"),
    *("waiting_reason", "model", "input", "input_hash", "estimate", "large", "priority", "tags"),
    *("meta", "customer", "concurrency_key", "webhook_url", "webhook_events", "deadline"),
    *("max_attempts", "max_cost", "on_unknown_charge", "reuse", "retried_from"),
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
    *("queue_expires_at", "charged"),
)
_NEEDED = ("id", "project_id", "key_id", "customer", "held", "model")


async def admit(
    direct: Direct, caller: Caller, submission: Submission, idempotency: Idempotency | None
) -> Snapshot | None:
    """Accept a job and hold its price; None when nothing was done, for `submit` must look closer."""
    if submission.reuse != "never" or kept_in(submission.input):
        return None
    route, key, fingerprint = idempotency or (None, None, None)
    values = {
        "project_id": caller.project_id,
        "id": ids.new(),
        "key_id": caller.key_id,
        "held": submission.estimate,
        "idempotency_route": route,
        "idempotency_key": key,
        "fingerprint": fingerprint,
        "waiting_reason": "queue",
        **columns(submission),
    }
    later = {"handicap": HANDICAP[submission.priority], "queue_ttl": submission.queue_ttl}
    row = await direct.write(_WITHIN if caller.budgeted else _ADMIT, values | later)
    if row is None:
        return None
    direct.ring("jobs")
    now, gate = row.pop("now"), row.pop("gate")
    return Snapshot(loaded(Job, values | row), (), (), now, gate)


def _statement(owner: CTE, *others: CTE) -> Statement:
    """Write it: what the database decides comes back, the rest we have."""
    of = mapped(Job).columns
    later = [func.now() + given(name, Interval()) for name in ("handicap", "queue_ttl")]
    # The driver says every type but these, whose NULL would be a text.
    types = {name: of[name].type for name in _GIVEN}
    values = [
        cast(given(name, type_), type_) if isinstance(type_, LargeBinary) else given(name, type_)
        for name, type_ in types.items()
    ]
    made = (
        insert_or_skip(_TABLES["jobs"])
        .from_select(
            ["project_id", "rank", "queue_expires_at", *(of[name].name for name in _GIVEN)],
            select(owner.c.id, *later, *values),
        )
        .on_conflict_do_nothing()
        .returning(*(of[name] for name in (*_DECIDED, *_NEEDED)))
        .cte("made")
    )
    of_job = made.c
    held = (
        insert(_TABLES["ledger"])
        .from_select(
            ["project_id", "key_id", "customer", "job_id", "attempt", "kind", "credits"],
            select(
                *(of_job.project_id, of_job.key_id, of_job.customer, of_job.id),
                *(literal_column("1"), literal_column("'hold'"), of_job.held),
            ),
        )
        .cte("held")
    )
    gate = closed_to(aliased(Job, made)).label("gate")
    shown = select(*(of_job[name] for name in _DECIDED), func.now().label("now"), gate)
    return prepared(shown.add_cte(held, *others))


_OWNER = (
    select(Project.id)
    .where(Project.id == given("project_id", Uuid()), ~Project.budgeted)
    .with_for_update(read=True, key_share=True)
    .cte("owner")
)
_ADMIT = _statement(_OWNER)
_WITHIN = _statement(
    budgets.ROOM.columns(column("id", Uuid())).cte("owner"),
    budgets.MOVED.columns(column("budget_id", Uuid())).cte("moved"),
)
