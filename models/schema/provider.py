"""Tables: what stops and bounds calls: gates, breakers, pauses, the limit."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Identity,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from models.platform.db import Base
from models.schema.defaults import EMPTY_LIST, NOW


class Gate(Base):
    """A closed gate: while a row is here no call is dispatched, of one project or of anybody. Moves no job.

    Half-open it lets one job through at a time, the probe; `models/provider/gates.py` has the rules.
    `probed` are the jobs that were; `refused_by` is the project of a probe that was refused since it was
    opened by half.
    """

    __tablename__ = "gates"
    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    reason: Mapped[str]
    project_id: Mapped[UUID | None] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    detail: Mapped[str] = mapped_column(server_default="")
    closed_at: Mapped[datetime] = mapped_column(server_default=NOW)
    # When a probe was last refused; the longer the gate has been closed by then, the later the next.
    checked_at: Mapped[datetime] = mapped_column(server_default=NOW)
    half_open_at: Mapped[datetime | None]
    probe_id: Mapped[UUID | None]
    probed: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid), server_default=EMPTY_LIST)
    refused_by: Mapped[UUID | None]

    __table_args__ = (
        CheckConstraint("probe_id IS NULL OR half_open_at IS NOT NULL", "probe_is_half_open"),
        UniqueConstraint("reason", "project_id", postgresql_nulls_not_distinct=True),
    )


class Pause(Base):
    """What an operator has paused: everything, the calls of one model, or the jobs of one project."""

    __tablename__ = "pauses"
    scope: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True, server_default="")
    paused_at: Mapped[datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        CheckConstraint("scope IN ('all', 'model', 'project')", "scope"),
        CheckConstraint("(scope = 'all') = (name = '')", "all_has_no_name"),
    )


class Limit(Base):
    """How many paid calls may be in flight, as far as it was found out; one row."""

    __tablename__ = "limits"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    calls: Mapped[int]
    slow_start: Mapped[bool] = mapped_column(server_default=text("true"))
    # When it last changed or was probed, when it was last fully used, and when a 429 last came.
    changed_at: Mapped[datetime] = mapped_column(server_default=NOW)
    used_at: Mapped[datetime | None]
    refused_at: Mapped[datetime | None]

    __table_args__ = (CheckConstraint("id = 1", "one_row"), CheckConstraint("calls >= 1", "calls"))


class LimitSample(Base):
    """How the limit stood at a minute, and how many calls were in flight: the limit over time."""

    __tablename__ = "limit_samples"
    at: Mapped[datetime] = mapped_column(primary_key=True)
    calls: Mapped[int]
    in_flight: Mapped[int]


class Breaker(Base):
    """How many answers in a row went wrong for one cause, since when, and when the last one did."""

    __tablename__ = "breakers"
    cause: Mapped[str] = mapped_column(primary_key=True)
    failures: Mapped[int]
    since: Mapped[datetime] = mapped_column(server_default=NOW)
    last_at: Mapped[datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        CheckConstraint("cause IN ('errors', 'lost')", "cause"),
        CheckConstraint("failures >= 1", "failures"),
    )


class ProjectBreaker(Base):
    """The same of one project's calls: in its own row, and of these those in the row of all (`share`)."""

    __tablename__ = "project_breakers"
    project_id: Mapped[UUID] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    )
    cause: Mapped[str] = mapped_column(primary_key=True)
    failures: Mapped[int]
    share: Mapped[int]
    last_at: Mapped[datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        CheckConstraint("cause IN ('errors', 'lost')", "cause"),
        CheckConstraint("failures >= share AND share >= 1", "failures"),
    )
