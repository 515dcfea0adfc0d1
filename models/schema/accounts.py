"""Tables: tenants and their keys."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from models.platform.db import Base
from models.schema.defaults import NOW
from models.states import SessionKind, one_of


class Project(Base):
    """One tenant. Owns keys, jobs and endpoints; its secret signs the webhooks of single jobs."""

    __tablename__ = "projects"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    idempotency_required: Mapped[bool] = mapped_column(server_default=text("false"))
    webhook_secret: Mapped[bytes]
    webhook_secret_old: Mapped[bytes | None]
    webhook_rotated_at: Mapped[datetime | None]
    # How many of its jobs may be in flight at once: all of them, and those of one `concurrency_key`.
    cap: Mapped[int | None]
    key_cap: Mapped[int] = mapped_column(server_default="1")
    # Whether a booking must look for budgets: a new one locks this row before it counts what is booked.
    budgeted: Mapped[bool] = mapped_column(server_default=text("false"))
    # The names that its clients have for models, beside those that everybody has (`provider.aliases`).
    aliases: Mapped[dict[str, object] | None]
    # Suspended by an operator: it accepts no job, and a pause holds what waits.
    suspended_at: Mapped[datetime | None]
    suspended_reason: Mapped[str | None]
    # Since when it is being deleted, and when nothing but its books was left.
    deleted_at: Mapped[datetime | None]
    emptied_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        CheckConstraint("cap >= 1", "cap"),
        CheckConstraint("key_cap >= 1", "key_cap"),
        CheckConstraint("emptied_at IS NULL OR deleted_at IS NOT NULL", "emptied_is_deleted"),
    )


class ApiKey(Base):
    """A secret of a project, or of an operator, with scopes. Only the hash of the secret is here."""

    __tablename__ = "api_keys"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    # NULL: an operator's, which opens the operator plane and nothing else.
    project_id: Mapped[UUID | None] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str]
    public_id: Mapped[str] = mapped_column(unique=True)
    secret_hash: Mapped[bytes]
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    # As of the last half minute or so: each api process writes down which keys it has seen.
    last_used_at: Mapped[datetime | None]
    # The first key of the rotations that led to this one, whose budgets are this one's too; NULL: itself.
    root_id: Mapped[UUID | None] = mapped_column(ForeignKey("api_keys.id"))

    __table_args__ = (
        CheckConstraint("(project_id IS NULL) = ('operator' = ANY (scopes))", "operators_has_none"),
        CheckConstraint("project_id IS NOT NULL OR cardinality(scopes) = 1", "operators_is_one"),
    )


class Session(Base):
    """A browser that acts as a key, or a link that signs one in once. Only its token's hash is here."""

    __tablename__ = "sessions"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    key_id: Mapped[UUID] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str]
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    expires_at: Mapped[datetime] = mapped_column(index=True)

    __table_args__ = (CheckConstraint(one_of("kind", SessionKind), "kind"),)


class Installation(Base):
    """The one row that identifies the key under which secrets are sealed, also before there are any."""

    __tablename__ = "installation"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, server_default="1")
    vault_key: Mapped[bytes]

    __table_args__ = (CheckConstraint("id = 1", "one"),)
