"""What the audit log tells of an endpoint."""

from collections.abc import Mapping
from hashlib import sha256

from models import ids
from models.audit_log import recording
from models.platform.db import Transaction
from models.schema import Endpoint
from models.states import AuditAction


def facts(endpoint: Endpoint) -> dict[str, object]:
    """Return what is logged of an endpoint: of its URL the origin, and a hash that tells a change."""
    return {
        "origin": recording.origin(endpoint.url),
        "url_sha256": sha256(endpoint.url.encode()).hexdigest(),
        "events": endpoint.events,
        "description": endpoint.description,
        "rate_limit": endpoint.rate_limit,
        "enabled": endpoint.enabled,
    }


async def log(
    tx: Transaction,
    action: AuditAction,
    endpoint: Endpoint,
    *,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> None:
    """Write one line about an endpoint into the audit log."""
    subject, owner = ids.text(ids.ENDPOINT, endpoint.id), endpoint.project_id
    await recording.record(tx, action, subject, project_id=owner, before=before, after=after)
