"""The ledger: holds, releases and charges, append-only, each beside the state that explains it.

Every line of the ledger is written by this module: `book` appends entries and moves the job's sums, `write`
appends entries whose sums the job has already, and `appended` is the part of a larger statement that
appends the lines of what that statement does (`jobs.submission` holds so, `jobs.running.receiving` books
images so). A job's `held` and `charged` are the sums of its entries: what is reserved and not settled, and
what the provider took; the audit compares them. Credits are integers; a release is a negative hold.
"""

from dataclasses import dataclass, fields
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Insert,
    insert,
    literal,
    null,
    select,
    text,
    tuple_,
    union_all,
    update,
)

from models.money import budgets
from models.platform.db import Base, Transaction
from models.platform.db.statements import Writer, prepared
from models.schema import Job, LedgerEntry
from models.states import LedgerKind

_LEDGER = Base.metadata.tables["ledger"]
_LINE = (
    *("project_id", "key_id", "customer", "job_id"),
    *("attempt", "kind", "credits", "inference_id"),
)
_LAST = (1 << 63) - 1  # of the ledger's ids
_OF_HOLD: tuple[LedgerKind, ...] = ("hold", "release")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line to be booked for an attempt of a job.

    `reference` tells it from another of its kind for the same attempt.
    """

    attempt: int
    kind: LedgerKind
    credits: int
    inference_id: str | None = None
    made_at: datetime | None = None
    reference: str = ""


def hold(attempt: int, amount: int, reference: str = "") -> Entry:
    """Return the entry that reserves credits for an attempt that is to come."""
    return Entry(attempt, "hold", amount, reference=reference)


def release(attempt: int, amount: int, reference: str = "") -> Entry:
    """Return the entry that gives back what was held for an attempt."""
    return Entry(attempt, "release", -amount, reference=reference)


def charge(
    attempt: int, amount: int, inference_id: str | None, made_at: datetime | None = None
) -> Entry:
    """Return the entry of what the provider took, with its reference and the time it was made."""
    return Entry(attempt, "charge", amount, inference_id, made_at)


def refund(
    attempt: int, amount: int, inference_id: str | None, reference: str, made_at: datetime
) -> Entry:
    """Return the entry of a refund: `amount` is negative, `reference` names the provider's movement."""
    return Entry(attempt, "refund", amount, inference_id, made_at, reference)


def adjustment(
    attempt: int,
    amount: int,
    inference_id: str | None,
    reference: str,
    made_at: datetime | None = None,
) -> Entry:
    """Return the entry that corrects a booked charge, up or down; `reference` says by what."""
    return Entry(attempt, "adjustment", amount, inference_id, made_at, reference)


async def write(tx: Writer, job: Job, *entries: Entry) -> None:
    """Append entries to the ledger, and move the budgets that they fall under.

    The caller has put their sums into the job's row itself. Raises `BudgetExceeded` for a hold that a
    hard budget has no room for.
    """
    of_job: dict[str, object] = {
        "project": job.project_id,
        "key": job.key_id,
        "customer": job.customer,
        "job": job.id,
    }
    lines = {each.name: [getattr(entry, each.name) for entry in entries] for each in fields(Entry)}
    await tx.run(_WRITE, of_job | lines)
    await move_budgets(tx, job, *entries)


_WRITE = prepared(
    text("""
    INSERT INTO ledger (project_id, key_id, customer, job_id, attempt, kind, credits, inference_id,
                        made_at, reference)
    SELECT :project, :key, CAST(:customer AS text), :job, line.*
      FROM unnest(CAST(:attempt AS bigint[]), CAST(:kind AS text[]), CAST(:credits AS bigint[]),
                  CAST(:inference_id AS text[]), CAST(:made_at AS timestamptz[]),
                  CAST(:reference AS text[])) AS line
""")
)


Line = tuple[ColumnElement[int], LedgerKind, ColumnElement[int], ColumnElement[str] | None]


def appended(job: FromClause, *lines: Line) -> Insert:
    """Write the lines that a larger statement appends, of a job whose row is `job`; no budget moves.

    Each is its attempt, its kind, its credits, and the provider's reference.
    """
    of_job = (job.c.project_id, job.c.key_id, job.c.customer, job.c.id)
    rows = [
        select(*of_job, attempt, literal(kind), amount, null() if name is None else name)
        for attempt, kind, amount, name in lines
    ]
    written = rows[0] if len(rows) == 1 else union_all(*rows)
    return insert(_LEDGER).from_select(list(_LINE), written)


# The holds of many jobs at once, for a statement with their rows in `made`.
HELD = """
    INSERT INTO ledger (project_id, key_id, customer, job_id, attempt, kind, credits)
    SELECT project_id, key_id, customer, id, 1, 'hold', held FROM made WHERE held > 0
"""


async def move_budgets(tx: Writer, job: Job, *entries: Entry) -> None:
    """Move the budgets that entries fall under which are in the ledger. Raises `BudgetExceeded`."""
    sums: dict[int, tuple[int, int]] = {}
    for each in entries:
        held, spent = sums.get(each.attempt, (0, 0))
        of_hold = each.kind in _OF_HOLD
        sums[each.attempt] = (
            held + (each.credits if of_hold else 0),
            spent + (0 if of_hold else each.credits),
        )
    await budgets.move(tx, job, sums)


async def forget_customer_of(tx: Transaction, job: Job) -> int:
    """Take the customer off a job's lines, whose credits stay; return off how many."""
    await budgets.leave_out(tx, job)
    mine = LedgerEntry.job_id == job.id, LedgerEntry.customer.is_not(None)
    nameless = update(LedgerEntry).where(*mine).values(customer=None).returning(LedgerEntry.id)
    return len((await tx.scalars(nameless)).all())


async def forget_customer(
    tx: Transaction, project_id: UUID, customer: str, *, after: int, until: datetime, limit: int
) -> tuple[int, int | None]:
    """Take a customer off the next lines of a project's ledger, up to a moment.

    Looks through so many lines behind `after`; returns off how many it was taken, and the line to go on
    behind, or None when these were the last.
    """
    # Compared as rows, so that nobody goes through the lines of all projects (`bookings`).
    rows = tuple_(LedgerEntry.project_id, LedgerEntry.id)
    place = rows > tuple_(project_id, after), rows < tuple_(project_id, _LAST)
    order = LedgerEntry.project_id, LedgerEntry.id
    last = select(LedgerEntry.id).where(*place).order_by(*order).offset(limit - 1).limit(1)
    edge = await tx.scalar(last)
    among = [] if edge is None else [LedgerEntry.id <= edge]
    mine = LedgerEntry.customer == customer, LedgerEntry.at <= until
    nameless = update(LedgerEntry).where(*place, *among, *mine).values(customer=None)
    return len((await tx.scalars(nameless.returning(LedgerEntry.id))).all()), edge


async def book(tx: Transaction, job: Job, *entries: Entry) -> Job:
    """Append entries and move the job's sums by them; returns the job as it then is."""
    if not entries:
        return job
    await write(tx, job, *entries)
    held = sum(each.credits for each in entries if each.kind in _OF_HOLD)
    charged = sum(each.credits for each in entries if each.kind not in _OF_HOLD)
    moved = await tx.scalars(
        update(Job)
        .where(Job.id == job.id)
        .values(held=Job.held + held, charged=Job.charged + charged)
        .returning(Job),
    )
    return moved.one()
