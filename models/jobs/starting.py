"""released → running: the one place where an attempt begins, and the lease of what runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypedDict
from uuid import UUID

from sqlalchemy import case, func, or_, select, tuple_, update

from models.jobs import attempts
from models.jobs.affording import afford
from models.jobs.announcing import announce, lock
from models.jobs.attempts import Ref
from models.jobs.moving import change
from models.jobs.view import Presenter
from models.platform.db import Transaction
from models.provider import gates
from models.schema import Attempt, Job
from models.webhooks import endpoints, events


@dataclass(frozen=True, slots=True)
class Start:
    """What a worker has to do: make the call (`call`), or only keep the image (`keep`)."""

    ref: Ref
    phase: Literal["call", "keep"]
    project_id: UUID
    input: dict[str, object]
    large: bool
    client_request_id: str
    provider_url: str | None


class Terms(TypedDict):
    """Under what an attempt begins: by whom, with which key of the provider's, for how long."""

    start_id: UUID
    worker: str
    key_prefix: str
    lease: timedelta
    typical_call: timedelta


async def start(  # noqa: PLR0913 - who starts what, under which fence, for how long
    tx: Transaction,
    presenter: Presenter,
    job_id: UUID,
    fence: int,
    *,
    start_id: UUID,
    worker: str,
    key_prefix: str,
    lease: timedelta,
    typical_call: timedelta,
) -> Start | None:
    """Begin an attempt; None when somebody else has the job, or it may not start (any more).

    Of sixteen workers with the same message one gets a `Start`. In phase `keep` no attempt begins: the
    image is paid, and only its bytes are missing. Nor does a call while our store takes no images, or one
    that the job's hold does not pay for at the price of now (`afford`).
    """
    if not await _affordable(tx, presenter, job_id, fence):
        return None
    calls = Job.phase == "call"
    in_time = or_(Job.deadline.is_(None), Job.deadline > func.now() + typical_call)
    begun = change(
        job_id,
        Job.fence == fence,
        Job.status == "released",
        or_(~calls, (Job.queue_expires_at > func.now()) & in_time & ~gates.shut("storage")),
        status="running",
        attempt=Job.attempt + case((calls, 1), else_=0),
        started_at=func.coalesce(Job.started_at, func.now()),
        lease_until=func.now() + lease,
        worker=worker,
        waiting_reason=None,
    )
    job = (await tx.scalars(begun)).one_or_none()
    if job is None:
        return None
    if job.phase == "call":
        await attempts.begin(tx, job, start_id, worker, key_prefix)
        if job.attempt == 1:
            await _announce_running(tx, presenter, job)
    tx.ring("job", str(job.id))
    return await _start(tx, job, start_id)


async def started(tx: Transaction, job_id: UUID, fence: int, start_id: UUID) -> Start | None:
    """Look whether this very start took effect, after the answer to its COMMIT was lost."""
    job = await tx.scalar(
        select(Job)
        .join(Attempt, (Attempt.job_id == Job.id) & (Attempt.number == Job.attempt))
        .where(
            Job.id == job_id,
            Job.fence == fence,
            Job.status == "running",
            Attempt.start_id == start_id,
        )
    )
    return None if job is None else await _start(tx, job, start_id)


async def renew(tx: Transaction, running: Sequence[Ref], lease: timedelta) -> set[Ref]:
    """Renew the leases of all that a worker has in flight, in one UPDATE; returns those it still has.

    A row that is locked is passed by until the next beat, for whoever has it is just moving the job. One
    that waited for each of them would hold the rows before it meanwhile, and those that want them: a convoy
    in which healthy workers lose their leases.
    """
    if not running:
        return set()
    mine = tuple_(Job.id, Job.fence).in_([(ref.job_id, ref.fence) for ref in running])
    free = (
        select(Job.id)
        .where(Job.status == "running", mine)
        .with_for_update(key_share=True, skip_locked=True)
    )
    await tx.execute(
        update(Job).where(Job.id.in_(free.scalar_subquery())).values(lease_until=func.now() + lease)
    )
    rows = await tx.execute(select(Job.id, Job.fence).where(Job.status == "running", mine))
    still = {(row.id, row.fence) for row in rows}
    return {ref for ref in running if (ref.job_id, ref.fence) in still}


async def _affordable(tx: Transaction, presenter: Presenter, job_id: UUID, fence: int) -> bool:
    """Look whether what is held for a call pays for it now; a job that is somebody else's costs nothing."""
    job = await lock(tx, job_id)
    if job.fence != fence or job.status != "released" or job.phase != "call":
        return True
    return await afford(tx, presenter, job) is not None


async def _announce_running(tx: Transaction, presenter: Presenter, job: Job) -> None:
    targets = await endpoints.wanting(tx, job.project_id, "job.running")
    if targets or events.wanted_by_job(job, "job.running"):
        await announce(tx, presenter, job, "job.running")


async def _start(tx: Transaction, job: Job, start_id: UUID) -> Start:
    provider_url: str | None = None
    if job.phase == "keep":
        provider_url = await tx.scalar(
            select(Attempt.provider_url).where(
                Attempt.job_id == job.id, Attempt.number == job.attempt
            )
        )
    return Start(
        ref=Ref(job.id, job.fence, job.attempt, start_id),
        phase="keep" if job.phase == "keep" else "call",
        project_id=job.project_id,
        input=job.input,
        large=job.large,
        client_request_id=attempts.client_request_id(job.id, job.attempt),
        provider_url=provider_url,
    )
