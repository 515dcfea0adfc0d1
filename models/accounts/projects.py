"""Projects: who has budgets, keys, limits and webhooks of their own."""

from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import insert, or_, select, update

from models import ids
from models.accounts.keyrings import OLD_FOR, Keyring
from models.audit_log import recording
from models.errors import NotFound
from models.platform.db import Transaction
from models.platform.vault import Vault
from models.schema import Project

_SECRET_CONTEXT = b"project:"
"""In place of the project of an operator's key: no project has this id, and nothing belongs to it."""


async def create(tx: Transaction, vault: Vault, name: str, webhook_secret: str) -> UUID:
    """Create a project, or return the one that already has this name."""
    project_id = ids.new()
    existing = await tx.scalar(select(Project.id).where(Project.name == name))
    if existing is not None:
        return existing
    secret = sealed(vault, project_id, webhook_secret)
    await tx.execute(insert(Project).values(id=project_id, name=name, webhook_secret=secret))
    named = ids.text(ids.PROJECT, project_id)
    await recording.record(
        tx, "project.created", named, project_id=project_id, after={"name": name}
    )
    return project_id


def sealed(vault: Vault, project_id: UUID, webhook_secret: str) -> bytes:
    """Seal the secret that signs a project's own webhooks."""
    return vault.seal(webhook_secret, _SECRET_CONTEXT + project_id.bytes)


async def find(tx: Transaction, name_or_id: str) -> UUID:
    """Find a project by its name or its `prj_…` id."""
    named = Project.name == name_or_id
    parsed = ids.parse(ids.PROJECT, name_or_id)
    where = named if parsed is None else or_(named, Project.id == parsed)
    found = await tx.scalar(select(Project.id).where(where))
    if found is None:
        raise NotFound(f"There is no project {name_or_id!r}; create it with create-project.")
    return found


async def webhook_secrets(tx: Transaction, vault: Vault, project_id: UUID) -> tuple[str, ...]:
    """Return the secrets that sign this project's own webhooks: the current one first."""
    found = await tx.get_one(Project, project_id)
    return webhook_keyring(found).opened(vault, datetime.now(UTC))


async def rotate_webhook_secret(
    tx: Transaction, vault: Vault, project_id: UUID, fresh: str
) -> datetime:
    """Sign with a fresh secret, and for 24 hours with the present one too; returns until when."""
    found = await tx.get_one(Project, project_id, with_for_update={"key_share": True})
    now = datetime.now(UTC)
    ring = webhook_keyring(found).rotated(vault, fresh, now)
    await tx.execute(
        update(Project)
        .where(Project.id == project_id)
        .values(webhook_secret=ring.secret, webhook_secret_old=ring.old, webhook_rotated_at=now)
    )
    named = ids.text(ids.PROJECT, project_id)
    await recording.record(tx, "project.secret_rotated", named, project_id=project_id)
    return now + OLD_FOR


def webhook_keyring(project: Project) -> Keyring:
    """Return what the project keeps of its webhook secrets."""
    return Keyring(
        _SECRET_CONTEXT + project.id.bytes,
        project.webhook_secret,
        project.webhook_secret_old,
        project.webhook_rotated_at,
    )
