"""What crosses the wire outwards: for OpenAPI, so that clients can be made from it.

No answer is built from these, for the busiest are written straight from rows; every answer that a test of
the API receives is held against them. They are open where they are read: a later version may add fields.
"""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from models.platform.jsonable import Json
from models.states import (
    BudgetMode,
    BudgetScope,
    BudgetWindowKind,
    CancelOutcome,
    Charge,
    DeliveryState,
    EventType,
    LedgerKind,
    Phase,
    Priority,
    Scope,
    WaitingReason,
)

JobId = Annotated[str, Field(pattern="^job_[0-9a-z]{26}$")]
KeyId = Annotated[str, Field(pattern="^key_[0-9a-z]{26}$")]
EndpointId = Annotated[str, Field(pattern="^whk_[0-9a-z]{26}$")]
Credits = Annotated[int, Field(description="2,000,000 of them are one US dollar")]
Usd = Annotated[str, Field(pattern=r"^-?[0-9]+\.[0-9]+$", description="US dollars, exactly")]
Charged = Literal["no", "yes", "unknown"]
JobStatus = Literal["queued", "running", "succeeded", "failed", "canceled", "expired"]


class Page(BaseModel):
    """Some of a list, and how to go on."""

    object: Literal["list"]
    has_more: bool
    next_cursor: str | None


class AttemptCharge(BaseModel):
    """What is known of an attempt's money; `credits` once it is settled.

    `adjusted` is what of them the provider's own ledger has corrected or refunded since, signed.
    """

    state: Charge
    credits: Credits | None
    adjusted: Credits


class AttemptError(BaseModel):
    """Why an attempt brought no image."""

    code: str
    message: str


class Attempt(BaseModel):
    """A paid call: `outcome` and `finished_at` are null while it is under way."""

    number: int
    outcome: Literal["image", "try_later", "unusable", "refused", "parked", "unknown"] | None
    charge: AttemptCharge
    http_status: int | None
    inference_id: str | None
    client_request_id: str
    sent_at: datetime
    finished_at: datetime | None
    error: AttemptError | None


class JobCostUsd(BaseModel):
    """The same in US dollars."""

    estimated: Usd
    charged: Usd
    adjusted: Usd
    unknown: Usd
    held: Usd


class JobCost(BaseModel):
    """What a job may cost, has cost, and what of it is held.

    `unknown` belongs to lost answers: by `unknown_until` it is known what they cost, as long as the
    provider tells. `adjusted` is what of `charged` was corrected or refunded later, signed.
    """

    estimated: Credits
    charged: Credits
    adjusted: Credits
    unknown: Credits
    unknown_until: datetime | None
    held: Credits
    unit: Literal["credits"]
    usd: JobCostUsd


class Image(BaseModel):
    """A kept image. Its URLs work without a key; GET the job for fresh ones."""

    url: str
    size: str
    content_type: str
    bytes: int
    width: int
    height: int
    sha256: str
    expires_at: datetime = Field(description="until when the image is kept")
    url_expires_at: datetime = Field(
        description="until when both URLs work: 7 days at least, or until `expires_at`"
    )
    thumbnail_url: str
    provider_url: str | None
    b64_json: str = Field(
        default_factory=str, description="with `response_format: b64_json`, on GET of one job"
    )


class CreditsUsed(BaseModel):
    """What the call that made the image cost; null while that is unknown."""

    credits_used: Credits | None


class ResultMeta(BaseModel):
    """What the provider tells beside the image."""

    usage: CreditsUsed


class Result(BaseModel):
    """The image, in the shape of the provider's answer."""

    data: list[Image]
    meta: ResultMeta


class ErrorDetail(BaseModel):
    """One of the provider's field errors; `path` is dotted, and empty for the whole."""

    path: str
    message: str


class JobError(BaseModel):
    """Why a job failed, whether trying again may help, and whether it was charged."""

    code: Literal[
        "invalid_input", "content_refused", "model_unavailable", "attempts_exhausted",
        "max_cost_reached", "outcome_unknown", "paid_without_image", "image_lost",
        "source_unreachable",
    ]  # fmt: skip
    message: str
    retryable: bool
    charged: Charged
    details: list[ErrorDetail] | None


