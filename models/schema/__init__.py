"""Every table on one page. What must hold, the schema holds; the rules live with their nouns.

Ids are UUIDv7, so that a primary key sorts by creation. Credits are integers ($1 = 2,000,000). Partial
indexes cover what is waiting, so that cost follows the backlog and not the history.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from models.platform.db import Base
from models.states import (
    BudgetMode,
    BudgetScope,
    CancelOutcome,
    Charge,
    DeliveryState,
    LedgerKind,
    MovementKind,
    OnUnknown,
    Phase,
    Priority,
    Status,
    WaitingReason,
    one_of,
)

_now = func.now()
_empty_list, _empty_map = text("'{}'"), text("'{}'::jsonb")


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
    created_at: Mapped[datetime] = mapped_column(server_default=_now)

    __table_args__ = (
        CheckConstraint("cap >= 1", "cap"),
        CheckConstraint("key_cap >= 1", "key_cap"),
    )


class ApiKey(Base):
    """A secret of a project, with scopes. Only the hash of the secret is here."""

    __tablename__ = "api_keys"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str]
    public_id: Mapped[str] = mapped_column(unique=True)
    secret_hash: Mapped[bytes]
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(server_default=_now)
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    # The first key of the rotations that led to this one, whose budgets are this one's too; NULL: itself.
    root_id: Mapped[UUID | None] = mapped_column(ForeignKey("api_keys.id"))


class Job(Base):
    """One image to be generated, from acceptance to a terminal state."""

    __tablename__ = "jobs"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    key_id: Mapped[UUID] = mapped_column(ForeignKey("api_keys.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=_now)

    # Where it stands. `version` grows with every visible change: it is the ETag and the sequence.
    status: Mapped[str] = mapped_column(server_default="queued")
    phase: Mapped[str] = mapped_column(server_default="call")
    version: Mapped[int] = mapped_column(server_default="1")
    fence: Mapped[int] = mapped_column(server_default="0")
    attempt: Mapped[int] = mapped_column(server_default="0")
    counted: Mapped[int] = mapped_column(server_default="0")
    lease_until: Mapped[datetime | None]
    worker: Mapped[str | None]
    waiting_reason: Mapped[str | None]
    # NULL while a job waits for something other than time (`waiting_reason` says what).
    run_after: Mapped[datetime | None] = mapped_column(server_default=_now)
    rank: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    keep_until: Mapped[datetime | None]  # while the URL of an image that is paid and not kept lives
    erased_at: Mapped[datetime | None]

    # What was asked for.
    model: Mapped[str]
    input: Mapped[dict[str, object]]
    input_hash: Mapped[bytes]
    large: Mapped[bool] = mapped_column(server_default=text("false"))
    priority: Mapped[str]
    tags: Mapped[list[str]] = mapped_column(server_default=_empty_list)
    # `meta`, for SQLAlchemy keeps the name `metadata` for itself.
    meta: Mapped[dict[str, str]] = mapped_column("metadata", server_default=_empty_map)
    customer: Mapped[str | None]
    concurrency_key: Mapped[str | None]
    webhook_url: Mapped[str | None]
    webhook_events: Mapped[list[str] | None]
    queue_expires_at: Mapped[datetime]
    deadline: Mapped[datetime | None]
    max_attempts: Mapped[int]
    max_cost: Mapped[int]
    on_unknown_charge: Mapped[str]
    idempotency_route: Mapped[str | None]
    idempotency_key: Mapped[str | None]
    fingerprint: Mapped[bytes | None]
    retried_from: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    # A follower waits for its leader, which has the same input; both asked for `exact` reuse.
    reuse: Mapped[str] = mapped_column(server_default="never")
    leader_id: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    # A leader that has ended, while the end of its followers is still to be seen to.
    followed: Mapped[bool] = mapped_column(server_default=text("false"))
    reused_from: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))

    # What it costs, and how it ended.
    estimate: Mapped[int]
    held: Mapped[int] = mapped_column(server_default="0")
    charged: Mapped[int] = mapped_column(server_default="0")
    cancel_requested_at: Mapped[datetime | None]
    cancel_outcome: Mapped[str | None]
    error: Mapped[dict[str, object] | None]

    __table_args__ = (
        CheckConstraint(one_of("status", Status), "status"),
        CheckConstraint(one_of("phase", Phase), "phase"),
        CheckConstraint(one_of("priority", Priority), "priority"),
        CheckConstraint(one_of("on_unknown_charge", OnUnknown), "on_unknown_charge"),
        CheckConstraint(
            "(status IN ('succeeded', 'failed', 'canceled', 'expired')) = (finished_at IS NOT NULL)",
            "terminal_has_end",
        ),
        CheckConstraint(
            "(status IN ('released', 'running')) = (lease_until IS NOT NULL)", "lease_has_owner"
        ),
        CheckConstraint("(status = 'failed') = (error IS NOT NULL)", "failed_has_error"),
        CheckConstraint(
            "num_nonnulls(idempotency_route, idempotency_key, fingerprint) IN (0, 3)",
            "idempotency",
        ),
        CheckConstraint(one_of("waiting_reason", WaitingReason), "waiting_reason"),
        CheckConstraint(
            "status <> 'queued' OR run_after IS NOT NULL OR waiting_reason IS NOT NULL",
            "waits_for_something",
        ),
        CheckConstraint(one_of("cancel_outcome", CancelOutcome), "cancel_outcome"),
        CheckConstraint(
            "(cancel_requested_at IS NULL) = (cancel_outcome IS NULL)", "cancel_has_outcome"
        ),
        CheckConstraint("cancel_outcome <> 'pending' OR finished_at IS NULL", "cancel_is_answered"),
        CheckConstraint("held >= 0", "held"),
        CheckConstraint("reuse IN ('never', 'exact')", "reuse"),
        CheckConstraint("leader_id IS NULL OR reuse = 'exact'", "followers_reuse"),
        CheckConstraint("erased_at IS NULL OR finished_at IS NOT NULL", "erased_is_finished"),
        CheckConstraint("NOT followed OR finished_at IS NOT NULL", "followed_is_finished"),
        UniqueConstraint("project_id", "idempotency_route", "idempotency_key"),
        Index("ix_jobs_newest", "project_id", "id"),
        Index(
            "ix_jobs_finished_at",
            "project_id",
            "finished_at",
            postgresql_where=text("finished_at IS NOT NULL"),
        ),
        Index(
            "uq_jobs_one_leader",
            "project_id",
            "input_hash",
            unique=True,
            postgresql_where=text("reuse = 'exact' AND leader_id IS NULL AND finished_at IS NULL"),
        ),
        Index(
            "ix_jobs_reusable",
            "project_id",
            "input_hash",
            "id",
            postgresql_where=text("status = 'succeeded'"),
        ),
        Index("ix_jobs_leader_id", "leader_id", postgresql_where=text("leader_id IS NOT NULL")),
        Index(
            "ix_jobs_following",
            "leader_id",
            "id",
            postgresql_where=text("leader_id IS NOT NULL AND finished_at IS NULL"),
        ),
        Index("ix_jobs_followed", "project_id", "id", postgresql_where=text("followed")),
        # Whoever deletes a job looks for those that name it: without these, through the whole table.
        Index(
            "ix_jobs_retried_from",
            "retried_from",
            postgresql_where=text("retried_from IS NOT NULL"),
        ),
        Index(
            "ix_jobs_reused_from", "reused_from", postgresql_where=text("reused_from IS NOT NULL")
        ),
        # What may be called for: the first of each project and model is one look away.
        Index(
            "ix_jobs_ready",
            "project_id",
            "model",
            "rank",
            "id",
            postgresql_where=text("status = 'queued' AND run_after IS NOT NULL AND phase = 'call'"),
        ),
        Index(
            "ix_jobs_paid",
            "run_after",
            "id",
            postgresql_where=text("status = 'queued' AND phase = 'keep'"),
        ),
        Index(
            "ix_jobs_key_waiting",
            "project_id",
            "concurrency_key",
            "rank",
            "id",
            postgresql_where=text("status = 'queued' AND waiting_reason = 'concurrency_key'"),
        ),
        Index(
            "ix_jobs_unfunded",
            "project_id",
            "rank",
            "id",
            postgresql_where=text("status = 'queued' AND waiting_reason = 'budget'"),
        ),
        Index("ix_jobs_backlog", "project_id", postgresql_where=text("status = 'queued'")),
        Index(
            "ix_jobs_queue_expires_at",
            "queue_expires_at",
            postgresql_where=text("status IN ('queued', 'released')"),
        ),
        Index(
            "ix_jobs_lease_until",
            "lease_until",
            postgresql_where=text("status IN ('released', 'running')"),
        ),
    )


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
    sent_at: Mapped[datetime] = mapped_column(server_default=_now)
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
        # Rows arrive in this order, so a few pages tell what was sent in the last minutes.
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
    at: Mapped[datetime] = mapped_column(server_default=_now)
    content_type: Mapped[str | None]
    length: Mapped[int]
    body: Mapped[bytes]

    __table_args__ = (
        CheckConstraint("octet_length(body) <= 65536", "bound"),
        CheckConstraint("length >= octet_length(body)", "length"),
    )


class Image(Base):
    """A kept image. `spare` is the image of an attempt that another one had overtaken."""

    __tablename__ = "images"
    job_id: Mapped[UUID] = mapped_column(
        ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
    )
    attempt: Mapped[int] = mapped_column(primary_key=True)
    spare: Mapped[bool]
    sha256: Mapped[str]
    bytes: Mapped[int]
    width: Mapped[int]
    height: Mapped[int]
    content_type: Mapped[str]
    provider_url: Mapped[str | None]
    thumbnail: Mapped[str] = mapped_column(server_default="pending")
    kept_at: Mapped[datetime] = mapped_column(server_default=_now)
    expires_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("thumbnail IN ('pending', 'made', 'impossible')", "thumbnail"),
        Index("uq_images_one_result", "job_id", unique=True, postgresql_where=text("NOT spare")),
        Index("ix_images_thumbnail", "kept_at", postgresql_where=text("thumbnail = 'pending'")),
        Index("ix_images_expires_at", "expires_at", postgresql_where=text("removed_at IS NULL")),
        Index("ix_images_sha256", "sha256"),
    )


class InputImage(Base):
    """A reference that came inside a job's input: its bytes lie in the store, like a kept image's."""

    __tablename__ = "input_images"
    job_id: Mapped[UUID] = mapped_column(
        ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
    )
    sha256: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[UUID]

    __table_args__ = (Index("ix_input_images_sha256", "sha256"),)


class Remnant(Base):
    """A blob that no job may refer to any more, or not yet; `models/images/remnants.py` has the rules.

    `doomed_until` while its bytes are being deleted, `gone_at` when they were.
    """

    __tablename__ = "remnants"
    project_id: Mapped[UUID] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime] = mapped_column(server_default=_now)
    doomed_until: Mapped[datetime | None]
    gone_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_remnants_since", "since", postgresql_where=text("gone_at IS NULL")),
        Index("ix_remnants_gone_at", "gone_at", postgresql_where=text("gone_at IS NOT NULL")),
    )


class LedgerEntry(Base):
    """One line of the append-only ledger. `credits` is signed: a release is negative."""

    __tablename__ = "ledger"
    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=_now)
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
        # Entries arrive in this order.
        Index("ix_ledger_at", "at", postgresql_using="brin"),
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
    seen_at: Mapped[datetime] = mapped_column(server_default=_now)

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


class UsageHour(Base):
    """What a key used of a model for a customer in one hour that is over; `hour` is its beginning, in UTC.

    `model` is NULL for charges of jobs that had been removed when the hour was folded.
    """

    __tablename__ = "usage_hours"
    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    hour: Mapped[datetime]
    key_id: Mapped[UUID] = mapped_column(ForeignKey("api_keys.id"))
    model: Mapped[str | None]
    customer: Mapped[str | None]
    submitted: Mapped[int] = mapped_column(server_default="0")
    succeeded: Mapped[int] = mapped_column(server_default="0")
    failed: Mapped[int] = mapped_column(server_default="0")
    canceled: Mapped[int] = mapped_column(server_default="0")
    expired: Mapped[int] = mapped_column(server_default="0")
    attempts: Mapped[int] = mapped_column(server_default="0")
    charged: Mapped[int] = mapped_column(server_default="0")
    saved: Mapped[int] = mapped_column(server_default="0")

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
    created_at: Mapped[datetime] = mapped_column(server_default=_now)

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

    `witnesses` are the jobs that were charged `candidate`, which is on its way to become `taught`.
    `credits` is the price that follows, kept for the release before, which reads nothing else.
    """

    __tablename__ = "prices"
    model: Mapped[str] = mapped_column(primary_key=True)
    credits: Mapped[int]
    quoted: Mapped[int | None]
    taught: Mapped[int | None]
    candidate: Mapped[int | None]
    witnesses: Mapped[list[UUID]] = mapped_column(server_default=_empty_list)
    updated_at: Mapped[datetime] = mapped_column(server_default=_now)


