"""Projects as an operator sees and changes them: listed, renamed, limited, suspended, reinstated, deleted.

A suspended project accepts no job, and a pause holds what it has; reading, erasing and webhooks go on. What
is deleted is emptied by the dispatchers (`emptying`); its row stays, without its name, for the ledger.
"""

from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import delete, func, select, text, update

from models import ids
from models.accounts import caps, idempotency, projects
from models.audit_log import recording
from models.errors import Conflict, NotFound
from models.platform.db import Transaction
from models.platform.jsonable import Json, time
from models.platform.vault import Vault
from models.provider import pauses
from models.schema import ApiKey, Endpoint, Pause, Project, Session
from models.states import JOB_IN_FLIGHT
from models.webhooks import endpoints
from models.webhooks.signing import new_secret


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be changed of a project; None leaves it, and `no_cap` takes the cap away."""

    name: str | None = None
    in_flight: int | None = None
    no_cap: bool = False
    per_key: int | None = None
    idempotency_required: bool | None = None


async def page(
    tx: Transaction, before: UUID | None, limit: int, *, deleted: bool = False
) -> tuple[list[Json], UUID | None]:
    """Return a page of projects, newest first, and the last one's id if there are more."""
    asked = {"before": before, "only": None, "deleted": deleted, "limit": limit + 1}
    rows = (await tx.execute(_PROJECTS, asked)).all()
    found = [_show(dict(row._mapping)) for row in rows[:limit]]  # noqa: SLF001 - SQLAlchemy's own name
    return found, rows[limit - 1].id if len(rows) > limit else None


async def read(tx: Transaction, project_id: UUID) -> Json:
    """Return one project, a deleted one too; raises `NotFound`."""
    asked = {"before": None, "only": project_id, "deleted": True, "limit": 1}
    row = (await tx.execute(_PROJECTS, asked)).one_or_none()
    if row is None:
        raise NotFound("There is no such project.")
    return _show(dict(row._mapping))  # noqa: SLF001 - SQLAlchemy's own name


async def create(tx: Transaction, vault: Vault, name: str, changes: Changes) -> UUID:
    """Create a project; raises `Conflict` where the name is taken."""
    if await tx.scalar(select(Project.id).where(Project.name == name)) is not None:
        raise Conflict(f"There is a project {name!r} already; take another name.")
    project_id = await projects.create(tx, vault, name, new_secret())
    await change(tx, project_id, changes)
    return project_id


async def change(tx: Transaction, project_id: UUID, changes: Changes) -> None:
    """Rename a project or change its limits; raises `NotFound`, `Conflict`."""
    found = await _take(tx, project_id)
    if changes.name is not None and changes.name != found.name:
        await _rename(tx, found, changes.name)
    own = await caps.read(tx, project_id)
    if changes.in_flight is not None or changes.no_cap:
        own = replace(own, in_flight=changes.in_flight)
    if changes.per_key is not None:
        own = replace(own, per_key=changes.per_key)
    await caps.write(tx, project_id, own)
    if changes.idempotency_required is not None:
        await idempotency.require(tx, project_id, required=changes.idempotency_required)


async def suspend(tx: Transaction, project_id: UUID, reason: str) -> None:
    """Accept no job of a project and begin no call for it, until it is reinstated."""
    found = await _take(tx, project_id)
    if found.suspended_at is not None:
        raise Conflict(f"The project has been suspended since {time(found.suspended_at)}.")
    await _set(tx, project_id, suspended_at=func.now(), suspended_reason=reason)
    await pauses.pause(tx, "project", str(project_id))
    named, told = ids.text(ids.PROJECT, project_id), {"reason": reason}
    await recording.record(tx, "project.suspended", named, project_id=project_id, after=told)


async def reinstate(tx: Transaction, project_id: UUID) -> None:
    """End a suspension; a pause that was there before it stays."""
    found = await _take(tx, project_id)
    if found.suspended_at is None:
        raise Conflict("The project is not suspended.")
    began, was = found.suspended_at, {"reason": found.suspended_reason}
    await _set(tx, project_id, suspended_at=None, suspended_reason=None)
    with_it = (Pause.scope == "project") & (Pause.name == str(project_id))
    since = await tx.scalar(select(Pause.paused_at).where(with_it))
    if since is not None and since >= began:
        await pauses.resume(tx, "project", str(project_id))
    named = ids.text(ids.PROJECT, project_id)
    await recording.record(tx, "project.reinstated", named, project_id=project_id, before=was)


