"""The check of a hold against the budgets that it falls under, and the sums that a booking moves.

What follows from a hold counts in the window of that hold, the last one of its attempt, in the budget's
own time zone.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import text

from models import ids
from models.errors import BudgetExceeded
from models.money.budgets.windows import ABOUT, ROOT, STARTS, standing
from models.platform.db.statements import (
    Reader,
    Row,
    Statement,
    Writer,
    listed,
    loaded,
    prepared,
)
from models.schema import Budget, Job


async def move(tx: Writer, job: Job, sums: Mapping[int, tuple[int, int]]) -> None:
    """Move the windows that these bookings fall into; `sums` is (held, spent) by attempt.

    A statement of its own, after the ledger's: the ledger's foreign key has taken the project's row by
    then, so a budget that is just being made has either folded this booking or is seen here. Raises
    `BudgetExceeded` when a hard budget has no room for a hold.
    """
    refused = await tx.first(
        _MOVE,
        {
            "job": job.id,
            "project": job.project_id,
            "key": job.key_id,
            "customer": job.customer,
            "attempts": list(sums),
            "held": [held for held, _ in sums.values()],
            "spent": [spent for _, spent in sums.values()],
            "strict": any(held > 0 for held, _ in sums.values()),
        },
    )
    if refused is not None:
        raise await _exceeded(tx, refused, sum(held for held, _ in sums.values()))


async def take(tx: Writer, project_id: UUID, key_id: UUID, held: Mapping[str | None, int]) -> None:
    """Move the windows of now by what jobs of these customers hold that are just made, as one decision.

    Their lines need not be in the ledger yet. Raises `BudgetExceeded` when a hard budget has no room for
    all of them.
    """
    await tx.run(_KEEP_PROJECT, {"project": project_id})
    refused = await tx.first(
        _TAKE,
        {
            "project": project_id,
            "key": key_id,
            "customers": list(held),
            "held": list(held.values()),
            "strict": True,
        },
    )
    if refused is not None:
        raise await _exceeded(tx, refused, sum(held.values()), "these jobs")


async def lock(tx: Writer, project_id: UUID, key_id: UUID, customer: str | None) -> None:
    """Lock the windows of now that a new job falls under, before it has the name of its request.

    A statement with `ROOM` in it does so too: who took the name first would deadlock with it.
    """
    await tx.run(_KEEP_PROJECT, {"project": project_id})
    of_job = {"project": project_id, "key": key_id, "customers": [customer]}
    await tx.run(_TAKE, of_job | {"held": [0], "strict": False})


async def give_back(
    tx: Writer, project_id: UUID, key_id: UUID, freed: Sequence[tuple[UUID, str | None, int]]
) -> None:
    """Move the windows by what jobs give back uncalled: of each the job, its customer, its hold."""
    await tx.run(
        _GIVE_BACK,
        {
            "project": project_id,
            "key": key_id,
            "jobs": [job_id for job_id, _, _ in freed],
            "customers": [customer for _, customer, _ in freed],
            "held": [-credits_ for _, _, credits_ in freed],
            "strict": False,
        },
    )


async def _exceeded(tx: Reader, refused: Row, wanted: int, who: str = "this job") -> BudgetExceeded:
    (row,) = await tx.read(_BUDGET, refused)
    budget = loaded(Budget, row)
    state = (await standing(tx, [budget]))[0]
    name = {"project": "project", "key": "API key", "customer": f"customer {budget.customer!r}"}
    until = "" if state.ends_at is None else f" until {state.ends_at:%Y-%m-%d %H:%M %Z}"
    return BudgetExceeded(
        f"The {budget.window} budget of this {name[budget.scope]} has {state.left:,} of "
        f"{budget.limit:,} credits left{until}; {who} would hold {wanted:,}. Raise the budget, or wait.",
        budget={
            "id": ids.text(ids.BUDGET, budget.id),
            "scope": budget.scope,
            "window": budget.window,
            "limit": budget.limit,
            "left": state.left,
        },
    )


# As the ledger's foreign key does: no budget is made or deleted meanwhile.
_KEEP_PROJECT = prepared(text("SELECT id FROM projects WHERE id = :project FOR KEY SHARE"))
_BUDGET = prepared(text(f"SELECT {listed(Budget, 'budgets')} FROM budgets WHERE id = :id"))  # noqa: S608 - ours


# An attempt is held for anew when its price has risen before it began: what follows is the last hold's.
def _moving(moved: str, customer: str) -> Statement:
    """Write the statement for what is `moved`: the time of each hold, and what is held and spent of it."""
    return prepared(
        text(f"""
    WITH moved AS ({moved}), due AS (
        SELECT b.id, CASE b.mode WHEN 'hard' THEN b."limit" END AS most,
               {STARTS.format(moment="moved.at")} AS starts_at,
               sum(moved.held) AS held, sum(moved.spent) AS spent
          FROM moved JOIN budgets b
            ON b.project_id = :project
           AND {ABOUT.format(key=ROOT.format(key=":key"), customer=customer)}
         GROUP BY 1, 2, 3 ORDER BY 1, 3
    ), kept AS (
        INSERT INTO budget_windows AS w (budget_id, starts_at, held, spent)
        SELECT id, starts_at, held, spent FROM due
         WHERE NOT :strict OR most IS NULL OR held <= most
        ON CONFLICT (budget_id, starts_at) DO UPDATE
           SET held = w.held + excluded.held, spent = w.spent + excluded.spent
         WHERE NOT :strict OR w.held + w.spent + excluded.held <= coalesce(
               (SELECT b."limit" FROM budgets b WHERE b.id = w.budget_id AND b.mode = 'hard'),
               9223372036854775807)
        RETURNING w.budget_id
    )
    SELECT due.id FROM due WHERE due.id NOT IN (SELECT budget_id FROM kept) ORDER BY 1
    """)  # noqa: S608 - constants of ours
    )


_MOVE = _moving(
    """
        SELECT l.at, e.held, e.spent
          FROM unnest(CAST(:attempts AS bigint[]), CAST(:held AS bigint[]), CAST(:spent AS bigint[]))
               AS e (attempt, held, spent)
          CROSS JOIN LATERAL (
               SELECT at FROM ledger
                WHERE job_id = :job AND attempt = e.attempt AND kind = 'hold' ORDER BY id DESC LIMIT 1) l
    """,
    "CAST(:customer AS text)",
)
_TAKE = _moving(
    """
        SELECT now() AS at, e.customer, e.held, 0::bigint AS spent
          FROM unnest(CAST(:customers AS text[]), CAST(:held AS bigint[])) AS e (customer, held)
    """,
    "moved.customer",
)
_GIVE_BACK = _moving(
    """
        SELECT l.at, e.customer, e.held, 0::bigint AS spent
          FROM unnest(CAST(:jobs AS uuid[]), CAST(:customers AS text[]), CAST(:held AS bigint[]))
               AS e (job, customer, held)
          CROSS JOIN LATERAL (
               SELECT at FROM ledger
                WHERE job_id = e.job AND attempt = 1 AND kind = 'hold' ORDER BY id DESC LIMIT 1) l
    """,
    "moved.customer",
)


# The same for holds of jobs that are about to be made, in one statement with them (`jobs.admit_several`):
# gives the project's id when every budget has its window of today, and room in it. They are taken in order.
ROOM = text(f"""
    WITH locked AS (
        SELECT id, xmin AS version FROM projects
         WHERE id = :project_id AND deleted_at IS NULL FOR KEY SHARE
    ), due AS (
        SELECT b.id, CASE b.mode WHEN 'hard' THEN b."limit" END AS most,
               {STARTS.format(moment="now()")} AS starts_at
          FROM locked JOIN budgets b
            ON b.project_id = locked.id
           AND {ABOUT.format(key=ROOT.format(key=":key_id"), customer="CAST(:customer AS text)")}
    ), windows AS (
        SELECT w.budget_id, w.starts_at, most IS NULL OR w.held + w.spent + :held <= most AS fits
          FROM due JOIN budget_windows w ON (w.budget_id, w.starts_at) = (due.id, due.starts_at)
         ORDER BY 1, 2 FOR UPDATE OF w
    )
    SELECT id, ARRAY(SELECT budget_id FROM windows) AS budgets,
           ARRAY(SELECT starts_at FROM windows) AS starts
      FROM locked
     WHERE version = (SELECT xmin FROM projects WHERE id = :project_id)
       AND (SELECT count(*) FROM due) = (SELECT count(*) FROM windows WHERE fits)
""").bindparams(project_id=None, key_id=None, customer=None, held=None)  # noqa: S608 - constants of ours


MOVED = text("""
    UPDATE budget_windows w SET held = w.held + made.held
      FROM (SELECT sum(held) AS held FROM made HAVING count(*) > 0) made,
           owner, unnest(owner.budgets, owner.starts) AS at (budget_id, starts_at)
     WHERE (w.budget_id, w.starts_at) = (at.budget_id, at.starts_at)
    RETURNING w.budget_id
""")
