"""`/v1/webhooks`: endpoints and their secrets, and the project's own secret."""

from dataclasses import asdict
from datetime import UTC, datetime

from fastapi import APIRouter, Response

from api.contract.formats.answers import JsonAnswer
from api.contract.openapi.answers import (
    ENDPOINT,
    ENDPOINT_HEALTH,
    ENDPOINT_MADE,
    ENDPOINT_ROTATED,
    ENDPOINTS,
    SECRET,
    SECRET_ROTATED,
)
from api.contract.openapi.refusals import REFUSALS
from api.contract.requests.webhooks import EndpointBody, EndpointChanges
from api.dependencies.bodies import JsonRoute
from api.dependencies.deps import EndpointId, Here, Hooker, LivingTx, Reading, Tx
from api.dependencies.state import State
from api.submitting.submission import check_url
from models import ids
from models.accounts import projects
from models.accounts.keyrings import OLD_FOR
from models.money import usage
from models.platform.jsonable import Json, time
from models.schema import Endpoint
from models.webhooks import deliveries, endpoint_secrets, endpoints, signing

router = APIRouter(
    prefix="/v1/webhooks",
    tags=["webhooks"],
    responses=REFUSALS,
    route_class=JsonRoute,
)

_UNSEEN = {"cache-control": "no-store"}  # of answers that show a secret


@router.post("", status_code=201, responses=ENDPOINT_MADE)
async def create_endpoint(body: EndpointBody, caller: Hooker, tx: LivingTx, here: Here) -> Response:
    """Register an endpoint. Its secret is in this answer; its own is never shown again."""
    check_url(here, body.url, "/url")
    most, owner = here.settings.endpoints_max, caller.project_id
    made, secret = await endpoints.register(tx, here.vault, owner, body.wish, most=most)
    if made.project_secret:
        secret = (await projects.webhook_secrets(tx, here.vault, owner))[0]
    return JsonAnswer(_shown(here, made) | {"secret": secret}, 201, _UNSEEN)


@router.get("", responses=ENDPOINTS)
async def list_endpoints(caller: Hooker, tx: Reading, here: Here) -> Response:
    """List the project's endpoints, newest first."""
    found = await endpoints.of(tx, caller.project_id)
    return JsonAnswer({"object": "list", "data": [_shown(here, each) for each in found]})


@router.get("/project-secret", responses=SECRET)
async def get_project_secret(caller: Hooker, tx: Tx, here: Here) -> Response:
    """Show the secret that signs what goes to the URLs of single jobs."""
    found = await projects.webhook_secrets(tx, here.vault, caller.project_id)
    return JsonAnswer({"secret": found[0]}, headers=_UNSEEN)


@router.post("/project-secret/rotate", responses=SECRET_ROTATED)
async def rotate_project_secret(caller: Hooker, tx: LivingTx, here: Here) -> Response:
    """Sign with a fresh secret, and for 24 hours with the present one too."""
    fresh = signing.new_secret()
    until = await projects.rotate_webhook_secret(tx, here.vault, caller.project_id, fresh)
    return JsonAnswer({"secret": fresh, "old_secret_until": time(until)}, headers=_UNSEEN)


@router.get("/{id}", responses=ENDPOINT)
async def get_endpoint(caller: Hooker, endpoint_id: EndpointId, tx: Tx, here: Here) -> Response:
    """Show an endpoint, with its public keys; its secret was shown once."""
    found = await endpoints.find(tx, caller.project_id, endpoint_id)
    return JsonAnswer(_shown(here, found))


@router.get("/{id}/health", responses=ENDPOINT_HEALTH)
async def get_endpoint_health(caller: Hooker, endpoint_id: EndpointId, tx: Reading) -> Response:
    """Tell how an endpoint answered in the last 24 hours: 50 deliveries of each hour are looked at."""
    found = await endpoints.find(tx, caller.project_id, endpoint_id)
    answered = await deliveries.answers(tx, found.id, await usage.now(tx))
    hours = [{"at": time(at)} | asdict(each) for at, each in answered.hours]
    named: Json = {"object": "webhook.health", "endpoint_id": ids.text(ids.ENDPOINT, found.id)}
    return JsonAnswer(named | asdict(answered.all) | {"hours": hours})


@router.patch("/{id}", responses=ENDPOINT)
async def update_endpoint(
    caller: Hooker, endpoint_id: EndpointId, body: EndpointChanges, tx: LivingTx, here: Here
) -> Response:
    """Change the fields that are given. `enabled: false` holds pending and later deliveries for replay."""
    if "url" in body.changes:
        check_url(here, body.url, "/url")
    changed = await endpoints.change(tx, caller.project_id, endpoint_id, body.changes)
    return JsonAnswer(_shown(here, changed))


@router.post("/{id}/enable", responses=ENDPOINT)
async def enable_endpoint(
    caller: Hooker, endpoint_id: EndpointId, tx: LivingTx, here: Here
) -> Response:
    """Enable an endpoint again. What is held for it stays held, until it is replayed."""
    changed = await endpoints.change(tx, caller.project_id, endpoint_id, {"enabled": True})
    return JsonAnswer(_shown(here, changed))


@router.post("/{id}/rotate", responses=ENDPOINT_ROTATED)
async def rotate_endpoint_secret(
    caller: Hooker, endpoint_id: EndpointId, tx: LivingTx, here: Here
) -> Response:
    """Sign with a fresh secret and key pair, and until `old_secret_until` with the present ones too."""
    made, secret = await endpoints.rotate(tx, here.vault, caller.project_id, endpoint_id)
    return JsonAnswer(_shown(here, made) | {"secret": secret}, headers=_UNSEEN)


@router.delete("/{id}", status_code=204)
async def delete_endpoint(caller: Hooker, endpoint_id: EndpointId, tx: LivingTx) -> Response:
    """Delete an endpoint. What is pending for it is aborted; its log stays with the jobs."""
    await endpoints.remove(tx, caller.project_id, endpoint_id)
    return Response(status_code=204)


def _shown(here: State, endpoint: Endpoint) -> Json:
    now = datetime.now(UTC)
    rotated = endpoint.rotated_at
    until = None if rotated is None else rotated + OLD_FOR
    return {
        "id": ids.text(ids.ENDPOINT, endpoint.id),
        "object": "webhook",
        "url": endpoint.url,
        "description": endpoint.description,
        "events": endpoint.events,
        "enabled": endpoint.enabled,
        "disabled_reason": endpoint.disabled_reason,
        "disabled_at": time(endpoint.disabled_at),
        "failing_since": time(endpoint.failing_since),
        "rate_limit": endpoint.rate_limit,
        "signed_by": "project" if endpoint.project_secret else "own",
        "public_keys": endpoint_secrets.public_keys(here.vault, endpoint, now),
        "rotated_at": time(rotated),
        "old_secret_until": time(until) if until is not None and until > now else None,
        "created_at": time(endpoint.created_at),
    }
