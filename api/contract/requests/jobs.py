"""A submission: its input, its options, and what a retry or a quote takes of them."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.config import JsonDict

from api.contract.requests.parts import (
    Customer,
    MaxAttempts,
    MaxCost,
    Metadata,
    Moment,
    Strict,
    Tag,
    Text,
    unique,
)
from models.provider import catalog
from models.states import JOB_EVENTS, OnUnknown, Priority, Reuse

GROUP_MAX = 10  # jobs

_EXAMPLE: JsonDict = {
    "input": {
        "model": "bytedance/seedream-5-0-lite-preview",
        "prompt": "A T-Rex in a business suit, drinking from a blue mug in a small café",
        "image_size": "2K",
    },
    "webhook": {"url": "https://example.com/hooks/darkroom"},
    "metadata": {"order": "A-17"},
}

Subscribed = Annotated[
    list[Literal[
        "job.running", "job.succeeded", "job.failed", "job.canceled", "job.expired",
        "job.charge_resolved",
    ]],
    Field(max_length=len(JOB_EVENTS)),
    AfterValidator(unique),
]  # fmt: skip


class JobWebhook(Strict):
    """One URL for one job; signed with the project's secret."""

    url: Text
    events: Subscribed | None = None


class Options(Strict):
    """What a submission may say beside its input."""

    webhook: JobWebhook | None = None
    metadata: Metadata = Field(default={})
    tags: Annotated[list[Tag], Field(max_length=10), AfterValidator(unique)] = Field(default=[])
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

    input: dict[str, object] = Field(
        default={},
        description="fields of the input to put in place of the old ones; null leaves one out",
    )


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
