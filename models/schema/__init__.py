"""Every table, one file for each wing. Invariants are constraints here; rules live with their nouns.

Ids are UUIDv7, so that a primary key sorts by creation. Credits are integers ($1 = 2,000,000). Partial
indexes cover what is waiting, so that cost follows the backlog and not the history. The tables and what
refers to what are drawn in `docs/tables.md`.
"""

from models.schema.accounts import ApiKey, Installation, Project, Session
from models.schema.actions import Action
from models.schema.attempts import Attempt, Evidence
from models.schema.audit import AuditEntry, AuditHead
from models.schema.batches import Batch
from models.schema.calls import Call
from models.schema.coordination import Aside, Duty, Process, Worker
from models.schema.erasures import Erasure
from models.schema.images import BlobMark, Fetch, File, Image, InputImage
from models.schema.jobs import Job
from models.schema.money import (
    AccountLine,
    Budget,
    BudgetWindow,
    LedgerEntry,
    Price,
    UsageHour,
    UsageTotal,
    Wallet,
)
from models.schema.provider import Breaker, Gate, Limit, LimitSample, Pause, ProjectBreaker
from models.schema.queue import Turn
from models.schema.webhooks import Delivery, DeliveryTry, Endpoint, Event, Throttle

__all__ = [
    "AccountLine",
    "Action",
    "ApiKey",
    "Aside",
    "Attempt",
    "AuditEntry",
    "AuditHead",
    "Batch",
    "BlobMark",
    "Breaker",
    "Budget",
    "BudgetWindow",
    "Call",
    "Delivery",
    "DeliveryTry",
    "Duty",
    "Endpoint",
    "Erasure",
    "Event",
    "Evidence",
    "Fetch",
    "File",
    "Gate",
    "Image",
    "InputImage",
    "Installation",
    "Job",
    "LedgerEntry",
    "Limit",
    "LimitSample",
    "Pause",
    "Price",
    "Process",
    "Project",
    "ProjectBreaker",
    "Session",
    "Throttle",
    "Turn",
    "UsageHour",
    "UsageTotal",
    "Wallet",
    "Worker",
]
