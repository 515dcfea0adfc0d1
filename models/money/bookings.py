"""The ledger's lines, as a project reads them: by page, or all of them."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    SQLColumnExpression,
    and_,
    func,
    literal,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.orm import aliased

from models import ids
from models.platform.db import Base, Transaction
from models.schema import LedgerEntry
from models.states import LedgerKind

_PAGE = 1_000
_LAST = (1 << 63) - 1  # of the ledger's ids
# By no index: few lines are found by what they are about, and then sorted.
_SORTED = LedgerEntry.id + 0


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
    parts = [
        part.where(*_narrow(selection)).limit(limit + 1) for part in _parts(project_id, selection)
    ]
    line = aliased(LedgerEntry, union_all(*parts).subquery())
    found = (await tx.scalars(select(line).order_by(line.id.desc()).limit(limit + 1))).all()
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


def _parts(project_id: UUID, selection: Selection) -> Iterator[Select[*tuple[Any, ...]]]:
    """Select the lines that are a project's own, before the last that was seen, and of a time; in parts.

    A job has few lines. Of a time there are those that were booked when they were made, which lie beside
    each other, and the few charges that were found out later.
    """
    start, end, last = selection.start, selection.end, selection.before or _LAST
    mine, at, made_at = LedgerEntry.project_id == project_id, LedgerEntry.at, LedgerEntry.made_at
    of_project = select(Base.metadata.tables["ledger"])
    newest = of_project.order_by(LedgerEntry.project_id.desc(), LedgerEntry.id.desc())
    few = of_project.where(mine, LedgerEntry.id < last).order_by(_SORTED.desc())
    if selection.job_id is not None:
        yield few.where(*_during(func.coalesce(made_at, at), selection))
        return
    if start is None and end is None:
        yield newest.where(_between(project_id, literal(0), literal(last)))
        return
    yield few.where(*_during(made_at, selection))
    edge = select(LedgerEntry.id).where(mine).limit(1)
    first: ColumnElement[int] = literal(0)
    beyond: ColumnElement[int] = literal(last)
    if start is not None:
        before = edge.where(at < ids.sooner(start)).order_by(at.desc())
        first = func.coalesce(before.scalar_subquery(), first)
    if end is not None:
        after = edge.where(at >= ids.later(end)).order_by(at)
        beyond = func.least(after.scalar_subquery(), beyond)
    between = _between(project_id, first, beyond)
    yield newest.where(between, made_at.is_(None), *_during(at, selection))


def _between(
    project_id: UUID, first: ColumnElement[int], beyond: ColumnElement[int]
) -> ColumnElement[bool]:
    """Bound the lines by their ids, without the two.

    Rows are compared, for with equality the planner may go through the lines of all projects by their id
    until it has met enough of this one, which may have been idle for long.
    """
    place = tuple_(LedgerEntry.project_id, LedgerEntry.id)
    return and_(place > tuple_(project_id, first), place < tuple_(project_id, beyond))


def _during(
    moment: SQLColumnExpression[datetime] | SQLColumnExpression[datetime | None],
    selection: Selection,
) -> Iterator[ColumnElement[bool]]:
    if selection.start is not None:
        yield moment >= selection.start
    if selection.end is not None:
        yield moment < selection.end


def _narrow(selection: Selection) -> Iterator[ColumnElement[bool]]:
    columns = {
        LedgerEntry.job_id: selection.job_id,
        LedgerEntry.key_id: selection.key_id,
        LedgerEntry.customer: selection.customer,
        LedgerEntry.kind: selection.kind,
    }
    yield from (column == value for column, value in columns.items() if value is not None)
