"""jobs → ledger → usage → traces → images → completed: an erasure takes one bounded step after the other.

Each step is one transaction with the erasure's row, which is locked first: it counts what it did.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from hashlib import sha256
from uuid import UUID

from sqlalchemy import func, null, or_, select, text, update

from models import ids
from models.audit_log import recording
from models.coordination import aside
from models.images import collector, files
from models.jobs.endings import ending
from models.jobs.erasures import traces
from models.jobs.erasures.choosing import chosen, customer_of, words_of
from models.jobs.retention import erasing
from models.jobs.view import Presenter
from models.money import budgets, hours, ledger
from models.platform.db import Transaction
from models.platform.db.statements import Reader, prepared
from models.schema import Erasure, Job
from models.states import ErasurePhase

JOBS = 25  # of one step
_FILES = 200  # of one step
_LINES = 5_000  # of the project's ledger that one step looks through
_CALL = timedelta(seconds=5)  # until jobs that are under way are looked at again
_STORE = timedelta(seconds=10)  # the same of bytes that are still to be deleted
_MODULUS = 1 << 256


async def due(tx: Reader) -> list[UUID]:
    """Return of each project the erasure that has waited longest for its next step."""
    return [row["id"] for row in await tx.read(DUE, {})]


async def advance(tx: Transaction, erasure_id: UUID) -> Sequence[UUID] | None:
    """Take the next step; return the jobs that are to be forgotten next, each by itself.

    None is returned when there is nothing to do yet, or nothing any more.
    """
    erasure = await _take(tx, erasure_id)
    if erasure is None:
        return None
    match erasure.phase:
        case "jobs":
            return await _find_jobs(tx, erasure)
        case "ledger":
            return await _forget_lines(tx, erasure)
        case "usage":
            return await _forget_hours(tx, erasure)
        case "traces":
            return await _forget_traces(tx, erasure)
        case _:
            return await _see_bytes(tx, erasure)


async def forget_job(
    tx: Transaction, presenter: Presenter, erasure_id: UUID, job_id: UUID
) -> UUID | None:
    """Forget a job, or cancel it and wait; return None when it is not forgotten yet.

    An image that comes too late is kept until its call has ended, and then erased like any other.
    """
    erasure = await _take(tx, erasure_id)
    if erasure is None or erasure.phase != "jobs":
        return None
    mine = select(Job).where(Job.id == job_id, *chosen(erasure))
    job = await tx.scalar(mine.with_for_update(key_share=True))
    if job is None:
        return None
    counts = Counter[str]()
    if job.finished_at is None:
        counts["canceled"] += job.cancel_requested_at is None
        job = await ending.cancel(tx, presenter, job.project_id, job.id)
        # A row of a batch is forgotten in a step of its own: its cancel may have the windows of budgets,
        # and what is forgotten with it its batch, which the dispatcher locks before them.
        if job.finished_at is None or job.batch_id is not None:
            await _count(tx, erasure, counts)
            return None
    counts += await erasing.forget(tx, job, nameless=customer_of(erasure) is not None)
    counts["jobs"] += 1
    name = int.from_bytes(sha256(ids.text(ids.JOB, job.id).encode()).digest())
    total = (int.from_bytes(erasure.jobs_digest) + name) % _MODULUS
    await _count(tx, erasure, counts, jobs_digest=total.to_bytes(32))
    return job.id


async def _find_jobs(tx: Transaction, erasure: Erasure) -> Sequence[UUID] | None:
    mine = list(chosen(erasure))
    movable = or_(Job.finished_at.is_not(None), Job.cancel_requested_at.is_(None))
    next_ = select(Job.id).where(*mine, movable, ~aside.passed_by("erase", Job.id))
    found = list(await tx.scalars(next_.order_by(Job.id).limit(JOBS)))
    if found:
        await _go_on(tx, erasure)
        return found
    left = await tx.scalar(select(Job.id).where(*mine).limit(1))
    if left is not None or await tx.scalar(_OLDER, {"since": erasure.created_at}):
        await _wait(tx, erasure, _CALL)
        return None
    await _enter(tx, erasure, "ledger" if erasure.subject == "customer" else "traces")
    return ()


async def _forget_lines(tx: Transaction, erasure: Erasure) -> Sequence[UUID]:
    """Take the name off lines whose jobs were removed long ago; those of the others have lost it."""
    name = customer_of(erasure) or ""
    count, line = await ledger.forget_customer(
        tx, erasure.project_id, name,
        after=erasure.line or 0, until=erasure.created_at, limit=_LINES,
    )  # fmt: skip
    await _count(tx, erasure, {"ledger_lines": count}, line=line)
    if count or line is None:
        # One that was made meanwhile has counted lines which have lost the name now.
        await budgets.recount_customer(tx, erasure.project_id, name)
    if line is None:
        await _enter(tx, erasure, "usage")
    return ()


async def _forget_hours(tx: Transaction, erasure: Erasure) -> Sequence[UUID]:
    name = customer_of(erasure) or ""
    count, hour = await hours.forget_customer(
        tx, erasure.project_id, name, after=erasure.hour, until=erasure.created_at
    )
    await _count(tx, erasure, {"usage_hours": count}, hour=hour)
    if hour is None:
        await _enter(tx, erasure, "traces")
    return ()


async def _forget_traces(tx: Transaction, erasure: Erasure) -> Sequence[UUID] | None:
    """Forget what else names the subject, and at last the erasure itself."""
    words, name, until = words_of(erasure), customer_of(erasure), erasure.created_at
    if name is not None:
        gone = await files.forget_customer(tx, erasure.project_id, name, until, _FILES)
        if gone:
            await _count(tx, erasure, {"files": gone})
            return ()
    if await traces.actions_under_way(tx, erasure.project_id, words):
        await _wait(tx, erasure, _CALL)
        return None
    counts = {
        "actions": await traces.forget_actions(tx, erasure.project_id, words),
        "batches": await traces.forget_batches(tx, erasure.project_id, words),
    }
    if name is not None:
        counts["notices"] = await traces.forget_notices(tx, erasure.project_id, name, until)
    await _count(tx, erasure, counts, phase="images", about=null(), rows_at=func.now())
    return ()


async def _see_bytes(tx: Transaction, erasure: Erasure) -> Sequence[UUID] | None:
    """→ completed, once all bytes are deleted whose rows were erased, the last one included."""
    moment = erasure.rows_at or erasure.created_at
    if await collector.is_waiting(tx, erasure.project_id, moment):
        await _wait(tx, erasure, _STORE)
        return None
    over = {"phase": "completed", "finished_at": func.now()}
    await tx.execute(update(Erasure).where(Erasure.id == erasure.id).values(over))
    named = ids.text(ids.ERASURE, erasure.id)
    await recording.record(tx, "erasure.completed", named, project_id=erasure.project_id)
    return ()


async def _take(tx: Transaction, erasure_id: UUID) -> Erasure | None:
    """Lock an erasure that is under way."""
    mine = select(Erasure).where(Erasure.id == erasure_id, Erasure.finished_at.is_(None))
    return await tx.scalar(mine.with_for_update(key_share=True))


async def _count(
    tx: Transaction, erasure: Erasure, counts: Mapping[str, int], **values: object
) -> None:
    kept = {name: value for name, value in erasure.counts.items() if isinstance(value, int)}
    total = Counter(kept) + Counter(counts)
    mine = update(Erasure).where(Erasure.id == erasure.id)
    await tx.execute(mine.values(counts=dict(total), **values))


async def _enter(tx: Transaction, erasure: Erasure, phase: ErasurePhase) -> None:
    await tx.execute(update(Erasure).where(Erasure.id == erasure.id).values(phase=phase))


async def _go_on(tx: Transaction, erasure: Erasure) -> None:
    """Let the project's other erasures have their turn before the next step."""
    mine = update(Erasure).where(Erasure.id == erasure.id)
    await tx.execute(mine.values(next_at=func.now()))


async def _wait(tx: Transaction, erasure: Erasure, delay: timedelta) -> None:
    mine = update(Erasure).where(Erasure.id == erasure.id)
    await tx.execute(mine.values(next_at=func.now() + delay))


# A transaction that began before the request may still accept a job.
_OLDER = text("""
    SELECT EXISTS (SELECT FROM pg_stat_activity
                    WHERE datname = current_database() AND backend_type = 'client backend'
                      AND pid <> pg_backend_pid() AND xact_start <= :since)
""")
DUE = prepared(
    text("""
    SELECT DISTINCT ON (project_id) id FROM erasures
     WHERE finished_at IS NULL AND next_at <= now()
       AND NOT EXISTS (SELECT FROM set_aside
                        WHERE duty = 'erase' AND subject = erasures.id AND again_at > now())
     ORDER BY project_id, next_at
""")
)
