"""Tables: workers, duties, and rows set aside."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from models.platform.db import Base
from models.schema.defaults import NOW


class Worker(Base):
    """What a worker says it can take; renewed with its heartbeat.

    `bundle` is how many jobs or deliveries one message to it may carry: one, until it says more.
    """

    __tablename__ = "workers"
    id: Mapped[str] = mapped_column(primary_key=True)
    generate_slots: Mapped[int]
    deliver_slots: Mapped[int]
    bundle: Mapped[int] = mapped_column(server_default="1")
    draining: Mapped[bool] = mapped_column(server_default=text("false"))
    seen_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Process(Base):
    """A process of any role: its version, since when it runs, and when it was last heard of."""

    __tablename__ = "processes"
    id: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str]
    version: Mapped[str]
    started_at: Mapped[datetime] = mapped_column(server_default=NOW)
    seen_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Duty(Base):
    """A duty of the dispatchers: who does it now, when it was last done, what it has spent."""

    __tablename__ = "duties"
    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    done_at: Mapped[datetime | None]
    window_start: Mapped[datetime | None]
    window_count: Mapped[int] = mapped_column(server_default="0")


class Aside(Base):
    """A row that a duty failed at: passed by until `again_at`, so that it holds up nobody else's.

    `subject` is the row's id, `reason` what went wrong the last time.
    """

    __tablename__ = "set_aside"
    duty: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[UUID] = mapped_column(primary_key=True)
    reason: Mapped[str]
    failures: Mapped[int] = mapped_column(server_default="1")
    since: Mapped[datetime] = mapped_column(server_default=NOW)
    again_at: Mapped[datetime]

    __table_args__ = (CheckConstraint("failures >= 1", "failures"),)
