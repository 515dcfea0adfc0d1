"""Every job that a filter leaves, newest first, a part at a time: for files that may be long."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from uuid import UUID

from sqlalchemy import select

from models.jobs.reading import filtering
from models.jobs.reading.filtering import Filter
from models.platform.db import Transaction
from models.schema import Job

_PART = 1_000  # jobs that are given at once
_LOOKED_THROUGH = 50_000  # of the project's, for one part: whatever the filter leaves of them


async def parts(
    opened: Callable[[], AbstractAsyncContextManager[Transaction]],
    project_id: UUID,
    filter_: Filter,
) -> AsyncIterator[Sequence[Job]]:
    """Read every job, part by part; there is at least one part, and any of them may be empty.

    The transaction of a part is over before it is given: a slow reader holds no connection, and nobody
    holds the whole. Jobs that are accepted meanwhile are left out.
    """
    while True:
        async with opened() as tx:
            found, before = await _part(tx, project_id, filter_)
        yield found
        if before is None:
            return
        filter_ = replace(filter_, before=before)


async def _part(
    tx: Transaction, project_id: UUID, filter_: Filter
) -> tuple[Sequence[Job], UUID | None]:
    """Read a part; returns it, and the job before which the next one begins, if any."""
    edge = await tx.scalar(filtering.edge(project_id, filter_, _LOOKED_THROUGH))
    among = [] if edge is None else [Job.id >= edge]
    chosen = select(Job).where(
        filtering.within(project_id, filter_), *filtering.narrow(filter_), *among
    )
    newest = chosen.order_by(Job.project_id.desc(), Job.id.desc()).limit(_PART)
    found = (await tx.scalars(newest)).all()
    return found, found[-1].id if len(found) == _PART else edge
