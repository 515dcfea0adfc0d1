"""Reading the audit log, the newest line first."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select

from models import ids
from models.platform.db import Transaction
from models.platform.jsonable import Json, time
from models.schema import AuditEntry

_OPERATORS = ("operator", "command")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines; what is None does not narrow. `before` is the last line's place of the page before."""

    project_id: UUID | None = None
    action: str | None = None
    subject: str | None = None
    key_id: UUID | None = None
    before: int | None = None


async def page(tx: Transaction, wanted: Wanted, limit: int) -> tuple[list[AuditEntry], bool]:
    """Return a page of lines, and whether there are more."""
    columns = {
        AuditEntry.project_id: wanted.project_id,
        AuditEntry.action: wanted.action,
        AuditEntry.subject: wanted.subject,
        AuditEntry.key_id: wanted.key_id,
    }
    rows = select(AuditEntry).where(
        AuditEntry.seq.is_not(None),
        *(column == value for column, value in columns.items() if value is not None),
    )
    if wanted.before is not None:
        rows = rows.where(AuditEntry.seq < wanted.before)
    found = list(await tx.scalars(rows.order_by(AuditEntry.seq.desc()).limit(limit + 1)))
    return found[:limit], len(found) > limit


def show(entry: AuditEntry, *, to_project: bool = False) -> Json:
    """Return a line as it is shown; a project is not told which operator acted, nor from where."""
    hidden = to_project and entry.acting in _OPERATORS
    return {
        "id": ids.text(ids.AUDIT, entry.id),
        "object": "audit_entry",
        "seq": entry.seq,
        "at": time(entry.at),
        "actor": {
            "type": "operator" if hidden else entry.acting,
            "key_id": _id(ids.KEY, None if hidden else entry.key_id),
            "name": None if hidden else entry.name,
            "address": None if hidden else entry.address,
            "request_id": None if hidden else entry.request_id,
        },
        "project_id": _id(ids.PROJECT, entry.project_id),
        "action": entry.action,
        "subject": entry.subject,
        "before": entry.before,
        "after": entry.after,
        "hash": None if entry.hash is None else entry.hash.hex(),
    }


def _id(prefix: str, value: UUID | None) -> str | None:
    return None if value is None else ids.text(prefix, value)
