"""`/v1/jobs/actions`: one thing done to every job that a filter leaves."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.contract.formats import cursors
from api.contract.formats.answers import JsonAnswer
from api.contract.openapi.answers import ACTION, ACTION_ASKED, ACTIONS
from api.contract.openapi.parameters import KEYED
from api.contract.openapi.refusals import REFUSALS
from api.contract.requests.actions import ActionBody, PageQuery
from api.dependencies.bodies import JsonRoute
from api.dependencies.deps import ActionId, Here, Reader, Reading, Tx, Writer, idempotency_key
from api.submitting import sweeping
from models import ids
from models.jobs import actions
from models.jobs.actions import Preview
from models.money.dollars import usd
from models.platform.jsonable import Json, time
from models.schema import Action

router = APIRouter(
    prefix="/v1/jobs/actions", tags=["actions"], responses=REFUSALS, route_class=JsonRoute
)


@router.post("", status_code=202, responses=ACTION_ASKED, openapi_extra=KEYED)
async def request_action(
    request: Request, caller: Writer, body: ActionBody, here: Here
) -> Response:
    """Cancel, retry, redeliver or erase every job that a filter leaves; with `dry_run` only count them.

    Jobs that are accepted later are left alone. `redeliver` needs the scope `webhooks` too.
    """
    key = idempotency_key(request)
    if body.dry_run:
        return JsonAnswer(previewed(body, await sweeping.preview(here, caller, body)))
    action, replayed = await sweeping.take(here, caller, body, key)
    headers = {"location": here.located(f"{router.prefix}/{ids.text(ids.ACTION, action.id)}")}
    headers |= {"idempotent-replayed": "true"} if replayed else {}
    return JsonAnswer(shown(action), 202, headers)


@router.get("", responses=ACTIONS)
async def list_actions(
    caller: Reader, query: Annotated[PageQuery, Query()], tx: Reading
) -> Response:
    """List the project's actions, newest first; those that ended go with the jobs of their time."""
    before = None if query.cursor is None else cursors.read(query.cursor)
    found, more = await actions.listing(tx, caller.project_id, before, query.limit)
    cursor = cursors.write(found[-1].id) if more else None
    page: Json = {"object": "list", "data": [shown(each) for each in found], "has_more": more}
    return JsonAnswer(page | {"next_cursor": cursor})


@router.get("/{id}", responses=ACTION)
async def get_action(caller: Reader, action_id: ActionId, tx: Reading) -> Response:
    """Show how far an action has come, and why jobs were left out."""
    return JsonAnswer(shown(await actions.find(tx, caller.project_id, action_id)))


@router.post("/{id}/cancel", responses=ACTION)
async def cancel_action(caller: Writer, action_id: ActionId, tx: Tx) -> Response:
    """Call an action off: it touches no other job. What it has done stays."""
    return JsonAnswer(shown(await actions.cancel(tx, caller.project_id, action_id)))


def previewed(body: ActionBody, found: Preview) -> Json:
    """Return what an action would do, as it is shown."""
    return {
        "object": "action_preview",
        "action": body.action,
        "filter": actions.written(body.filter.filter),
        "count": found.count,
        "credits": found.credits,
        "usd": usd(found.credits),
    }


def shown(action: Action) -> Json:
    """Return an action as it is shown."""
    reasons = [
        {"code": code, **told} for code, told in action.reasons.items() if isinstance(told, dict)
    ]
    return {
        "id": ids.text(ids.ACTION, action.id),
        "object": "action",
        "action": action.kind,
        "filter": action.filter,
        "status": action.status,
        "stopped_because": action.stopped_because,
        "count": action.matched,
        "done": action.done,
        "skipped": action.skipped,
        "failed": action.failed,
        "reasons": reasons,
        "created_at": time(action.created_at),
        "finished_at": time(action.finished_at),
    }
