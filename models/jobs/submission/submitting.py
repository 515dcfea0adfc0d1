"""(new) → queued: a job and its hold, in one transaction; a hundred requests with one key make one job."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import BigInteger, Uuid, func, select
from sqlalchemy.dialects.postgresql import insert

from models.accounts import living
from models.accounts.callers import Caller
from models.errors import QueueFull, Unavailable
from models.images import collector
from models.images.references import kept_in
from models.jobs.endings import following
from models.jobs.endings.following import Place
from models.jobs.submission.candidates import Candidate, Idempotency, Submission, asked
from models.jobs.submission.inserting import Insertions
from models.jobs.submission.naming import earlier
from models.jobs.view import Presenter
from models.money import budgets, ledger
from models.platform.db import Transaction
from models.platform.db.statements import given
from models.schema import InputImage, Job, Project

_PATIENCE = timedelta(seconds=5)  # after which a place in a full queue may be free
_TURNS = 5  # looks for a place: each leader that arises meanwhile costs one

_OWNER = select(Project.id).where(Project.id == given("project_id", Uuid())).cte("owner")


_NO_ROW: Mapping[str, object] = {}
_ALONE = Insertions(_OWNER)
_OF_GROUP = Insertions(
    _OWNER,
    batch_id=given("batch_id", Uuid()),
    batch_row=given("batch_row", BigInteger()),
    allotted=given("held", BigInteger()),
)


async def submit(
    tx: Transaction,
    presenter: Presenter,
    caller: Caller,
    submission: Submission,
    *,
    idempotency: Idempotency | None = None,
    full: bool = False,
) -> tuple[Job, bool]:
    """Accept a job and hold its price; returns it, and whether it was there already.

    With `full` no other job may wait in this project: only one that was there already, or takes an image
    that is kept. Raises `QueueFull`, `KeyReuse` when the key came before with another body,
    `BudgetExceeded`.
    """
    job, replayed = await _accept(tx, presenter, caller, submission, idempotency, full=full)
    if not replayed:
        await _hold(tx, [job])
    return job, replayed


async def submit_several(
    tx: Transaction,
    presenter: Presenter,
    caller: Caller,
    submissions: Sequence[Submission],
    group_id: UUID,
    *,
    idempotency: Idempotency | None = None,
    full: bool = False,
) -> tuple[list[Job], bool]:
    """Accept the jobs of a group whose row is there, as one decision about their price together.

    The first has the request's name: where another job has it, that one is returned alone, and True.
    Raises what `submit` does.
    """
    group: list[Job] = []
    for number, submission in enumerate(submissions, 1):
        name = None if group else idempotency
        row = {"batch_id": group_id, "batch_row": number}
        job, replayed = await _accept(tx, presenter, caller, submission, name, full=full, row=row)
        if replayed:
            return [job], True
        group.append(job)
    await _hold(tx, group)
    return group, False


async def _accept(
    tx: Transaction,
    presenter: Presenter,
    caller: Caller,
    submission: Submission,
    idempotency: Idempotency | None,
    *,
    full: bool,
    row: Mapping[str, object] = _NO_ROW,
) -> tuple[Job, bool]:
    """Make a job whose price no budget has been asked about yet."""
    await living.demand_project(tx, caller.project_id)
    for _ in range(_TURNS):
        place = following.QUEUE
        if submission.reuse == "exact":
            place = await following.place(tx, caller.project_id, submission.input_hash)
        if full and place.image is None:
            return await _there_already(tx, caller, idempotency), True
        looks_again = row and submission.reuse == "exact"  # for the place of a group's next job
        if caller.budgeted and idempotency is not None and not looks_again:
            await budgets.lock(tx, caller.project_id, caller.key_id, submission.customer)
        job = await _insert(tx, caller, submission, idempotency, place, row)
        if job is not None:
            await _refer(tx, job)
            if place.image is not None:
                await following.reuse(tx, presenter, job, place.image)
            return job, False
        found = await earlier(tx, caller, idempotency)
        if found is not None:
            return found, True
        # The insert met a leader that had just arisen: look again, and follow it.
    raise Unavailable("Too many identical jobs came and went at once; try again in a moment.")


async def _insert(
    tx: Transaction,
    caller: Caller,
    submission: Submission,
    idempotency: Idempotency | None,
    place: Place,
    row: Mapping[str, object],
) -> Job | None:
    statement, differs = (_OF_GROUP if row else _ALONE).at(place)
    candidate = Candidate.of(caller, submission, idempotency).at(**row, **differs)
    inserted = await tx.first(statement, asked([candidate]))
    return None if inserted is None else candidate.made(inserted)


async def _there_already(tx: Transaction, caller: Caller, idempotency: Idempotency | None) -> Job:
    found = await earlier(tx, caller, idempotency)
    if found is None:
        raise queue_full()
    return found


async def queued(tx: Transaction, project_id: UUID, most: int) -> int:
    """Count the jobs of a project that wait, but no more than `most`."""
    some = select(Job.id).where(Job.project_id == project_id, Job.status == "queued").limit(most)
    return await tx.scalar(select(func.count()).select_from(some.subquery())) or 0


def queue_full() -> QueueFull:
    """Return the refusal for a project whose queue is full."""
    return QueueFull(
        "As many jobs of this project wait as may, or as many of its webhooks; nothing was created. Try "
        "again when some are gone.",
        retry_after=_PATIENCE,
    )


async def _refer(tx: Transaction, job: Job) -> None:
    """Write down which blobs a job's input needs: just claimed and put, or the job's that is retried."""
    blobs = [(job.project_id, digest) for digest in {each.sha256 for each in kept_in(job.input)}]
    if not blobs:
        return
    if not await collector.attach(tx, blobs):
        raise Unavailable("A reference of the input was being deleted just now; send it again.")
    rows = [{"job_id": job.id, "project_id": job.project_id, "sha256": each} for _, each in blobs]
    await tx.execute(insert(InputImage).values(rows))


async def _hold(tx: Transaction, made: Sequence[Job]) -> None:
    """Hold the price of new jobs, which fall under the same budgets; one that took an image has none."""
    holding = [job for job in made if job.held]
    if holding:
        price = sum(job.held for job in holding)
        await ledger.move_budgets(tx, holding[0], ledger.hold(1, price))
        tx.ring("jobs")
