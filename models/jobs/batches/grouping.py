"""(new) → running: a group, which is a small batch of one submission, each of its jobs with its own seed.

Its jobs are in the queue from the start, and jobs like any other. The name of the request is that of the
first job: so one Idempotency-Key makes one job or one group, whichever came first.
"""

from collections.abc import Sequence
from dataclasses import replace
from secrets import randbelow

from sqlalchemy import delete, update

from models.accounts.callers import Caller
from models.errors import KeyReuse
from models.jobs.batches.accepting import Order, begin
from models.jobs.batches.reading import Standing, read
from models.jobs.submission.candidates import Idempotency, Submission
from models.jobs.submission.submitting import submit_several
from models.jobs.view import Presenter
from models.platform.db import Transaction
from models.provider import catalog
from models.schema import Batch, Job

_DRAWN = 1 << 30  # seeds to draw from, where none is given: every model with a seed takes these


def spread(asked: Submission, count: int) -> list[Submission]:
    """Return a submission for each job of a group: alike but for their seeds, which follow one another.

    The first is the one that was given, or is drawn. A model that has no seed draws another each time.
    """
    model = catalog.find(asked.model)
    assert model is not None  # noqa: S101 - a submission was checked
    if "seed" not in model.accepted:
        return [asked] * count
    given = asked.input.get("seed")
    first = given if isinstance(given, int) else randbelow(_DRAWN)
    return [_with_seed(model, asked, first + n) for n in range(count)]


async def group(
    tx: Transaction,
    presenter: Presenter,
    caller: Caller,
    asked: Sequence[Submission],
    *,
    idempotency: Idempotency | None = None,
    full: bool = False,
    webhook_url: str | None = None,
) -> tuple[list[Job], bool]:
    """Accept a group of jobs, all or none, as one decision about their price.

    Returns them in their order, and whether an earlier request had made them; `webhook_url` hears of the
    group's end. Raises what `submit` does.
    """
    order = Order(
        total=len(asked),
        held={},
        kind="group",
        metadata=asked[0].metadata or {},
        webhook_url=webhook_url,
    )
    batch_id = await begin(tx, caller, order, None)
    assert batch_id is not None  # noqa: S101 - it has no name that another could have
    made, replayed = await submit_several(
        tx, presenter, caller, asked, batch_id, idempotency=idempotency, full=full
    )
    if replayed:
        await tx.execute(delete(Batch).where(Batch.id == batch_id))
        return [each.job for each in (await of_job(tx, made[0])).jobs], True
    held = update(Batch).where(Batch.id == batch_id).values(committed=sum(job.held for job in made))
    await tx.execute(held)
    tx.ring("batches")  # one that took images which are there has ended already
    return made, False


async def of_job(tx: Transaction, job: Job) -> Standing:
    """Return the group of a job; raises `KeyReuse` where the name of its request is another's."""
    if job.batch_id is None:
        raise KeyReuse(
            "The Idempotency-Key came before, and made a single job. Use a new key for a new request."
        )
    return await read(tx, job.project_id, job.batch_id)


def _with_seed(model: catalog.Model, asked: Submission, seed: int) -> Submission:
    wrapped = seed if seed <= catalog.SEED_MAX else seed - catalog.SEED_MAX - 1 + catalog.SEED_MIN
    input_ = {**asked.input, "seed": wrapped}
    return replace(asked, input=input_, input_hash=catalog.fingerprint(model, input_))
