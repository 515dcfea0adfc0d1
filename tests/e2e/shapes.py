"""What a customer's client reads of Darkroom's JSON, and what the simulator says it saw."""

from datetime import datetime

from pydantic import BaseModel


class Charge(BaseModel):
    """What is known of the money of one attempt."""

    state: str
    credits: int | None


class Attempt(BaseModel):
    """One paid call as the job shows it."""

    number: int
    outcome: str | None
    charge: Charge
    http_status: int | None
    client_request_id: str
    sent_at: datetime


class Cost(BaseModel):
    """What a job cost, in credits."""

    charged: int
    unknown: int
    held: int


class Image(BaseModel):
    """A kept image."""

    url: str
    thumbnail_url: str
    sha256: str
    bytes: int
    width: int
    height: int
    content_type: str


class Result(BaseModel):
    """The images of a job: one."""

    data: list[Image]


class Error(BaseModel):
    """Why a job failed."""

    code: str
    message: str
    charged: str
    retryable: bool


class Job(BaseModel):
    """A job as `GET`, and every webhook, shows it."""

    id: str
    status: str
    waiting_reason: str | None
    attempts: list[Attempt]
    cost: Cost
    result: Result | None
    error: Error | None

    @property
    def image(self) -> Image:
        """The image of a job that has one."""
        assert self.result is not None, f"{self.id} is {self.status} and has no image"
        return self.result.data[0]

    @property
    def failure(self) -> Error:
        """The error of a job that failed."""
        assert self.error is not None, f"{self.id} is {self.status} and has no error"
        return self.error

    @property
    def outcomes(self) -> list[str | None]:
        """What each attempt came to, in their order."""
        return [attempt.outcome for attempt in self.attempts]

    @property
    def charges(self) -> list[str]:
        """What is known of each attempt's money, in their order."""
        return [attempt.charge.state for attempt in self.attempts]


class Event(BaseModel):
    """The body of a webhook."""

    type: str
    data: Job


class Call(BaseModel):
    """One paid call as the simulator witnessed it."""

    number: int
    client_request_id: str | None
    scenario: str
    status: int | None
    charged: int
    received_at: datetime
    answered_at: datetime | None


class Ledger(BaseModel):
    """The simulator's own books, in credits."""

    charged: int
    held: int
    balance: int
