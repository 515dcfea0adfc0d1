"""Tables: synchronous calls, and who is to answer them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from models.platform.db import Base
from models.schema.defaults import EMPTY_LIST, NOW


class Call(Base):
    """A synchronous call (`/v1/images/…`), which its client's own retry joins instead of paying again.

    It lives as long as the first of its jobs. `fingerprint` is a hash of project, key, route and body.
    """

    __tablename__ = "calls"
    job_id: Mapped[UUID] = mapped_column(
        ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
    )
    others: Mapped[list[UUID]] = mapped_column(server_default=EMPTY_LIST)  # jobs beside the first
    fingerprint: Mapped[bytes] = mapped_column(index=True)
    # Which request answers it: 1 is the one that made the jobs, and each that joins is one more.
    turn: Mapped[int] = mapped_column(server_default="1")
    retry_count: Mapped[int] = mapped_column(server_default="0")  # as that request counted
    seen_at: Mapped[datetime] = mapped_column(server_default=NOW)  # renewed while it waits
    answered_at: Mapped[datetime | None]  # all of an answer was sent
    lost_at: Mapped[datetime | None]  # it got 504, 429 or 5xx, or went away
    failed_at: Mapped[datetime | None]  # the first that was told that the jobs have failed

    __table_args__ = (
        CheckConstraint("answered_at IS NULL OR lost_at IS NULL", "answered_or_lost"),
    )
