"""Budgets: limits on what a project, a key or a customer holds and has spent, per day, month or in all.

Each booking moves the sums of the windows it falls into (`move`, called by the ledger; `ROOM` and `MOVED`
where a job is accepted in one statement), so the sums always equal the ledger. A hard budget refuses a
hold it has no room for, in the statement that would have taken it: with room for one job, of a hundred
concurrent submissions one is accepted. Whatever follows from a hold lands in the window of that hold, the
last of its attempt, in the budget's own time zone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ScalarSelect, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from models import ids
from models.coordination import aside
from models.errors import BudgetExceeded, LimitReached, NotFound
from models.platform.db import Transaction
from models.schema import ApiKey, Budget, BudgetWindow, Job, Project
from models.states import BudgetMode, BudgetScope, BudgetWindowKind


@dataclass(frozen=True, slots=True)
class Rule:
    """What a budget is on, and how much it allows. One per scope (and its key or customer) and window."""

    scope: BudgetScope
    window: BudgetWindowKind
    timezone: str
    limit: int
    mode: BudgetMode
    key_id: UUID | None = None
    customer: str | None = None


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


async def move(tx: Transaction, job: Job, sums: Mapping[int, tuple[int, int]]) -> None:
    """Move the windows that these bookings fall into; `sums` is (held, spent) by attempt.

    A statement of its own, after the ledger's: the ledger's foreign key has taken the project's row by
    then, so a budget that is just being made has either folded this booking or is seen here. Raises
    `BudgetExceeded` when a hard budget has no room for a hold.
    """
    refused = await tx.scalars(
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
    over = refused.first()
    if over is not None:
        raise await _exceeded(tx, over, sum(held for held, _ in sums.values()))


async def put(
    tx: Transaction, project_id: UUID, rule: Rule, *, most: int | None = None
) -> BudgetState:
    """Make a budget, or change the one of its scope and window; folds what the ledger has so far.

    The budget of a key is that of the whole line of its rotations, and is kept under the first of them.
    Raises `NotFound` for a key that is not this project's, and `LimitReached` for another budget when the
    project has `most` already.
    """
    key_id = None if rule.key_id is None else await _root(tx, project_id, rule.key_id)
    await _stop_bookings(tx, project_id)
    await tx.execute(update(Project).where(Project.id == project_id).values(budgeted=True))
    columns = {
        "timezone": rule.timezone,
        "limit": rule.limit,
        "mode": rule.mode,
    }
    made = await tx.scalars(
        insert(Budget)
        .values(
            id=ids.new(),
            project_id=project_id,
            scope=rule.scope,
            key_id=key_id,
            customer=rule.customer,
            window=rule.window,
            **columns,
        )
        .on_conflict_do_update(
            index_elements=["project_id", "scope", "key_id", "customer", "window"], set_=columns
        )
        .returning(Budget)
    )
    budget = made.one()
    if most is not None:
        await _demand_room(tx, project_id, most)
    await tx.execute(delete(BudgetWindow).where(BudgetWindow.budget_id == budget.id))
    await tx.execute(_FOLD, {"budget": budget.id})
    tx.ring("jobs")
    return (await _standings(tx, [budget]))[0]


async def standings(tx: Transaction, project_id: UUID) -> list[BudgetState]:
    """Return a project's budgets, oldest first, with where each stands now."""
    found = await tx.scalars(
        select(Budget).where(Budget.project_id == project_id).order_by(Budget.id)
    )
    return await _standings(tx, list(found))


async def hard(tx: Transaction, job: Job) -> list[BudgetState]:
    """Return the hard budgets that a hold of this job must fit into, with where each stands now."""
    about = (
        (Budget.scope == "project")
        | (Budget.key_id == _root_of(job.key_id))
        | (Budget.customer == job.customer)
    )
    found = await tx.scalars(
        select(Budget)
        .where(Budget.project_id == job.project_id, Budget.mode == "hard", about)
        .order_by(Budget.id)
    )
    return await _standings(tx, list(found))


async def remove(tx: Transaction, project_id: UUID, budget_id: UUID) -> None:
    """Delete a budget. Raises `NotFound`."""
    await _stop_bookings(tx, project_id)
    gone = await tx.scalar(
        delete(Budget)
        .where(Budget.id == budget_id, Budget.project_id == project_id)
        .returning(Budget.id)
    )
    if gone is None:
        raise NotFound("There is no such budget in this project.")
    left = select(Budget.id).where(Budget.project_id == project_id).exists()
    await tx.execute(update(Project).where(Project.id == project_id).values(budgeted=left))


async def drifts(tx: Transaction) -> list[tuple[UUID, str]]:
    """Return budgets whose kept sums are not those of the ledger, in words; always an empty list."""
    rows = await tx.execute(_DRIFTS)
    return [(row.id, row.message) for row in rows]


