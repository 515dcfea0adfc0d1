"""Resealing: after DARKROOM_SECRET was replaced, everything sealed under the old one is sealed anew.

Each row is taken while it is resealed, so that a rotation under way comes before or after it, and is
never undone. What does not open is left as it is, and named.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar
from uuid import UUID

from sqlalchemy import select

from models import ids
from models.accounts import projects
from models.accounts.keyrings import Keyring
from models.audit_log import recording
from models.platform.db import Database, Transaction, premises
from models.platform.vault import Unopenable, Vault
from models.schema import Endpoint, Project
from models.webhooks import endpoint_secrets

_BATCH = 100  # rows of one transaction: a few milliseconds
_FIRST = UUID(int=0)
Row = TypeVar("Row", Project, Endpoint)


@dataclass(frozen=True, slots=True)
class Resealed:
    """How many rows were looked at and resealed, and which do not open: their ids, as people see them."""

    seen: int
    changed: int
    shut: tuple[str, ...]

    def __add__(self, other: "Resealed") -> "Resealed":
        return Resealed(
            self.seen + other.seen, self.changed + other.changed, self.shut + other.shut
        )


@dataclass(frozen=True, slots=True)
class _Sealed(Generic[Row]):
    """A table with secrets: how its ids are written, what it keeps of them, and in which columns."""

    table: type[Row]
    prefix: str
    keyring: Callable[[Row], Keyring]
    present: str
    old: str

    async def reseal(
        self, vault: Vault, tx: Transaction, after: UUID
    ) -> tuple[Resealed, UUID | None]:
        """Reseal the rows of one batch; returns the last one's id, or None when there are no others."""
        rows = await tx.scalars(
            select(self.table)
            .where(self.table.id > after)
            .order_by(self.table.id)
            .limit(_BATCH)
            .with_for_update(key_share=True)
        )
        done, last = Resealed(0, 0, ()), None
        for row in rows.all():
            kept, last = self.keyring(row), row.id
            fresh = _anew(vault, kept)
            done += _counted(kept, fresh, ids.text(self.prefix, row.id))
            if fresh is not None:
                setattr(row, self.present, fresh.secret)
                setattr(row, self.old, fresh.old)
        await tx.flush()
        return done, last


_PROJECTS = _Sealed(
    Project, ids.PROJECT, projects.webhook_keyring, "webhook_secret", "webhook_secret_old"
)
_ENDPOINTS = _Sealed(Endpoint, ids.ENDPOINT, endpoint_secrets.keyring, "secret", "secret_old")


async def reseal(database: Database, vault: Vault) -> Resealed:
    """Reseal every project's and endpoint's secrets under the present key; safe to repeat and to break off.

    When nothing is `shut`, DARKROOM_SECRET_OLD opens nothing any more, and no role starts with the old
    secret alone.
    """
    total = Resealed(0, 0, ())
    for batch in (_PROJECTS.reseal, _ENDPOINTS.reseal):
        after: UUID | None = _FIRST
        while after is not None:
            async with database.transaction() as tx:
                done, after = await batch(vault, tx, after)
            total += done
    if not total.shut:
        async with database.transaction() as tx:
            await premises.keep_key(tx, vault)
            facts = {"seen": total.seen, "changed": total.changed}
            await recording.record(tx, "secrets.resealed", "installation", after=facts)
    return total


def _anew(vault: Vault, kept: Keyring) -> Keyring | None:
    try:
        return kept.resealed(vault, datetime.now(UTC))
    except Unopenable:
        return None


def _counted(kept: Keyring, fresh: Keyring | None, name: str) -> Resealed:
    return Resealed(1, int(fresh not in {None, kept}), (name,) if fresh is None else ())
