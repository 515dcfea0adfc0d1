"""(new) → queued in one round trip, for the plain case, which nearly every submission is.

One statement locks the project's row as the foreign keys would, inserts the job and its hold, and returns
what the database has decided. Where more has to be looked at (a window of a budget that is new or has
no room, an Idempotency-Key that came before, reuse, references), it inserts nothing, and `submit` takes
its time.

A transaction that makes or changes a budget locks the project's row and writes it. A statement that
waited for that lock sees the new row, but not the new budget (READ COMMITTED, "EvalPlanQual"). So a
project without budgets must still be one (`budgeted`), and the row of a project with budgets must be the
one that the statement saw first.
"""

from sqlalchemy import Uuid, column, select

from models.accounts.callers import Caller
from models.images.references import kept_in
from models.jobs.reading import Snapshot
from models.jobs.submission.inserting import Idempotency, Submission, insertion, later, values
from models.money import budgets
from models.platform.db.direct import Direct
from models.platform.db.statements import given, loaded
from models.schema import Job, Project


async def admit(
    direct: Direct, caller: Caller, submission: Submission, idempotency: Idempotency | None
) -> Snapshot | None:
    """Accept a job and hold its price; None when nothing was done, for `submit` must look closer."""
    if submission.reuse != "never" or kept_in(submission.input):
        return None
    known = values(caller, submission, idempotency)
    row = await direct.write(_WITHIN if caller.budgeted else _ADMIT, known | later(submission))
    if row is None:
        return None
    direct.ring("jobs")
    now, gate = row.pop("now"), row.pop("gate")
    return Snapshot(loaded(Job, known | row), (), (), now, gate)


_OWNER = (
    select(Project.id)
    .where(Project.id == given("project_id", Uuid()), ~Project.budgeted)
    .with_for_update(read=True, key_share=True)
    .cte("owner")
)
_ADMIT = insertion(_OWNER)
_WITHIN = insertion(
    budgets.ROOM.columns(column("id", Uuid())).cte("owner"),
    budgets.MOVED.columns(column("budget_id", Uuid())).cte("moved"),
)