async def crossing(tx: Transaction, after: UUID, look_at: int) -> tuple[list[UUID], UUID | None]:
    """Return soft budgets whose window has reached 80 or 100 % and nobody was told, to `cross` them.

    Looks at so many budgets after this id, and gives the id to go on after; None when these were the last.
    """
    found = list(
        await tx.scalars(
            select(Budget)
            .where(Budget.id > after, ~aside.passed_by("budgets", Budget.id))
            .order_by(Budget.id)
            .limit(look_at)
        )
    )
    soft = [each for each in found if each.mode == "soft"]
    reached = [
        each.budget.id for each in await _standings(tx, soft) if each.told < _threshold(each)
    ]
    return reached, found[-1].id if len(found) == look_at else None


async def cross(tx: Transaction, budget_id: UUID) -> tuple[BudgetState, int] | None:
    """Remember that a budget's threshold is told; None when somebody else has told it."""
    budget = await tx.get(Budget, budget_id)
    if budget is None:
        return None
    standing = (await _standings(tx, [budget]))[0]
    reached = _threshold(standing)
    told = await tx.scalar(
        update(BudgetWindow)
        .where(
            BudgetWindow.budget_id == budget_id,
            BudgetWindow.starts_at == standing.starts_at,
            BudgetWindow.told < reached,
        )
        .values(told=reached)
        .returning(BudgetWindow.told)
    )
    return None if told is None else (standing, reached)


async def _root(tx: Transaction, project_id: UUID, key_id: UUID) -> UUID:
    own = (ApiKey.id == key_id) & (ApiKey.project_id == project_id)
    found = await tx.scalar(select(func.coalesce(ApiKey.root_id, ApiKey.id)).where(own))
    if found is None:
        raise NotFound("There is no such API key in this project; list them at GET /v1/keys.")
    return found


async def _stop_bookings(tx: Transaction, project_id: UUID) -> None:
    """Wait for every booking under way, and keep new ones waiting until it is seen what budgets there are.

    They hold the project's row by the ledger's foreign key, and look for budgets afterwards.
    """
    await tx.execute(select(Project.id).where(Project.id == project_id).with_for_update())


def _root_of(key_id: UUID) -> ScalarSelect[UUID]:
    root = select(func.coalesce(ApiKey.root_id, ApiKey.id)).where(ApiKey.id == key_id)
    return root.scalar_subquery()


async def _demand_room(tx: Transaction, project_id: UUID, most: int) -> None:
    """Raise `LimitReached` when there is one budget too many; the project's row is taken."""
    mine = select(func.count()).where(Budget.project_id == project_id)
    if (await tx.scalar(mine) or 0) > most:
        raise LimitReached(
            f"This project has {most:,} budgets, as many as it may. Delete one that is not needed, or "
            "have DARKROOM_BUDGETS_MAX raised."
        )


def _threshold(standing: BudgetState) -> int:
    used = standing.held + standing.spent
    return next((at for at in (100, 80) if used * 100 >= standing.budget.limit * at), 0)


async def _exceeded(tx: Transaction, budget_id: UUID, wanted: int) -> BudgetExceeded:
    budget = await tx.get_one(Budget, budget_id)
    standing = (await _standings(tx, [budget]))[0]
    name = {"project": "project", "key": "API key", "customer": f"customer {budget.customer!r}"}
    until = "" if standing.ends_at is None else f" until {standing.ends_at:%Y-%m-%d %H:%M %Z}"
    return BudgetExceeded(
        f"The {budget.window} budget of this {name[budget.scope]} has {standing.left:,} of "
        f"{budget.limit:,} credits left{until}; this job would hold {wanted:,}. Raise the budget, or wait.",
        budget={
            "id": ids.text(ids.BUDGET, budget.id),
            "scope": budget.scope,
            "window": budget.window,
            "limit": budget.limit,
            "left": standing.left,
        },
    )


async def _standings(tx: Transaction, budgets: Sequence[Budget]) -> list[BudgetState]:
    rows = await tx.execute(_STANDINGS, {"budgets": [budget.id for budget in budgets]})
    found = {row.id: row for row in rows}
    return [
        BudgetState(
            budget,
            found[budget.id].starts_at,
            found[budget.id].ends_at,
            int(found[budget.id].held),
            int(found[budget.id].spent),
            int(found[budget.id].told),
        )
        for budget in budgets
    ]


# One rule for every statement here: where the window of a moment begins.
_STARTS = """CASE b."window" WHEN 'total' THEN timestamptz 'epoch'
             ELSE date_trunc(b."window", {moment}, b.timezone) END"""
# An attempt is held for anew when its price has risen before it began: what follows is the last hold's.
# The keys of a scope are NULL in the others, so each comparison holds for its own scope only.
_ABOUT = """(b.scope = 'project' OR b.key_id = {key} OR b.customer = {customer})"""
_ROOT = "(SELECT coalesce(root_id, id) FROM api_keys WHERE id = {key})"  # what a key's budgets are kept by

