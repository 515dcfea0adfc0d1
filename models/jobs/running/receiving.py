"""Images that came meanwhile for one project: booked in one statement, the plain case that nearly all are.

A job is plain when its project has no budget, its call cost what was held, nobody canceled it or follows
it, its blob has no mark, and nobody else has its row just now. What is done here and in `succeeding` is
what the function of the same name in `keeping` does, by statements that are made of the same parts, with
all guards in them. Whoever is left out is untouched, and goes the general way, which also finds out why.

In such a statement each step reads the rows that the step before returns. The project's row is locked
first, and a job's row only if it is free: while a statement waits, it holds nothing that others wait for.
Postgres checks the guards again for a row that another transaction had locked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import (
    CTE,
    BigInteger,
    Boolean,
    ColumnElement,
    Interval,
    Label,
    Text,
    Uuid,
    func,
    literal_column,
    select,
)

from models.jobs import attempts
from models.jobs.attempts import Answer, Ref
from models.jobs.queue import sharing
from models.jobs.running.keeping import to_keep
from models.money import ledger
from models.platform.db.direct import Direct
from models.platform.db.statements import (
    Statement,
    as_rows,
    given,
    given_rows,
    prepared,
    unindexed,
)
from models.schema import Attempt, Job, Project

# Whether any job waits that a place may help. One that comes in this very moment rings by itself; should it
# find the place still taken, it waits for the dispatcher's next tick.
WAITS: Label[bool] = literal_column(
    f"({sharing.PAID_WAIT} OR {sharing.CALLS_WAIT})", Boolean()
).label("waits")


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """A call that brought an image, and what it came to."""

    ref: Ref
    answer: Answer

    @property
    def plain(self) -> bool:
        """Whether its price is known."""
        return self.answer.charge == "settled" and self.answer.credits is not None


async def receive_several(
    direct: Direct,
    project_id: UUID,
    images: Sequence[Received],
    *,
    lease: timedelta,
    ttl: timedelta,
) -> dict[Received, bool]:
    """Book images of a project's jobs, of which each cost what was held; false where nothing was done."""
    rows = [_row(each) for each in images if each.plain]
    told = {"project": project_id, "rows": as_rows(rows), "lease": lease, "ttl": ttl}
    found = await direct.write_all(_RECEIVE, told)
    booked = {(row["id"], row["fence"], row["start"]) for row in found}
    for job_id, *_ in booked:
        direct.ring("job", str(job_id))
    if any(row["waits"] for row in found):
        direct.ring("jobs")  # the provider has a place for the next call
    return {each: (each.ref.job_id, each.ref.fence, each.ref.start_id) in booked for each in images}


def _row(received: Received) -> dict[str, object]:
    ref, answer = received.ref, received.answer
    return {
        "id": ref.job_id,
        "fence": ref.fence,
        "number": ref.number,
        "start": ref.start_id,
        "credits": answer.credits,
        "http_status": answer.http_status,
        "inference": answer.inference_id,
        "url": answer.provider_url,
    }


def _receive() -> Statement:
    """Write the statement: each call's end, its lines in the ledger, and its job's sums."""
    finished = _finished(_mine())
    told = finished.c
    booked = ledger.appended(
        finished,
        (told.number, "release", -told.hold, None),
        (told.number, "charge", told.hold, told.inference_id),
    )
    kept = to_keep(
        told.id,
        lease=given("lease", Interval()),
        ttl=given("ttl", Interval()),
        held=Job.held - told.hold,
        charged=Job.charged + told.hold,
    )
    return prepared(
        kept.returning(Job.id, Job.fence, told.start, WAITS).add_cte(booked.cte("booked"))
    )


def owner(*guards: ColumnElement[bool]) -> CTE:
    """Lock the `project` that is given, as the foreign keys of what a statement writes would do later."""
    mine = select(Project.id).where(Project.id == given("project", Uuid()), *guards)
    return mine.with_for_update(read=True, key_share=True).cte("owner")


def _mine() -> CTE:
    """Lock the project, if it has no budgets, and the jobs that their worker has and nobody follows."""
    project = owner(~Project.budgeted)
    asked = given_rows(
        {
            "id": Uuid(),
            "fence": BigInteger(),
            "number": BigInteger(),
            "start": Uuid(),
            "credits": BigInteger(),
            "http_status": BigInteger(),
            "inference": Text(),
            "url": Text(),
        }
    )
    given_of_call = (each for each in asked.c if each.name not in {"id", "fence"})
    return (
        select(Job.id, Job.project_id, Job.key_id, Job.customer, *given_of_call)
        .join(asked, (asked.c.id == Job.id) & (asked.c.fence == Job.fence))
        .join(project, project.c.id == Job.project_id)
        .where(unindexed(Job.status) == "running", Job.reuse == "never")
        .with_for_update(key_share=True, skip_locked=True, of=Job)
        .cte("mine")
    )


def _finished(mine: CTE) -> CTE:
    """Write that each call brought an image, and cost what was held for it."""
    told = mine.c
    closed = attempts.closing(
        told.id,
        told.number,
        Attempt.start_id == told.start,
        Attempt.hold == told.credits,
        outcome="image",
        charge="settled",
        credits=told.credits,
        charged_at=func.now(),
        http_status=told.http_status,
        inference_id=told.inference,
        provider_url=told.url,
    )
    return closed.returning(
        *(told.id, told.project_id, told.key_id, told.customer, told.start),
        *(Attempt.number, Attempt.hold, Attempt.inference_id),
    ).cte("finished")


_RECEIVE = _receive()
