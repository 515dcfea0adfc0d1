"""`/v1/budgets`: limits on what a project, a key or a customer may spend."""

from fastapi import APIRouter, Response

from api.contract.formats.answers import JsonAnswer
from api.contract.openapi.answers import BUDGET, BUDGETS
from api.contract.openapi.refusals import REFUSALS
from api.contract.requests.budgets import BudgetBody
from api.dependencies.bodies import JsonRoute
from api.dependencies.deps import Admin, BudgetId, DirectTx, Here, Reading, Usage
from models.jobs import view
from models.money import budgets

router = APIRouter(
    prefix="/v1/budgets",
    tags=["budgets"],
    responses=REFUSALS,
    route_class=JsonRoute,
)


@router.put("", responses=BUDGET)
async def put_budget(body: BudgetBody, caller: Admin, tx: DirectTx, here: Here) -> Response:
    """Create a budget, or change the one of the same scope and window."""
    most = here.settings.budgets_max
    return JsonAnswer(view.budget(await budgets.put(tx, caller.project_id, body.rule, most=most)))


@router.get("", responses=BUDGETS)
async def list_budgets(caller: Usage, tx: Reading) -> Response:
    """List the project's budgets, oldest first, with what is held, spent and left now."""
    found = await budgets.standings(tx, caller.project_id)
    return JsonAnswer({"object": "list", "data": [view.budget(each) for each in found]})


@router.delete("/{id}", status_code=204)
async def delete_budget(caller: Admin, budget_id: BudgetId, tx: DirectTx) -> Response:
    """Delete a budget. What it counted stays in the ledger."""
    await budgets.remove(tx, caller.project_id, budget_id)
    return Response(status_code=204)
