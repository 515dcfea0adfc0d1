"""The rows of new jobs and their holds: one statement, in the plain way and in the general one.

It returns what the database has decided, and which gate or pause holds the job. It leaves out whoever's
Idempotency-Key another job has already, or whose input another one leads.
"""

from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any

from sqlalchemy import CTE, ColumnElement, Interval, Uuid, func, literal, null, select
from sqlalchemy import inspect as mapped
from sqlalchemy.dialects.postgresql import insert as insert_or_skip
from sqlalchemy.orm import aliased

from models.jobs.endings.following import Place
from models.jobs.reading.filtering import closed_to
from models.jobs.submission.candidates import GIVEN
from models.money import ledger
from models.platform.db import Base
from models.platform.db.statements import Statement, given, given_rows, prepared
from models.schema import Job

_JOBS = Base.metadata.tables["jobs"]
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


class Insertions:
    """The statement for each place that a job may have: the queue, behind a leader, or done.

    They are for the project that `owner` selects, if it does; `row` are more columns of the job. All are
    given what is `asked`; in the queue that may be for many. Each is written when it is first needed: they
    are long, and most processes make no job.
    """

    def __init__(self, owner: CTE, *others: CTE, **row: ColumnElement[Any]) -> None:
        self._written = partial(_insertion, owner, *others, **row)

    @cached_property
    def queued(self) -> Statement:
        """For a job that waits in the queue."""
        return self._written()

    @cached_property
    def _following(self) -> Statement:
        return self._written(run_after=null(), leader_id=given("leader_id", Uuid()))

    @cached_property
    def _done(self) -> Statement:
        return self._written(
            status=literal("succeeded"),
            finished_at=func.now(),
            reused_from=given("reused_from", Uuid()),
        )

    def at(self, place: Place) -> tuple[Statement, Mapping[str, object]]:
        """Return the statement for this place, and in which of its values such a job differs."""
        if place.image is not None:
            taken = {"held": 0, "waiting_reason": None, "reused_from": place.image.job_id}
            return self._done, taken
        if place.leader_id is not None:
            return self._following, {"waiting_reason": "following", "leader_id": place.leader_id}
        return self.queued, {}


def _insertion(owner: CTE, *others: CTE, **place: ColumnElement[Any]) -> Statement:
    of = mapped(Job).columns
    types = {name: of[name].type for name in GIVEN}
    types |= {"handicap": Interval(), "queue_ttl": Interval()}
    rows = given_rows(types)
    times = [func.now() + rows.c[name] for name in ("handicap", "queue_ttl")]
    made = (
        insert_or_skip(_JOBS)
        .from_select(
            ["project_id", "rank", "queue_expires_at", *place, *(of[n].name for n in GIVEN)],
            select(owner.c.id, *times, *place.values(), *(rows.c[name] for name in GIVEN))
            .select_from(owner, rows)
            # In one order everywhere: of two that bring the same keys, none waits for the other.
            .order_by(rows.c.idempotency_route, rows.c.idempotency_key),
        )
        .on_conflict_do_nothing()
        .returning(*(of[name] for name in (*_DECIDED, *_NEEDED)))
        .cte("made")
    )
    held = ledger.appended(made, (literal(1), "hold", made.c.held, None)).cte("held")
    gate = closed_to(aliased(Job, made)).label("gate")
    shown = select(made.c.id, *(made.c[name] for name in _DECIDED), func.now().label("now"), gate)
    return prepared(shown.add_cte(*(() if "reused_from" in place else (held, *others))))
