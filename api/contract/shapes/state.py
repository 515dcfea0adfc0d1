"""The state of the installation, as an operator sees it."""

from datetime import datetime
from typing import Literal

from api.contract.shapes.operators import Pause, ProjectId
from api.contract.shapes.parts import Credits, JobId, Shape, Usd
from models.states import Priority, WaitingReason


class StateLimit(Shape):
    """The provider's limit, as far as it was found out, and how much of it is used."""

    calls: int
    in_flight: int
    slow_start: bool
    refused_at: datetime | None
    floor: int
    ceiling: int


class StateWaiting(Shape):
    """Jobs of one priority that wait for one reason; `runnable` ones wait for a place or a gate alone."""

    reason: WaitingReason
    priority: Priority
    jobs: int
    oldest: float
    runnable: bool


class StateQueue(Shape):
    """What waits, what is dispatched, what runs."""

    queued: int
    dispatched: int
    running: int
    oldest_seconds: float
    waiting: list[StateWaiting]


class StateGate(Shape):
    """A closed gate, to all or to one project; half-open, it lets one job through at a time."""

    reason: WaitingReason
    project_id: ProjectId | None
    detail: str
    state: Literal["closed", "half_open"]
    closed_at: datetime
    checked_at: datetime
    probe: JobId | None


class StateBreaker(Shape):
    """How many answers in a row went wrong, and at how many `provider_down` closes."""

    cause: Literal["errors", "lost"]
    failures: int
    closes_at: int


class StateWallet(Shape):
    """Our balance at the provider, and when it ends at the last hour's rate."""

    credits: Credits
    usd: Usd
    state: Literal["ok", "low", "empty"]
    last_hour_credits: Credits
    ends_at: datetime | None
    checked_at: datetime


class StateCharges(Shape):
    """Charges that are unknown, and how many for longer than the provider's books take."""

    unknown: int
    credits: Credits
    oldest_seconds: float
    overdue: int
    expected_seconds: float


class StateLog(Shape):
    """How far the provider's log may be behind, and until when its ledger was read."""

    lag_seconds: float
    statement_read_until: datetime | None


class StateDrift(Shape):
    """How the charges of the last hour differ from what was held for them."""

    model: str
    attempts: int
    credits: Credits


class StateBooks(Shape):
    """Whether the books agree: with each other, with the account's, and prices with charges."""

    checked_at: datetime | None
    differences: int
    charges_of_nobody: int
    price_drifts: list[StateDrift]
    folded_age_seconds: float | None


class StateWorkers(Shape):
    """Workers that were seen lately, and how many calls they can have in flight."""

    count: int
    generate_slots: int


class StateProcess(Shape):
    """A process; `missing` when it was not heard of for 45 s, and forgotten after ten minutes."""

    id: str
    role: Literal["api", "dispatcher", "worker"]
    version: str
    started_at: datetime
    seen_at: datetime
    missing: bool


class StateEndpoints(Shape):
    """Endpoints of all projects; what its owner has disabled is not counted."""

    working: int
    failing: int
    disabled: int


class StateWebhooks(Shape):
    """Webhooks that wait and are on their way, and how late the latest one is."""

    pending: int
    sending: int
    overdue_seconds: float
    endpoints: StateEndpoints


class Need(Shape):
    """Something that a person is to do, and the runbook that says more."""

    code: str
    message: str
    runbook: str


class InstallationState(Shape):
    """How the installation stands."""

    object: Literal["state"]
    at: datetime
    version: str
    limit: StateLimit
    queue: StateQueue
    gates: list[StateGate]
    breakers: list[StateBreaker]
    pauses: list[Pause]
    wallet: StateWallet | None
    charges: StateCharges
    provider_log: StateLog
    books: StateBooks
    workers: StateWorkers
    processes: list[StateProcess]
    webhooks: StateWebhooks
    set_aside: dict[str, int]
    erasure_overdue_seconds: float
    attention: list[Need]


class SetAside(Shape):
    """A row that a duty failed at, and passes by until `again_at`."""

    duty: str
    row: str
    failures: int
    since: datetime
    again_at: datetime
    reason: str


class SetAsideList(Shape):
    """Rows that were set aside, the longest first; a thousand at most."""

    object: Literal["list"]
    data: list[SetAside]
