"""Jobs, as every route and webhook shows them."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from api.contract.shapes.parts import Charged, Credits, JobId, JobStatus, Page, Shape, Usd
from models.platform.jsonable import Json
from models.states import CancelOutcome, Charge, Priority, WaitingReason


class AttemptCharge(Shape):
    """What is known of an attempt's money; `credits` once it is settled.

    `adjusted` is what of them the provider's own ledger has corrected or refunded since, signed.
    """

    state: Charge
    credits: Credits | None
    adjusted: Credits


class AttemptError(Shape):
    """Why an attempt brought no image."""

    code: str
    message: str


class Attempt(Shape):
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


class JobCostUsd(Shape):
    """The same in US dollars."""

    estimated: Usd
    charged: Usd
    adjusted: Usd
    unknown: Usd
    held: Usd


class JobCost(Shape):
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


class Image(Shape):
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


class SharedImage(Shape):
    """A link to an image that works without a key, for an hour at most."""

    object: Literal["shared_image"]
    url: str
    expires_at: datetime


class CreditsUsed(Shape):
    """What the call that made the image cost; null while that is unknown."""

    credits_used: Credits | None


class ResultMeta(Shape):
    """What the provider tells beside the image."""

    usage: CreditsUsed


class Result(Shape):
    """The image, in the shape of the provider's answer."""

    data: list[Image]
    meta: ResultMeta


class ErrorDetail(Shape):
    """One of the provider's field errors; `path` is dotted, and empty for the whole."""

    path: str
    message: str


class JobError(Shape):
    """Why a job failed, whether trying again may help, and whether it was charged."""

    code: Literal[
        "invalid_input", "content_refused", "model_unavailable", "attempts_exhausted",
        "max_cost_reached", "outcome_unknown", "paid_without_image", "image_lost", "worker_lost",
    ]  # fmt: skip
    message: str
    retryable: bool
    charged: Charged
    details: list[ErrorDetail] | None


class Cancel(Shape):
    """That a job's end was asked for, and what became of that."""

    requested_at: datetime
    outcome: CancelOutcome


class Job(Shape):
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
    batch_id: str | None = Field(description="of its batch, or its group")
    custom_id: str | None = Field(description="its name in its batch")
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
