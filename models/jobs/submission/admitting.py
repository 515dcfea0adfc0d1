"""(new) → queued in one round trip, for the plain case, which nearly every submission is.

One statement locks the project's row as the foreign keys would, inserts jobs and their holds, and returns
what the database has decided. Where more has to be looked at (a window of a budget that is new or has
no room for all, an Idempotency-Key that came before, references), it inserts nothing of it, and `submit`
takes its time. A job that asks for `exact` reuse looks for its place first, in the same transaction.

A transaction that makes or changes a budget locks the project's row and writes it. A statement that
waited for that lock sees the new row, but not the new budget (READ COMMITTED, "EvalPlanQual"). So a
project without budgets must still be one (`budgeted`), and the row of a project with budgets must be the
one that the statement saw first.
"""

from collections.abc import Sequence

from sqlalchemy import Uuid, column, select

from models.accounts.callers import Caller
from models.images.references import kept_in
from models.jobs.endings import following
from models.jobs.reading import Snapshot, read
from models.jobs.submission.candidates import Candidate, Idempotency, Submission, asked
from models.jobs.submission.inserting import Insertions
from models.jobs.view import Presenter
from models.money import budgets
from models.platform.db.direct import Direct, DirectTransaction, StatementError
from models.platform.db.statements import Statement, given
from models.schema import Project


def is_plain(submission: Submission) -> bool:
    """Return whether such a job goes into the queue, and refers to nothing: `admit_several` may take it."""
    return submission.reuse != "exact" and not kept_in(submission.input)


async def admit_reusing(
    direct: Direct,
    presenter: Presenter,
    caller: Caller,
    submission: Submission,
    idempotency: Idempotency | None,
) -> Snapshot | None:
    """Accept a job that asks for `exact` reuse; None when nothing was done, for it needs a closer look."""
    if kept_in(submission.input):
        return None
    candidate = Candidate.of(caller, submission, idempotency)
    async with direct.transaction() as tx:
        place = await following.place(tx, caller.project_id, submission.input_hash)
        statement, differs = (_WITHIN if caller.budgeted else _ADMIT).at(place)
        candidate = candidate.at(**differs)
        found = (await _insert(tx, statement, [candidate])).get(candidate)
        if found is None:
            return None
        if place.image is None:
            tx.ring("jobs")
            return found
        await following.reuse(tx, presenter, found.job, place.image)
        return await read(tx, caller.project_id, found.job.id)


async def admit_several(
    direct: Direct, candidates: Sequence[Candidate], *, budgeted: bool
) -> dict[Candidate, Snapshot]:
    """Accept plain jobs of one project, and hold their prices; whoever is left out needs a closer look.

    Those of a project with budgets are of one key and customer, and none is accepted where there is no room
    for all. Nor is any where one of them spoils the statement.
    """
    try:
        found = await _insert(direct, (_WITHIN if budgeted else _ADMIT).queued, candidates)
    except StatementError:
        return {}  # alone, the others are accepted, and the one says what is wrong with it
    if found:
        direct.ring("jobs")
    return found


async def _insert(
    driver: Direct | DirectTransaction, statement: Statement, candidates: Sequence[Candidate]
) -> dict[Candidate, Snapshot]:
    rows = {row["id"]: row for row in await driver.write_all(statement, asked(candidates))}
    found = {}
    for each in candidates:
        row = rows.get(each.known["id"])
        if row is not None:
            now, gate = row.pop("now"), row.pop("gate")
            found[each] = Snapshot(each.made(row), (), (), now, gate)
    return found


_OWNER = (
    select(Project.id)
    .where(
        Project.id == given("project_id", Uuid()),
        ~Project.budgeted,
        Project.deleted_at.is_(None),
    )
    .with_for_update(read=True, key_share=True)
    .cte("owner")
)
_ADMIT = Insertions(_OWNER)
_WITHIN = Insertions(
    budgets.ROOM.columns(column("id", Uuid())).cte("owner"),
    budgets.MOVED.columns(column("budget_id", Uuid())).cte("moved"),
)