class Wallet(Base):
    """Our own balance at the provider, as it was last read; one row."""

    __tablename__ = "wallet"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    credits: Mapped[int]
    state: Mapped[str]
    checked_at: Mapped[datetime] = mapped_column(server_default=_now)

    __table_args__ = (
        CheckConstraint("id = 1", "one_row"),
        CheckConstraint("state IN ('ok', 'low', 'empty')", "state"),
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
    created_at: Mapped[datetime] = mapped_column(server_default=_now)
    deleted_at: Mapped[datetime | None]

    __table_args__ = (CheckConstraint("rate_limit >= 1", "rate_limit"),)


class Event(Base):
    """Something that happened to a job; `body` is the bytes that every try of a delivery sends."""

    __tablename__ = "events"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    job_id: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    type: Mapped[str]
    sequence: Mapped[int]
    body: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(server_default=_now)

    __table_args__ = (
        UniqueConstraint("job_id", "sequence"),
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
    """One event on its way to one URL. `lane` groups what shares a cap: an endpoint or an origin."""

    __tablename__ = "deliveries"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    event_id: Mapped[UUID] = mapped_column(ForeignKey("events.id", ondelete="CASCADE"), index=True)
    endpoint_id: Mapped[UUID | None] = mapped_column(ForeignKey("endpoints.id"))
    job_id: Mapped[UUID | None] = mapped_column(index=True)
    url: Mapped[str]
    lane: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="pending")
    tries: Mapped[int] = mapped_column(server_default="0")
    # The tries before the last replay: the schedule began anew after them.
    tries_before: Mapped[int] = mapped_column(server_default="0")
    next_at: Mapped[datetime | None] = mapped_column(server_default=_now)
    lease_until: Mapped[datetime | None]
    taken_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=_now)
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(one_of("state", DeliveryState), "state"),
        CheckConstraint("(state = 'sending') = (lease_until IS NOT NULL)", "lease_has_owner"),
        CheckConstraint("(state = 'pending') = (next_at IS NOT NULL)", "pending_has_time"),
        Index("ix_deliveries_endpoint", "endpoint_id", "id"),
        Index("ix_deliveries_due", "lane", "next_at", postgresql_where=text("state = 'pending'")),
        # What waits of each project, lane by lane.
        Index(
            "ix_deliveries_waiting",
            "project_id",
            "lane",
            "next_at",
            postgresql_where=text("state = 'pending'"),
        ),
        Index("ix_deliveries_lease", "lease_until", postgresql_where=text("state = 'sending'")),
    )


