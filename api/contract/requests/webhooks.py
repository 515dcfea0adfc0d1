"""What crosses the wire inwards about webhooks: endpoints, pages of their log, replays."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from api.contract.formats import cursors
from api.contract.requests.parts import Moment, Strict, Text, unique
from models.states import BATCH_EVENTS, JOB_EVENTS, DeliveryState
from models.webhooks.endpoints import Wish

# An endpoint may also hear of what is about no job; of the wallet only the operator's project does.
Heard = Annotated[
    list[Literal[
        "job.running", "job.succeeded", "job.failed", "job.canceled", "job.expired",
        "job.charge_resolved", "budget.threshold", "webhook.disabled",
        "wallet.low", "wallet.empty", "wallet.restored",
        "batch.progress", "batch.paused", "batch.completed", "group.completed",
    ]],
    Field(max_length=len(JOB_EVENTS) + len(BATCH_EVENTS) + 5, description="empty: those that end a job"),
    AfterValidator(unique),
]  # fmt: skip
Description = Annotated[Text, Field(max_length=512)]
RateLimit = Annotated[int, Field(ge=1, le=1000, description="tries per second; null: our own rate")]
Lost = Literal["failed", "held", "exhausted", "blocked", "aborted"]

_FAILED: tuple[DeliveryState, ...] = ("exhausted", "blocked", "aborted")
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


def _in_reach(moment: datetime) -> datetime:
    """Keep away from the ends of the calendar, where an hour more or less overflows."""
    return min(max(moment, _FIRST), _LAST)


Bound = Annotated[Moment, AfterValidator(_in_reach)]


class EndpointBody(Strict):
    """A URL to be told of events; without `events`, of those that end a job."""

    url: Text
    events: Heard = Field(default=[])
    description: Description = ""
    rate_limit: RateLimit | None = None
    enabled: bool = True
    secret: Annotated[
        Literal["own", "project"],
        Field(description="whose secret signs: `project` is that of `webhook.url` on a job"),
    ] = "own"  # noqa: S105 - whose it is

    @property
    def wish(self) -> Wish:
        """The endpoint that this asks for."""
        return Wish(
            url=self.url,
            events=self.events,
            description=self.description,
            rate_limit=self.rate_limit,
            enabled=self.enabled,
            project_secret=self.secret == "project",  # noqa: S105 - likewise
        )


class EndpointChanges(Strict):
    """What to change of an endpoint; what is not named stays as it is."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, json_schema_extra={"minProperties": 1}
    )

    # Factories, so that OpenAPI shows no defaults: leaving a field out does not reset it.
    url: Text = Field(default_factory=str)
    events: Heard = Field(default_factory=list)
    description: Description = Field(default_factory=str)
    rate_limit: RateLimit | None = Field(default_factory=lambda: None)
    enabled: bool = Field(default_factory=bool)

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("name at least one field to change")
        return self

    @property
    def changes(self) -> dict[str, object]:
        """What was named, by column."""
        return self.model_dump(exclude_unset=True)


class DeliveryQuery(BaseModel):
    """Which deliveries of a log, newest first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: DeliveryState | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str, Field(max_length=64)] | None = None

    @property
    def states(self) -> tuple[DeliveryState, ...]:
        """The states to show; none: every one."""
        return () if self.state is None else (self.state,)

    @property
    def before(self) -> UUID | None:
        """The id that the page before ended with; raises `InvalidRequest`."""
        return None if self.cursor is None else cursors.read(self.cursor)


class Course(Strict):
    """A replay under way, as its cursor remembers it: what it is about does not move meanwhile."""

    since: Bound | None
    until: Bound
    status: Lost | None
    after: UUID | None = None

    @property
    def states(self) -> tuple[DeliveryState, ...]:
        """The states of what is sent again."""
        match self.status:
            case None:
                return (*_FAILED, "held")
            case "failed":
                return _FAILED
            case one:
                return (one,)

    def cursor(self, after: UUID) -> str:
        """Write where to go on."""
        left = self.model_copy(update={"after": after})
        return urlsafe_b64encode(left.model_dump_json().encode()).decode().rstrip("=")


class ReplayBody(Strict):
    """What to send again, by when it arose; without `status`, what failed and what is held.

    `cursor` goes on where the answer before ended, and says all of this itself: send it alone.
    """

    since: Annotated[Bound | None, Field(description="the first moment")] = None
    until: Annotated[Moment | None, Field(description="the first moment after; default: now")] = (
        None
    )
    status: Annotated[
        Lost | None, Field(description="`failed` is exhausted, blocked or aborted")
    ] = None
    cursor: Annotated[str, Field(max_length=512)] | None = None

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        if self.cursor is not None and len(self.model_fields_set) > 1:
            raise ValueError("the cursor already says since, until and status; send it alone")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("`since` must be before `until`")
        return self

    def course(self, now: datetime) -> Course:
        """The replay that is meant; raises `InvalidRequest` for a cursor that is none of ours."""
        if self.cursor is None:
            return Course(since=self.since, until=self.until or now, status=self.status)
        try:
            return Course.model_validate_json(urlsafe_b64decode(self.cursor + "=="))
        except ValueError:  # not base 64, or not what we wrote
            raise cursors.refusal(self.cursor, "/cursor") from None
