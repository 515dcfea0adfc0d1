"""Actions on many jobs."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from api.contract.shapes.parts import Credits, JobId, Page, Shape, Usd
from models.platform.jsonable import Json
from models.states import ActionKind, ActionStatus

ActionId = Annotated[str, Field(pattern="^act_[0-9a-z]{26}$")]


class ActionReason(Shape):
    """Why jobs were skipped or failed: how many, and one of them as an example."""

    code: str
    count: int
    message: str
    job: JobId | None = Field(description="null where none of them was met again")


class ActionStop(Shape):
    """Why an action stopped before its end."""

    code: str
    detail: str


class Action(Shape):
    """One thing that is done to many jobs, and how far it has come."""

    id: ActionId
    object: Literal["action"]
    action: ActionKind
    filter: Json
    status: ActionStatus
    stopped_because: ActionStop | None = Field(
        description="of a `stopped` action: a refusal's code, such as `budget_exceeded`, or `key_revoked`"
    )
    count: int | None = Field(
        description="how many jobs it was about when it was asked for, and of a `completed` one the "
        "sum of what became of them; null where they were too many to count in time"
    )
    done: int
    skipped: int
    failed: int
    reasons: list[ActionReason]
    created_at: datetime
    finished_at: datetime | None


class ActionPage(Page):
    """Actions, newest first."""

    data: list[Action]


class ActionPreview(Shape):
    """What an action would do now: `credits` are what a retry would hold, or a cancel give back at once."""

    object: Literal["action_preview"]
    action: ActionKind
    filter: Json
    count: int
    credits: Credits
    usd: Usd