class Lane(Base):
    """What slows a lane down: an endpoint, or a project's job URLs of one origin. No row: nothing does.

    `paused_until` is what the receiver asked for; `slow` lets one try at a time pass until one succeeds.
    `free_at` is the theoretical arrival time of its next try at its rate (GCRA, ITU-T I.371).
    """

    __tablename__ = "lanes"
    lane: Mapped[str] = mapped_column(primary_key=True)
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


class Worker(Base):
    """What a worker says it can take; renewed with its heartbeat."""

    __tablename__ = "workers"
    id: Mapped[str] = mapped_column(primary_key=True)
    generate_slots: Mapped[int]
    deliver_slots: Mapped[int]
    draining: Mapped[bool] = mapped_column(server_default=text("false"))
    seen_at: Mapped[datetime] = mapped_column(server_default=_now)


class Gate(Base):
    """A closed gate: while a row is here no call is released, of one project or of anybody. Moves no job.

    Half-open it lets one job through at a time, the probe; `models/provider/gates.py` has the rules.
    `probed` are the jobs that were; `refused_by` is the project of a probe that was refused since it was opened by half.
    """

    __tablename__ = "gates"
    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    reason: Mapped[str]
    project_id: Mapped[UUID | None] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    detail: Mapped[str] = mapped_column(server_default="")
    closed_at: Mapped[datetime] = mapped_column(server_default=_now)
    # When a probe was last refused; the longer the gate has been closed by then, the later the next.
    checked_at: Mapped[datetime] = mapped_column(server_default=_now)
    half_open_at: Mapped[datetime | None]
    probe_id: Mapped[UUID | None]
    probed: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid), server_default=_empty_list)
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
    paused_at: Mapped[datetime] = mapped_column(server_default=_now)

    __table_args__ = (
        CheckConstraint("scope IN ('all', 'model', 'project')", "scope"),
        CheckConstraint("(scope = 'all') = (name = '')", "all_has_no_name"),
    )