class Cancel(BaseModel):
    """That a job's end was asked for, and what became of that."""

    requested_at: datetime
    outcome: CancelOutcome


class Job(BaseModel):
    """A job as it is now."""

    id: JobId
    object: Literal["job"]
    sequence: int = Field(
        description="grows with each change of the job, in answers and in webhooks alike: of two "
        "states keep the one with the greater"
    )
    status: JobStatus
    has_image: bool = Field(
        description="an image was made and kept: `result` has it, also of a job canceled too late"
    )
    charged: Charged = Field(description="`unknown` while it is not known of some lost answer")
    input: Json | None = Field(
        description="as it was sent, inline references as hash and length; null once erased"
    )
    metadata: dict[str, str]
    tags: list[str]
    customer: str | None
    priority: Priority
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    erased_at: datetime | None
    queue_expires_at: datetime
    deadline: datetime | None
    expired_by: Literal["queue_ttl", "deadline"] | None = Field(
        description="of an expired job: which of its times had come"
    )
    waiting_reason: WaitingReason | None
    attempts: list[Attempt]
    cost: JobCost
    result: Result | None
    error: JobError | None
    cancel: Cancel | None
    retried_from: JobId | None
    reused_from: JobId | None


class JobPage(Page):
    """Jobs, newest first."""

    data: list[Job]


class Binding(BaseModel, extra="allow"):
    """One thing that binds a job, with numbers of its own beside the sentence."""

    reason: WaitingReason | Literal["workers"]
    message: str


class Position(BaseModel):
    """A job's place; `at_least` when counting was stopped there."""

    in_project: int
    at_least: bool
    projects_waiting: int


class StartEstimate(BaseModel):
    """Between which times a job is expected to start."""

    earliest: datetime
    latest: datetime | None


class RunningCall(BaseModel):
    """A call under way, and how long one takes at present."""

    since: datetime | None
    phase: Phase
    typical_seconds: float


class Explanation(BaseModel):
    """Why a job waits."""

    object: Literal["explanation"]
    job_id: JobId
    status: JobStatus
    waiting_reason: WaitingReason | None
    message: str
    binding: list[Binding]
    position: Position | None
    start_estimate: StartEstimate | None
    no_estimate_because: str | None
    running: RunningCall | None


class Endpoint(BaseModel):
    """A URL that is told of events."""

    id: EndpointId
    object: Literal["webhook"]
    url: str
    description: str
    events: list[EventType]
    enabled: bool
    disabled_reason: str | None
    disabled_at: datetime | None
    failing_since: datetime | None
    rate_limit: int | None
    signed_by: Literal["own", "project"]
    public_keys: list[str]
    rotated_at: datetime | None
    old_secret_until: datetime | None
    created_at: datetime


class EndpointList(BaseModel):
    """All endpoints of a project, newest first."""

    object: Literal["list"]
    data: list[Endpoint]


class EndpointWithSecret(Endpoint):
    """An endpoint, and the secret that signs what it is told."""

    secret: str


class Secret(BaseModel):
    """What signs."""

    secret: str


class RotatedSecret(Secret):
    """What signs from now on; the one before does too, until then."""

    old_secret_until: datetime


class Try(BaseModel):
    """One try of a delivery; `http_status` is null when no answer came."""

    number: int
    at: datetime
    http_status: int | None
    latency_ms: int
    result: str


class Delivery(BaseModel):
    """An event on its way to a URL."""

    id: str = Field(pattern="^dlv_[0-9a-z]{26}$")
    object: Literal["delivery"]
    event_id: str = Field(pattern="^evt_[0-9a-z]{26}$")
    type: EventType
    job_id: JobId | None
    endpoint_id: EndpointId | None
    url: str
    state: DeliveryState
    created_at: datetime
    finished_at: datetime | None
    next_try_at: datetime | None
    tries: list[Try]


class DeliveryPage(Page):
    """Deliveries, newest first."""

    data: list[Delivery]


class TestDelivery(Delivery):
    """A ping, and in a sentence what became of it."""

    message: str


class Replay(BaseModel):
    """How many deliveries are due again, and how to go on."""

    object: Literal["replay"]
    replayed: int
    has_more: bool
    next_cursor: str | None


