"""Deliveries: the log of an endpoint and of a job, a test, and sending again."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from api.contract.formats import cursors
from api.contract.formats.answers import JsonAnswer
from api.contract.openapi.answers import (
    DELIVERIES,
    DELIVERY,
    REDELIVERED,
    REPLAYED,
    TESTED,
)
from api.contract.openapi.refusals import REFUSALS
from api.contract.requests.webhooks import DeliveryQuery, ReplayBody
from api.dependencies.bodies import JsonRoute
from api.dependencies.deps import DeliveryId, EndpointId, Here, Hooker, JobId, Reader, Reading, Tx
from models import ids, jobs
from models.money import usage
from models.platform.jsonable import Json, time
from models.webhooks import deliveries, endpoints
from models.webhooks.deliveries import Logged

# A try that met no answer, in words; the log has the word alone.
_MET = {
    "dns": "the host's name was not found",
    "connect": "nobody took the connection",
    "tls": "no secure connection came about; look at the certificate and its name",
    "timeout": "the endpoint did not answer in time",
    "reset": "the connection broke before an answer",
    "protocol": "the answer was not HTTP",
}

router = APIRouter(
    prefix="/v1",
    tags=["webhooks"],
    responses=REFUSALS,
    route_class=JsonRoute,
)

_TEST_WAIT = 20  # seconds: a try has 15
_BATCH = 1_000  # deliveries of one replay, in one transaction
_EVERYTHING = ReplayBody()


@router.post("/webhooks/{id}/test", responses=TESTED)
async def ping_endpoint(
    request: Request,
    caller: Hooker,
    endpoint_id: EndpointId,
    here: Here,
    wait: Annotated[int, Query(ge=0, le=_TEST_WAIT, description="seconds to hold")] = _TEST_WAIT,
) -> Response:
    """Send a signed `ping`, also to a disabled endpoint, and show what it met; it is tried once."""
    pace = deliveries.Pace.of(here.settings)
    async with here.turns.open(caller.project_id) as tx:
        made = await deliveries.ping(tx, caller.project_id, endpoint_id, pace)
    patience = timedelta(seconds=wait)
    found = await here.waiting.tried(request, caller.project_id, made, patience)
    return JsonAnswer(_shown(found) | {"message": _verdict(found)})


@router.get("/webhooks/{id}/deliveries", responses=DELIVERIES)
async def list_endpoint_deliveries(
    caller: Hooker, endpoint_id: EndpointId, query: Annotated[DeliveryQuery, Query()], tx: Reading
) -> Response:
    """List the deliveries of an endpoint, newest first, each with all its tries."""
    of = (await endpoints.find(tx, caller.project_id, endpoint_id)).id
    before, limit = query.before, query.limit
    return _page(*await deliveries.log(
        tx, endpoint_id=of, states=query.states, before=before, limit=limit
    ))  # fmt: skip


@router.get("/jobs/{id}/deliveries", responses=DELIVERIES)
async def list_job_deliveries(
    caller: Reader, job_id: JobId, query: Annotated[DeliveryQuery, Query()], tx: Reading
) -> Response:
    """List the deliveries of a job's events, newest first, each with all its tries."""
    of = (await jobs.read(tx, caller.project_id, job_id)).job.id
    before, limit = query.before, query.limit
    return _page(*await deliveries.log(
        tx, job_id=of, states=query.states, before=before, limit=limit
    ))  # fmt: skip


@router.get("/deliveries/{id}", responses=DELIVERY)
async def get_delivery(caller: Hooker, delivery_id: DeliveryId, tx: Tx) -> Response:
    """Show a delivery with all its tries."""
    return JsonAnswer(_shown(await deliveries.read(tx, caller.project_id, delivery_id)))


@router.post("/deliveries/{id}/redeliver", status_code=202, responses=REDELIVERED)
async def redeliver(caller: Hooker, delivery_id: DeliveryId, tx: Tx) -> Response:
    """Send a delivery again, with the same `webhook-id`; its schedule begins anew."""
    again = await deliveries.redeliver(tx, caller.project_id, delivery_id)
    return JsonAnswer(_shown(again), 202)


@router.post("/webhooks/{id}/replay", responses=REPLAYED)
async def replay_endpoint(
    caller: Hooker, endpoint_id: EndpointId, tx: Tx, body: ReplayBody = _EVERYTHING
) -> Response:
    """Send again what failed or is held, oldest first, 1,000 at a time; `next_cursor` goes on."""
    course = body.course(await usage.now(tx))
    done = await deliveries.replay(
        tx, caller.project_id, endpoint_id, since=course.since, until=course.until,
        states=course.states, after=course.after, limit=_BATCH,
    )  # fmt: skip
    cursor = None if done.next_after is None else course.cursor(done.next_after)
    answer: Json = {"object": "replay", "replayed": done.count, "has_more": cursor is not None}
    return JsonAnswer(answer | {"next_cursor": cursor})


def _page(found: list[Logged], more: bool) -> Response:  # noqa: FBT001 - as `log` returns them
    cursor = cursors.write(found[-1].delivery.id) if more else None
    page: Json = {"object": "list", "data": [_shown(each) for each in found], "has_more": more}
    return JsonAnswer(page | {"next_cursor": cursor})


def _shown(logged: Logged) -> Json:
    delivery = logged.delivery
    return {
        "id": ids.text(ids.DELIVERY, delivery.id),
        "object": "delivery",
        "event_id": ids.text(ids.EVENT, delivery.event_id),
        "type": logged.type,
        "job_id": _id(ids.JOB, delivery.job_id),
        "endpoint_id": _id(ids.ENDPOINT, delivery.endpoint_id),
        "url": delivery.url,
        "state": delivery.state,
        "created_at": time(delivery.created_at),
        "finished_at": time(delivery.finished_at),
        "next_try_at": time(logged.next_try_at),
        "tries": [
            {
                "number": each.number,
                "at": time(each.at),
                "http_status": each.http_status,
                "latency_ms": each.latency_ms,
                "result": each.result,
            }
            for each in logged.tries
        ],
    }


def _id(prefix: str, value: UUID | None) -> str | None:
    return None if value is None else ids.text(prefix, value)


def _verdict(logged: Logged) -> str:
    """Return in a sentence what became of a test."""
    state = logged.delivery.state
    if logged.tries:
        last = logged.tries[-1]
        if state == "delivered":
            return f"Delivered: the endpoint answered {last.http_status} in {last.latency_ms} ms."
        took = "" if state == "blocked" else f", after {last.latency_ms} ms"  # it tells nothing
        return f"Not delivered: {_MET.get(last.result, last.result)}{took}."
    if state in {"pending", "sending"}:
        return (
            "Not delivered yet: no worker has sent it so far. Workers may be busy or away;"
            f" GET /v1/deliveries/{ids.text(ids.DELIVERY, logged.delivery.id)} shows what becomes"
            " of it."
        )
    if state == "exhausted":
        return "Not known: the worker that was sending it is gone. Test again."
    return f"Not sent: it is {state}, for the endpoint was deleted meanwhile."
