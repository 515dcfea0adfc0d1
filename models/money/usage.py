"""What was used and what it cost: a report by day, key, model, tag or customer.

Each thing counts when it happened, so that a day which is over changes only by what is found out later:

    submitted, held     at the job's `created_at`; `held` is what the job holds now
    succeeded, failed, canceled, expired, saved
                        at the job's `finished_at`; `saved` is the estimate of a job that reused an image
    attempts, unknown   at the attempt's `sent_at`; `unknown` is what it holds if it has ended and nobody
                        knows its charge yet: a part of `held`
    charged             when the provider made the charge (`made_at`), else when it was booked (`at`)

`charged` adds up every line of the ledger that is neither hold nor release, and `held` every other: over
all time both equal the ledger's sums. A charge belongs to the key and the customer that its line names.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, timedelta
from typing import Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from psycopg.errors import InvalidParameterValue, QueryCanceled
from sqlalchemy import Row, TextClause, func, select, text
from sqlalchemy.exc import DBAPIError

from models.errors import FieldError, InvalidRequest
from models.money import facts, hours
from models.platform.db import Transaction

Dimension = Literal["day", "key", "model", "tag", "customer"]
Value = date | UUID | str | None

_GROUPS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Period:
    """From `start` up to and without `end`; its days begin at midnight in an IANA time zone."""

    start: datetime
    end: datetime
    zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Sums:
    """What happened: counts of jobs and attempts, then credits."""

    submitted: int
    succeeded: int
    failed: int
    canceled: int
    expired: int
    attempts: int
    charged: int
    unknown: int
    held: int
    saved: int


@dataclass(frozen=True, slots=True)
class Group:
    """One row of a report: its value in each dimension, None where a job has none, and its sums."""

    values: tuple[Value, ...]
    sums: Sums


@dataclass(frozen=True, slots=True)
class Report:
    """The groups in order of their values, and totals that count everything once.

    A job counts in the group of each of its tags, so groups by tag may add up to more than the totals.
    """

    groups: list[Group]
    totals: Sums


async def now(tx: Transaction) -> datetime:
    """Return the time by the database's clock, which dates everything that is reported."""
    return (await tx.execute(select(func.now()))).scalar_one()


async def report(
    tx: Transaction, project_id: UUID, period: Period, by: Sequence[Dimension]
) -> Report:
    """Sum up a project's use; without a dimension there are only totals.

    Its full hours are read as they were folded, all else from what happened. Raises `InvalidRequest` for
    more than 10,000 groups, and a time zone that Postgres does not know.
    """
    folded_until: datetime | None = None
    rows: Sequence[Row[*tuple[Any, ...]]] = ()
    while not rows or rows[0].folded_until != folded_until:  # else an hour was folded in between
        folded_until = await hours.folded_until(tx)
        rows = await _ask(tx, project_id, _parts(period, by, folded_until), by, period.zone)
    groups: list[Group] = []
    totals: list[Sums] = []
    for is_total, _, *row in rows:
        sums = Sums(*(int(each) for each in row[len(by) :]))
        if is_total:
            totals.append(sums)
        else:
            groups.append(Group(tuple(row[: len(by)]), sums))
    if len(groups) > _GROUPS_MAX:
        message = f"it makes over {_GROUPS_MAX:,} rows; group by less, or ask for a shorter time"
        raise _refusal("query:group_by", message)
    return Report(sorted(groups, key=_order), totals[0])


def _refusal(pointer: str, message: str) -> InvalidRequest:
    return InvalidRequest(
        f"The report cannot be made: {message}.", errors=(FieldError(pointer, message),)
    )


