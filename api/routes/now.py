"""`/v1/now`: how things stand, in one look."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.contract.formats.answers import JsonAnswer
from api.contract.openapi.answers import NOW
from api.contract.openapi.refusals import REFUSALS
from api.contract.requests.usage import NowQuery
from api.dependencies.bodies import JsonRoute
from api.dependencies.deps import Here, Reader, Reading
from models.operating import now

router = APIRouter(prefix="/v1/now", tags=["usage"], responses=REFUSALS, route_class=JsonRoute)


@router.get("", responses=NOW)
async def get_now(
    caller: Reader, query: Annotated[NowQuery, Query()], tx: Reading, here: Here
) -> Response:
    """Show how things stand: a sentence, the last hour by the minute, what waits, money, who is needed.

    Money is for keys with `usage:read` too, wallet and books for those of the operator's project, and what
    is wrong with endpoints for those with `webhooks`.
    """
    found = await now.read(tx, here.settings, now.of(caller, query.tz))
    return JsonAnswer(found, headers={"cache-control": "private, no-store"})
