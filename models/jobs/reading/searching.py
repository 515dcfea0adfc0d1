"""Searching a project's jobs by what a person has in hand: an id, an order, a customer, words of a prompt.

An id leads to its job at once. All else is looked for among the newest jobs, so many of them at a time: an
index over every prompt would cost each submission more than all searches together, and what people look
for is new. A page says where it stopped, and the next goes on from there.
"""

from dataclasses import replace
from uuid import UUID

from models.jobs import reading
from models.jobs.reading import Snapshot, filtering, finding
from models.jobs.reading.filtering import Filter
from models.platform.db import Transaction

LOOKED_THROUGH = 10_000  # jobs of one page whose words are looked at
SOUGHT = 50_000  # jobs of one page, where what is looked for is compared as it is


async def page(
    tx: Transaction, project_id: UUID, filter_: Filter, limit: int
) -> tuple[list[Snapshot], UUID | None]:
    """Find a page, newest first; returns it, and the job from which on the next has to go on, if any."""
    edge = None
    if filter_.search is not None and finding.named(filter_.search) is not None:
        filter_ = replace(filter_, before=None)  # there is one job at most
    elif filter_.is_sought:
        reach = SOUGHT if filter_.search is None else LOOKED_THROUGH
        edge = await tx.scalar(filtering.edge(project_id, filter_, reach))
        if edge is not None:
            filter_ = replace(filter_, after=UUID(int=edge.int - 1))
    found, more = await reading.listing(tx, project_id, filter_, limit)
    return found, found[-1].job.id if more else edge