def _order(group: Group) -> tuple[tuple[bool, Value], ...]:
    return tuple((value is None, value) for value in group.values)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a report is made of: times of which everything is counted, and the hours between them."""

    counted: tuple[tuple[datetime, datetime], ...]
    folded_until: datetime | None
    hours: tuple[datetime, datetime] | None = None


def _parts(period: Period, by: Sequence[Dimension], folded_until: datetime | None) -> _Parts:
    """Split a period; tags are not folded, nor days that begin within an hour."""
    everything = _Parts(((period.start, period.end),), folded_until)
    if folded_until is None or period.start >= folded_until or "tag" in by:
        return everything
    first = hours.whole(period.start + hours.HOUR - timedelta.resolution)
    last = min(hours.whole(period.end), folded_until)
    if first >= last or ("day" in by and not by_the_hour(replace(period, end=last))):
        return everything
    around = ((period.start, first), (last, period.end))
    counted = tuple(each for each in around if each[0] < each[1])
    return _Parts(counted, folded_until, (first, last))


def by_the_hour(period: Period) -> bool:
    """Return whether all days of a period begin with an hour of UTC."""
    days = range((period.end - period.start).days + 2)
    try:
        zone = ZoneInfo(period.zone)
        offsets = {(period.start + timedelta(days=n)).astimezone(zone).utcoffset() for n in days}
    except (ZoneInfoNotFoundError, ValueError, OverflowError):
        return False  # Postgres may know better
    return all(each is not None and not each % hours.HOUR for each in offsets)


async def _ask(
    tx: Transaction, project_id: UUID, parts: _Parts, by: Sequence[Dimension], zone: str
) -> Sequence[Row[*tuple[Any, ...]]]:
    values: dict[str, object] = {
        "projects": [project_id],
        "zone": zone,
        "folded_until": parts.folded_until,
    }
    asked: list[str] = []
    for place, (lo, hi) in enumerate(parts.counted):
        asked.append(facts.happened(str(place)))
        values |= facts.between(lo, hi, str(place))
    if parts.hours is not None:
        asked += [_folded(by), facts.found_late("h"), facts.stands("h")]
        values |= facts.between(*parts.hours, "h") | {"booked_h": parts.folded_until}
    try:
        return (await tx.execute(_report(by, " UNION ALL ".join(asked)), values)).all()
    except DBAPIError as failed:
        if isinstance(failed.orig, InvalidParameterValue):
            message = f"the database knows no time zone {zone}; use an IANA name"
            raise _refusal("query:tz", message) from None
        if isinstance(failed.orig, QueryCanceled) and parts.hours is None:
            message = "it has too many jobs to count one by one in time; ask for a shorter time"
            raise _refusal("query:from", message) from None
        raise


def _report(by: Sequence[Dimension], asked: str) -> TextClause:
    """Write the statement: the groups, and the totals of the very same facts beside them.

    In `parts` all tags of a job are one value, so that little is left when they are taken apart. When an
    hour was folded since `parts` were chosen nothing is read: it is asked again.
    """
    pivot = ", ".join(
        f"coalesce(sum(amount) FILTER (WHERE what = '{each.name}'), 0) AS {each.name}"
        for each in fields(Sums)
    )
    columns = "".join(f"{_COLUMNS[each]} AS {each}, " for each in by)
    single = "".join(f"{'single.tag' if each == 'tag' else each}, " for each in by)
    tags = "LEFT JOIN LATERAL (SELECT DISTINCT unnest(parts.tag) AS tag) single ON true"
    return text(f"""
        WITH facts (project_id, moment, key_id, customer, model, tags, what, amount) AS (
            SELECT * FROM ({asked}) fact
             WHERE {hours.FOLDED_UNTIL} IS NOT DISTINCT FROM CAST(:folded_until AS timestamptz)
        ), parts AS (
            SELECT {columns} what, sum(amount) AS amount FROM facts GROUP BY {_places(len(by) + 1)}
        ), groups AS (
            SELECT {single} {pivot} FROM parts {tags if "tag" in by else ""}
             GROUP BY {_places(len(by)) or "()"} LIMIT {_GROUPS_MAX + 1}
        )
        SELECT false AS is_total, {hours.FOLDED_UNTIL} AS folded_until, *
          FROM groups WHERE {"true" if by else "false"}
        UNION ALL
        SELECT true, {hours.FOLDED_UNTIL}, {"NULL, " * len(by)} {pivot} FROM parts
    """)  # noqa: S608 - constants of this file


def _folded(by: Sequence[Dimension]) -> str:
    """Select the folded hours as facts, summed up as far as the report does.

    Where no customer is asked for, hours of all customers together are read: some hundred for a month, and
    not one for each customer.
    """
    table = "usage_hours" if "customer" in by else "usage_totals"
    columns = {"key": "key_id", "customer": "customer", "model": "model"}
    chosen = ", ".join(
        column if each in by else f"NULL AS {column}" for each, column in columns.items()
    )
    groups = "".join(f", {_COLUMNS[each]}" for each in by)
    sums = ", ".join(f"sum({each}) AS {each}" for each in hours.COUNTED)
    pairs = ", ".join(f"('{each}', {each})" for each in hours.COUNTED)
    return f"""
        SELECT project_id, moment, CAST(key_id AS uuid), customer, model, CAST(NULL AS text[]),
               fact.what, fact.amount
          FROM (SELECT project_id, min(moment) AS moment, {chosen}, {sums}
                  FROM (SELECT *, hour AS moment FROM {table}
                         WHERE project_id = ANY (:projects) AND hour >= :lo_h AND hour < :hi_h) kept
                 GROUP BY project_id{groups}) summed,
               LATERAL (VALUES {pairs}) fact (what, amount)
    """  # noqa: S608 - constants of this file


def _places(count: int) -> str:
    return ", ".join(str(place + 1) for place in range(count))


_COLUMNS: dict[Dimension, str] = {
    "day": "CAST(moment AT TIME ZONE CAST(:zone AS text) AS date)",
    "key": "key_id",
    "model": "model",
    "tag": "tags",
    "customer": "customer",
}
