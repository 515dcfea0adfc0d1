"""Batches and groups, as every route and webhook shows them."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, RootModel

from api.contract.shapes.jobs import Job
from api.contract.shapes.parts import Credits, JobId, JobStatus, Page, Shape, Usd
from models.states import BatchKind, BatchStatus, PauseCause, Priority

BatchId = Annotated[str, Field(pattern="^(batch|group)_[0-9a-z]{26}$")]


class BatchCounts(Shape):
    """Rows by state: what has ended is counted within two seconds, and exactly once the batch is over."""

    queued: int
    running: int
    succeeded: int
    failed: int
    canceled: int
    expired: int


class BatchProgress(Shape):
    """How many rows have ended, how many in the last minute, and when all will have at that pace."""

    done: int
    percent: int
    per_minute: int
    eta: datetime | None


class BatchUsd(Shape):
    """The same in US dollars."""

    held: Usd
    charged: Usd
    unknown: Usd


class BatchCredits(Shape):
    """What the rows hold, were charged, and may have been charged: together at most `max_cost`."""

    held: Credits
    charged: Credits
    unknown: Credits
    unit: Literal["credits"]
    usd: BatchUsd


class BatchError(Shape):
    """Why rows failed: a code of a job's `error`, how many have it, and the first one's message."""

    code: str
    count: int
    message: str


class BatchStop(Shape):
    """When the batch pauses by itself."""

    failures: int


class BatchCancel(Shape):
    """What became of a cancel: rows that cost nothing, that came too late, that have not ended yet."""

    requested_at: datetime
    prevented: int
    too_late: int
    pending: int


class Batch(Shape):
    """A batch, or a group, as it is now."""

    id: BatchId
    object: BatchKind
    status: BatchStatus
    paused_for: PauseCause | None
    created_at: datetime
    finished_at: datetime | None
    metadata: dict[str, str]
    total: int
    skipped: int = Field(description="rows that were left out by `invalid=skip`")
    counts: BatchCounts
    progress: BatchProgress
    credits: BatchCredits
    max_cost: Credits | None
    priority: Priority | None = Field(description="in place of the rows' own, once it was changed")
    stop_on: BatchStop | None
    top_errors: list[BatchError]
    cancel: BatchCancel | None
    retried_from: BatchId | None
    sequence: int
    jobs: list[Job] = Field(default_factory=list, description="of a group")


class Submitted(RootModel[Annotated[Job | Batch, Field(discriminator="object")]]):
    """A job; or with `n` a group."""

    model_config = ConfigDict(defer_build=True)


class SkippedRow(Shape):
    """What is wrong with a row that was left out."""

    row: int
    custom_id: str | None
    pointer: str
    message: str


class TakenBatch(Batch):
    """A batch that was just taken; with `invalid=skip`, and the first hundred errors of what was not."""

    errors: list[SkippedRow]


class BatchPage(Page):
    """Batches, newest first."""

    data: list[Batch]


class BatchQuote(Shape):
    """What a batch would be. It binds nothing."""

    object: Literal["batch_quote"]
    total: int
    invalid: int
    estimated: Credits = Field(description="one call for each row")
    held: Credits = Field(description="what would be held: `max_cost`, where that is less")
    usd: "QuoteUsd"
    max_cost: Credits | None
    errors: list[SkippedRow]


class QuoteUsd(Shape):
    """The same in US dollars."""

    estimated: Usd
    held: Usd


class BatchItems(Page):
    """Rows of a batch, in the order in which they came."""

    data: list[Job]


class ResultImage(Shape):
    """A kept image of a row."""

    url: str
    content_type: str
    bytes: int
    width: int
    height: int
    sha256: str
    expires_at: datetime


class ResultError(Shape):
    """Why a row has no image."""

    code: str
    message: str


class ResultRow(Shape):
    """One line of the results in NDJSON."""

    row: int
    custom_id: str | None
    job: JobId
    status: JobStatus
    image: ResultImage | None
    credits: Credits = Field(description="charged")
    error: ResultError | None
