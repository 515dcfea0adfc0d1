"""`/v1/webhooks`: endpoints, the project's own secret, and the log of deliveries."""

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from api.bodies import JsonRoute
from api.deps import EndpointId, Here, Hooker, JobId, Reader, Tx, documented
from api.documentation import REFUSALS
from api.schemas import EndpointBody
from api.submission import check_url
from models import deliveries, endpoints, ids, jobs, projects, signing
from models.deliveries import Logged
from models.schema import Endpoint
from models.views import time

router = APIRouter(
    prefix="/v1",
    tags=["webhooks"],
    dependencies=documented,
    responses=REFUSALS,
    route_class=JsonRoute,
)


@router.post("/webhooks", status_code=201)
async def create(body: EndpointBody, caller: Hooker, tx: Tx, here: Here) -> Response:
    """Register an endpoint. Its secret is in this answer, and never shown again."""
    check_url(here, body.url, "/url")
    secret = signing.new_secret()
    made = await endpoints.register(
        tx, here.vault, caller.project_id,
        url=body.url, events=body.events, description=body.description, secret=secret,
    )  # fmt: skip
    return JSONResponse(_endpoint(made) | {"secret": secret}, 201)


@router.get("/webhooks")
async def read_many(caller: Hooker, tx: Tx) -> Response:
    """List the project's endpoints, newest first."""
    found = await endpoints.of(tx, caller.project_id)
    return JSONResponse({"object": "list", "data": [_endpoint(each) for each in found]})


@router.get("/webhooks/project-secret")
async def read_secret(caller: Hooker, tx: Tx, here: Here) -> Response:
    """Show the secret that signs what goes to the URLs of single jobs."""
    found = await projects.webhook_secrets(tx, here.vault, caller.project_id)
    return JSONResponse({"secret": found[0]}, headers={"cache-control": "no-store"})


@router.post("/webhooks/project-secret/rotate")
async def rotate_secret(caller: Hooker, tx: Tx, here: Here) -> Response:
    """Sign with a fresh secret, and for 24 hours with the present one too."""
    fresh = signing.new_secret()
    await projects.rotate_webhook_secret(tx, here.vault, caller.project_id, fresh)
    return JSONResponse({"secret": fresh}, headers={"cache-control": "no-store"})


@router.get("/webhooks/{id}")
async def read(caller: Hooker, endpoint_id: EndpointId, tx: Tx) -> Response:
    """Show an endpoint; its secret was shown once."""
    return JSONResponse(_endpoint(await endpoints.find(tx, caller.project_id, endpoint_id)))


@router.delete("/webhooks/{id}", status_code=204)
async def remove(caller: Hooker, endpoint_id: EndpointId, tx: Tx) -> Response:
    """Delete an endpoint. What is pending for it is aborted; its log stays with the jobs."""
    await endpoints.remove(tx, caller.project_id, endpoint_id)
    return Response(status_code=204)


@router.get("/webhooks/{id}/deliveries")
async def read_deliveries(caller: Hooker, endpoint_id: EndpointId, tx: Tx) -> Response:
    """List the newest 100 deliveries of an endpoint, each with all its tries."""
    found = await endpoints.find(tx, caller.project_id, endpoint_id)
    return _log(await deliveries.log(tx, endpoint_id=found.id))


@router.get("/jobs/{id}/deliveries")
async def read_job_deliveries(caller: Reader, job_id: JobId, tx: Tx) -> Response:
    """List the newest 100 deliveries of a job's events, each with all its tries."""
    found = await jobs.snapshot(tx, caller.project_id, job_id)
    return _log(await deliveries.log(tx, job_id=found.job.id))


def _endpoint(endpoint: Endpoint) -> dict[str, object]:
    return {
        "id": ids.text(ids.ENDPOINT, endpoint.id),
        "object": "webhook",
        "url": endpoint.url,
        "description": endpoint.description,
        "events": endpoint.events,
        "enabled": endpoint.enabled,
        "disabled_reason": endpoint.disabled_reason,
        "disabled_at": time(endpoint.disabled_at),
        "created_at": time(endpoint.created_at),
    }


def _log(found: list[Logged]) -> Response:
    return JSONResponse({"object": "list", "data": [_delivery(each) for each in found]})


def _delivery(logged: Logged) -> dict[str, object]:
    delivery = logged.delivery
    endpoint, job = delivery.endpoint_id, delivery.job_id
    return {
        "id": ids.text(ids.DELIVERY, delivery.id),
        "object": "delivery",
        "event_id": ids.text(ids.EVENT, delivery.event_id),
        "type": logged.type,
        "job_id": None if job is None else ids.text(ids.JOB, job),
        "endpoint_id": None if endpoint is None else ids.text(ids.ENDPOINT, endpoint),
        "url": delivery.url,
        "state": delivery.state,
        "created_at": time(delivery.created_at),
        "finished_at": time(delivery.finished_at),
        "next_try_at": time(delivery.next_at),
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
