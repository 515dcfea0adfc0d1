"""Writing the audit log: one call beside the change, in its transaction."""

from collections.abc import Mapping
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import text

from models import ids
from models.audit_log import actors
from models.platform.db.statements import Writer, prepared
from models.platform.logs import without_secrets
from models.states import AuditAction

Facts = Mapping[str, object]  # of JSON


async def record(
    tx: Writer,
    action: AuditAction,
    subject: str,
    *,
    project_id: UUID | None = None,
    before: Facts | None = None,
    after: Facts | None = None,
) -> None:
    """Log a change: what was done to which thing, by its id as people see it, from what to what.

    Of a change (both are given) only what differs is logged, and nothing where nothing does. The line is
    there if and only if the transaction commits.
    """
    if before is not None and after is not None:
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        if not names:
            return
        before, after = _some(before, names), _some(after, names)
    actor = actors.present()
    line = {
        "id": ids.new(),
        "acting": actor.acting,
        "key_id": actor.key_id,
        "name": actor.name,
        "address": actor.address,
        "request_id": actor.request_id,
        "project_id": project_id,
        "action": action,
        "subject": subject,
        "before": _clean(before),
        "after": _clean(after),
    }
    await tx.run(_RECORD, line)


_RECORD = prepared(
    text("""
    INSERT INTO audit_log (id, acting, key_id, name, address, request_id, project_id, action, subject,
                           before, after)
    VALUES (:id, :acting, :key_id, :name, :address, :request_id, :project_id, :action, :subject,
            :before, :after)
""")
)


def origin(url: str) -> str:
    """Return of a URL what may be logged: paths, queries and user names of webhooks are often secrets."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _some(facts: Facts, names: list[str]) -> Facts:
    return {name: facts[name] for name in names if name in facts}


def _clean(facts: Facts | None) -> dict[str, object] | None:
    """Return facts as they may be kept: what looks like a secret of ours is none of them."""
    if facts is None:
        return None
    return {
        name: without_secrets(fact) if isinstance(fact, str) else fact
        for name, fact in facts.items()
    }
