"""What Darkroom posts to webhooks, for OpenAPI: workers send it, and nothing here is ever called."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header
from pydantic import BaseModel, Field

from api.contract.openapi.answers import Responses
from api.contract.shapes import (
    Batch,
    Budget,
    Credits,
    EndpointId,
    Job,
    JobCost,
    JobId,
    JobStatus,
    Usd,
)
from models.states import EventType

_ANSWERS: Responses = {
    204: {"description": "Any 2xx, within 15 seconds: it has come."},
    410: {"description": "It is not wanted any more: the endpoint is disabled, a job's URL is left alone."},
    "default": {"description": "It is tried again, ten times over about 76 hours; a ping is not."},
}  # fmt: skip


class JobTold(Job):
    """A job as an event tells it; what made it longer than 20 kB is cut, and then it says so."""

    input_truncated: bool = Field(default_factory=bool)


class ErasedJobTold(BaseModel):
    """What an event still tells of a job that was erased since."""

    id: JobId
    object: Literal["job"]
    status: JobStatus
    customer: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cost: JobCost
    sequence: int
    erased: Literal[True]


class BudgetReached(BaseModel):
    """A soft budget, and how much of it is used."""

    percent: Literal[80, 100]
    budget: Budget


class EndpointDisabled(BaseModel):
    """An endpoint that is told of nothing any more, and why."""

    endpoint_id: EndpointId
    url: str
    reason: str
    disabled_at: datetime
    failing_since: datetime | None


class EndpointTested(BaseModel):
    """The endpoint that a ping goes to, and what else it would be told of."""

    endpoint_id: EndpointId
    url: str
    events: list[EventType]


class Wallet(BaseModel):
    """What is left at the provider, and for how long at the pace of the last hour."""

    state: Literal["ok", "low", "empty"]
    credits: Credits
    usd: Usd
    last_hour_credits: Credits
    seconds_left: int | None


class Event(BaseModel):
    """The body of a webhook."""

    timestamp: datetime


class JobEvent(Event):
    """What happened to a job."""

    type: Literal[
        "job.running", "job.succeeded", "job.failed", "job.canceled", "job.expired",
        "job.charge_resolved",
    ]  # fmt: skip
    data: JobTold | ErasedJobTold


class BudgetEvent(Event):
    """A soft budget is used up to 80 or 100 %."""

    type: Literal["budget.threshold"]
    data: BudgetReached


class EndpointEvent(Event):
    """Another endpoint was disabled."""

    type: Literal["webhook.disabled"]
    data: EndpointDisabled


class WalletEvent(Event):
    """The wallet at the provider runs low, is empty, or is filled again."""

    type: Literal["wallet.low", "wallet.empty", "wallet.restored"]
    data: Wallet


class BatchEvent(Event):
    """What happened to a batch."""

    type: Literal["batch.progress", "batch.paused", "batch.completed"]
    data: Batch


class GroupTold(Batch):
    """A group as an event tells it: its jobs without what all of them were asked, at most 20 kB."""

    jobs: list[JobTold | ErasedJobTold]  # type: ignore[assignment] # each tells less, or that it was cut


class GroupEvent(Event):
    """What became of a group."""

    type: Literal["group.completed"]
    data: GroupTold


class PingEvent(Event):
    """Somebody tests an endpoint."""

    type: Literal["ping"]
    data: EndpointTested


async def _signed(
    id_: Annotated[
        str, Header(alias="webhook-id", description="the event's: the same on every try")
    ],
    at: Annotated[str, Header(alias="webhook-timestamp", description="of this try, unix seconds")],
    signature: Annotated[
        str, Header(alias="webhook-signature", description="`v1,…`, and with endpoints `v1a,…`")
    ],
) -> None:
    """Every event says who sends it (https://www.standardwebhooks.com)."""


async def _job(body: JobEvent) -> None: ...


async def _budget(body: BudgetEvent) -> None: ...


async def _endpoint(body: EndpointEvent) -> None: ...


async def _wallet(body: WalletEvent) -> None: ...


async def _batch(body: BatchEvent) -> None: ...


async def _group(body: GroupEvent) -> None: ...


async def _ping(body: PingEvent) -> None: ...


_EVENTS: dict[EventType, tuple[Callable[..., Awaitable[None]], str]] = {
    "job.running": (_job, "The job's first call was sent."),
    "job.succeeded": (_job, "The job has its image."),
    "job.failed": (_job, "The job has failed; `data.error` says why, and whether it was charged."),
    "job.canceled": (
        _job,
        "The job was canceled; `data.has_image` and `data.charged` say whether in time.",
    ),
    "job.expired": (_job, "The job did not start in time; `data.expired_by` says which time."),
    "job.charge_resolved": (_job, "What a lost answer cost is known; also after the job's end."),
    "budget.threshold": (_budget, "A soft budget is used up to 80 or 100 %."),
    "webhook.disabled": (_endpoint, "Another endpoint of the project was disabled."),
    "wallet.low": (_wallet, "The provider's wallet runs low; told to the operator's project."),
    "wallet.empty": (
        _wallet,
        "The wallet is empty, and jobs wait; told to the operator's project.",
    ),
    "wallet.restored": (_wallet, "The wallet is filled again; told to the operator's project."),
    "batch.progress": (_batch, "Another tenth of the batch's rows has ended."),
    "batch.paused": (_batch, "The batch is paused; `data.paused_for` says why."),
    "batch.completed": (
        _batch,
        "Every row of the batch has ended; `data.status` says if canceled.",
    ),
    "group.completed": (_group, "Every job of the group has ended; `data.jobs` says how."),
    "ping": (_ping, "Somebody tests this endpoint."),
}


def router() -> APIRouter:
    """Describe each event as an operation that a receiver offers."""
    events = APIRouter()
    for type_, (receiver, description) in _EVENTS.items():
        events.add_api_route(
            type_,
            receiver,
            methods=["POST"],
            status_code=204,
            operation_id=type_,
            summary=type_,
            description=description,
            dependencies=[Depends(_signed)],
            responses=_ANSWERS,
            tags=["events"],
        )
    return events
