"""The rules: which budgets a project has, on what, and how much each allows."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ScalarSelect, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from models import ids
from models.audit_log import recording
from models.errors import LimitReached, NotFound
from models.money.budgets.folding import FOLD
from models.money.budgets.windows import BudgetState, standing
from models.platform.db import Transaction
from models.schema import ApiKey, Budget, BudgetWindow, Job, Project
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


async def put(
    tx: Transaction, project_id: UUID, rule: Rule, *, most: int | None = None
) -> BudgetState:
    """Create a budget, or change the one of its scope and window; folds what the ledger has so far.

    Another limit or mode of a budget leaves its windows as they are, and waits for no booking.
    The budget of a key is that of the whole line of its rotations, and is kept under the first of them.
    Raises `NotFound` for a key that is not this project's, and `LimitReached` for another budget when the
    project has `most` already.
    """
    key_id = None if rule.key_id is None else await _root(tx, project_id, rule.key_id)
    if (changed := await _change(tx, project_id, rule, key_id)) is not None:
        return changed
    await _stop_bookings(tx, project_id)
    await tx.execute(update(Project).where(Project.id == project_id).values(budgeted=True))
    found = await _at(tx, project_id, rule, key_id)
    before = None if found is None else _facts(found)
    budget = await _write(tx, project_id, rule, key_id)
    if most is not None:
        await _demand_room(tx, project_id, most)
    await _log(tx, "budget.changed", budget.id, project_id, before, _facts(budget))
    await tx.execute(delete(BudgetWindow).where(BudgetWindow.budget_id == budget.id))
    await tx.execute(FOLD, {"budget": budget.id})
    tx.ring("jobs")
    return (await standing(tx, [budget]))[0]


async def _write(tx: Transaction, project_id: UUID, rule: Rule, key_id: UUID | None) -> Budget:
    """Insert a budget, or write over the one of the same scope and window."""
    columns = {"timezone": rule.timezone, "limit": rule.limit, "mode": rule.mode}
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
    return made.one()


async def _change(
    tx: Transaction, project_id: UUID, rule: Rule, key_id: UUID | None
) -> BudgetState | None:
    """Change limit and mode of a budget that counts in the same windows; None where there is none.

    The project's row is written, so that no statement that has seen the rule before decides by it later.
    """
    if await _at(tx, project_id, rule, key_id, timezone=rule.timezone) is None:
        return None
    await tx.execute(update(Project).where(Project.id == project_id).values(budgeted=True))
    found = await _at(tx, project_id, rule, key_id, timezone=rule.timezone)
    if found is None:
        return None
    before, mine = _facts(found), BudgetWindow.budget_id == found.id
    values = {"limit": rule.limit, "mode": rule.mode}
    made = await tx.scalars(
        update(Budget).where(Budget.id == found.id).values(values).returning(Budget)
    )
    budget = made.one()
    await tx.execute(update(BudgetWindow).where(mine, BudgetWindow.told > 0).values(told=0))
    await _log(tx, "budget.changed", budget.id, project_id, before, _facts(budget))
    tx.ring("jobs")
    return (await standing(tx, [budget]))[0]


async def standings(tx: Transaction, project_id: UUID) -> list[BudgetState]:
    """Return a project's budgets, oldest first, with where each stands now."""
    found = await tx.scalars(
        select(Budget).where(Budget.project_id == project_id).order_by(Budget.id)
    )
    return await standing(tx, list(found))


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
    return await standing(tx, list(found))


async def remove(tx: Transaction, project_id: UUID, budget_id: UUID) -> None:
    """Delete a budget. Raises `NotFound`."""
    await _stop_bookings(tx, project_id)
    gone = await tx.scalar(
        delete(Budget)
        .where(Budget.id == budget_id, Budget.project_id == project_id)
        .returning(Budget)
    )
    if gone is None:
        raise NotFound("There is no such budget in this project.")
    await _log(tx, "budget.deleted", gone.id, project_id, _facts(gone), None)
    left = select(Budget.id).where(Budget.project_id == project_id).exists()
    await tx.execute(update(Project).where(Project.id == project_id).values(budgeted=left))


async def _at(
    tx: Transaction,
    project_id: UUID,
    rule: Rule,
    key_id: UUID | None,
    *,
    timezone: str | None = None,
) -> Budget | None:
    """Return the budget of this scope and window, if it has this time zone; None when there is none."""
    same = (
        Budget.project_id == project_id,
        Budget.scope == rule.scope,
        Budget.window == rule.window,
        Budget.key_id.is_not_distinct_from(key_id),
        Budget.customer.is_not_distinct_from(rule.customer),
    )
    zone = () if timezone is None else (Budget.timezone == timezone,)
    found = select(Budget).where(*same, *zone).execution_options(populate_existing=True)
    return await tx.scalar(found)


def _facts(budget: Budget) -> dict[str, object]:
    """Return what the audit log may tell for ever: not whom it is on, who may ask to be forgotten."""
    key = None if budget.key_id is None else ids.text(ids.KEY, budget.key_id)
    named = {"scope": budget.scope, "key_id": key}
    rule = {"timezone": budget.timezone, "limit": budget.limit, "mode": budget.mode}
    return {**named, "window": budget.window, **rule}


async def _log(
    tx: Transaction,
    action: AuditAction,
    budget_id: UUID,
    project_id: UUID,
    before: dict[str, object] | None,
    after: dict[str, object] | None,
) -> None:
    subject = ids.text(ids.BUDGET, budget_id)
    await recording.record(tx, action, subject, project_id=project_id, before=before, after=after)


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
        await _stop_bookings(tx, project_id)
    for budget_id in found:
        await tx.execute(delete(BudgetWindow).where(BudgetWindow.budget_id == budget_id))
        await tx.execute(FOLD, {"budget": budget_id})


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