class ApiKey(BaseModel):
    """A key without its secret."""

    id: KeyId
    object: Literal["api_key"]
    name: str
    hint: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class ApiKeyList(BaseModel):
    """All keys of a project, newest first."""

    object: Literal["list"]
    data: list[ApiKey]


class ApiKeyWithSecret(ApiKey):
    """A key, whole."""

    key: str


class Budget(BaseModel):
    """A limit, and where it stands in its present window; in all, it has none."""

    id: str = Field(pattern="^bud_[0-9a-z]{26}$")
    object: Literal["budget"]
    scope: BudgetScope
    key_id: KeyId | None
    customer: str | None
    window: BudgetWindowKind
    timezone: str
    mode: BudgetMode
    limit: Credits
    spent: Credits
    held: Credits
    left: Credits
    window_starts_at: datetime | None
    window_ends_at: datetime | None
    unit: Literal["credits"]


class BudgetList(BaseModel):
    """All budgets of a project, oldest first."""

    object: Literal["list"]
    data: list[Budget]


class Cost(BaseModel):
    """Credits, and what they are in dollars."""

    credits: Credits
    usd: Usd


class JobCounts(BaseModel):
    """Jobs that were submitted in a time, and those that ended in it."""

    submitted: int
    succeeded: int
    failed: int
    canceled: int
    expired: int


class Sums(BaseModel):
    """What happened in a time, and what it cost; `saved` is what reuse did not pay again."""

    jobs: JobCounts
    attempts: int
    charged: Cost
    unknown: Cost
    held: Cost
    saved: Cost


class UsageRow(Sums):
    """The sums of one group; it has the dimensions that were asked for, and no others."""

    # Factories, so that OpenAPI shows no defaults: what is not there was not asked for.
    day: date = Field(default_factory=lambda: date.min)
    key: KeyId = Field(default_factory=str)
    model: str | None = Field(default_factory=lambda: None)
    tag: str | None = Field(default_factory=lambda: None)
    customer: str | None = Field(default_factory=lambda: None)
    overlapping: bool = Field(
        default_factory=bool, description="with `tag`: a job counts under each of its tags"
    )


class UsageReport(BaseModel):
    """What was spent in a time."""

    object: Literal["usage"]
    from_: datetime = Field(alias="from")
    to: datetime
    tz: str
    group_by: list[Literal["day", "key", "model", "tag", "customer"]]
    data: list[UsageRow]
    totals: Sums


class LedgerLine(Cost):
    """A booking; `made_at` is when the provider says that it charged, where its ledger was asked."""

    at: datetime
    made_at: datetime | None
    job: JobId
    attempt: int
    kind: LedgerKind
    key: KeyId
    customer: str | None
    inference_id: str | None
    reference: str


class LedgerPage(Page):
    """Bookings, the newest first."""

    data: list[LedgerLine]


class QuotedPrice(Cost):
    """The price of an image: the catalog's, or what the provider took lately."""

    per: Literal["image"]
    source: Literal["catalog", "provider"]


class Quote(BaseModel):
    """What a job would hold, and the most that it could cost."""

    object: Literal["quote"]
    model: str
    price: QuotedPrice
    estimated: Cost
    worst_case: Cost
    max_attempts: int
    max_cost: Credits


class ModelPrice(BaseModel):
    """The catalog's price."""

    credits: Credits
    per: Literal["image"]


class Model(BaseModel):
    """A model that can be called; `rules` has its limits, and the JSON Schema of its input."""

    id: str
    object: Literal["model"]
    title: str
    price: ModelPrice
    rules: Json


class ModelList(BaseModel):
    """All models that can be called."""

    object: Literal["list"]
    data: list[Model]


class Health(BaseModel):
    """Whether a process is well, and what there is to say of it."""

    status: Literal["ok", "unavailable"]
    detail: str = Field(default_factory=str)


class FieldProblem(BaseModel):
    """A field that breaks a rule: a JSON pointer into the body, or `query:`, `header:` and a name."""

    pointer: str
    message: str


class Problem(BaseModel, extra="allow"):
    """A refusal (RFC 9457). Beside these, `budget_exceeded` has the `budget` that it is about."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    retryable: bool
    request_id: str
    errors: list[FieldProblem]
