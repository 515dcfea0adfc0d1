"""Taking a delivery for a try: one statement, which also returns its URL, its body and its secrets."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, text, update

from models.accounts import projects
from models.platform.db import Transaction
from models.platform.db.direct import Direct
from models.platform.db.statements import ASYNCHRONOUSLY, Statement, loaded, prepared
from models.platform.vault import Vault
from models.schema import Delivery, Endpoint, Project
from models.webhooks import destinations, endpoint_secrets
from models.webhooks.deliveries.waking import DUE_IN, OLDEST

Woken = tuple[UUID, int]  # a delivery, and the number of the try that it was woken for
# What signs it, as `claimed` reads it: the project's columns, and the endpoint's.
SECRETS = """webhook_secret, webhook_secret_old, webhook_rotated_at,
               secret, secret_old, rotated_at, project_secret"""


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
    endpoint_id: UUID | None  # None: it goes to a job's own URL
    destination: str
    more: bool  # whether others were due in its destination
    body: bytes
    secrets: tuple[str, ...]
    traceparent: str | None = None  # of its job's submission

    @property
    def ping(self) -> bool:
        """Whether it is sent once, whatever comes of it."""
        return destinations.is_ping(self.destination)


async def take_plain(
    direct: Direct, vault: Vault, woken: Sequence[Woken], lease: timedelta
) -> list[ClaimedDelivery]:
    """Take deliveries for these tries, all in one round trip; what is called off is left out, untouched.

    So is what somebody else has locked just now: no delivery of a bundle waits for another's.
    """
    rows = await direct.write_all(_TAKE_PLAIN, _asked(woken, lease))
    return [claimed(row, vault) for row in rows]


async def take(
    tx: Transaction, vault: Vault, delivery_id: UUID, number: int, lease: timedelta
) -> ClaimedDelivery | None:
    """Take a delivery for this try; return None when somebody else has it, or it was called off.

    An endpoint that was disabled or deleted since the delivery was woken gets nothing any more, and one
    that moved gets it at its new URL.
    """
    row = await tx.first(_TAKE, _asked([(delivery_id, number)], lease))
    if row is None:
        return None
    if row["instead"] is not None:
        await _put_back(tx, delivery_id, row)
        return None
    return claimed(row, vault)


def _asked(woken: Sequence[Woken], lease: timedelta) -> dict[str, object]:
    asked = [each for each, _ in woken]
    return {"deliveries": asked, "numbers": [number for _, number in woken], "lease": lease}


def claimed(row: dict[str, Any], vault: Vault) -> ClaimedDelivery:
    """Read a row of a statement that has taken deliveries."""
    return ClaimedDelivery(
        delivery_id=row["id"],
        project_id=row["project_id"],
        job_id=row["job_id"],
        number=row["tries"],
        nth=row["tries"] - row["tries_before"],
        event_id=row["event_id"],
        url=row["url"],
        endpoint_id=row["endpoint_id"],
        destination=row["lane"],
        more=row["more"],
        body=row["body"],
        secrets=_secrets(row, vault, datetime.now(UTC)),
        traceparent=row["traceparent"],
    )


def _secrets(row: dict[str, Any], vault: Vault, now: datetime) -> tuple[str, ...]:
    """Return the secrets that sign it: the endpoint's own, the project's, or both."""
    own: tuple[str, ...] = ()
    if row["endpoint_id"] is not None:
        own = endpoint_secrets.secrets(
            vault, loaded(Endpoint, row | {"id": row["endpoint_id"]}), now
        )
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


def _take(*, only_if: str = "", locked: str = "") -> Statement:
    """Write the statement: `instead` is what becomes of a delivery whose endpoint or URL wants none now."""
    return prepared(
        text(f"""
    WITH mine AS (
        SELECT d.id FROM deliveries d
          JOIN unnest(CAST(:deliveries AS uuid[]), CAST(:numbers AS bigint[])) AS asked (id, number)
            ON d.id = asked.id AND d.tries = asked.number CROSS JOIN {ASYNCHRONOUSLY}
         WHERE state || '' = 'sending' AND taken_at IS NULL
           FOR NO KEY UPDATE OF d {locked}
    ), aim AS (
        SELECT d.id AS delivery_id, body, e.url AS endpoint_url, paused_until, {SECRETS},
               CASE WHEN e.deleted_at IS NOT NULL THEN 'aborted'
                    WHEN NOT (e.enabled OR starts_with(d.lane, '{destinations.PING}')) THEN 'held'
                    WHEN paused_until IS NOT NULL THEN 'pending' END AS instead
          FROM mine
          JOIN deliveries d ON d.id = mine.id
          JOIN events ON events.id = d.event_id
          JOIN projects p ON p.id = d.project_id
          LEFT JOIN endpoints e ON e.id = d.endpoint_id
          LEFT JOIN lanes
            ON d.endpoint_id IS NULL AND NOT starts_with(d.lane, '{destinations.HAND}')
           AND paused_until > now()
           AND lanes.lane = concat('{destinations.URL}', d.project_id, ':', md5(d.url))
    )
    UPDATE deliveries d SET taken_at = now(), lease_until = now() + :lease,
           url = CASE WHEN instead IS NULL THEN coalesce(endpoint_url, url) ELSE url END
      FROM aim
     WHERE id = delivery_id AND state || '' = 'sending' AND taken_at IS NULL {only_if}
    RETURNING id, tries, project_id, job_id, event_id, endpoint_id, url, lane, tries_before, body,
              paused_until, {SECRETS}, instead,
              (SELECT traceparent FROM jobs WHERE jobs.id = d.job_id) AS traceparent,
              EXISTS (SELECT FROM (SELECT FROM deliveries w WHERE {DUE_IN.format(which="w", of="d")}
                                    ORDER BY {OLDEST.format(which="w")} LIMIT 1) next) AS more
""")  # noqa: S608 - constants of ours
    )


_TAKE = _take()
_TAKE_PLAIN = _take(only_if="AND instead IS NULL", locked="SKIP LOCKED")
