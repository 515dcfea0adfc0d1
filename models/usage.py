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
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Literal
from uuid import UUID

from psycopg.errors import InvalidParameterValue
from sqlalchemy import TextClause, func, select, text
from sqlalchemy.exc import DBAPIError

from models import ids
from models.db import Transaction
from models.errors import FieldError, InvalidRequest

Dimension = Literal["day", "key", "model", "tag", "customer"]
Value = date | UUID | str | None

_PER_USD = 2_000_000  # credits for $1 (https://docs.aimlapi.com/faq/credits)
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
    """Tell the time by the database's clock, which dates everything that is reported."""
    return (await tx.execute(select(func.now()))).scalar_one()


async def report(
    tx: Transaction, project_id: UUID, period: Period, by: Sequence[Dimension]
) -> Report:
    """Sum up a project's use in one statement; without a dimension there are only totals.

    Raises `InvalidRequest` for more than 10,000 groups, and a time zone that Postgres does not know.
    """
    booked = ids.sooner(period.start)
    values = {
        "project": project_id, "start": period.start, "end": period.end, "zone": period.zone,
        "booked": booked, "first": ids.first_at(booked), "last": ids.first_at(ids.later(period.end)),
    }  # fmt: skip
    try:
        rows = await tx.execute(_report(by), values)
    except DBAPIError as failed:
        if not isinstance(failed.orig, InvalidParameterValue):
            raise
        message = f"the database knows no time zone {period.zone}; use an IANA name"
        raise _refusal("query:tz", message) from None
    groups: list[Group] = []
    totals: list[Sums] = []
    for is_total, *row in rows:
        sums = Sums(*(int(each) for each in row[len(by) :]))
        if is_total:
            totals.append(sums)
        else:
            groups.append(Group(tuple(row[: len(by)]), sums))
    if len(groups) > _GROUPS_MAX:
        message = f"it makes over {_GROUPS_MAX:,} rows; group by less, or ask for a shorter time"
        raise _refusal("query:group_by", message)
    return Report(sorted(groups, key=_order), totals[0])


def usd(credits_: int) -> str:
    """Write credits in US dollars, exactly: "0.0455", "1.00"; two decimals at least, seven at most."""
    whole, rest = divmod(abs(credits_), _PER_USD)
    decimals = f"{rest * 10_000_000 // _PER_USD:07}".rstrip("0")  # a credit is $0.0000005
    return f"{'-' if credits_ < 0 else ''}{whole}.{decimals:0<2}"


def _refusal(pointer: str, message: str) -> InvalidRequest:
    return InvalidRequest(
        f"The report cannot be made: {message}.", errors=(FieldError(pointer, message),)
    )


def _order(group: Group) -> tuple[tuple[bool, Value], ...]:
    return tuple((value is None, value) for value in group.values)


def _report(by: Sequence[Dimension]) -> TextClause:
    """Write the statement: the groups, and the totals of the very same facts beside them.

    In `parts` all tags of a job are one value, so that little is left when they are taken apart.
    """
    pivot = ", ".join(
        f"coalesce(sum(amount) FILTER (WHERE what = '{each.name}'), 0) AS {each.name}"
        for each in fields(Sums)
    )
    columns = "".join(f"{_COLUMNS[each]} AS {each}, " for each in by)
    single = "".join(f"{'single.tag' if each == 'tag' else each}, " for each in by)
    tags = "LEFT JOIN LATERAL (SELECT DISTINCT unnest(parts.tag) AS tag) single ON true"
    return text(f"""
        WITH facts AS ({_FACTS}), parts AS (
            SELECT {columns} what, sum(amount) AS amount FROM facts GROUP BY {_places(len(by) + 1)}
        ), groups AS (
            SELECT {single} {pivot} FROM parts {tags if "tag" in by else ""}
             GROUP BY {_places(len(by)) or "()"} LIMIT {_GROUPS_MAX + 1}
        )
        SELECT false AS is_total, * FROM groups WHERE {"true" if by else "false"}
        UNION ALL
        SELECT true, {"NULL, " * len(by)} {pivot} FROM parts
    """)  # noqa: S608 - constants of this file


def _places(count: int) -> str:
    return ", ".join(str(place + 1) for place in range(count))


_COLUMNS: dict[Dimension, str] = {
    "day": "CAST(moment AT TIME ZONE CAST(:zone AS text) AS date)",
    "key": "key_id",
    "model": "model",
    "tag": "tags",
    "customer": "customer",
}
_FACTS = """
    SELECT j.created_at AS moment, j.key_id, j.customer, j.model, j.tags, fact.what, fact.amount
      FROM jobs j, LATERAL (VALUES ('submitted', 1), ('held', j.held)) fact (what, amount)
     WHERE j.project_id = :project AND j.created_at >= :start AND j.created_at < :end
       AND j.id >= :first AND j.id < :last
    UNION ALL
    SELECT j.finished_at, j.key_id, j.customer, j.model, j.tags, fact.what, fact.amount
      FROM jobs j, LATERAL (VALUES
           (j.status, 1), ('saved', CASE WHEN j.reused_from IS NOT NULL THEN j.estimate END)
           ) fact (what, amount)
     WHERE j.project_id = :project AND j.finished_at >= :start AND j.finished_at < :end
    UNION ALL
    SELECT a.sent_at, j.key_id, j.customer, j.model, j.tags, fact.what, fact.amount
      FROM attempts a JOIN jobs j ON j.id = a.job_id, LATERAL (VALUES
           ('attempts', 1),
           ('unknown', CASE WHEN a.charge = 'unknown' AND a.finished_at IS NOT NULL THEN a.hold END)
           ) fact (what, amount)
     WHERE j.project_id = :project AND a.sent_at >= :start AND a.sent_at < :end
    UNION ALL
    SELECT coalesce(l.made_at, l.at), l.key_id, l.customer, j.model, j.tags, 'charged', l.credits
      FROM ledger l LEFT JOIN jobs j ON j.id = l.job_id
     WHERE l.project_id = :project AND l.kind NOT IN ('hold', 'release')
       AND coalesce(l.made_at, l.at) >= :start AND coalesce(l.made_at, l.at) < :end
       AND l.at >= :booked
"""
