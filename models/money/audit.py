"""Compares the ledger, the sums on jobs, the attempts, and what was read of the provider's own ledger.

Any difference is a bug, or somebody has tampered with the rows.

The sums of a job depend on no other job, so some jobs are compared at a time, and no statement takes longer
because the history is long.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import any_, func, select, text

from models import ids
from models.money import budgets, hours
from models.platform.db import Database, Transaction
from models.schema import Job, LedgerEntry, Project

_BATCH = 2_000  # jobs
_LINES = 100_000  # of the ledger


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where the books do not agree, in words."""

    about: str
    message: str


async def audit(database: Database) -> list[Difference]:
    """Return every difference in all books; an empty list is what should always come back."""
    found: list[Difference] = []
    after = UUID(int=0)
    while True:
        async with database.transaction() as tx:
            following = select(Job.id).where(Job.id > after).order_by(Job.id).limit(_BATCH)
            some = list(await tx.scalars(following))
            found += await of_jobs(tx, some)
        if len(some) < _BATCH:
            break
        after = some[-1]
    async with database.transaction() as tx:
        found += await of_budgets(tx)
        projects = list(await tx.scalars(select(Project.id)))
    for project_id in projects:
        found += await of_hours(database, project_id)
    return found


async def audit_lately(database: Database, within: timedelta) -> list[Difference]:
    """Return every difference of jobs that something was booked for within this time."""
    async with database.transaction() as tx:
        touched = await booked_lately(tx, within)
    found: list[Difference] = []
    for start in range(0, len(touched), _BATCH):
        async with database.transaction() as tx:
            found += await of_jobs(tx, touched[start : start + _BATCH])
    return found


async def booked_lately(tx: Transaction, within: timedelta) -> list[UUID]:
    """Return the jobs that something was booked for within this time."""
    projects = func.array(select(Project.id).scalar_subquery())  # the index begins with them
    lately = LedgerEntry.project_id == any_(projects), LedgerEntry.at >= text("now() - :within")
    booked = select(LedgerEntry.job_id).where(*lately).distinct()
    return list(await tx.scalars(booked, {"within": within}))


async def of_jobs(tx: Transaction, jobs: Sequence[UUID]) -> list[Difference]:
    """Return every difference in the books of these jobs."""
    found: list[Difference] = []
    for query in (_SUMS, _TERMINAL_HOLDS, _CHARGES, _HOLDS, _STATEMENT):
        rows = await tx.execute(query, {"jobs": jobs})
        found += [Difference(ids.text(ids.JOB, row.job_id), row.message) for row in rows]
    return found


async def of_budgets(tx: Transaction) -> list[Difference]:
    """Return every difference between what budgets keep and the whole ledger of their projects."""
    return [
        Difference(ids.text(ids.BUDGET, budget_id), message)
        for budget_id, message in await budgets.drifts(tx)
    ]


async def of_hours(database: Database, project_id: UUID) -> list[Difference]:
    """Return the differences between what a project's folded hours charge and what its ledger did by then.

    And between its hours and those without customers. The ledger is added up some lines at a time: nothing
    is written into that part of it any more.
    """
    async with database.transaction() as tx:
        kept, until = await hours.charged(tx, project_id)
        off = await hours.off(tx, project_id)
    booked, last = 0, 0
    while until is not None and last is not None:
        async with database.transaction() as tx:
            found = await tx.execute(
                _BOOKED, {"project": project_id, "last": last, "until": until, "lines": _LINES}
            )
            more, last = found.one()
            booked += more
    messages = {
        f"its folded hours charge {kept}, the ledger {booked}": kept != booked,
        f"{off} of its hours without customers are not the sums of its hours": off > 0,
    }
    about = ids.text(ids.PROJECT, project_id)
    return [Difference(about, message) for message, wrong in messages.items() if wrong]


_BOOKED = text("""
    SELECT coalesce(sum(credits) FILTER (WHERE kind NOT IN ('hold', 'release') AND at < :until), 0),
           max(id)
      FROM (SELECT * FROM ledger WHERE project_id = :project AND id > :last ORDER BY id LIMIT :lines) l
""")

_SUMS = text("""
    SELECT j.id AS job_id,
           format('held %s and charged %s on the job, %s and %s in the ledger',
                  j.held, j.charged, coalesce(l.held, 0), coalesce(l.charged, 0)) AS message
      FROM jobs j LEFT JOIN (
           SELECT job_id,
                  sum(credits) FILTER (WHERE kind IN ('hold', 'release')) AS held,
                  sum(credits) FILTER (WHERE kind NOT IN ('hold', 'release')) AS charged
             FROM ledger WHERE job_id = ANY (:jobs) GROUP BY job_id) l ON l.job_id = j.id
     WHERE j.id = ANY (:jobs) AND (j.held <> coalesce(l.held, 0) OR j.charged <> coalesce(l.charged, 0))
""")

_TERMINAL_HOLDS = text("""
    SELECT j.id AS job_id,
           format('%s, yet it holds %s while its unknown attempts hold %s',
                  j.status, j.held, coalesce(u.hold, 0)) AS message
      FROM jobs j LEFT JOIN (
           SELECT job_id, sum(hold) AS hold FROM attempts
            WHERE charge = 'unknown' AND job_id = ANY (:jobs) GROUP BY job_id
           ) u ON u.job_id = j.id
     WHERE j.id = ANY (:jobs) AND j.finished_at IS NOT NULL AND j.held <> coalesce(u.hold, 0)
""")

_CHARGES = text("""
    SELECT a.job_id,
           format('attempt %s is %s with %s credits, the ledger charges %s',
                  a.number, a.charge, coalesce(a.credits, 0), coalesce(l.charged, 0)) AS message
      FROM attempts a LEFT JOIN (
           SELECT job_id, attempt, sum(credits) AS charged FROM ledger
            WHERE kind NOT IN ('hold', 'release') AND job_id = ANY (:jobs) GROUP BY job_id, attempt
           ) l ON l.job_id = a.job_id AND l.attempt = a.number
     WHERE a.job_id = ANY (:jobs) AND coalesce(a.credits, 0) <> coalesce(l.charged, 0)
""")

# A line that was read and is not booked yet waits for its duty; what is booked must agree.
_STATEMENT = text("""
    SELECT a.job_id,
           format('attempt %s is booked with %s credits, the account''s own ledger has %s',
                  a.number, coalesce(a.credits, 0), l.credits) AS message
      FROM attempts a JOIN (
           SELECT attempt_id, sum(credits) AS credits FROM account_lines
            WHERE attempt_id IN (SELECT id FROM attempts WHERE job_id = ANY (:jobs))
            GROUP BY attempt_id
           HAVING bool_and(booked) AND bool_or(kind = 'MODEL_USAGE')) l ON l.attempt_id = a.id
     WHERE coalesce(a.credits, 0) <> l.credits
""")

_HOLDS = text("""
    SELECT a.job_id,
           format('attempt %s is %s, its hold was %s and %s of it is left in the ledger',
                  a.number, a.charge, a.hold, coalesce(l.held, 0)) AS message
      FROM attempts a LEFT JOIN (
           SELECT job_id, attempt, sum(credits) AS held FROM ledger
            WHERE kind IN ('hold', 'release') AND job_id = ANY (:jobs) GROUP BY job_id, attempt
           ) l ON l.job_id = a.job_id AND l.attempt = a.number
     WHERE a.job_id = ANY (:jobs)
       AND coalesce(l.held, 0) <> CASE WHEN a.charge = 'unknown' THEN a.hold ELSE 0 END
""")
