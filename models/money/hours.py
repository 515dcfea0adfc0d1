"""Folding: the sums of each hour that is over, so that a report of a year reads hours and not jobs.

An hour is folded once, whole, some minutes after its end. What is found out later, charges and the calls
that a restore finds, is added to the hour in which it was made. What may still change, the tags that an
erasure takes away and what is held or unknown at present, is never folded. `duties` has the end of the
last hour that was. What is written into `usage_hours` a trigger adds to `usage_totals`, without customers.
"""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import Uuid, bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from models import ids
from models.money import facts
from models.platform.db import Transaction
from models.platform.db.statements import Reader, prepared
from models.schema import Duty, Job, LedgerEntry, Project, UsageHour

HOUR = timedelta(hours=1)
COUNTED = (
    "submitted",
    "succeeded",
    "failed",
    "canceled",
    "expired",
    "attempts",
    "charged",
    "saved",
)

DUTY = "fold"

# Beside a report, in the same snapshot.
FOLDED_UNTIL = f"(SELECT done_at FROM duties WHERE name = '{DUTY}')"  # noqa: S608 - a constant

_KEY = ("project_id", "hour", "key_id", "model", "customer")


async def folded_until(tx: Transaction) -> datetime | None:
    """Return the end of the last hour that is folded; None when none is."""
    return await tx.scalar(select(Duty.done_at).where(Duty.name == DUTY))


async def age(tx: Reader) -> timedelta | None:
    """Return how long ago the last folded hour ended; None when none is folded."""
    (row,) = await tx.read(_AGE, {})
    passed: timedelta | None = row["passed"]
    return passed


async def fold(tx: Transaction, rest: timedelta) -> bool:
    """Fold the next hour that has been over for `rest`; False when there is none.

    A transaction that may still write into an hour has begun before its end, for rows are dated by the
    beginning of their transaction. So while a transaction is open that is as old, the hour waits.
    """
    until = await _taken(tx) or await _beginning(tx)
    if until is None:
        return False
    end = until + HOUR
    if not await tx.scalar(_OVER, {"end": end, "rest": rest}):
        return False
    projects = list(await tx.scalars(select(Project.id)))
    await tx.execute(_FOLD, facts.between(until, end, "hour") | {"projects": projects})
    await tx.execute(update(Duty).where(Duty.name == DUTY).values(done_at=end))
    return True


async def count_late_attempt(tx: Transaction, job: Job, sent_at: datetime) -> None:
    """Count a call of an hour that is folded, if it is: only a restore finds calls of the past."""
    until = await _taken(tx)
    if until is None or sent_at >= until:
        return
    hour = func.date_trunc("hour", sent_at, "UTC")
    added = insert(UsageHour).values(
        project_id=job.project_id, hour=hour, key_id=job.key_id, model=job.model,
        customer=job.customer, attempts=1,
    )  # fmt: skip
    await tx.execute(
        added.on_conflict_do_update(
            index_elements=_KEY,
            set_={"attempts": UsageHour.attempts + 1},
        )
    )


async def forget_customer(
    tx: Transaction, project_id: UUID, customer: str, *, after: datetime | None, until: datetime
) -> tuple[int, datetime | None]:
    """Add what a customer used on the next day with folded hours to what has no customer.

    Goes on behind `after`, up to the hour of `until`: use of that same hour which came later loses the name
    with it. Returns how many rows had it, and the hour to go on behind; None when that was the last day.
    """
    await _taken(tx)  # or an hour that is just being folded would bring the name back
    beginning = select(func.min(UsageHour.hour)).where(UsageHour.project_id == project_id)
    if after is not None:
        beginning = beginning.where(UsageHour.hour > after)
    first = await tx.scalar(beginning)
    if first is None or first > until:
        return 0, None
    day = {"first": first, "last": first + timedelta(days=1) - HOUR, "until": until}
    rows = await tx.execute(_FORGET, day | {"project": project_id, "customer": customer})
    return int(rows.scalar_one()), day["last"]


async def charged(tx: Transaction, project_id: UUID) -> tuple[int, datetime | None]:
    """Return what a project's hours charge in all, and until when they were folded."""
    kept = select(func.coalesce(func.sum(UsageHour.charged), 0))
    kept = kept.where(UsageHour.project_id == project_id)
    until = select(Duty.done_at).where(Duty.name == DUTY)
    row = (await tx.execute(select(kept.scalar_subquery(), until.scalar_subquery()))).one()
    return int(row[0]), row[1]


