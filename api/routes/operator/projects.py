"""`/v1/operator/projects`, `/v1/operator/keys`: projects, and the keys of all of them."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Response

from api.contract.formats import cursors
from api.contract.formats.answers import JsonAnswer
from api.contract.openapi import operators as described
from api.contract.openapi.answers import KEY_MADE
from api.contract.requests.keys import KeyBody
from api.contract.requests.operators import (
    KeysQuery,
    ProjectBody,
    ProjectChanges,
    ProjectsQuery,
    SuspendBody,
)
from api.dependencies.deps import AnyKeyId, Here, LivingTx, ProjectId, Reading
from api.routes.operator import plane
from models import ids
from models.accounts import api_keys, caps, operators
from models.operating import tenants
from models.platform.jsonable import Json
from models.schema import ApiKey

router = plane.router()

_UNSEEN = {"cache-control": "no-store"}


@router.get("/projects", responses=described.PROJECTS)
async def list_projects(
    query: Annotated[ProjectsQuery, Query()],
    tx: Reading,
) -> Response:
    """List projects, newest first, with how many jobs of each wait and are in flight."""
    found, last = await tenants.page(tx, _before(query.cursor), query.limit, deleted=query.deleted)
    return JsonAnswer(_page(found, last))


@router.post("/projects", status_code=201, responses=described.PROJECT_MADE)
async def create_project(body: ProjectBody, tx: LivingTx, here: Here) -> Response:
    """Create a project; it has no key yet."""
    made = await tenants.create(tx, here.vault, body.name, body.changes)
    return JsonAnswer(await tenants.read(tx, made), 201)


@router.get("/projects/{id}", responses=described.PROJECT)
async def get_project(project_id: ProjectId, tx: Reading) -> Response:
    """Show a project, a deleted one too."""
    return JsonAnswer(await tenants.read(tx, project_id))


@router.patch("/projects/{id}", responses=described.PROJECT)
async def update_project(
    project_id: ProjectId,
    body: ProjectChanges,
    tx: LivingTx,
) -> Response:
    """Rename a project, or change its caps. What is in flight goes on."""
    await tenants.change(tx, project_id, body.changes)
    return JsonAnswer(await tenants.read(tx, project_id))


@router.post("/projects/{id}/suspend", responses=described.PROJECT)
async def suspend_project(
    project_id: ProjectId,
    body: SuspendBody,
    tx: LivingTx,
) -> Response:
    """Suspend a project: within 5 seconds no job is accepted, and no call begins. Reading goes on."""
    await tenants.suspend(tx, project_id, body.reason)
    return JsonAnswer(await tenants.read(tx, project_id))


@router.post("/projects/{id}/reinstate", responses=described.PROJECT)
async def reinstate_project(project_id: ProjectId, tx: LivingTx) -> Response:
    """End a suspension; the jobs that waited go on in their order."""
    await tenants.reinstate(tx, project_id)
    return JsonAnswer(await tenants.read(tx, project_id))


@router.delete("/projects/{id}", status_code=202, responses=described.PROJECT_GOES)
async def delete_project(
    project_id: ProjectId,
    tx: LivingTx,
    here: Here,
) -> Response:
    """Delete a project for good, with its jobs, images, keys and endpoints. The ledger stays, unnamed."""
    await tenants.remove(tx, here.vault, project_id)
    return JsonAnswer(await tenants.read(tx, project_id), 202)


@router.post("/projects/{id}/keys", status_code=201, responses=KEY_MADE)
async def create_project_key(
    project_id: ProjectId,
    body: KeyBody,
    tx: LivingTx,
    here: Here,
) -> Response:
    """Create an API key of a project. It is in this answer, and never shown again."""
    key = api_keys.new_key()
    await tenants.demand(tx, project_id)
    made = await api_keys.create_key(tx, project_id, body.name, tuple(body.scopes), key)
    await caps.demand_room_for_key(tx, project_id, here.settings.keys_max)
    return JsonAnswer(api_keys.show_key(made) | {"key": key}, 201, _UNSEEN)


@router.get("/keys", responses=described.KEYS)
async def list_all_keys(
    query: Annotated[KeysQuery, Query()],
    tx: Reading,
) -> Response:
    """List the keys of all projects, and operators' own, newest first; revoked ones too."""
    of = None if query.project is None else ids.parse(ids.PROJECT, query.project)
    found, more = await operators.keys(tx, of, _before(query.cursor), query.limit)
    last = found[-1][0].id if more else None
    return JsonAnswer(_page([_key(*each) for each in found], last))


@router.delete("/keys/{id}", responses=described.KEY)
async def revoke_any_key(key_id: AnyKeyId, tx: LivingTx) -> Response:
    """Revoke a key of any project, or an operator's; within 5 seconds no process accepts it any more."""
    revoked = await api_keys.revoke_key(tx, key_id)
    return JsonAnswer(_key(revoked, await tenants.name(tx, revoked.project_id)))


def _key(key: ApiKey, project: str | None) -> Json:
    of = None if key.project_id is None else ids.text(ids.PROJECT, key.project_id)
    return api_keys.show_key(key) | {"project_id": of, "project": project}


def _before(cursor: str | None) -> UUID | None:
    return None if cursor is None else cursors.read(cursor)


def _page(data: list[Json], last: UUID | None) -> Json:
    cursor = None if last is None else cursors.write(last)
    return {"object": "list", "data": data, "has_more": cursor is not None, "next_cursor": cursor}
