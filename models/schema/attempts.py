"""Tables: attempts, and what is kept of answers that nobody could read."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.platform.db import Base
from models.schema.defaults import NOW
from models.states import Charge, one_of


class Attempt(Base):
    """One paid call. The row is committed before the socket opens."""

    __tablename__ = "attempts"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    number: Mapped[int]
    start_id: Mapped[UUID]
    worker: Mapped[str]
    client_request_id: Mapped[str] = mapped_column(unique=True)
    key_prefix: Mapped[str]
    sent_at: Mapped[datetime] = mapped_column(server_default=NOW)
    finished_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    hold: Mapped[int]
    charge: Mapped[str] = mapped_column(server_default="unknown")
    credits: Mapped[int | None]
    # What of `credits` was booked as refund or adjustment, after the charge was known: signed.
    adjusted: Mapped[int] = mapped_column(server_default="0")
    charged_at: Mapped[datetime | None]
    http_status: Mapped[int | None]
    inference_id: Mapped[str | None]
    provider_url: Mapped[str | None]
    error: Mapped[dict[str, object] | None]
    absent_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(one_of("charge", Charge), "charge"),
        CheckConstraint("(charge = 'settled') = (credits IS NOT NULL)", "settled_has_credits"),
        CheckConstraint("(finished_at IS NULL) = (outcome IS NULL)", "finished_has_outcome"),
        CheckConstraint("finished_at IS NOT NULL OR charge = 'unknown'", "under_way_is_unknown"),
        UniqueConstraint("job_id", "number"),
        Index("ix_attempts_unknown", "sent_at", postgresql_where=text("charge = 'unknown'")),
        Index("ix_attempts_by_time", "sent_at"),
        # Of the release before; goes with the next one, for to drop an index keeps readers out.
        Index("ix_attempts_sent_at", "sent_at", postgresql_using="brin"),
    )


class Evidence(Base):
    """What a paid call was answered with, when no image could be found in it: for the operator alone.

    `body` is its beginning; `length` is how many bytes there were in all.
    """

    __tablename__ = "evidence"
    attempt_id: Mapped[UUID] = mapped_column(
        ForeignKey("attempts.id", ondelete="CASCADE"), primary_key=True
    )
    at: Mapped[datetime] = mapped_column(server_default=NOW)
    content_type: Mapped[str | None]
    length: Mapped[int]
    body: Mapped[bytes]

    __table_args__ = (
        CheckConstraint("octet_length(body) <= 65536", "bound"),
        CheckConstraint("length >= octet_length(body)", "length"),
    )
