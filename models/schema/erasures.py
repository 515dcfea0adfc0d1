"""Tables: erasures of people, and what is left to prove them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.platform.db import Base
from models.schema.defaults import EMPTY_MAP, NOW
from models.states import ErasurePhase, ErasureSubject, one_of


class Erasure(Base):
    """The erasure of a customer, or of some jobs wholly; afterwards its proof, which names nobody.

    `about` is what is to be erased, and is forgotten with it; `digest` recognizes it for who knows it.
    `line` and `hour` are the places that the passes through the ledger and the folded hours have come to.
    """

    __tablename__ = "erasures"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    key_id: Mapped[UUID] = mapped_column(ForeignKey("api_keys.id"))
    subject: Mapped[str]
    about: Mapped[dict[str, object] | None]
    digest: Mapped[str]
    phase: Mapped[str] = mapped_column(server_default="jobs")
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    next_at: Mapped[datetime] = mapped_column(server_default=NOW)  # when to go on at the soonest
    # When nothing was left in any row; bytes go some minutes later.
    rows_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    line: Mapped[int | None]
    hour: Mapped[datetime | None]
    counts: Mapped[dict[str, object]] = mapped_column(server_default=EMPTY_MAP)
    # The sum, modulo 2^256, of the SHA-256 of each erased job's id: it does not depend on their order.
    jobs_digest: Mapped[bytes]
    idempotency_hash: Mapped[bytes | None]
    fingerprint: Mapped[bytes | None]

    __table_args__ = (
        CheckConstraint(one_of("subject", ErasureSubject), "subject"),
        CheckConstraint(one_of("phase", ErasurePhase), "phase"),
        CheckConstraint("(phase = 'completed') = (finished_at IS NOT NULL)", "completed_has_end"),
        CheckConstraint(
            "(phase IN ('images', 'completed')) = (about IS NULL)", "forgotten_with_its_rows"
        ),
        UniqueConstraint("project_id", "idempotency_hash"),
        Index("ix_erasures_newest", "project_id", "id"),
        Index("ix_erasures_digest", "project_id", "digest"),
        Index(
            "ix_erasures_due",
            "project_id",
            "next_at",
            postgresql_where=text("finished_at IS NULL"),
        ),
    )
