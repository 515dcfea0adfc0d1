"""What crosses the wire inwards: strict, and closed to unknown fields."""

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from models import catalog
from models.states import JOB_EVENTS, SCOPES, OnUnknown, Priority, Scope

_UNKEEPABLE = re.compile("[\x00\ud800-\udfff]")
_MAX_PAIRS, _MAX_NAME, _MAX_VALUE = 16, 64, 512

_EXAMPLE: JsonDict = {
    "input": {
        "model": "bytedance/seedream-5-0-lite-preview",
        "prompt": "A T-Rex in a business suit, drinking from a blue mug in a small café",
        "image_size": "2K",
    },
    "webhook": {"url": "https://example.com/hooks/darkroom"},
    "metadata": {"order": "A-17"},
}


def _keepable(text: str) -> str:
    if _UNKEEPABLE.search(text):
        raise ValueError("it has a NUL, or half of a surrogate pair; remove it")
    return text


def _unique(words: list[str]) -> list[str]:
    return list(dict.fromkeys(words))


Text = Annotated[str, AfterValidator(_keepable)]
Name = Annotated[Text, Field(min_length=1, max_length=_MAX_NAME)]
Value = Annotated[Text, Field(max_length=_MAX_VALUE)]
Tag = Annotated[Text, Field(min_length=1, max_length=128)]
Subscribed = Annotated[
    list[Literal[
        "job.running", "job.succeeded", "job.failed", "job.canceled", "job.expired",
        "job.charge_resolved",
    ]],
    Field(max_length=len(JOB_EVENTS)),
    AfterValidator(_unique),
]  # fmt: skip


class Strict(BaseModel):
    """A body: no unknown fields, no silent conversions."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class JobWebhook(Strict):
    """One URL for one job; signed with the project's secret."""

    url: Text
    events: Subscribed | None = None


class SubmitBody(Strict):
    """A request for one image. `input` is the provider's own body; all else is optional."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, json_schema_extra={"examples": [_EXAMPLE]}
    )

    input: catalog.RawInput
    webhook: JobWebhook | None = None
    metadata: Annotated[dict[Name, Value], Field(max_length=_MAX_PAIRS)] = {}
    tags: Annotated[list[Tag], Field(max_length=10), AfterValidator(_unique)] = []
    customer: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9._:-]+$")] | None = None
    priority: Priority = "standard"
    queue_ttl: Annotated[int, Field(ge=10, le=604_800)] = 86_400
    # In JSON a moment is a string: the one conversion that strictness must allow.
    deadline: Annotated[AwareDatetime, Field(strict=False)] | None = None
    max_attempts: Annotated[int, Field(ge=1, le=10)] = 5
    max_cost: Annotated[int, Field(ge=1, le=1 << 53)] | None = None
    on_unknown_charge: OnUnknown = "retry"
    reuse: Literal["never"] = "never"
    concurrency_key: Annotated[Text, Field(min_length=1, max_length=128)] | None = None

    @property
    def queue_expiry(self) -> timedelta:
        """How long the job may wait."""
        return timedelta(seconds=self.queue_ttl)


class EndpointBody(Strict):
    """A URL to be told of events; without `events`, of those that end a job."""

    url: Text
    events: Subscribed = []
    description: Annotated[Text, Field(max_length=512)] = ""


class KeyBody(Strict):
    """A new API key of the caller's project."""

    name: Annotated[Text, Field(min_length=1, max_length=128)]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(SCOPES))]


class RotateBody(Strict):
    """How long the old key still works, in seconds."""

    grace: Annotated[int, Field(ge=0, le=604_800)] = 86_400


class ListQuery(BaseModel):
    """The filters of `GET /v1/jobs`, beside `metadata[key]=value`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    status: Literal["queued", "running", "succeeded", "failed", "canceled", "expired"] | None = None
    model: Value | None = None
    tag: Tag | None = None
    customer: Name | None = None
    charge_state: Literal["none", "unknown", "settled", "released"] | None = None
    waiting_reason: Name | None = None
    created_after: AwareDatetime | None = None
    created_before: AwareDatetime | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str, Field(max_length=256)] | None = None
