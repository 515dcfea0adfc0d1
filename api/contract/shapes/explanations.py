"""Why a job waits."""

from datetime import datetime
from typing import Literal

from api.contract.shapes.parts import JobId, JobStatus, Shape
from models.states import Phase, WaitingReason


class Binding(Shape, extra="allow"):
    """One thing that binds a job, with numbers of its own beside the sentence."""

    reason: WaitingReason | Literal["workers"]
    message: str


class Position(Shape):
    """A job's place; `at_least` when counting was stopped there."""

    in_project: int
    at_least: bool
    projects_waiting: int


class StartEstimate(Shape):
    """Between which times a job is expected to start."""

    earliest: datetime
    latest: datetime | None


class RunningCall(Shape):
    """A call under way, and how long one takes at present."""

    since: datetime | None
    phase: Phase
    typical_seconds: float


class Explanation(Shape):
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
