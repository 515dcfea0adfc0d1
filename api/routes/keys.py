"""`/v1/keys`: the project's API keys, for keys with the scope `admin`."""

from fastapi import APIRouter, Response

from api.contract.formats.answers import JsonAnswer
from api.contract.openapi.answers import KEY, KEY_MADE, KEYS
from api.contract.openapi.refusals import REFUSALS
from api.contract.requests.keys import KeyBody, RotateBody
from api.dependencies.bodies import JsonRoute
from api.dependencies.deps import Admin, Here, KeyId, LivingTx, Reading
from models.accounts import api_keys, caps

router = APIRouter(
    prefix="/v1/keys",
    tags=["keys"],
    responses=REFUSALS,
    route_class=JsonRoute,
)

_A_DAY = RotateBody()


@router.post("", status_code=201, responses=KEY_MADE)
async def create_key(caller: Admin, body: KeyBody, tx: LivingTx, here: Here) -> Response:
    """Create an API key. It is in this answer, and never shown again."""
    key = api_keys.new_key()
    scopes = tuple(body.scopes)
    made = await api_keys.create_key(tx, caller.project_id, body.name, scopes, key)
    await caps.demand_room_for_key(tx, caller.project_id, here.settings.keys_max)
    return JsonAnswer(api_keys.show_key(made) | {"key": key}, 201, {"cache-control": "no-store"})


@router.get("", responses=KEYS)
async def list_keys(caller: Admin, tx: Reading) -> Response:
    """List the project's keys, newest first, revoked ones too."""
    found = await api_keys.list_keys(tx, caller.project_id)
    return JsonAnswer({"object": "list", "data": [api_keys.show_key(each) for each in found]})


@router.delete("/{id}", responses=KEY)
async def revoke_key(caller: Admin, key_id: KeyId, tx: LivingTx) -> Response:
    """Revoke a key; within 5 seconds no process accepts it any more."""
    return JsonAnswer(api_keys.show_key(await api_keys.revoke_key(tx, key_id, caller.project_id)))


@router.post("/{id}/rotate", status_code=201, responses=KEY_MADE)
async def rotate_key(
    caller: Admin, key_id: KeyId, tx: LivingTx, here: Here, body: RotateBody = _A_DAY
) -> Response:
    """Create a key like this one, which itself works for `grace` seconds more."""
    key = api_keys.new_key()
    made = await api_keys.rotate_key(tx, caller.project_id, key_id, body.grace, key)
    await caps.demand_room_for_key(tx, caller.project_id, here.settings.keys_max)
    return JsonAnswer(api_keys.show_key(made) | {"key": key}, 201, {"cache-control": "no-store"})
