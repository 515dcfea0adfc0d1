"""Tables: endpoints, events, and deliveries."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from models.platform.db import Base
from models.schema.defaults import NOW
from models.states import (
    DeliveryState,
    one_of,
)


class Endpoint(Base):
    """A URL that a project registered for events.

    `secret` is sealed text: `whsec_…`, and after a space the `whsk_…` of its ed25519 pair.
    `failing_since` is when the first try after the last success failed, and `failing_deliveries` how many
    deliveries have failed since. With `project_secret` the project's secret signs instead of its own.
    """

    __tablename__ = "endpoints"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"), index=True)
    url: Mapped[str]
    description: Mapped[str] = mapped_column(server_default="")
    events: Mapped[list[str]]
    secret: Mapped[bytes]
    secret_old: Mapped[bytes | None]
    rotated_at: Mapped[datetime | None]
    project_secret: Mapped[bool] = mapped_column(server_default=text("false"))
    rate_limit: Mapped[int | None]
    failing_since: Mapped[datetime | None]
    failing_deliveries: Mapped[int] = mapped_column(server_default="0")
    enabled: Mapped[bool] = mapped_column(server_default=text("true"))
    disabled_reason: Mapped[str | None]
    disabled_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    deleted_at: Mapped[datetime | None]

    __table_args__ = (CheckConstraint("rate_limit >= 1", "rate_limit"),)


class Event(Base):
    """Something that happened to a job; `body` is the bytes that every try of a delivery sends."""

    __tablename__ = "events"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    job_id: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    batch_id: Mapped[UUID | None]  # of an event about a batch or a group
    type: Mapped[str]
    sequence: Mapped[int]
    body: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        UniqueConstraint("job_id", "sequence"),
        Index("ix_events_batch_id", "batch_id", postgresql_where=text("batch_id IS NOT NULL")),
        Index(
            "uq_events_one_terminal",
            "job_id",
            unique=True,
            postgresql_where=text(
                "type IN ('job.succeeded', 'job.failed', 'job.canceled', 'job.expired')"
            ),
        ),
    )


class Delivery(Base):
    """One event on its way to one URL. Its destination is what shares a cap: an endpoint, or an origin."""

    __tablename__ = "deliveries"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id", ondelete="CASCADE"), index=True)
    endpoint_id: Mapped[UUID | None] = mapped_column(ForeignKey("endpoints.id"))
    job_id: Mapped[UUID | None] = mapped_column(index=True)
    url: Mapped[str]
    destination: Mapped[str] = mapped_column("lane")
    state: Mapped[str] = mapped_column(server_default="pending")
    tries: Mapped[int] = mapped_column(server_default="0")
    # The tries before the last replay: the schedule began anew after them.
    tries_before: Mapped[int] = mapped_column(server_default="0")
    next_at: Mapped[datetime | None] = mapped_column(server_default=NOW)
    lease_until: Mapped[datetime | None]
    taken_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(one_of("state", DeliveryState), "state"),
        CheckConstraint("(state = 'sending') = (lease_until IS NOT NULL)", "lease_has_owner"),
        CheckConstraint("(state = 'pending') = (next_at IS NOT NULL)", "pending_has_time"),
        Index("ix_deliveries_endpoint", "endpoint_id", "id"),
        Index("ix_deliveries_next_at", "next_at", postgresql_where=text("state = 'pending'")),
        # What waits of each project, destination by destination.
        Index(
            "ix_deliveries_waiting",
            "project_id",
            "lane",
            "next_at",
            postgresql_where=text("state = 'pending'"),
        ),
        Index("ix_deliveries_lease", "lease_until", postgresql_where=text("state = 'sending'")),
    )


class Throttle(Base):
    """What slows a destination down; while there is no row, nothing does.

    `paused_until` is what the receiver asked for; `slow` lets one try at a time pass until one succeeds.
    `free_at` is the theoretical arrival time of its next try at its rate (GCRA, ITU-T I.371).
    """

    __tablename__ = "lanes"
    destination: Mapped[str] = mapped_column("lane", primary_key=True)
    paused_until: Mapped[datetime | None]
    slow: Mapped[bool] = mapped_column(server_default=text("false"))
    free_at: Mapped[datetime | None]


class DeliveryTry(Base):
    """What one try of a delivery met. Never the response's body: the log is no port scanner."""

    __tablename__ = "delivery_tries"
    delivery_id: Mapped[UUID] = mapped_column(
        ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    http_status: Mapped[int | None]
    latency_ms: Mapped[int]
    result: Mapped[str]
