"""Thresholds: a soft budget tells once in a window that it has reached 80 % and 100 %."""

from uuid import UUID

from sqlalchemy import select, text, update

from models.coordination import aside
from models.money.budgets.windows import BudgetState, standing
from models.platform.db import Transaction
from models.platform.db.statements import Reader, prepared
from models.schema import Budget, BudgetWindow


async def crossing(tx: Transaction, after: UUID, look_at: int) -> tuple[list[UUID], UUID | None]:
    """Return soft budgets whose window has reached 80 or 100 % and nobody was told, to `cross` them.

    Looks at so many budgets after this id, and returns the id to go on after; None at the end.
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
    reached = [each.budget.id for each in await standing(tx, soft) if each.told < _threshold(each)]
    return reached, found[-1].id if len(found) == look_at else None


async def following(tx: Transaction, after: UUID, look_at: int) -> list[UUID]:
    """Return so many budgets after this id, in the order of `crossing`."""
    found = select(Budget.id).where(Budget.id > after, ~aside.passed_by("budgets", Budget.id))
    return list(await tx.scalars(found.order_by(Budget.id).limit(look_at)))


async def any_soft(tx: Reader) -> bool:
    """Return whether there is a budget that tells."""
    return bool(await tx.read(_ANY_SOFT, {}))


async def owner(tx: Transaction, budget_id: UUID) -> UUID | None:
    """Return whose a budget is; None when it is gone."""
    return await tx.scalar(select(Budget.project_id).where(Budget.id == budget_id))


async def cross(tx: Transaction, budget_id: UUID) -> tuple[BudgetState, int] | None:
    """Remember that a budget's threshold is told; None when somebody else has told it."""
    budget = await tx.get(Budget, budget_id)
    if budget is None:
        return None
    state = (await standing(tx, [budget]))[0]
    reached = _threshold(state)
    told = await tx.scalar(
        update(BudgetWindow)
        .where(
            BudgetWindow.budget_id == budget_id,
            BudgetWindow.starts_at == state.starts_at,
            BudgetWindow.told < reached,
        )
        .values(told=reached)
        .returning(BudgetWindow.told)
    )
    return None if told is None else (state, reached)


def _threshold(standing: BudgetState) -> int:
    used = standing.held + standing.spent
    return next((at for at in (100, 80) if used * 100 >= standing.budget.limit * at), 0)


_ANY_SOFT = prepared(text("SELECT FROM budgets WHERE mode = 'soft' LIMIT 1"))
