"""What a search means, as SQL beside a job: an id, an order, a customer, words of a prompt."""

import re
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Text, func, or_, select

from models import ids
from models.schema import Attempt, Delivery, Event, Job

_CALL = re.compile(r"(job_[0-9a-z]{26})(?::[0-9]+)?")  # a job's id, or that of one of its calls


def named(words: str) -> Select[UUID] | Select[UUID | None] | None:
    """Return the job that an id belongs to; None for what is no id of ours."""
    if call := _CALL.fullmatch(words):
        job_id = ids.parse(ids.JOB, call[1])
        return None if job_id is None else select(Job.id).where(Job.id == job_id)
    if (event_id := ids.parse(ids.EVENT, words)) is not None:
        return select(Event.job_id).where(Event.id == event_id)
    if (delivery_id := ids.parse(ids.DELIVERY, words)) is not None:
        return select(Delivery.job_id).where(Delivery.id == delivery_id)
    return None


def fits(words: str) -> ColumnElement[bool]:
    """Return whether a search finds a job: by the id that it names, or by what the job is.

    The id of a batch finds its rows. An inference id, an idempotency key, the name of a row, a customer,
    a tag and a value of the metadata are compared as they are, and a prompt by a part of it, in capitals
    or not.
    """
    job = named(words)
    if job is not None:
        return Job.id.in_(job)
    if (batch_id := ids.batch(words)) is not None:
        return Job.batch_id == batch_id
    pairs = func.jsonb_each_text(Job.meta).table_valued("key", "value").alias("pairs")
    called = (Attempt.job_id == Job.id) & (Attempt.inference_id == words)
    return or_(
        Job.input["prompt"].astext.icontains(words, autoescape=True),
        Job.customer == words,
        Job.custom_id == words,
        Job.idempotency_key == words,
        Job.tags.contains([words]),
        select(1).select_from(pairs).where(pairs.c.value.cast(Text) == words).exists(),
        # Job by job: `EXISTS` may be answered from a hash of all attempts that there ever were.
        select(Attempt.id).where(called).limit(1).scalar_subquery().is_not(None),
    )
