"""The words of a job's life, as the schema and the API spell them."""

from collections.abc import Iterable
from typing import Literal, get_args

Ending = Literal["succeeded", "failed", "canceled", "expired"]
Status = Literal["queued", "released", "running", Ending]
Phase = Literal["call", "keep"]
Charge = Literal["none", "unknown", "settled", "released"]
Priority = Literal["interactive", "standard", "bulk"]
OnUnknown = Literal["retry", "wait", "fail"]
CancelOutcome = Literal["pending", "prevented", "too_late", "unknown"]
WaitingReason = Literal[
    "queue", "backoff", "fair_share", "provider_limit", "project_cap", "concurrency_key",
    "provider_down", "wallet_empty", "provider_key", "unknown_charge", "budget", "following",
    "storage", "image_download", "paused", "batch",
]  # fmt: skip
DeliveryState = Literal[
    "pending", "sending", "delivered", "exhausted", "blocked", "aborted", "held"
]
LedgerKind = Literal["hold", "release", "charge", "refund", "adjustment"]
# Movements of the account's ledger at the provider that are about calls, in the provider's words.
MovementKind = Literal["MODEL_USAGE", "REFUND", "ADJUSTMENT"]
EventType = Literal[
    "job.running", "job.succeeded", "job.failed", "job.canceled", "job.expired",
    "job.charge_resolved", "budget.threshold", "webhook.disabled",
    "wallet.low", "wallet.empty", "wallet.restored", "ping",
    "batch.progress", "batch.paused", "batch.completed", "group.completed",
]  # fmt: skip
BudgetScope = Literal["project", "key", "customer"]
BudgetWindowKind = Literal["day", "month", "total"]
BudgetMode = Literal["hard", "soft"]
Reuse = Literal["never", "exact"]
ActionKind = Literal["cancel", "retry", "redeliver", "erase"]
ActionStatus = Literal["running", "completed", "stopped", "canceled"]
BatchKind = Literal["batch", "group"]
BatchStatus = Literal["running", "paused", "canceling", "completed", "canceled"]
PauseCause = Literal["request", "max_cost", "failures"]
ErasureSubject = Literal["customer", "jobs", "metadata"]
ErasurePhase = Literal["jobs", "ledger", "usage", "traces", "images", "completed"]
# What an Idempotency-Key of a job is scoped to: a submission, a retry, a synchronous call. It is the first
# job's of a group.
IdempotentRoute = Literal["submit", "retry", "images"]
SessionKind = Literal["browser", "link"]
ProjectScope = Literal["jobs:write", "jobs:read", "webhooks", "usage:read", "admin"]
# An operator's key has `operator` and nothing else, and no key of a project has it.
Scope = Literal[ProjectScope, "operator"]
Acting = Literal["key", "session", "operator", "command", "darkroom"]
AuditAction = Literal[
    "project.created", "project.renamed", "project.limits_changed", "project.alias_changed",
    "project.suspended", "project.reinstated", "project.deleted", "project.emptied",
    "project.secret_rotated",
    "key.created", "key.rotated", "key.revoked", "session.opened", "session.ended",
    "budget.changed", "budget.deleted",
    "webhook.created", "webhook.changed", "webhook.secret_rotated", "webhook.disabled",
    "webhook.deleted",
    "model.allowed", "pause.began", "pause.ended", "gate.probed", "charge.resolved", "job.erased",
    "action.requested", "action.canceled", "erasure.requested", "erasure.completed",
    "file.deleted", "secrets.resealed",
]  # fmt: skip

NOT_STARTED: tuple[Status, ...] = ("queued", "released")
IN_FLIGHT: tuple[Status, ...] = ("released", "running")
UNFINISHED: tuple[Status, ...] = ("queued", *IN_FLIGHT)
TERMINAL: tuple[Ending, ...] = get_args(Ending)
TERMINAL_EVENTS: tuple[EventType, ...] = (
    "job.succeeded", "job.failed", "job.canceled", "job.expired",
)  # fmt: skip
IDEMPOTENT_ROUTES: tuple[IdempotentRoute, ...] = get_args(IdempotentRoute)
JOB_EVENTS: tuple[EventType, ...] = ("job.running", *TERMINAL_EVENTS, "job.charge_resolved")
BATCH_EVENTS: tuple[EventType, ...] = (
    "batch.progress", "batch.paused", "batch.completed", "group.completed",
)  # fmt: skip
BATCH_OVER: tuple[BatchStatus, ...] = ("completed", "canceled")
SCOPES: tuple[ProjectScope, ...] = get_args(ProjectScope)


def one_of(column: str, words: object) -> str:
    """Write the CHECK that a column holds one of a `Literal`'s words."""
    return among(column, get_args(words))


def among(column: str, words: Iterable[str]) -> str:
    """Write the condition that a column holds one of these words of ours."""
    return f"{column} IN ({', '.join(repr(word) for word in words)})"


# Conditions that partial indexes and statements share: Postgres takes such an index only for a statement
# that names its condition. A job in flight is dispatched or running: it has a lease and takes a slot.
JOB_IN_FLIGHT = among("status", IN_FLIGHT)
# What has no call yet, and may be too late for one.
JOB_UNCALLED = f"{among('status', NOT_STARTED)} AND phase = 'call'"
# What waits in the queue: for its call, now or later; for its paid image to be kept; for room under its
# `concurrency_key`; for room in a budget.
JOB_READY = "status = 'queued' AND run_after IS NOT NULL AND phase = 'call'"
JOB_PAID = "status = 'queued' AND phase = 'keep'"
JOB_PARKED = "status = 'queued' AND waiting_reason = 'concurrency_key'"
JOB_UNFUNDED = "status = 'queued' AND waiting_reason = 'budget'"
# Any of the first three. Whether there is one at all is asked all the time, and as no other index has it:
# statistics that are old, or know a long history best, take a backlog for a few rows, to be read whole.
JOB_WAITS = (
    "status || '' = 'queued' AND (run_after IS NOT NULL OR waiting_reason = 'concurrency_key')"
)
DELIVERY_DUE = "state = 'pending' AND next_at <= now()"


def unknown_charge(attempt: str = "attempts") -> str:
    """Write the condition that nobody knows what an answered, or lost, call was charged."""
    return f"{attempt}.charge = 'unknown' AND {attempt}.finished_at IS NOT NULL"


# Rows of a batch: those that wait for their turn in it, and hold the price of their call or nothing for
# it; those that wait for anything else; those whose end, or what they cost, is still to be told off; and
# those that ended with a lost call.
IN_BATCH = "batch_id IS NOT NULL"
ROW_READY = "status = 'queued' AND waiting_reason = 'batch' AND attempt = 0 AND held > 0"
ROW_UNHELD = "status = 'queued' AND waiting_reason = 'batch' AND (attempt > 0 OR held = 0)"
ROW_IN_QUEUE = "status = 'queued' AND waiting_reason <> 'batch'"
ROW_UNTOLD = "finished_at IS NOT NULL AND (NOT tallied OR allotted <> charged + held)"
ROW_UNKNOWN = "finished_at IS NOT NULL AND held > 0"
