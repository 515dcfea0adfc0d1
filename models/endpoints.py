"""Endpoints: the URLs that a project registered for events, each with a secret of its own."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, insert, select, update

from models import ids
from models.db import Transaction
from models.errors import NotFound
from models.schema import Delivery, Endpoint
from models.states import TERMINAL_EVENTS, EventType
from models.vault import Vault

_SECRET_CONTEXT = b"endpoint:"


async def register(
    tx: Transaction,
    vault: Vault,
    project_id: UUID,
    *,
    url: str,
    events: Sequence[str],
    description: str,
    secret: str,
) -> Endpoint:
    """Register an endpoint. An empty `events` means the terminal ones."""
    endpoint_id = ids.new()
    made = await tx.scalars(
        insert(Endpoint)
        .values(
            id=endpoint_id,
            project_id=project_id,
            url=url,
            description=description,
            events=list(events or TERMINAL_EVENTS),
            secret=vault.seal(secret, _SECRET_CONTEXT + endpoint_id.bytes),
        )
        .returning(Endpoint)
    )
    return made.one()


async def of(tx: Transaction, project_id: UUID) -> list[Endpoint]:
    """Give the endpoints of a project, newest first."""
    rows = await tx.scalars(
        select(Endpoint)
        .where(Endpoint.project_id == project_id, Endpoint.deleted_at.is_(None))
        .order_by(Endpoint.id.desc())
    )
    return list(rows)


async def find(tx: Transaction, project_id: UUID, endpoint_id: UUID | None) -> Endpoint:
    """Give one endpoint; raises `NotFound`, also for another project's."""
    found = await tx.scalar(
        select(Endpoint).where(
            Endpoint.id == endpoint_id,
            Endpoint.project_id == project_id,
            Endpoint.deleted_at.is_(None),
        )
    )
    if found is None:
        raise NotFound("There is no such endpoint in this project.")
    return found


async def remove(tx: Transaction, project_id: UUID, endpoint_id: UUID | None) -> None:
    """Delete an endpoint: what is pending is aborted, the log stays. Raises `NotFound`."""
    found = await find(tx, project_id, endpoint_id)
    await tx.execute(
        update(Endpoint).where(Endpoint.id == found.id).values(deleted_at=func.now(), enabled=False)
    )
    await tx.execute(
        update(Delivery)
        .where(Delivery.endpoint_id == found.id, Delivery.state.in_(("pending", "held")))
        .values(state="aborted", next_at=None, finished_at=func.now())
    )


async def wanting(tx: Transaction, project_id: UUID, type_: EventType) -> list[Endpoint]:
    """Give the project's endpoints that list this event; disabled ones too (theirs are held)."""
    rows = await tx.scalars(
        select(Endpoint).where(
            Endpoint.project_id == project_id,
            Endpoint.deleted_at.is_(None),
            Endpoint.events.contains([type_]),
        )
    )
    return list(rows)


async def secrets(tx: Transaction, vault: Vault, endpoint_id: UUID) -> tuple[str, ...]:
    """Give the secrets that sign what goes to this endpoint."""
    sealed = await tx.scalar(select(Endpoint.secret).where(Endpoint.id == endpoint_id))
    if sealed is None:
        return ()
    return (vault.open(sealed, _SECRET_CONTEXT + endpoint_id.bytes),)


async def disable(tx: Transaction, endpoint_id: UUID, reason: str) -> None:
    """Disable an endpoint; what is pending for it is held, for replay."""
    await tx.execute(
        update(Endpoint)
        .where(Endpoint.id == endpoint_id, Endpoint.enabled)
        .values(enabled=False, disabled_reason=reason, disabled_at=func.now())
    )
    await tx.execute(
        update(Delivery)
        .where(Delivery.endpoint_id == endpoint_id, Delivery.state == "pending")
        .values(state="held", next_at=None)
    )


async def call_off(tx: Transaction, delivery: Delivery, *, spent: int) -> bool:
    """Hold what is bound for a disabled endpoint, and abort it for a deleted one; tell whether it was.

    `spent` tries are given back: nothing was sent.
    """
    if delivery.endpoint_id is None:
        return False
    endpoint = await tx.get_one(Endpoint, delivery.endpoint_id)
    if endpoint.enabled:
        return False
    gone = endpoint.deleted_at is not None
    await tx.execute(
        update(Delivery)
        .where(Delivery.id == delivery.id)
        .values(
            state="aborted" if gone else "held",
            tries=Delivery.tries - spent,
            next_at=None,
            lease_until=None,
            taken_at=None,
            finished_at=func.now() if gone else None,
        )
    )
    return True