async def off(tx: Transaction, project_id: UUID) -> int:
    """Return in how many places a project's hours without customers are not the sums of those with them."""
    return int((await tx.execute(_OFF, {"project": project_id})).scalar_one())


async def _taken(tx: Transaction) -> datetime | None:
    """Return the end of the last folded hour, which stays so until this transaction ends."""
    until: datetime | None = await tx.scalar(
        insert(Duty)
        .values(name=DUTY)
        .on_conflict_do_update(index_elements=["name"], set_={"name": DUTY})
        .returning(Duty.done_at)
    )
    return until


async def _beginning(tx: Transaction) -> datetime | None:
    """Return a full hour before the first thing that happened; None when there is nothing yet."""
    firsts = (
        select(Job.created_at).order_by(Job.id).limit(1),
        select(LedgerEntry.at).order_by(LedgerEntry.id).limit(1),
    )
    seen = [each for first in firsts if (each := await tx.scalar(first)) is not None]
    if not seen:
        return None
    return whole(ids.sooner(min(seen)))


def whole(moment: datetime) -> datetime:
    """Return the last full hour (UTC) that is not after a moment."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


_AGE = prepared(text(f"SELECT now() - {FOLDED_UNTIL} AS passed"))

_OVER = text("""
    SELECT CAST(:end AS timestamptz) + CAST(:rest AS interval) <= now()
       AND NOT EXISTS (SELECT FROM pg_stat_activity
                        WHERE datname = current_database() AND backend_type = 'client backend'
                          AND pid <> pg_backend_pid()
                          AND xact_start < :end)
""")


def _folding() -> str:
    sums = ", ".join(f"coalesce(sum(amount) FILTER (WHERE what = '{each}'), 0)" for each in COUNTED)
    more = ", ".join(f"{each} = usage_hours.{each} + excluded.{each}" for each in COUNTED)
    return f"""
        INSERT INTO usage_hours ({", ".join(_KEY)}, {", ".join(COUNTED)})
        SELECT project_id, date_trunc('hour', moment, 'UTC'), key_id, model, customer, {sums}
          FROM ({facts.written("hour")}) fact
         WHERE what = ANY (:counted)
         GROUP BY 1, 2, 3, 4, 5
        ON CONFLICT ({", ".join(_KEY)}) DO UPDATE SET {more}
    """  # noqa: S608 - constants of this file


def _forgetting() -> str:
    kept = [each for each in _KEY if each != "customer"]
    sums = ", ".join(f"sum({each})" for each in COUNTED)
    more = ", ".join(f"{each} = usage_hours.{each} + excluded.{each}" for each in COUNTED)
    return f"""
        WITH gone AS (
            DELETE FROM usage_hours
             WHERE project_id = :project AND hour >= :first AND hour <= :last
               AND hour <= :until AND customer = :customer
            RETURNING *
        ), added AS (
            INSERT INTO usage_hours ({", ".join(kept)}, {", ".join(COUNTED)})
            SELECT {", ".join(kept)}, {sums} FROM gone GROUP BY {", ".join(kept)}
            ON CONFLICT ({", ".join(_KEY)}) DO UPDATE SET {more}
        )
        SELECT count(*) FROM gone
    """  # noqa: S608 - constants of this file


def _comparing() -> str:
    plus, minus = ", ".join(COUNTED), ", ".join(f"-{each}" for each in COUNTED)
    sums, nothing = ", ".join(f"sum({each})" for each in COUNTED), ", ".join("0" for _ in COUNTED)
    of = "FROM {} WHERE project_id = :project"
    return f"""
        SELECT count(*) FROM (
            SELECT FROM (SELECT hour, key_id, model, {plus} {of.format("usage_hours")}
                         UNION ALL
                         SELECT hour, key_id, model, {minus} {of.format("usage_totals")}) both_
             GROUP BY hour, key_id, model HAVING ({sums}) <> ({nothing})) off
    """  # noqa: S608 - constants of this file


_OFF = text(_comparing()).bindparams(bindparam("project", type_=Uuid()))
_FORGET = text(_forgetting()).bindparams(bindparam("project", type_=Uuid()))
_FOLD = text(_folding()).bindparams(counted=list(COUNTED))
