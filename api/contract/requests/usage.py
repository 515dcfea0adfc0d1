"""What is asked for in a URL of the books: which time, how grouped, which lines. Jobs: `filters`."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.contract.requests.budgets import Zone
from api.contract.requests.parts import Customer, Moment
from models import ids
from models.errors import FieldError, InvalidRequest
from models.money.bookings import Selection
from models.money.usage import Dimension, Period
from models.states import LedgerKind

_USUAL = timedelta(days=30)
_LONGEST = timedelta(days=400)  # a year, and last month for comparison
_FIRST = datetime.min.replace(tzinfo=UTC)
_DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)


def _words(written: str) -> tuple[Dimension, ...]:
    words = dict.fromkeys(word.strip() for word in written.split(",") if word.strip())
    unknown = [word for word in words if word not in _DIMENSIONS]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no dimension; use some of {','.join(_DIMENSIONS)}")
    return tuple(each for word in words for each in _DIMENSIONS if each == word)


def _checked(written: str) -> str:
    _words(written)
    return written


def an_id(prefix: str) -> AfterValidator:
    """Return the check that a text is an id of this kind."""

    def check(written: str) -> str:
        if ids.parse(prefix, written) is None:
            raise ValueError(f"this is no id; one is {prefix}_ and 26 letters or digits")
        return written

    return AfterValidator(check)


class Times(BaseModel):
    """From when, and until (without) when."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    start: Annotated[Moment | None, Field(alias="from", description="the first moment")] = None
    end: Annotated[Moment | None, Field(alias="to", description="the first moment after")] = None

    @staticmethod
    def before(moment: datetime, span: timedelta) -> datetime:
        """Return the moment that is so long before, or the first that there is."""
        return moment - min(span, moment - _FIRST)

    def demand_order(self) -> None:
        """Raise `InvalidRequest` for a time that ends before it begins."""
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise _refusal("`from` must be before `to`")


class UsageQuery(Times):
    """The time of `GET /v1/usage`, by default the last 30 days, and how it is grouped."""

    group_by: Annotated[
        str,
        Field(max_length=64, description=f"some of `{','.join(_DIMENSIONS)}`; empty: only totals"),
        AfterValidator(_checked),
    ] = "day"
    tz: Annotated[Zone, Field(description="IANA name of the time zone in which days begin")] = "UTC"

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """What to group by, in the order that was asked for."""
        return _words(self.group_by)

    def period(self, now: datetime) -> Period:
        """The time that is meant; raises `InvalidRequest` for one that is empty or over 400 days."""
        self.demand_order()
        end = now if self.end is None else self.end
        start = self.before(end, _USUAL) if self.start is None else self.start
        if start >= end and self.end is None:
            raise _refusal("`from` is in the future; give `to` as well")
        if start >= end:
            raise _refusal("nothing is before `to`; give a later one", "to")
        if end - start > _LONGEST:
            raise _refusal(f"the time is over {_LONGEST.days} days; ask for parts of it")
        return Period(start, end, self.tz)


class NowQuery(BaseModel):
    """Where the day begins that `today` is about."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tz: Annotated[Zone, Field(description="IANA name of the time zone in which today began")] = (
        "UTC"
    )


class LedgerQuery(Times):
    """Which lines `GET /v1/ledger` lists. Charges are selected by the time they were made."""

    job: Annotated[str, an_id(ids.JOB)] | None = None
    key: Annotated[str, an_id(ids.KEY)] | None = None
    customer: Customer | None = None
    kind: LedgerKind | None = None
    limit: Annotated[int, Field(ge=1, le=1000, description="of a page; not of CSV")] = 100
    cursor: Annotated[str, Field(max_length=64)] | None = None
    format: Annotated[
        Literal["json", "csv"] | None,
        Field(description="default: what `Accept` prefers, or `json`"),
    ] = None

    def selection(self, before: int | None) -> Selection:
        """The lines that are meant, from a cursor's place on; raises `InvalidRequest`."""
        self.demand_order()
        return Selection(
            start=self.start,
            end=self.end,
            job_id=None if self.job is None else ids.parse(ids.JOB, self.job),
            key_id=None if self.key is None else ids.parse(ids.KEY, self.key),
            customer=self.customer,
            kind=self.kind,
            before=before,
        )


def _refusal(message: str, name: str = "from") -> InvalidRequest:
    return InvalidRequest(
        f"The time cannot be used: {message}.", errors=(FieldError(f"query:{name}", message),)
    )