class Turn(Base):
    """How often a project has had its turn: whoever had fewest among those that wait is next."""

    __tablename__ = "turns"
    project_id: Mapped[UUID] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    )
    turn: Mapped[int]


class Limit(Base):
    """How many paid calls may be in flight, as far as it was found out; one row."""

    __tablename__ = "limits"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    calls: Mapped[int]
    slow_start: Mapped[bool] = mapped_column(server_default=text("true"))
    # When it last changed or was probed, when it was last fully used, and when a 429 last came.
    changed_at: Mapped[datetime] = mapped_column(server_default=_now)
    used_at: Mapped[datetime | None]
    refused_at: Mapped[datetime | None]

    __table_args__ = (CheckConstraint("id = 1", "one_row"), CheckConstraint("calls >= 1", "calls"))


class Breaker(Base):
    """How many answers in a row went wrong for one cause, since when, and when the last one did."""

    __tablename__ = "breakers"
    cause: Mapped[str] = mapped_column(primary_key=True)
    failures: Mapped[int]
    since: Mapped[datetime] = mapped_column(server_default=_now)
    last_at: Mapped[datetime] = mapped_column(server_default=_now)

    __table_args__ = (
        CheckConstraint("cause IN ('errors', 'lost')", "cause"),
        CheckConstraint("failures >= 1", "failures"),
    )


