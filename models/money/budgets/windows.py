"""The windows of budgets: where one begins, which budgets a job falls under, and where each stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from models.platform.db.statements import Reader, prepared
from models.schema import Budget


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget, and where it stands in its present window."""

    budget: Budget
    starts_at: datetime
    ends_at: datetime | None
    held: int
    spent: int
    told: int = 0

    @property
    def left(self) -> int:
        """What still fits; never below zero."""
        return max(self.budget.limit - self.held - self.spent, 0)


async def standing(driver: Reader, budgets: Sequence[Budget]) -> list[BudgetState]:
    """Return where each of these budgets stands in its present window."""
    asked = {"budgets": [budget.id for budget in budgets]}
    found = {row.pop("id"): row for row in await driver.read(_STANDINGS, asked)}
    return [BudgetState(budget, **found[budget.id]) for budget in budgets]


# One rule for every statement: where the window of a moment begins.
STARTS = """CASE b."window" WHEN 'total' THEN timestamptz 'epoch'
             ELSE date_trunc(b."window", {moment}, b.timezone) END"""


# What is left of a hard budget now; NULL where none has this id, for nothing refuses then.
LEFT = f"""(
    SELECT b."limit" - coalesce(w.held + w.spent, 0) FROM budgets b
           LEFT JOIN budget_windows w
                  ON w.budget_id = b.id AND w.starts_at = {STARTS.format(moment="now()")}
     WHERE b.id = {{budget}} AND b.mode = 'hard'
)"""  # noqa: S608 - constants of ours


# The keys of a scope are NULL in the others, so each comparison holds for its own scope only.
ABOUT = """(b.scope = 'project' OR b.key_id = {key} OR b.customer = {customer})"""


ROOT = "(SELECT coalesce(root_id, id) FROM api_keys WHERE id = {key})"  # what a key's budgets are kept by


_STANDINGS = prepared(
    text(f"""
    SELECT now_.id, now_.starts_at, now_.ends_at,
           coalesce(w.held, 0) AS held, coalesce(w.spent, 0) AS spent, coalesce(w.told, 0) AS told
      FROM (SELECT b.id, {STARTS.format(moment="now()")} AS starts_at,
                   CASE b."window" WHEN 'total' THEN NULL ELSE
                   (date_trunc(b."window", now() AT TIME ZONE b.timezone)
                    + CAST('1 ' || b."window" AS interval)) AT TIME ZONE b.timezone END AS ends_at
              FROM budgets b WHERE b.id = ANY(CAST(:budgets AS uuid[]))) now_
      LEFT JOIN budget_windows w ON w.budget_id = now_.id AND w.starts_at = now_.starts_at
""")  # noqa: S608 - constants of ours
)
