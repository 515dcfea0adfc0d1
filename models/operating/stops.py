"""What an operator stops and lets go on: pauses, and gates that are to be tried now."""

from typing import get_args
from uuid import UUID

from sqlalchemy import Text, cast, select

from models import ids
from models.accounts import projects
from models.audit_log import recording
from models.errors import Conflict, InvalidRequest, NotFound
from models.platform.db import Transaction
from models.platform.jsonable import Json, time
from models.provider import catalog, pauses, probes
from models.provider.pauses import Scope
from models.schema import Pause, Project
from models.states import WaitingReason

_PROBED: tuple[WaitingReason, ...] = ("provider_down", "wallet_empty", "provider_key")


async def pause(tx: Transaction, scope: Scope, name: str | None = None) -> None:
    """Begin no more calls: none at all (`all`), of a model by its id, or of a project by its name or id."""
    if scope == "model" and catalog.find(name or "") is None:
        raise NotFound(f"There is no model {name!r}; GET /v1/models lists what there is.")
    await pauses.pause(tx, scope, await _named(tx, scope, name))


async def resume(tx: Transaction, scope: Scope, name: str | None = None) -> None:
    """End such a pause; raises `Conflict` for a project that is suspended or being deleted."""
    held = await _named(tx, scope, name)
    if scope == "project":
        project = await tx.get_one(Project, UUID(held))
        if project.suspended_at is not None:
            word = "suspended" if project.deleted_at is None else "being deleted"
            raise Conflict(f"The project is {word}: only its reinstatement ends this pause.")
    await pauses.resume(tx, scope, held)


async def standing(tx: Transaction) -> list[Json]:
    """Return every pause, the oldest first; that of a project with its name, and why it is paused."""
    mine = (Pause.scope == "project") & (Pause.name == cast(Project.id, Text))
    found = await tx.execute(
        select(Pause, Project)
        .outerjoin(Project, mine)
        .order_by(Pause.paused_at, Pause.scope, Pause.name)
    )
    return [_shown(pause, project) for pause, project in found]


async def probe(tx: Transaction, reason: str) -> int:
    """Send one job through a closed gate now; returns how many gates were closed for this reason.

    Raises `InvalidRequest` for a gate that no job can try, and `Conflict` where none is closed.
    """
    known = next((each for each in _PROBED if each == reason), None)
    if known is None:
        why = (
            "workers try their store themselves, each DARKROOM_GATE_PROBE"
            if reason == "storage"
            else f"use one of {', '.join(_PROBED)}"
        )
        raise InvalidRequest(f"The gate {reason!r} cannot be probed: {why}.")
    opened = await probes.probe(tx, known)
    if not opened:
        raise Conflict(f"No gate {reason!r} is closed, or its probe is under way.")
    await recording.record(tx, "gate.probed", reason, after={"gates": opened})
    return opened


def _shown(pause: Pause, project: Project | None) -> Json:
    because = "paused"
    if project is not None and project.suspended_at is not None:
        because = "suspended" if project.deleted_at is None else "deleted"
    return {
        "scope": pause.scope,
        "model": pause.name if pause.scope == "model" else None,
        "project_id": None if project is None else ids.text(ids.PROJECT, project.id),
        "project": None if project is None else project.name,
        "because": because,
        "suspended_reason": None if project is None else project.suspended_reason,
        "paused_at": time(pause.paused_at),
    }


async def _named(tx: Transaction, scope: Scope, name: str | None) -> str:
    if scope not in get_args(Scope) or (name is None) != (scope == "all"):
        raise InvalidRequest("Name what to pause: a model by its id, a project, or everything.")
    if scope == "project":
        return str(await projects.find(tx, name or ""))
    model = catalog.find(name or "")  # which may have several names
    return name or "" if model is None else model.id
