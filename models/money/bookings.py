"""The ledger's lines, as a project reads them: by page, or all of them."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, tuple_

from models import ids
from models.platform.db import Transaction
from models.schema import LedgerEntry
from models.states import LedgerKind

_PAGE = 1_000
_LAST = (1 << 63) - 1  # of the ledger's ids


@dataclass(frozen=True, slots=True)
class Selection:
    """Which lines of a ledger; what is None does not narrow. Their time is that of the report."""

    start: datetime | None = None
    end: datetime | None = None
    job_id: UUID | None = None
    key_id: UUID | None = None
    customer: str | None = None
    kind: LedgerKind | None = None
    before: int | None = None  # keyset: lines booked before this one


async def lines(
    tx: Transaction, project_id: UUID, selection: Selection, limit: int
) -> tuple[list[LedgerEntry], bool]:
    """Read a page of the ledger, the newest booking first; returns it, and whether there is more."""
    stmt = select(LedgerEntry).where(*_within(project_id, selection), *_narrow(selection))
    newest = stmt.order_by(LedgerEntry.project_id.desc(), LedgerEntry.id.desc())
    found = (await tx.scalars(newest.limit(limit + 1))).all()
    return list(found[:limit]), len(found) > limit


async def pages(
    opened: Callable[[], AbstractAsyncContextManager[Transaction]],
    project_id: UUID,
    selection: Selection,
) -> AsyncIterator[list[LedgerEntry]]:
    """Read every selected line, page by page; at least one page, which may be empty.

    The transaction of a page is over before the page is given: a slow reader holds no connection, and
    nobody holds the whole. What is booked while it goes on is left out.
    """
    more = True
    while more:
        async with opened() as tx:
            found, more = await lines(tx, project_id, selection, _PAGE)
        yield found
        selection = replace(selection, before=found[-1].id if more else None)


def _within(project_id: UUID, selection: Selection) -> Iterator[ColumnElement[bool]]:
    """Bound the lines to a project's own, and to those before the last that was seen.

    Rows are compared, for with equality the planner may go through the lines of all projects by their id
    until it has met enough of this one, which may have been idle for long. But it underrates what such a
    comparison leaves: where an index of its own knows what is looked for, that one must look cheaper.
    """
    last = selection.before or _LAST
    if selection.job_id is None and selection.start is None:
        place = tuple_(LedgerEntry.project_id, LedgerEntry.id)
        yield from (place > tuple_(project_id, 0), place < tuple_(project_id, last))
    else:
        yield from (LedgerEntry.project_id == project_id, LedgerEntry.id < last)


def _narrow(selection: Selection) -> Iterator[ColumnElement[bool]]:
    made = func.coalesce(LedgerEntry.made_at, LedgerEntry.at)
    if selection.start is not None:
        yield made >= selection.start
        # No charge is booked before it was made.
        yield LedgerEntry.at >= ids.sooner(selection.start)
    if selection.end is not None:
        yield made < selection.end
    columns = {
        LedgerEntry.job_id: selection.job_id,
        LedgerEntry.key_id: selection.key_id,
        LedgerEntry.customer: selection.customer,
        LedgerEntry.kind: selection.kind,
    }
    yield from (column == value for column, value in columns.items() if value is not None)
