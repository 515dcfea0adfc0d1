"""Taking a delivery for a try: one statement, which also says where to, with what, and whether at all."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, text, update

from models.accounts import projects
from models.platform.db import Transaction
from models.platform.direct import Direct, Statement, loaded, prepared
from models.platform.vault import Vault
from models.schema import Delivery, Endpoint, Project
from models.webhooks import destinations, endpoints


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery in the hands of a worker: what to send, where, and which try this is.

    `number` counts all tries of the delivery, `nth` those of its present schedule.
    """

    delivery_id: UUID
    project_id: UUID
    job_id: UUID | None
    number: int
    nth: int
    event_id: UUID
    url: str
    endpoint: bool  # a registered endpoint, not a job's own URL
    ping: bool  # sent once, whatever comes of it
    body: bytes
    secrets: tuple[str, ...]


async def take_plain(
    direct: Direct, vault: Vault, delivery_id: UUID, number: int, lease: timedelta
) -> ClaimedDelivery | None:
    """Take a delivery for this try, in one round trip; None, and nothing done, when it is called off."""
    asked = {"delivery": delivery_id, "number": number, "lease": lease}
    row = await direct.write(_TAKE_PLAIN, asked)
    return None if row is None else _claimed(row, vault, delivery_id, number)


async def take(
    tx: Transaction, vault: Vault, delivery_id: UUID, number: int, lease: timedelta
) -> ClaimedDelivery | None:
    """Take a delivery for this try; None when somebody else has it, or it was called off.

    An endpoint that was disabled or deleted since the delivery was woken gets nothing any more, and one
    that moved gets it at its new URL.
    """
    asked = {"delivery": delivery_id, "number": number, "lease": lease}
    row = await tx.first(_TAKE, asked)
    if row is None:
        return None
    if row["instead"] is not None:
        await _put_back(tx, delivery_id, row)
        return None
    return _claimed(row, vault, delivery_id, number)


def _claimed(row: dict[str, Any], vault: Vault, delivery_id: UUID, number: int) -> ClaimedDelivery:
    return ClaimedDelivery(
        delivery_id=delivery_id,
        project_id=row["project_id"],
        job_id=row["job_id"],
        number=number,
        nth=number - row["tries_before"],
        event_id=row["event_id"],
        url=row["url"],
        endpoint=row["endpoint_id"] is not None,
        ping=destinations.is_ping(row["lane"]),
        body=row["body"],
        secrets=_secrets(row, vault, datetime.now(UTC)),
    )


def _secrets(row: dict[str, Any], vault: Vault, now: datetime) -> tuple[str, ...]:
    """Return the secrets that sign it: the endpoint's own, the project's, or both."""
    own: tuple[str, ...] = ()
    if row["endpoint_id"] is not None:
        own = endpoints.secrets(vault, loaded(Endpoint, row | {"id": row["endpoint_id"]}), now)
        if not row["project_secret"]:
            return own
    project = loaded(Project, row | {"id": row["project_id"]})
    return projects.webhook_keyring(project).opened(vault, now) + own


async def _put_back(tx: Transaction, delivery_id: UUID, taken: dict[str, Any]) -> None:
    """Put back what was called off, as it says `instead`; no try was spent."""
    await tx.execute(
        update(Delivery)
        .where(Delivery.id == delivery_id)
        .values(
            state=taken["instead"],
            destination=destinations.usual(taken["lane"]),
            tries=Delivery.tries - 1,
            next_at=taken["paused_until"],
            lease_until=None,
            taken_at=None,
            finished_at=func.now() if taken["instead"] == "aborted" else None,
        )
    )
    tx.ring("delivery", str(delivery_id))
    tx.ring("deliveries")  # a place in the destination is free


def _take(*, only_if: str = "") -> Statement:
    """Write the statement: `instead` is what becomes of a delivery whose endpoint or URL wants none now."""
    return prepared(
        text(f"""
    WITH aim AS (
        SELECT d.id AS delivery_id, body, e.url AS endpoint_url, paused_until,
               webhook_secret, webhook_secret_old, webhook_rotated_at,
               secret, secret_old, rotated_at, project_secret,
               CASE WHEN e.deleted_at IS NOT NULL THEN 'aborted'
                    WHEN NOT (e.enabled OR starts_with(d.lane, '{destinations.PING}')) THEN 'held'
                    WHEN paused_until IS NOT NULL THEN 'pending' END AS instead
          FROM deliveries d
          JOIN events ON events.id = d.event_id
          JOIN projects p ON p.id = d.project_id
          LEFT JOIN endpoints e ON e.id = d.endpoint_id
          LEFT JOIN lanes
            ON d.endpoint_id IS NULL AND NOT starts_with(d.lane, '{destinations.HAND}') AND paused_until >
            now()
           AND lanes.lane = concat('{destinations.URL}', d.project_id, ':', md5(d.url))
         WHERE d.id = :delivery
    )
    UPDATE deliveries d SET taken_at = now(), lease_until = now() + :lease,
           url = CASE WHEN instead IS NULL THEN coalesce(endpoint_url, url) ELSE url END
      FROM aim
     WHERE id = delivery_id AND state = 'sending' AND tries = :number AND taken_at IS NULL {only_if}
    RETURNING project_id, job_id, event_id, endpoint_id, url, lane, tries_before, body, paused_until,
              webhook_secret, webhook_secret_old, webhook_rotated_at,
              secret, secret_old, rotated_at, project_secret, instead
""")  # noqa: S608 - constants of ours
    )


_TAKE = _take()
_TAKE_PLAIN = _take(only_if="AND instead IS NULL")
