"""Searching a project's jobs by what a person has in hand: an id, an order, a customer, words of a prompt.

An id leads to its job at once. All else is looked for among the newest jobs, so many of them at a time: an
index over every prompt would cost each submission more than all searches together, and what people look
for is new. A page says where it stopped, and the next goes on from there.
"""

import re
from dataclasses import replace
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Text, func, or_, select

from models import ids
from models.jobs import filtering, reading
from models.jobs.filtering import Filter
from models.jobs.reading import Snapshot
from models.platform.db import Transaction
from models.schema import Attempt, Delivery, Event, Job

LOOKED_THROUGH = 10_000  # jobs of one page
_CALL = re.compile(r"(job_[0-9a-z]{26})(?::[0-9]+)?")  # a job's id, or that of one of its calls


async def search(
    tx: Transaction, project_id: UUID, words: str, filter_: Filter, limit: int
) -> tuple[list[Snapshot], UUID | None]:
    """Find a page, newest first; returns it, and the job from which on the search has to go on, if any.

    Found are the ids of a job, a call, an event or a delivery, an inference id, a customer, a tag and a
    value of the metadata as they are, and a part of a prompt, in capitals or not.
    """
    named = _named(words)
    if named is not None:
        bounded = replace(filter_, before=None)
        found, _ = await reading.listing(tx, project_id, bounded, limit, Job.id.in_(named))
        return found, None
    newest = Filter(before=filter_.before, created_before=filter_.created_before)
    edge = await tx.scalar(
        select(Job.id)
        .where(filtering.within(project_id, newest))
        .order_by(Job.project_id.desc(), Job.id.desc())
        .offset(LOOKED_THROUGH - 1)
        .limit(1)
    )
    among = _fits(words) if edge is None else _fits(words) & (Job.id >= edge)
    found, more = await reading.listing(tx, project_id, filter_, limit, among)
    return found, found[-1].job.id if more else edge


def _named(words: str) -> Select[UUID] | Select[UUID | None] | None:
    """Return the job that an id belongs to; None for what is no id of ours."""
    if call := _CALL.fullmatch(words):
        job_id = ids.parse(ids.JOB, call[1])
        return None if job_id is None else select(Job.id).where(Job.id == job_id)
    if (event_id := ids.parse(ids.EVENT, words)) is not None:
        return select(Event.job_id).where(Event.id == event_id)
    if (delivery_id := ids.parse(ids.DELIVERY, words)) is not None:
        return select(Delivery.job_id).where(Delivery.id == delivery_id)
    return None


def _fits(words: str) -> ColumnElement[bool]:
    pairs = func.jsonb_each_text(Job.meta).table_valued("key", "value").alias("pairs")
    called = (Attempt.job_id == Job.id) & (Attempt.inference_id == words)
    return or_(
        Job.input["prompt"].astext.icontains(words, autoescape=True),
        Job.customer == words,
        Job.tags.contains([words]),
        select(1).select_from(pairs).where(pairs.c.value.cast(Text) == words).exists(),
        select(Attempt.id).where(called).exists(),
    )
