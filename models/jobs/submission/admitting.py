"""(new) → queued in one round trip, for the plain case, which nearly every submission is.

One statement locks the project's row as the foreign keys would, inserts the job and its hold, and returns
what the database has decided. Where more has to be looked at (a window of a budget that is new or has
no room, an Idempotency-Key that came before, references), it inserts nothing, and `submit` takes
its time. A job that asks for `exact` reuse looks for its place first, in the same transaction.

A transaction that makes or changes a budget locks the project's row and writes it. A statement that
waited for that lock sees the new row, but not the new budget (READ COMMITTED, "EvalPlanQual"). So a
project without budgets must still be one (`budgeted`), and the row of a project with budgets must be the
one that the statement saw first.
"""

from sqlalchemy import Uuid, column, select

from models.accounts.callers import Caller
from models.images.references import kept_in
from models.jobs.endings import following
from models.jobs.endings.following import Place
from models.jobs.reading import Snapshot, read
from models.jobs.submission.inserting import (
    Idempotency,
    Submission,
    insertions,
    later,
    made,
    values,
)
from models.jobs.view import Presenter
from models.money import budgets
from models.platform.db.direct import Direct, DirectTransaction
from models.platform.db.statements import given
from models.schema import Project


async def admit(
    direct: Direct,
    presenter: Presenter,
    caller: Caller,
    submission: Submission,
    idempotency: Idempotency | None,
) -> Snapshot | None:
    """Accept a job and hold its price; None when nothing was done, for `submit` must look closer."""
    if kept_in(submission.input):
        return None
    if submission.reuse == "exact":
        async with direct.transaction() as tx:
            place = await following.place(tx, caller.project_id, submission.input_hash)
            found = await _insert(tx, caller, submission, idempotency, place)
            if found is None or place.image is None:
                return found
            await following.reuse(tx, presenter, found.job, place.image)
            return await read(tx, caller.project_id, found.job.id)
    return await _insert(direct, caller, submission, idempotency, following.QUEUE)


async def _insert(
    driver: Direct | DirectTransaction,
    caller: Caller,
    submission: Submission,
    idempotency: Idempotency | None,
    place: Place,
) -> Snapshot | None:
    statement, differs = (_WITHIN if caller.budgeted else _ADMIT).at(place)
    known = {**values(caller, submission, idempotency), **differs}
    rows = await driver.write_all(statement, known | later(submission))
    if not rows:
        return None
    if place.image is None:
        driver.ring("jobs")
    now, gate = rows[0].pop("now"), rows[0].pop("gate")
    return Snapshot(made(known, rows[0]), (), (), now, gate)


_OWNER = (
    select(Project.id)
    .where(Project.id == given("project_id", Uuid()), ~Project.budgeted)
    .with_for_update(read=True, key_share=True)
    .cte("owner")
)
_ADMIT = insertions(_OWNER)
_WITHIN = insertions(
    budgets.ROOM.columns(column("id", Uuid())).cte("owner"),
    budgets.MOVED.columns(column("budget_id", Uuid())).cte("moved"),
)
