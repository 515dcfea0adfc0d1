"""The operator plane: projects, keys of all projects, the installation's state; and the audit log."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from api.contract.shapes.keys import ApiKey
from api.contract.shapes.parts import Cost, Credits, JobId, KeyId, Page, Shape
from models.states import Acting, AuditAction, Scope

Facts = dict[str, object]  # of JSON
ProjectId = Annotated[str, Field(pattern="^prj_[0-9a-z]{26}$")]


class ProjectJobs(Shape):
    """How many jobs of a project wait, and are in flight."""

    queued: int
    in_flight: int


class OperatedProject(Shape):
    """A project as an operator sees it. `deleting` ends by itself: then nothing but its books is left."""

    id: ProjectId
    object: Literal["project"]
    name: str
    status: Literal["active", "suspended", "deleting", "deleted"]
    created_at: datetime
    suspended_at: datetime | None
    suspended_reason: str | None
    deleted_at: datetime | None
    emptied_at: datetime | None
    paused: bool
    in_flight_cap: int | None
    concurrency_key_cap: int
    idempotency_required: bool
    jobs: ProjectJobs
    keys: int
    endpoints: int


class OperatedProjectPage(Page):
    """Projects, newest first."""

    data: list[OperatedProject]


class OperatedKey(ApiKey):
    """A key of any project, or an operator's own, which has no project."""

    scopes: list[Scope]  # type: ignore[assignment]  # an operator's has one that no project's has
    project_id: ProjectId | None
    project: str | None


class OperatedKeyPage(Page):
    """Keys of all projects, newest first."""

    data: list[OperatedKey]


class AuditActor(Shape):
    """Who acted. A project is not told which operator did, nor from where."""

    type: Acting
    key_id: KeyId | None
    name: str | None
    address: str | None
    request_id: str | None


class AuditEntry(Shape):
    """A line of the audit log; of a change `before` and `after` have what differs."""

    id: str = Field(pattern="^aud_[0-9a-z]{26}$")
    object: Literal["audit_entry"]
    seq: int
    at: datetime
    actor: AuditActor
    project_id: ProjectId | None
    action: AuditAction
    subject: str
    before: Facts | None
    after: Facts | None
    hash: str


class AuditPage(Page):
    """Lines of the audit log, newest first."""

    data: list[AuditEntry]


class UnknownCharge(Shape):
    """A call of which nobody knows yet what it cost."""

    attempt: str
    object: Literal["unknown_charge"]
    job_id: JobId
    project_id: ProjectId
    model: str
    sent_at: datetime
    outcome: str | None
    error: Facts | None
    http_status: int | None
    inference_id: str | None
    held: Cost


class UnknownChargePage(Page):
    """Unknown charges, newest first."""

    data: list[UnknownCharge]


class ResolvedCharge(Shape):
    """What an attempt cost after all, and how its job stands since."""

    object: Literal["resolved_charge"]
    attempt: str
    charge: Literal["settled", "released"]
    credits: Credits | None
    job_id: JobId
    job_status: str


class Pause(Shape):
    """What is paused, and since when."""

    scope: Literal["all", "model", "project"]
    model: str | None
    project_id: ProjectId | None
    project: str | None
    because: Literal["paused", "suspended", "deleted"]
    suspended_reason: str | None
    paused_at: datetime


class PauseList(Shape):
    """Every pause that stands, the oldest first."""

    object: Literal["list"]
    data: list[Pause]


class Probed(Shape):
    """How many gates the next job tries."""

    object: Literal["probe"]
    reason: str
    gates: int


class LimitSample(Shape):
    """A minute: the limit at its end, and the most calls that were seen in flight."""

    at: datetime
    calls: int
    in_flight: int


class LimitHistory(Shape):
    """The provider's limit over time; minutes in which no dispatcher ran are left out."""

    object: Literal["list"]
    data: list[LimitSample]
