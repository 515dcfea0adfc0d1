"""The rules: which budgets a project has, on what, and how much each allows."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from uuid import UUID

from sqlalchemy import select, text

from models import ids
from models.audit_log import recording
from models.errors import LimitReached, NotFound
from models.money.budgets.folding import FOLD
from models.money.budgets.windows import ABOUT, ROOT, BudgetState, standing
from models.platform.db import Transaction
from models.platform.db.statements import (
    Reader,
    Row,
    Statement,
    Values,
    Writer,
    listed,
    loaded,
    prepared,
)
from models.schema import Budget, Job
from models.states import AuditAction, BudgetMode, BudgetScope, BudgetWindowKind


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


async def put(tx: Writer, project_id: UUID, rule: Rule, *, most: int | None = None) -> BudgetState:
    """Create a budget, or change the one of its scope and window; folds what the ledger has so far.

    Another limit or mode of a budget leaves its windows as they are, and waits for no booking.
    The budget of a key is that of the whole line of its rotations, and is kept under the first of them.
    Raises `NotFound` for a key that is not this project's, and `LimitReached` for another budget when the
    project has `most` already.
    """
    asked = await _asked(tx, project_id, rule)
    if (changed := await _change(tx, asked)) is not None:
        return changed
    await tx.run(_STOP_BOOKINGS, asked)
    await tx.run(_BUDGETED, asked)
    before = await tx.first(_AT, asked)
    (row,) = await tx.run(_WRITE, asked | {"id": ids.new()})
    others = row.pop("others")
    if before is None and most is not None and others >= most:
        raise _too_many(most)
    return await _written(tx, before, row, _FOLD_ANEW)


async def _asked(tx: Reader, project_id: UUID, rule: Rule) -> dict[str, object]:
    """Return a rule as the values of statements, its key as the first of its line."""
    asked: dict[str, object] = {**asdict(rule), "project": project_id}
    if rule.key_id is not None:
        found = await tx.read(_ROOT, asked)
        if not found:
            raise NotFound("There is no such API key in this project; list them at GET /v1/keys.")
        asked |= {"key_id": found[0]["root"]}
    return asked


async def _change(tx: Writer, asked: Values) -> BudgetState | None:
    """Change limit and mode of a budget that counts in the same windows; None where there is none.

    The project's row is written, so that no statement that has seen the rule before decides by it later.
    """
    if not _counts_alike(await tx.first(_AT, asked), asked):
        return None
    await tx.run(_BUDGETED, asked)
    before = await tx.first(_AT, asked)
    if before is None or not _counts_alike(before, asked):
        return None
    (row,) = await tx.run(_CHANGE, {**asked, "id": before["id"]})
    return await _written(tx, before, row, (_TELL_AGAIN,))


def _counts_alike(found: Row | None, asked: Values) -> bool:
    return found is not None and found["timezone"] == asked["timezone"]


async def _written(
    tx: Writer, before: Row | None, row: Row, follows: Sequence[Statement]
) -> BudgetState:
    """Log what became of a budget, and do with its windows what follows."""
    budget = loaded(Budget, row)
    was = None if before is None else loaded(Budget, before)
    await _log(tx, "budget.changed", budget, was, budget)
    for each in follows:
        await tx.run(each, {"budget": budget.id})
    tx.ring("jobs")
    return (await standing(tx, [budget]))[0]


async def standings(driver: Reader, project_id: UUID) -> list[BudgetState]:
    """Return a project's budgets, oldest first, with where each stands now."""
    rows = await driver.read(_ALL, {"project": project_id})
    return await standing(driver, [loaded(Budget, row) for row in rows])


async def hard(driver: Reader, job: Job) -> list[BudgetState]:
    """Return the hard budgets that a hold of this job must fit into, with where each stands now."""
    about = {"project": job.project_id, "key": job.key_id, "customer": job.customer}
    rows = await driver.read(_HARD, about)
    return await standing(driver, [loaded(Budget, row) for row in rows])


async def remove(tx: Writer, project_id: UUID, budget_id: UUID) -> None:
    """Delete a budget. Raises `NotFound`."""
    asked = {"project": project_id, "id": budget_id}
    await tx.run(_STOP_BOOKINGS, asked)
    row = await tx.first(_REMOVE, asked)
    if row is None:
        raise NotFound("There is no such budget in this project.")
    gone = loaded(Budget, row)
    await _log(tx, "budget.deleted", gone, gone, None)
    await tx.run(_STILL_BUDGETED, asked)


def _facts(budget: Budget) -> dict[str, object]:
    """Return what the audit log may keep for ever: not the customer, who may ask to be forgotten."""
    key = None if budget.key_id is None else ids.text(ids.KEY, budget.key_id)
    named = {"scope": budget.scope, "key_id": key}
    rule = {"timezone": budget.timezone, "limit": budget.limit, "mode": budget.mode}
    return {**named, "window": budget.window, **rule}


