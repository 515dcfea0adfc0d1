"""What crosses the wire inwards about batches: the whole, its rows, changes, and what is asked of it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from api.contract.requests.jobs import Options
from api.contract.requests.parts import (
    Customer,
    MaxCost,
    Metadata,
    Strict,
    Text,
    Value,
)
from models.provider import catalog
from models.states import BATCH_EVENTS, BatchStatus, Priority, Reuse

ROWS_MAX = 50_000
WEEK = 604_800  # seconds

RowName = Text
CustomId = Annotated[RowName, Field(min_length=1, max_length=128)]
Told = Annotated[
    list[Literal["batch.progress", "batch.paused", "batch.completed"]],
    Field(max_length=len(BATCH_EVENTS)),
]
Failures = Annotated[int, Field(ge=1, le=ROWS_MAX)]
BatchPriority = Annotated[Priority | None, Field(description="default: `bulk`")]


class BatchWebhook(Strict):
    """One URL for the batch itself; signed with the project's secret."""

    url: Text
    events: Told | None = None


class StopOn(Strict):
    """When a batch pauses by itself."""

    failures: Failures


class Row(Options):
    """One row: a submission of a single job, and its name in the batch (default: its number)."""

    custom_id: CustomId | None = None
    input: catalog.RawInput
    priority: Priority = "bulk"
    queue_ttl: Annotated[int, Field(ge=10, le=WEEK)] = WEEK

    @field_validator("reuse")
    @classmethod
    def _is_made_anew(cls, reuse: Reuse) -> Reuse:
        if reuse != "never":
            raise ValueError(
                "a batch makes every image anew; leave it out, or submit the row as a job"
            )
        return reuse


class BatchHead(Strict):
    """What a batch in JSON says beside its `items`; of other formats the query says it."""

    defaults: dict[str, object] = Field(
        default_factory=dict,
        description="a row without `custom_id`; `input` and `metadata` are merged field by field",
    )
    max_cost: MaxCost = None
    stop_on: StopOn | None = None
    metadata: Metadata = Field(default_factory=dict)
    webhook: BatchWebhook | None = None


class BatchBody(BatchHead):
    """A batch in JSON."""

    items: Annotated[list[Row], Field(min_length=1, max_length=ROWS_MAX)]


class BatchQuery(BaseModel):
    """How a batch is taken, and what its rows have in common; of JSON the body may say the latter."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    dry_run: Annotated[bool, Field(description="judge every row, and tell the quote alone")] = False
    invalid: Annotated[
        Literal["refuse", "skip"],
        Field(description="`skip` takes the good rows; otherwise one bad row refuses all"),
    ] = "refuse"
    max_cost: Annotated[int | None, Field(ge=1, le=1 << 53)] = None
    stop_on_failures: Failures | None = None
    model: Annotated[Value | None, Field(description="of rows that name none")] = None
    image_size: Annotated[
        Text | None, Field(max_length=32, description="`2K`, `4K` or `2048x1536`")
    ] = None
    customer: Customer | None = None
    priority: BatchPriority = None
    queue_ttl: Annotated[int | None, Field(ge=10, le=WEEK, description="default: a week")] = None


class BatchListQuery(BaseModel):
    """Which batches."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    status: BatchStatus | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str, Field(max_length=256)] | None = None


class ItemsQuery(BaseModel):
    """Which rows of a batch."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    status: Literal["queued", "running", "succeeded", "failed", "canceled", "expired"] | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str, Field(max_length=16, pattern="^[0-9]+$")] | None = None


class ResultsQuery(BaseModel):
    """How the results come."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: (
        Annotated[
            Literal["ndjson", "csv", "zip"],
            Field(description="`zip`: the images; default: what `Accept` prefers, or `ndjson`"),
        ]
        | None
    ) = None


class BatchChanges(Strict):
    """What to change of a batch."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, json_schema_extra={"minProperties": 1}
    )

    max_cost: MaxCost = Field(default_factory=lambda: None)
    priority: Priority = Field(default_factory=lambda: "bulk")


Ended = Literal["failed", "expired", "canceled"]


def _usual() -> list[Ended]:
    return ["failed", "expired"]


class BatchRetry(Strict):
    """Which rows are made anew, in a new batch with the same names; `max_cost` by default as before."""

    only: list[Ended] = Field(default_factory=_usual, min_length=1, max_length=3)
    max_cost: MaxCost = None
