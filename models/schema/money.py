"""Tables: the ledger, budgets, prices, and what was read of the account at the provider."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from models.platform.db import Base
from models.schema.defaults import EMPTY_LIST, NOW
from models.states import (
    BudgetMode,
    BudgetScope,
    LedgerKind,
    MovementKind,
    one_of,
)


class LedgerEntry(Base):
    """One line of the append-only ledger. `credits` is signed: a release is negative."""

    __tablename__ = "ledger"
    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=NOW)
    # When the provider made a charge that was found out later; `at` is when it was booked.
    made_at: Mapped[datetime | None]
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    key_id: Mapped[UUID] = mapped_column(ForeignKey("api_keys.id"))
    customer: Mapped[str | None]
    job_id: Mapped[UUID]
    attempt: Mapped[int]
    kind: Mapped[str]
    credits: Mapped[int]
    inference_id: Mapped[str | None]
    reference: Mapped[str] = mapped_column(server_default="")

    __table_args__ = (
        CheckConstraint(one_of("kind", LedgerKind), "kind"),
        UniqueConstraint("job_id", "attempt", "kind", "reference"),
        Index("ix_ledger_project_id", "project_id", "id"),
        Index("ix_ledger_by_time", "project_id", "at"),
        # For the release before, whose audit of the last minutes names no project; goes with the next one.
        Index("ix_ledger_at", "at", postgresql_using="brin"),
        Index("ix_ledger_made_at", "made_at", postgresql_where=text("made_at IS NOT NULL")),
    )


class AccountLine(Base):
    """One line of the account's own ledger at the provider, as it was read (`models/money/statement.py`).

    `credits` is what it took, negative when it gave back. Lines have no id there, so all that a line says
    is its name, and `nth` counts those that say the same. `booked` once our books agree with it. No foreign
    key: what was moved stays moved.
    """

    __tablename__ = "account_lines"
    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    at: Mapped[datetime]
    kind: Mapped[str]
    credits: Mapped[int]
    reference: Mapped[str | None]
    nth: Mapped[int]
    attempt_id: Mapped[UUID | None]
    booked: Mapped[bool] = mapped_column(server_default=text("false"))
    seen_at: Mapped[datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        CheckConstraint(one_of("kind", MovementKind), "kind"),
        UniqueConstraint(
            "reference", "at", "kind", "credits", "nth", postgresql_nulls_not_distinct=True
        ),
        Index(
            "ix_account_lines_attempt_id",
            "attempt_id",
            postgresql_where=text("attempt_id IS NOT NULL"),
        ),
        Index(
            "ix_account_lines_unbooked",
            "id",
            postgresql_where=text("attempt_id IS NOT NULL AND NOT booked"),
        ),
        Index("ix_account_lines_nobodys", "at", postgresql_where=text("attempt_id IS NULL")),
    )


class _Used:
    """What was used in one hour that is over; `hour` is its beginning, in UTC.

    `model` is NULL for charges of jobs that had been removed when the hour was folded.
    """

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    hour: Mapped[datetime]
    key_id: Mapped[UUID] = mapped_column(ForeignKey("api_keys.id"))
    model: Mapped[str | None]
    submitted: Mapped[int] = mapped_column(server_default="0")
    succeeded: Mapped[int] = mapped_column(server_default="0")
    failed: Mapped[int] = mapped_column(server_default="0")
    canceled: Mapped[int] = mapped_column(server_default="0")
    expired: Mapped[int] = mapped_column(server_default="0")
    attempts: Mapped[int] = mapped_column(server_default="0")
    charged: Mapped[int] = mapped_column(server_default="0")
    saved: Mapped[int] = mapped_column(server_default="0")


class UsageHour(_Used, Base):
    """What a key used of a model for a customer in one hour that is over."""

    __tablename__ = "usage_hours"
    customer: Mapped[str | None]

    __table_args__ = (
        CheckConstraint("mod(extract(epoch FROM hour), 3600) = 0", "hour"),
        UniqueConstraint(
            "project_id",
            "hour",
            "key_id",
            "model",
            "customer",
            postgresql_nulls_not_distinct=True,
        ),
    )


class UsageTotal(_Used, Base):
    """What a key used of a model in one hour for all customers: a trigger on `usage_hours` keeps it."""

    __tablename__ = "usage_totals"
    __table_args__ = (
        UniqueConstraint(
            "project_id",
            "hour",
            "key_id",
            "model",
            postgresql_nulls_not_distinct=True,
        ),
    )


class Budget(Base):
    """A limit on spent and held credits of a project, one of its keys, or one of its customers."""

    __tablename__ = "budgets"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    scope: Mapped[str]
    key_id: Mapped[UUID | None] = mapped_column(ForeignKey("api_keys.id"))
    customer: Mapped[str | None]
    window: Mapped[str]
    timezone: Mapped[str]
    limit: Mapped[int]
    mode: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        CheckConstraint(one_of("scope", BudgetScope), "scope"),
        CheckConstraint("\"window\" IN ('day', 'month', 'total')", "window"),
        CheckConstraint(one_of("mode", BudgetMode), "mode"),
        CheckConstraint("(scope = 'key') = (key_id IS NOT NULL)", "key_scope_has_key"),
        CheckConstraint("(scope = 'customer') = (customer IS NOT NULL)", "customer_scope_has_one"),
        CheckConstraint('"limit" >= 0', "limit"),
        UniqueConstraint(
            "project_id",
            "scope",
            "key_id",
            "customer",
            "window",
            postgresql_nulls_not_distinct=True,
        ),
    )


class BudgetWindow(Base):
    """What is held and spent in one window of a budget. `told` is the last threshold announced."""

    __tablename__ = "budget_windows"
    budget_id: Mapped[UUID] = mapped_column(
        ForeignKey("budgets.id", ondelete="CASCADE"), primary_key=True
    )
    starts_at: Mapped[datetime] = mapped_column(primary_key=True)
    held: Mapped[int] = mapped_column(server_default="0")
    spent: Mapped[int] = mapped_column(server_default="0")
    told: Mapped[int] = mapped_column(server_default="0")


class Price(Base):
    """What one image of a model costs at present: as quoted by the provider, and as charges have taught.

    `variants` are prices by input, of which `quoted` is the dearest; `allowance` is what the operator holds
    for a model that has no price. `witnesses` are the jobs that were charged `candidate`, which is on its
    way to become `taught`.
    `credits` is the price that follows, kept for the release before, which reads nothing else.
    """

    __tablename__ = "prices"
    model: Mapped[str] = mapped_column(primary_key=True)
    credits: Mapped[int]
    quoted: Mapped[int | None]
    variants: Mapped[list[dict[str, object]] | None]
    allowance: Mapped[int | None]
    taught: Mapped[int | None]
    candidate: Mapped[int | None]
    witnesses: Mapped[list[UUID]] = mapped_column(server_default=EMPTY_LIST)
    updated_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Wallet(Base):
    """Our own balance at the provider, as it was last read; one row."""

    __tablename__ = "wallet"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    credits: Mapped[int]
    state: Mapped[str]
    checked_at: Mapped[datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        CheckConstraint("id = 1", "one_row"),
        CheckConstraint("state IN ('ok', 'low', 'empty')", "state"),
    )
