"""`/v1/audit`, `/v1/operator/audit`: who changed what."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.contract.formats.answers import JsonAnswer
from api.contract.openapi.operators import AUDIT
from api.contract.openapi.refusals import REFUSALS
from api.contract.requests.operators import AuditOfAllQuery, AuditQuery, write_cursor
from api.dependencies.bodies import JsonRoute
from api.dependencies.deps import ANY_OPERATOR, Admin, Reading
from models import ids
from models.audit_log import reading
from models.audit_log.reading import Wanted
from models.platform.db import Transaction
from models.platform.jsonable import Json

router = APIRouter(prefix="/v1", tags=["audit"], responses=REFUSALS, route_class=JsonRoute)


@router.get("/audit", responses=AUDIT)
async def list_audit(caller: Admin, query: Annotated[AuditQuery, Query()], tx: Reading) -> Response:
    """List who changed what of this project: keys, budgets, endpoints, limits, erasures; newest first."""
    wanted = query.wanted(ids.text(ids.PROJECT, caller.project_id))
    return await _page(tx, wanted, query.limit, to_project=True)


@router.get("/operator/audit", responses=AUDIT, dependencies=ANY_OPERATOR)
async def list_audit_of_all(query: Annotated[AuditOfAllQuery, Query()], tx: Reading) -> Response:
    """List who changed what, of all projects and of the installation; newest first."""
    return await _page(tx, query.wanted(query.project), query.limit, to_project=False)


async def _page(tx: Transaction, wanted: Wanted, limit: int, *, to_project: bool) -> Response:
    found, more = await reading.page(tx, wanted, limit)
    data = [reading.show(each, to_project=to_project) for each in found]
    page: Json = {"object": "list", "data": data, "has_more": more}
    last = found[-1].seq if more else None
    return JsonAnswer(page | {"next_cursor": None if last is None else write_cursor(last)})