async def _log(
    tx: Writer, action: AuditAction, budget: Budget, before: Budget | None, after: Budget | None
) -> None:
    await recording.record(
        tx,
        action,
        ids.text(ids.BUDGET, budget.id),
        project_id=budget.project_id,
        before=None if before is None else _facts(before),
        after=None if after is None else _facts(after),
    )


async def forget_customer(tx: Transaction, project_id: UUID, customer: str) -> int:
    """Delete the budgets of a customer; return how many there were."""
    mine = Budget.project_id == project_id, Budget.customer == customer
    found = list(await tx.scalars(select(Budget.id).where(*mine).order_by(Budget.id)))
    for budget_id in found:
        await remove(tx, project_id, budget_id)
    return len(found)


async def recount_customer(tx: Transaction, project_id: UUID, customer: str) -> None:
    """Fold a customer's budgets anew, where lines of the ledger have lost the name."""
    mine = Budget.project_id == project_id, Budget.customer == customer
    found = list(await tx.scalars(select(Budget.id).where(*mine).order_by(Budget.id)))
    if found:
        await tx.run(_STOP_BOOKINGS, {"project": project_id})
    for budget_id in found:
        for each in _FOLD_ANEW:
            await tx.run(each, {"budget": budget_id})


def _too_many(most: int) -> LimitReached:
    return LimitReached(
        f"This project has {most:,} budgets, as many as it may. Delete one that is not needed, or "
        "have DARKROOM_BUDGETS_MAX raised."
    )


# Waits for every booking under way, and keeps new ones waiting until it is seen what budgets there are:
# they hold the project's row by the ledger's foreign key, and look for budgets afterwards.
# What is folded then may be all of the ledger, so it is planned as other sessions plan (`PLANNED_ONCE`).
_STOP_BOOKINGS = prepared(
    text("""
    SELECT id, set_config('plan_cache_mode', 'auto', true), set_config('enable_seqscan', 'on', true)
      FROM projects WHERE id = :project FOR UPDATE
""")
)
_BUDGETED = prepared(text("UPDATE projects SET budgeted = true WHERE id = :project"))
_STILL_BUDGETED = prepared(
    text("""
    UPDATE projects SET budgeted = EXISTS (SELECT FROM budgets WHERE project_id = :project)
     WHERE id = :project
""")
)
_ROOT = prepared(
    text("""
    SELECT coalesce(root_id, id) AS root FROM api_keys WHERE id = :key_id AND project_id = :project
""")
)
_COLUMNS = listed(Budget, "budgets")
_AT = prepared(
    text(f"""
    SELECT {_COLUMNS} FROM budgets
     WHERE project_id = :project AND scope = :scope AND "window" = :window
       AND key_id IS NOT DISTINCT FROM CAST(:key_id AS uuid)
       AND customer IS NOT DISTINCT FROM CAST(:customer AS text)
""")  # noqa: S608 - the columns of ours
)
_OF_PROJECT = f"SELECT {listed(Budget, 'b')} FROM budgets b WHERE b.project_id = :project"  # noqa: S608 - as above
_ALL = prepared(text(f"{_OF_PROJECT} ORDER BY b.id"))
_ABOUT = ABOUT.format(key=ROOT.format(key=":key"), customer="CAST(:customer AS text)")
_HARD = prepared(text(f"{_OF_PROJECT} AND b.mode = 'hard' AND {_ABOUT} ORDER BY b.id"))
_WRITE = prepared(
    text(f"""
    INSERT INTO budgets (id, project_id, scope, key_id, customer, "window", timezone, "limit", mode)
    VALUES (:id, :project, :scope, :key_id, :customer, :window, :timezone, :limit, :mode)
        ON CONFLICT (project_id, scope, key_id, customer, "window")
        DO UPDATE SET timezone = excluded.timezone, "limit" = excluded."limit", mode = excluded.mode
    RETURNING {_COLUMNS}, (SELECT count(*) FROM budgets b WHERE b.project_id = :project) AS others
""")  # noqa: S608 - as above
)
_CHANGE = prepared(
    text(f"""
    UPDATE budgets SET "limit" = :limit, mode = :mode WHERE id = :id RETURNING {_COLUMNS}
""")  # noqa: S608 - as above
)
_REMOVE = prepared(
    text(f"""
    DELETE FROM budgets WHERE id = :id AND project_id = :project RETURNING {_COLUMNS}
""")  # noqa: S608 - as above
)
_TELL_AGAIN = prepared(
    text("UPDATE budget_windows SET told = 0 WHERE budget_id = :budget AND told > 0")
)
_FOLD_ANEW = (prepared(text("DELETE FROM budget_windows WHERE budget_id = :budget")), FOLD)
