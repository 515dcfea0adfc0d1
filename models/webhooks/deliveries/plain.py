"""A plain delivery's way through a worker, each step in one round trip: take, then record a success.

Each function does what the one of the same name in `trying` does, or nothing at all: it returns None when
its endpoint has moved or is gone, or when the success has more to say than that it was one.
"""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import text

from models.accounts import projects
from models.platform.direct import Direct, loaded, prepared
from models.platform.vault import Vault
from models.schema import Endpoint, Project
from models.webhooks import endpoints, lanes
from models.webhooks.deliveries.trying import ClaimedDelivery, TryResult


async def take_plain(
    direct: Direct, vault: Vault, delivery_id: UUID, number: int, lease: timedelta
) -> ClaimedDelivery | None:
    """Take a delivery for this try."""
    row = await direct.write(_TAKE, {"delivery": delivery_id, "number": number, "lease": lease})
    if row is None:
        return None
    now = datetime.now(UTC)
    if row["endpoint_id"] is None:
        project = Project(
            id=row["project_id"],
            webhook_secret=row["secret"],
            webhook_secret_old=row["secret_old"],
            webhook_rotated_at=row["rotated_at"],
        )
        secrets = projects.webhook_keyring(project).opened(vault, now)
    else:
        endpoint = loaded(Endpoint, row | {"id": row["endpoint_id"]})
        secrets = endpoints.secrets(vault, endpoint, now)
    return ClaimedDelivery(
        delivery_id=delivery_id,
        project_id=row["project_id"],
        job_id=row["job_id"],
        number=number,
        nth=number - row["tries_before"],
        event_id=row["event_id"],
        url=row["url"],
        endpoint=row["endpoint_id"] is not None,
        ping=lanes.is_ping(row["lane"]),
        body=row["body"],
        secrets=secrets,
    )


async def record_plain(
    direct: Direct, delivery_id: UUID, number: int, at: datetime, tried: TryResult
) -> bool:
    """Write that a try delivered, where neither its endpoint nor its lane had been in trouble."""
    if tried.state != "delivered":
        return False
    row = await direct.write(
        _RECORD,
        {
            "delivery": delivery_id,
            "number": number,
            "at": at,
            "http_status": tried.http_status,
            "latency": round(tried.latency.total_seconds() * 1000),
            "result": tried.result,
        },
    )
    if row is None:
        return False
    direct.ring("delivery", str(delivery_id))
    direct.ring("deliveries")  # a place in the lane is free
    return True


_TAKE = prepared(
    text("""
    WITH taken AS (
        UPDATE deliveries d SET taken_at = now(), lease_until = now() + :lease
         WHERE id = :delivery AND state = 'sending' AND tries = :number AND taken_at IS NULL
           AND (endpoint_id IS NOT NULL OR starts_with(d.lane, 'hand:') OR NOT EXISTS (
               SELECT FROM lanes WHERE lanes.lane = concat('url:', d.project_id, ':', md5(d.url))
                  AND paused_until > now()))
           AND (endpoint_id IS NULL OR EXISTS (
               SELECT FROM endpoints e WHERE e.id = d.endpoint_id AND deleted_at IS NULL
                  AND e.url = d.url AND NOT project_secret AND (enabled OR starts_with(d.lane, 'ping:'))))
        RETURNING project_id, job_id, event_id, endpoint_id, url, lane, tries_before
    )
    SELECT taken.*, body, coalesce(e.secret, p.webhook_secret) AS secret,
           CASE WHEN e.id IS NULL THEN p.webhook_secret_old ELSE e.secret_old END AS secret_old,
           CASE WHEN e.id IS NULL THEN p.webhook_rotated_at ELSE e.rotated_at END AS rotated_at
      FROM taken
      JOIN events ON events.id = taken.event_id
      JOIN projects p ON p.id = taken.project_id
      LEFT JOIN endpoints e ON e.id = taken.endpoint_id
""")
)

_RECORD = prepared(
    text("""
    WITH moved AS (
        UPDATE deliveries d SET state = 'delivered', lease_until = NULL, taken_at = NULL,
               next_at = NULL, finished_at = now()
         WHERE id = :delivery AND state = 'sending' AND tries = :number
           AND NOT starts_with(d.lane, 'hand:')
           AND NOT EXISTS (SELECT FROM lanes WHERE lanes.lane = d.lane AND slow)
           AND NOT EXISTS (SELECT FROM endpoints e
                            WHERE e.id = d.endpoint_id AND failing_since IS NOT NULL)
        RETURNING id
    ), tried AS (
        INSERT INTO delivery_tries (delivery_id, number, at, http_status, latency_ms, result)
        SELECT id, :number, :at, :http_status, :latency, :result FROM moved
            ON CONFLICT DO NOTHING
    )
    SELECT id FROM moved
""")
)
