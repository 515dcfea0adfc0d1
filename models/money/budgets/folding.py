"""The sums of each window as the ledger has them: for a new budget, and for the audit."""

from uuid import UUID

from sqlalchemy import text

from models.money.budgets.windows import ABOUT, STARTS
from models.platform.db import Transaction
from models.platform.db.statements import Writer, prepared
from models.schema import Job


async def drifts(tx: Transaction) -> list[tuple[UUID, str]]:
    """Return budgets whose kept sums are not those of the ledger, in words; always an empty list."""
    rows = await tx.execute(_DRIFTS)
    return [(row.id, row.message) for row in rows]


async def leave_out(tx: Writer, job: Job) -> None:
    """Take a job's lines out of the budgets of its customer, whose name they are about to lose.

    A statement of its own behind the project's row, as any booking: a budget that is being made has counted
    them, and is seen here, or waits.
    """
    asked = {"project": job.project_id, "customer": job.customer, "job": job.id}
    await tx.run(_AS_A_BOOKING, asked)
    await tx.run(_LEAVE_OUT, asked)


_FOLDED = f"""
    SELECT b.id AS budget_id, {STARTS.format(moment="h.at")} AS starts_at,
           coalesce(sum(l.credits) FILTER (WHERE l.kind IN ('hold', 'release')), 0) AS held,
           coalesce(sum(l.credits) FILTER (WHERE l.kind NOT IN ('hold', 'release')), 0) AS spent
      FROM budgets b
      JOIN (SELECT *, max(id) FILTER (WHERE kind = 'hold') OVER (
                         PARTITION BY job_id, attempt ORDER BY id) AS hold_id
              FROM ledger WHERE project_id IN (SELECT project_id FROM budgets b WHERE {{which}}) {{only}}) l
        ON l.project_id = b.project_id
      JOIN api_keys k ON k.id = l.key_id
       AND {ABOUT.format(key="coalesce(k.root_id, k.id)", customer="l.customer")}
      JOIN ledger h ON h.id = l.hold_id
     WHERE {{which}}
     GROUP BY 1, 2
"""  # noqa: S608 - constants of ours


# All lines of a job have one key and one customer, so what is another's need not be sorted.
_ITS_OWN = f"""EXISTS (SELECT FROM budgets b JOIN api_keys k ON k.id = ledger.key_id
                         WHERE b.id = :budget AND {
    ABOUT.format(key="coalesce(k.root_id, k.id)", customer="ledger.customer")
})"""
FOLD = prepared(
    text(
        "INSERT INTO budget_windows (budget_id, starts_at, held, spent)"
        + _FOLDED.format(which="b.id = :budget", only=f"AND {_ITS_OWN}")
    )
)

_OF_CUSTOMER = "b.project_id = :project AND b.customer = CAST(:customer AS text)"
_AS_A_BOOKING = prepared(text("SELECT id FROM projects WHERE id = :project FOR KEY SHARE"))
_LEAVE_OUT = prepared(
    text(f"""
    WITH gone AS MATERIALIZED ({_FOLDED.format(which=_OF_CUSTOMER, only="AND job_id = :job")}),
    locked AS MATERIALIZED (
        SELECT w.budget_id, w.starts_at
          FROM budget_windows w JOIN gone USING (budget_id, starts_at) ORDER BY 1, 2 FOR UPDATE OF w
    )
    UPDATE budget_windows w SET held = w.held - gone.held, spent = w.spent - gone.spent
      FROM locked JOIN gone USING (budget_id, starts_at)
     WHERE (w.budget_id, w.starts_at) = (locked.budget_id, locked.starts_at)
""")  # noqa: S608 - constants of ours
)


_DRIFTS = text(f"""
    SELECT coalesce(w.budget_id, l.budget_id) AS id,
           format('the window from %s has %s held and %s spent, %s and %s in the ledger',
                  coalesce(w.starts_at, l.starts_at), coalesce(w.held, 0), coalesce(w.spent, 0),
                  coalesce(l.held, 0), coalesce(l.spent, 0)) AS message
      FROM budget_windows w FULL JOIN ({_FOLDED.format(which="true", only="")}) l
        ON l.budget_id = w.budget_id AND l.starts_at = w.starts_at
     WHERE coalesce(w.held, 0) <> coalesce(l.held, 0)
        OR coalesce(w.spent, 0) <> coalesce(l.spent, 0)
""")  # noqa: S608 - constants of ours
