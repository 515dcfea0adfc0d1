"""What crosses the wire inwards: strict, and closed to unknown fields."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
)
from pydantic.config import JsonDict

from models.provider import catalog
from models.states import (
    JOB_EVENTS,
    SCOPES,
    OnUnknown,
    Priority,
    ProjectScope,
    Reuse,
)

GROUP_MAX = 10  # jobs
_NUMBER = re.compile(r"[-+]?[.0-9]*")  # Pydantic would take it for unix seconds
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


def _written(moment: object) -> object:
    if isinstance(moment, int | float) or (isinstance(moment, str) and _NUMBER.fullmatch(moment)):
        raise ValueError("write it by ISO 8601, such as 2026-11-22T10:00:00Z; a number is no time")
    return moment


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # Postgres would keep it, and nobody could read it back
        raise ValueError("it is not within the years 1 to 9999 of UTC") from None


def unique(words: list[str]) -> list[str]:
    """Keep the first of each word."""
    return list(dict.fromkeys(words))


Text = Annotated[str, AfterValidator(_keepable)]
Customer = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._:-]+$")]
Name = Annotated[Text, Field(min_length=1, max_length=_MAX_NAME)]
Value = Annotated[Text, Field(max_length=_MAX_VALUE)]
Tag = Annotated[Text, Field(min_length=1, max_length=128)]
Metadata = Annotated[dict[Name, Value], Field(max_length=_MAX_PAIRS)]
# In JSON a moment is a string: the one conversion that strictness must allow.
Moment = Annotated[
    AwareDatetime, BeforeValidator(_written), AfterValidator(_in_utc), Field(strict=False)
]
MaxAttempts = Annotated[int, Field(ge=1, le=10)]
MaxCost = Annotated[int, Field(ge=1, le=1 << 53)] | None
Subscribed = Annotated[
    list[Literal[
        "job.running", "job.succeeded", "job.failed", "job.canceled", "job.expired",
        "job.charge_resolved",
    ]],
    Field(max_length=len(JOB_EVENTS)),
    AfterValidator(unique),
]  # fmt: skip


class Strict(BaseModel):
    """A body: no unknown fields, no silent conversions."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class JobWebhook(Strict):
    """One URL for one job; signed with the project's secret."""

    url: Text
    events: Subscribed | None = None


class Options(Strict):
    """What a submission may say beside its input."""

    webhook: JobWebhook | None = None
    metadata: Metadata = {}
    tags: Annotated[list[Tag], Field(max_length=10), AfterValidator(unique)] = []
    customer: Customer | None = None
    priority: Priority = "standard"
    queue_ttl: Annotated[int, Field(ge=10, le=604_800)] = 86_400
    deadline: Moment | None = None
    max_attempts: MaxAttempts = 5
    max_cost: MaxCost = None
    on_unknown_charge: OnUnknown = "retry"
    reuse: Reuse = "never"
    concurrency_key: Annotated[Text, Field(min_length=1, max_length=128)] | None = None

    @property
    def queue_expiry(self) -> timedelta:
        """How long the job may wait."""
        return timedelta(seconds=self.queue_ttl)


class SubmitBody(Options):
    """A request for one image, or some. `input` is the provider's own body; all else is optional."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, json_schema_extra={"examples": [_EXAMPLE]}
    )

    input: catalog.RawInput
    n: Annotated[
        int | None,
        Field(
            ge=1,
            le=GROUP_MAX,
            description="so many images as one group: a job for each, whose seeds follow one another",
        ),
    ] = None


def _without_defaults(schema: JsonDict) -> None:
    """Show no defaults: what is left out stays as the old job had it."""
    properties = schema["properties"]
    assert isinstance(properties, dict)  # noqa: S101 - tells the type checker
    for each in properties.values():
        if isinstance(each, dict):
            each.pop("default", None)


class RetryBody(Options):
    """What a retry changes of the old job's submission; what is not named stays as it was.

    `metadata`, `tags` and `webhook` are replaced whole. A deadline is not repeated, nor is `reuse`.
    """

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, json_schema_extra=_without_defaults
    )

    input: Annotated[
        dict[str, object],
        Field(
            description="fields of the input to put in place of the old ones; null leaves one out"
        ),
    ] = {}


class KeyBody(Strict):
    """A new API key of the caller's project."""

    name: Annotated[Text, Field(min_length=1, max_length=128)]
    scopes: Annotated[list[ProjectScope], Field(min_length=1, max_length=len(SCOPES))]


class RotateBody(Strict):
    """How long the old key still works, in seconds."""

    grace: Annotated[int, Field(ge=0, le=604_800)] = 86_400


class QuoteBody(Strict):
    """A submission that is not made: its input, and those of its options that bound its cost."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"input": _EXAMPLE["input"], "max_attempts": 3}]},
    )

    input: catalog.RawInput
    max_attempts: MaxAttempts = 5
    max_cost: MaxCost = None
