"""Tables: the audit log, and the end of its chain."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from models.platform.db import Base
from models.schema.defaults import NOW
from models.states import Acting, one_of


class AuditEntry(Base):
    """One line of the append-only audit log: who changed what, from what, to what.

    `seq` and `hash` are set by a trigger when the transaction commits; another one refuses any other
    UPDATE, and each DELETE and TRUNCATE. No foreign key: what is logged outlives what it is about.
    """

    __tablename__ = "audit_log"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    seq: Mapped[int | None] = mapped_column(unique=True)
    hash: Mapped[bytes | None]
    at: Mapped[datetime] = mapped_column(server_default=NOW)
    # Who: an API key, by itself or through a browser's session; or the user of a command; or Darkroom.
    acting: Mapped[str]
    key_id: Mapped[UUID | None]
    name: Mapped[str | None]
    address: Mapped[str | None]
    request_id: Mapped[str | None]
    # What, of which project, on what.
    project_id: Mapped[UUID | None]
    action: Mapped[str]
    subject: Mapped[str]
    before: Mapped[dict[str, object] | None]
    after: Mapped[dict[str, object] | None]

    __table_args__ = (
        CheckConstraint(one_of("acting", Acting), "acting"),
        CheckConstraint("(seq IS NULL) = (hash IS NULL)", "sealed"),
        Index(
            "ix_audit_log_project_id",
            "project_id",
            "seq",
            postgresql_where=text("project_id IS NOT NULL"),
        ),
    )


class AuditHead(Base):
    """The one row with the place and the hash of the audit log's last line: a log cut short differs."""

    __tablename__ = "audit_head"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[int]
    hash: Mapped[bytes]

    __table_args__ = (CheckConstraint("id = 1", "one_row"),)
