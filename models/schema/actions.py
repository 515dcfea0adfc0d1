"""Tables: what is done to many jobs at once."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.platform.db import Base
from models.schema.defaults import EMPTY_MAP, NOW
from models.states import ActionKind, ActionStatus, one_of


class Action(Base):
    """One thing that is done to every job which a filter names, one job after the other.

    `cursor` is the last job that it has come to: what was done to that job was committed with it.
    `reasons` says by code why jobs were skipped or failed, with one of them as an example.
    """

    __tablename__ = "actions"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    key_id: Mapped[UUID | None] = mapped_column(ForeignKey("api_keys.id"))  # NULL: a command
    kind: Mapped[str]
    filter: Mapped[dict[str, object]]
    status: Mapped[str] = mapped_column(server_default="running")
    stopped_because: Mapped[dict[str, object] | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    finished_at: Mapped[datetime | None]
    cursor: Mapped[UUID | None]
    matched: Mapped[int | None]  # when it was asked for, then met; NULL: too many to count in time
    done: Mapped[int] = mapped_column(server_default="0")
    skipped: Mapped[int] = mapped_column(server_default="0")
    failed: Mapped[int] = mapped_column(server_default="0")
    reasons: Mapped[dict[str, object]] = mapped_column(server_default=EMPTY_MAP)
    # Hashes: what the caller wrote may name a person, who may ask to be erased.
    idempotency_hash: Mapped[bytes | None]
    fingerprint: Mapped[bytes | None]

    __table_args__ = (
        CheckConstraint(one_of("kind", ActionKind), "kind"),
        CheckConstraint(one_of("status", ActionStatus), "status"),
        CheckConstraint("(status = 'running') = (finished_at IS NULL)", "running_has_no_end"),
        CheckConstraint("(status = 'stopped') = (stopped_because IS NOT NULL)", "stop_has_reason"),
        UniqueConstraint("project_id", "idempotency_hash"),
        Index("ix_actions_newest", "project_id", "id"),
        Index("ix_actions_finished_at", "finished_at"),
        Index(
            "ix_actions_running", "project_id", "id", postgresql_where=text("status = 'running'")
        ),
    )