_MOVE = text(f"""
    WITH moved AS (
        SELECT l.at, e.held, e.spent
          FROM unnest(CAST(:attempts AS bigint[]), CAST(:held AS bigint[]), CAST(:spent AS bigint[]))
               AS e (attempt, held, spent)
          CROSS JOIN LATERAL (
               SELECT at FROM ledger
                WHERE job_id = :job AND attempt = e.attempt AND kind = 'hold' ORDER BY id DESC LIMIT 1) l
    ), due AS (
        SELECT b.id, CASE b.mode WHEN 'hard' THEN b."limit" END AS most,
               {_STARTS.format(moment="moved.at")} AS starts_at,
               sum(moved.held) AS held, sum(moved.spent) AS spent
          FROM moved JOIN budgets b
            ON b.project_id = :project
           AND {_ABOUT.format(key=_ROOT.format(key=":key"), customer="CAST(:customer AS text)")}
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
""")  # noqa: S608 - constants of this file

# The same for a hold of a job that is about to be made, in one statement with it (`jobs.admit`): gives the
# project's id when every budget has its window of today, and room in it. The windows are taken in order.
ROOM = text(f"""
    WITH locked AS (
        SELECT id, xmin AS version FROM projects WHERE id = :project_id FOR KEY SHARE
    ), due AS (
        SELECT b.id, CASE b.mode WHEN 'hard' THEN b."limit" END AS most,
               {_STARTS.format(moment="now()")} AS starts_at
          FROM locked JOIN budgets b
            ON b.project_id = locked.id
           AND {_ABOUT.format(key=_ROOT.format(key=":key_id"), customer="CAST(:customer AS text)")}
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
""").bindparams(project_id=None, key_id=None, customer=None, held=None)  # noqa: S608 - as above
MOVED = text("""
    UPDATE budget_windows w SET held = w.held + made.held
      FROM made, owner, unnest(owner.budgets, owner.starts) AS at (budget_id, starts_at)
     WHERE (w.budget_id, w.starts_at) = (at.budget_id, at.starts_at)
    RETURNING w.budget_id
""")

_FOLDED = f"""
    SELECT b.id AS budget_id, {_STARTS.format(moment="h.at")} AS starts_at,
           coalesce(sum(l.credits) FILTER (WHERE l.kind IN ('hold', 'release')), 0) AS held,
           coalesce(sum(l.credits) FILTER (WHERE l.kind NOT IN ('hold', 'release')), 0) AS spent
      FROM budgets b
      JOIN (SELECT *, max(id) FILTER (WHERE kind = 'hold') OVER (
                         PARTITION BY job_id, attempt ORDER BY id) AS hold_id
              FROM ledger WHERE project_id IN (SELECT project_id FROM budgets b WHERE {{which}})) l
        ON l.project_id = b.project_id
      JOIN api_keys k ON k.id = l.key_id
       AND {_ABOUT.format(key="coalesce(k.root_id, k.id)", customer="l.customer")}
      JOIN ledger h ON h.id = l.hold_id
     WHERE {{which}}
     GROUP BY 1, 2
"""  # noqa: S608 - constants of this file

_FOLD = text(
    "INSERT INTO budget_windows (budget_id, starts_at, held, spent)"
    + _FOLDED.format(which="b.id = :budget")
)

_DRIFTS = text(f"""
    SELECT coalesce(w.budget_id, l.budget_id) AS id,
           format('the window from %s has %s held and %s spent, %s and %s in the ledger',
                  coalesce(w.starts_at, l.starts_at), coalesce(w.held, 0), coalesce(w.spent, 0),
                  coalesce(l.held, 0), coalesce(l.spent, 0)) AS message
      FROM budget_windows w FULL JOIN ({_FOLDED.format(which="true")}) l
        ON l.budget_id = w.budget_id AND l.starts_at = w.starts_at
     WHERE coalesce(w.held, 0) <> coalesce(l.held, 0)
        OR coalesce(w.spent, 0) <> coalesce(l.spent, 0)
""")  # noqa: S608 - constants of this file

_STANDINGS = text(f"""
    SELECT now_.id, now_.starts_at, now_.ends_at,
           coalesce(w.held, 0) AS held, coalesce(w.spent, 0) AS spent, coalesce(w.told, 0) AS told
      FROM (SELECT b.id, {_STARTS.format(moment="now()")} AS starts_at,
                   CASE b."window" WHEN 'total' THEN NULL ELSE
                   (date_trunc(b."window", now() AT TIME ZONE b.timezone)
                    + CAST('1 ' || b."window" AS interval)) AT TIME ZONE b.timezone END AS ends_at
              FROM budgets b WHERE b.id = ANY(CAST(:budgets AS uuid[]))) now_
      LEFT JOIN budget_windows w ON w.budget_id = now_.id AND w.starts_at = now_.starts_at
""")  # noqa: S608 - constants of this file
