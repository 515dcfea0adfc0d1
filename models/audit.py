"""Compares the ledger, the sums on jobs, and the attempts; any difference is a bug or a tampering."""

from dataclasses import dataclass

from sqlalchemy import text

from models import budgets, ids
from models.db import Transaction


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where the books do not agree, in words."""

    about: str
    message: str


async def audit(tx: Transaction) -> list[Difference]:
    """Give every difference; an empty list is what should always come back."""
    found: list[Difference] = []
    for query in (_SUMS, _TERMINAL_HOLDS, _CHARGES, _HOLDS):
        rows = await tx.execute(query)
        found += [Difference(ids.text(ids.JOB, row.job_id), row.message) for row in rows]
    return found + [
        Difference(ids.text(ids.BUDGET, budget_id), message)
        for budget_id, message in await budgets.drifts(tx)
    ]


_SUMS = text("""
    SELECT j.id AS job_id,
           format('held %s and charged %s on the job, %s and %s in the ledger',
                  j.held, j.charged, coalesce(l.held, 0), coalesce(l.charged, 0)) AS message
      FROM jobs j LEFT JOIN (
           SELECT job_id,
                  sum(credits) FILTER (WHERE kind IN ('hold', 'release')) AS held,
                  sum(credits) FILTER (WHERE kind NOT IN ('hold', 'release')) AS charged
             FROM ledger GROUP BY job_id) l ON l.job_id = j.id
     WHERE j.held <> coalesce(l.held, 0) OR j.charged <> coalesce(l.charged, 0)
""")

_TERMINAL_HOLDS = text("""
    SELECT j.id AS job_id,
           format('%s, yet it holds %s while its unknown attempts hold %s',
                  j.status, j.held, coalesce(u.hold, 0)) AS message
      FROM jobs j LEFT JOIN (
           SELECT job_id, sum(hold) AS hold FROM attempts WHERE charge = 'unknown' GROUP BY job_id
           ) u ON u.job_id = j.id
     WHERE j.finished_at IS NOT NULL AND j.held <> coalesce(u.hold, 0)
""")

_CHARGES = text("""
    SELECT a.job_id,
           format('attempt %s is %s with %s credits, the ledger charges %s',
                  a.number, a.charge, coalesce(a.credits, 0), coalesce(l.charged, 0)) AS message
      FROM attempts a LEFT JOIN (
           SELECT job_id, attempt, sum(credits) AS charged FROM ledger
            WHERE kind NOT IN ('hold', 'release') GROUP BY job_id, attempt
           ) l ON l.job_id = a.job_id AND l.attempt = a.number
     WHERE coalesce(a.credits, 0) <> coalesce(l.charged, 0)
""")

_HOLDS = text("""
    SELECT a.job_id,
           format('attempt %s is %s, its hold was %s and %s of it is left in the ledger',
                  a.number, a.charge, a.hold, coalesce(l.held, 0)) AS message
      FROM attempts a LEFT JOIN (
           SELECT job_id, attempt, sum(credits) AS held FROM ledger
            WHERE kind IN ('hold', 'release') GROUP BY job_id, attempt
           ) l ON l.job_id = a.job_id AND l.attempt = a.number
     WHERE coalesce(l.held, 0) <> CASE WHEN a.charge = 'unknown' THEN a.hold ELSE 0 END
""")
