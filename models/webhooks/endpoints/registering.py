"""What a project does with an endpoint: registers it, changes it, rotates its secrets, deletes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import Update, func, insert, select, update

from models import ids
from models.errors import Conflict, LimitReached
from models.platform.db import Transaction
from models.platform.vault import Vault
from models.schema import Delivery, Endpoint, Project
from models.states import TERMINAL_EVENTS
from models.webhooks import destinations, signing
from models.webhooks.endpoint_secrets import context_of, keyring, with_pair
from models.webhooks.endpoints.auditing import facts, log
from models.webhooks.endpoints.finding import find, there
from models.webhooks.endpoints.health import BY_ITS_PROJECT, WELL, disable

_ENABLED = {"enabled": True, "disabled_reason": None, "disabled_at": None, **WELL}
_PLAIN = ("url", "description", "rate_limit")  # what a change sets as it is given


@dataclass(frozen=True, slots=True)
class Wish:
    """What a project wants of an endpoint. No `events` means the terminal ones; the rate is per second.

    With `project_secret` what it is told is signed as what goes to the URLs of single jobs is.
    """

    url: str
    events: Sequence[str] = ()
    description: str = ""
    rate_limit: int | None = None
    enabled: bool = True
    project_secret: bool = False


async def register(
    tx: Transaction, vault: Vault, project_id: UUID, wish: Wish, *, most: int | None = None
) -> tuple[Endpoint, str]:
    """Register an endpoint; returns it and its own `whsec_…` secret, to be shown once.

    Raises `LimitReached` when the project has `most` endpoints already, disabled ones too.
    """
    if most is not None:
        await _make_room(tx, project_id, most)
    endpoint_id, secret = ids.new(), signing.new_secret()
    made = await tx.scalars(
        insert(Endpoint)
        .values(
            id=endpoint_id,
            project_id=project_id,
            url=wish.url,
            description=wish.description,
            events=list(wish.events or TERMINAL_EVENTS),
            rate_limit=wish.rate_limit,
            project_secret=wish.project_secret,
            secret=vault.seal(with_pair(secret), context_of(endpoint_id)),
            enabled=wish.enabled,
            disabled_reason=None if wish.enabled else BY_ITS_PROJECT,
            disabled_at=None if wish.enabled else func.now(),
        )
        .returning(Endpoint)
    )
    endpoint = made.one()
    await log(tx, "webhook.created", endpoint, after=facts(endpoint))
    return endpoint, secret


async def change(
    tx: Transaction, project_id: UUID, endpoint_id: UUID | None, changes: Mapping[str, object]
) -> Endpoint:
    """Change `url`, `events`, `description`, `rate_limit` or `enabled`. Raises `NotFound`.

    A new URL also takes what is pending or held, and begins without the old one's faults. Enabling forgets
    the faults too; what is held stays held until it is replayed.
    """
    found = await find(tx, project_id, endpoint_id, lock=True)
    before = facts(found)
    values = {name: changes[name] for name in _PLAIN if name in changes}
    if "events" in changes:
        values["events"] = changes["events"] or list(TERMINAL_EVENTS)
    moves = "url" in changes and changes["url"] != found.url
    mended = bool(changes.get("enabled", False)) and not found.enabled
    values |= (WELL if moves else {}) | (_ENABLED if mended else {})
    if values:
        await tx.execute(update(Endpoint).where(Endpoint.id == found.id).values(values))
    if moves:
        await tx.execute(_unsent(found.id).values(url=changes["url"]))
    if found.enabled and not changes.get("enabled", True):
        await disable(tx, found.id, BY_ITS_PROJECT)
    if moves or mended:
        await destinations.clear(tx, destinations.of_endpoint(found.id))
    await tx.refresh(found)
    await log(tx, "webhook.changed", found, before=before, after=facts(found))
    return found


async def rotate(
    tx: Transaction, vault: Vault, project_id: UUID, endpoint_id: UUID | None
) -> tuple[Endpoint, str]:
    """Sign with a fresh secret and pair from now on, and with the present ones too for 24 hours.

    Returns the endpoint and its new `whsec_…`, to be shown once. Raises `NotFound`, and `Conflict` where
    the project's secret signs, or as `Keyring.rotated`.
    """
    found = await find(tx, project_id, endpoint_id, lock=True)
    if found.project_secret:
        raise Conflict(
            "The project's secret signs for this endpoint; rotate that one, at "
            "POST /v1/webhooks/project-secret/rotate."
        )
    fresh, now = signing.new_secret(), datetime.now(UTC)
    ring = keyring(found).rotated(vault, with_pair(fresh), now)
    await tx.execute(
        update(Endpoint)
        .where(Endpoint.id == found.id)
        .values(secret=ring.secret, secret_old=ring.old, rotated_at=now)
    )
    await tx.refresh(found)
    await log(tx, "webhook.secret_rotated", found)
    return found, fresh


async def remove(tx: Transaction, project_id: UUID, endpoint_id: UUID | None) -> None:
    """Delete an endpoint: what is pending is aborted, the log stays. Raises `NotFound`."""
    found = await find(tx, project_id, endpoint_id, lock=True)
    await tx.execute(
        update(Endpoint).where(Endpoint.id == found.id).values(deleted_at=func.now(), enabled=False)
    )
    await tx.execute(
        _unsent(found.id).values(state="aborted", next_at=None, finished_at=func.now())
    )
    await log(tx, "webhook.deleted", found, before=facts(found))


async def _make_room(tx: Transaction, project_id: UUID, most: int) -> None:
    # The project's row makes registrations come one after the other: else each would find room.
    owner = select(Project.id).where(Project.id == project_id)
    await tx.execute(owner.with_for_update(key_share=True))
    if (await tx.scalar(select(func.count()).where(*there(project_id))) or 0) >= most:
        raise LimitReached(
            f"This project has {most:,} webhook endpoints, as many as it may. Delete one that is not "
            "needed, or have DARKROOM_ENDPOINTS_MAX raised."
        )


def _unsent(endpoint_id: UUID) -> Update:
    states = ("pending", "held")
    return update(Delivery).where(Delivery.endpoint_id == endpoint_id, Delivery.state.in_(states))