class Aside(Base):
    """A row that a duty failed at: passed by until `again_at`, so that it holds up nobody else's.

    `subject` is the row's id, `reason` what went wrong the last time.
    """

    __tablename__ = "set_aside"
    duty: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[UUID] = mapped_column(primary_key=True)
    reason: Mapped[str]
    failures: Mapped[int] = mapped_column(server_default="1")
    since: Mapped[datetime] = mapped_column(server_default=_now)
    again_at: Mapped[datetime]

    __table_args__ = (CheckConstraint("failures >= 1", "failures"),)


class ProjectBreaker(Base):
    """The same of one project's calls: in its own row, and of these those in the row of all (`share`)."""

    __tablename__ = "project_breakers"
    project_id: Mapped[UUID] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    )
    cause: Mapped[str] = mapped_column(primary_key=True)
    failures: Mapped[int]
    share: Mapped[int]
    last_at: Mapped[datetime] = mapped_column(server_default=_now)

    __table_args__ = (
        CheckConstraint("cause IN ('errors', 'lost')", "cause"),
        CheckConstraint("failures >= share AND share >= 1", "failures"),
    )


class Duty(Base):
    """A duty of the dispatchers: who does it now, when it was last done, what it has spent."""

    __tablename__ = "duties"
    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    done_at: Mapped[datetime | None]
    window_start: Mapped[datetime | None]
    window_count: Mapped[int] = mapped_column(server_default="0")
