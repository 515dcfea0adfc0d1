"""`/v1/operator/…/actions`: one thing done to every job of a project that a filter leaves."""

from dataclasses import replace
from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, Response

from api.contract.formats import cursors
from api.contract.formats.answers import JsonAnswer
from api.contract.openapi.answers import ACTION, ACTION_ASKED, ACTIONS
from api.contract.openapi.parameters import KEYED
from api.contract.requests.actions import ActionBody, PageQuery
from api.dependencies.deps import (
    AnyActionId,
    Here,
    LivingTx,
    Operator,
    ProjectId,
    Reading,
    idempotency_key,
)
from api.dependencies.state import State
from api.routes.actions import previewed, shown
from api.routes.operator import plane
from api.submitting import sweeping
from models.accounts.callers import Caller
from models.jobs import actions
from models.operating import tenants
from models.platform.jsonable import Json

router = plane.router("/projects")
of_all = plane.router("/actions")


@router.post("/{id}/actions", status_code=202, responses=ACTION_ASKED, openapi_extra=KEYED)
async def request_project_action(
    request: Request, caller: Operator, project_id: ProjectId, body: ActionBody, here: Here
) -> Response:
    """Cancel, retry, redeliver or erase jobs of a project by a filter; with `dry_run` only count them."""
    acting, key = await _as_project(here, caller, project_id), idempotency_key(request)
    if body.dry_run:
        return JsonAnswer(previewed(body, await sweeping.preview(here, acting, body)))
    action, replayed = await sweeping.take(here, acting, body, key)
    headers = {"idempotent-replayed": "true"} if replayed else {}
    return JsonAnswer(shown(action), 202, headers)


@router.get("/{id}/actions", responses=ACTIONS)
async def list_project_actions(
    project_id: ProjectId,
    query: Annotated[PageQuery, Query()],
    tx: Reading,
) -> Response:
    """List a project's actions, newest first, with how far each has come."""
    before = None if query.cursor is None else cursors.read(query.cursor)
    await tenants.read(tx, project_id)
    found, more = await actions.listing(tx, project_id, before, query.limit)
    cursor = cursors.write(found[-1].id) if more else None
    page: Json = {"object": "list", "data": [shown(each) for each in found], "has_more": more}
    return JsonAnswer(page | {"next_cursor": cursor})


@of_all.post("/{id}/cancel", responses=ACTION)
async def cancel_project_action(action_id: AnyActionId, tx: LivingTx) -> Response:
    """Call an action of any project off: it touches no other job. What it has done stays."""
    return JsonAnswer(shown(await actions.cancel(tx, None, action_id)))


async def _as_project(here: State, caller: Caller, project_id: UUID) -> Caller:
    """Return the operator as one who may do anything to this project's jobs; raises `NotFound`."""
    async with here.turns.open(caller.project_id) as tx:
        await tenants.demand(tx, project_id)
    return replace(caller, project_id=project_id, scopes=frozenset({"admin"}))