async def remove(tx: Transaction, vault: Vault, project_id: UUID) -> None:
    """Begin to delete a project with all that is theirs; its keys end with this transaction.

    The dispatchers do the rest (`emptying`): jobs are canceled, and deleted with their images once it is
    known what they cost. The lines of the ledger stay, of a project without a name.
    """
    found = await _take(tx, project_id)
    named = ids.text(ids.PROJECT, project_id)
    await recording.record(
        tx, "project.deleted", named, project_id=project_id, before={"name": found.name}
    )
    sealed = projects.sealed(vault, project_id, new_secret())
    await _set(
        tx,
        project_id,
        name=f"deleted {named}",
        aliases=None,
        webhook_secret=sealed,
        webhook_secret_old=None,
        deleted_at=func.now(),
        suspended_at=func.coalesce(Project.suspended_at, func.now()),
        suspended_reason=None,
    )
    mine = ApiKey.project_id == project_id
    await tx.execute(
        delete(Session).where(Session.key_id.in_(select(ApiKey.id).where(mine))),
        execution_options={"synchronize_session": False},
    )
    ended = {"name": "", "revoked_at": func.coalesce(ApiKey.revoked_at, func.now())}
    await tx.execute(update(ApiKey).where(mine).values(ended))
    await tx.execute(
        update(Endpoint)
        .where(*endpoints.there(project_id))
        .values(deleted_at=func.now(), enabled=False)
    )
    await pauses.pause(tx, "project", str(project_id))


async def demand(tx: Transaction, project_id: UUID) -> None:
    """Raise `NotFound` for a project that is not there, or is being deleted."""
    await _take(tx, project_id)


async def name(tx: Transaction, project_id: UUID | None) -> str | None:
    """Return a project's name; None for no project."""
    return await tx.scalar(select(Project.name).where(Project.id == project_id))


async def _take(tx: Transaction, project_id: UUID) -> Project:
    """Lock a project's row; raises `NotFound`, also for one that is being deleted."""
    row = select(Project).where(Project.id == project_id, Project.deleted_at.is_(None))
    found = await tx.scalar(row.with_for_update(key_share=True))
    if found is None:
        raise NotFound("There is no such project, or it is being deleted.")
    return found


async def _rename(tx: Transaction, found: Project, name: str) -> None:
    if await tx.scalar(select(Project.id).where(Project.name == name)) is not None:
        raise Conflict(f"There is a project {name!r} already; take another name.")
    before = {"name": found.name}
    await _set(tx, found.id, name=name)
    named = ids.text(ids.PROJECT, found.id)
    await recording.record(
        tx, "project.renamed", named, project_id=found.id, before=before, after={"name": name}
    )


async def _set(tx: Transaction, project_id: UUID, **values: object) -> None:
    await tx.execute(update(Project).where(Project.id == project_id).values(**values))


def _show(row: dict[str, object]) -> Json:
    moments = {name: time(row[name]) for name in _TIMES}  # type: ignore[arg-type]  # columns of times
    return {
        "id": ids.text(ids.PROJECT, row["id"]),  # type: ignore[arg-type]  # its primary key
        "object": "project",
        "name": row["name"],
        "status": row["status"],
        **moments,
        "suspended_reason": row["suspended_reason"],
        "paused": row["paused"],
        "in_flight_cap": row["cap"],
        "concurrency_key_cap": row["key_cap"],
        "idempotency_required": row["idempotency_required"],
        "jobs": {"queued": row["queued"], "in_flight": row["in_flight"]},
        "keys": row["keys"],
        "endpoints": row["endpoints"],
    }


_TIMES = ("created_at", "suspended_at", "deleted_at", "emptied_at")

# Text, for LATERAL counts over partial indexes: a project's history costs nothing.
_PROJECTS = text(f"""
    SELECT p.*, q.n AS queued, f.n AS in_flight, k.n AS keys, e.n AS endpoints,
           EXISTS (SELECT FROM pauses WHERE scope = 'project' AND name = p.id::text) AS paused,
           CASE WHEN p.emptied_at IS NOT NULL THEN 'deleted' WHEN p.deleted_at IS NOT NULL THEN 'deleting'
                WHEN p.suspended_at IS NOT NULL THEN 'suspended' ELSE 'active' END AS status
      FROM (SELECT id, name, created_at, suspended_at, suspended_reason, deleted_at, emptied_at, cap,
                   key_cap, idempotency_required
              FROM projects
             WHERE (CAST(:before AS uuid) IS NULL OR id < :before)
               AND (CAST(:only AS uuid) IS NULL OR id = :only) AND (:deleted OR deleted_at IS NULL)
             ORDER BY id DESC LIMIT :limit) p
           CROSS JOIN LATERAL (SELECT count(*) AS n FROM jobs
                                WHERE project_id = p.id AND status = 'queued') q
           CROSS JOIN LATERAL (SELECT count(*) AS n FROM jobs
                                WHERE project_id = p.id AND {JOB_IN_FLIGHT}) f
           CROSS JOIN LATERAL (SELECT count(*) AS n FROM api_keys
                                WHERE project_id = p.id AND revoked_at IS NULL
                                  AND (expires_at IS NULL OR expires_at > now())) k
           CROSS JOIN LATERAL (SELECT count(*) AS n FROM endpoints
                                WHERE project_id = p.id AND deleted_at IS NULL) e
     ORDER BY p.id DESC
""")  # noqa: S608 - a constant of ours
