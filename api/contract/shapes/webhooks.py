"""Endpoints, their secrets, deliveries and their tries."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from api.contract.shapes.parts import EndpointId, JobId, Page, Shape
from models.states import DeliveryState, EventType


class Endpoint(Shape):
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


class EndpointList(Shape):
    """All endpoints of a project, newest first."""

    object: Literal["list"]
    data: list[Endpoint]


class EndpointWithSecret(Endpoint):
    """An endpoint, and the secret that signs what it is told."""

    secret: str


class Answers(Shape):
    """What tries met: how many there were, how many met a 2xx, and the milliseconds that those took."""

    tries: int
    succeeded: int
    median_ms: int | None = Field(description="null while none has succeeded")
    p95_ms: int | None


class HourOfAnswers(Answers):
    """The answers to what came within an hour, which begins at `at`."""

    at: datetime


class EndpointHealth(Answers):
    """How an endpoint answered in the last 24 hours: in all, and hour by hour, the oldest first."""

    object: Literal["webhook.health"]
    endpoint_id: EndpointId
    hours: list[HourOfAnswers]


class Secret(Shape):
    """What signs."""

    secret: str


class RotatedSecret(Secret):
    """What signs from now on; the one before does too, until then."""

    old_secret_until: datetime


class Try(Shape):
    """One try of a delivery; `http_status` is null when no answer came."""

    number: int
    at: datetime
    http_status: int | None
    latency_ms: int
    result: str


class Delivery(Shape):
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


class Replay(Shape):
    """How many deliveries are due again, and how to go on."""

    object: Literal["replay"]
    replayed: int
    has_more: bool
    next_cursor: str | None
