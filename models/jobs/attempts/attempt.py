"""Attempts: one paid call each, and what is known of its charge.

The row is committed before the socket opens, with the charge `unknown`: if the process dies in the next
instruction, that is the truth. The answer makes it `none`, `settled`, or leaves it `unknown`; the
provider's log later makes an unknown one `settled` or `released`
(`worker/dispatcher/account/reconciling.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal
from uuid import UUID

import structlog
from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    Insert,
    Text,
    Update,
    Uuid,
    any_,
    func,
    insert,
    or_,
    select,
    update,
)

from models import ids
from models.jobs.attempts import booking, evidence
from models.jobs.attempts.evidence import Evidence
from models.money import ledger, prices
from models.platform.db import Transaction
from models.platform.db.statements import Reader, attributes, given, loaded, prepared, unindexed
from models.schema import Attempt, Image, Job

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

ERASED = "This was erased with its job."  # in place of a message, which may quote the input


@dataclass(frozen=True, slots=True)
class Ref:
    """A running attempt in the hands of a worker: which call, and under which fence."""

    job_id: UUID
    fence: int
    number: int
    start_id: UUID


@dataclass(frozen=True, slots=True)
class Answer:
    """What a paid call came to, in the words of the books. `credits` only with `settled`."""

    outcome: str
    charge: Literal["none", "unknown", "settled"]
    credits: int | None = None
    http_status: int | None = None
    inference_id: str | None = None
    provider_url: str | None = None
    counts: bool = True
    error: dict[str, object] | None = field(default=None)
    evidence: Evidence | None = None


LOST = Answer(
    outcome="unknown",
    charge="unknown",
    error={"code": "worker_lost", "message": "The worker died or lost its lease during the call."},
)


def bare(answer: Answer) -> Answer:
    """Return an answer without what it tells of the input and the image: its job was erased."""
    code = (answer.error or {}).get("code")
    error = None if answer.error is None else {"code": code, "message": ERASED}
    return replace(answer, provider_url=None, error=error, evidence=None)


def client_request_id(job_id: UUID, number: int | Literal[""]) -> str:
    """Return a call's name for the provider's log, which drops any but 1 to 128 of `A-Za-z0-9._:-`."""
    return f"{ids.text(ids.JOB, job_id)}:{number}"


def beginning(job: CTE) -> Insert:
    """Write the row of the call that is about to be made, for each job that `job` has just started.

    It is given `start_id`, `worker`, `key_prefix`; `job` has an `attempt_id` and a `request` for each,
    which is the name of its call but the number.
    """
    request = func.concat(job.c.request, job.c.attempt)
    columns = {
        "id": job.c.attempt_id,
        "job_id": job.c.id,
        "number": job.c.attempt,
        "start_id": given("start_id", Uuid()),
        "worker": given("worker", Text()),
        "client_request_id": request,
        "key_prefix": given("key_prefix", Text()),
        "hold": job.c.estimate,
    }
    row = select(*columns.values()).where(job.c.phase == "call")
    return insert(Attempt).from_select(list(columns), row)


async def finish(
    tx: Transaction, job: Job, number: int, answer: Answer, *, start_id: UUID | None
) -> tuple[Attempt, Job] | None:
    """Write what a call came to, and book it; None when its charge is known already.

    A price that is not to be believed yet leaves the charge `unknown`: the attempt given back says so.
    `start_id` proves that the writer made the call; the reaper, which did not, passes None and may only
    close an attempt that nobody has closed.
    """
    answer = await believed(tx, job, number, answer)
    mine = Attempt.finished_at.is_(None) if start_id is None else Attempt.start_id == start_id
    closed = closing(
        job.id,
        number,
        mine,
        outcome=answer.outcome,
        charge=answer.charge,
        credits=answer.credits,
        charged_at=func.now() if answer.charge == "settled" else None,
        http_status=answer.http_status,
        inference_id=answer.inference_id,
        provider_url=answer.provider_url,
        error=answer.error,
    )
    found = (await tx.scalars(closed.returning(Attempt))).one_or_none()
    if found is None:
        return None
    if answer.evidence is not None:
        await evidence.write(tx, found.id, answer.evidence)
    job = await ledger.book(tx, job, *booking.entries(found, answer.charge, answer.credits))
    await prices.observe(tx, job.model, found)
    return found, job


def closing(
    job_id: UUID | ColumnElement[UUID],
    number: int | ColumnElement[int],
    *guards: ColumnElement[bool],
    **told: object,
) -> Update:
    """Write what a call came to, where its charge is not known yet and no answer has been written."""
    unanswered = or_(Attempt.outcome.is_(None), Attempt.outcome == "unknown")
    mine = (Attempt.job_id == job_id, Attempt.number == number)
    closed = update(Attempt).where(
        *mine, unindexed(Attempt.charge) == "unknown", unanswered, *guards
    )
    return closed.values(finished_at=func.now(), **told)


async def believed(tx: Transaction, job: Job, number: int, answer: Answer) -> Answer:
    """Return an answer without a price that is far off: the provider's books have to tell what it cost."""
    told = answer.credits
    if answer.charge != "settled" or told is None:
        return answer
    mine = (Attempt.job_id == job.id) & (Attempt.number == number)
    held = await tx.scalar(select(Attempt.hold).where(mine))
    if held is None or told == held > 0:
        return answer
    price = await prices.known(tx, job.model)
    if price.believes(told, held=held):
        return answer
    name = client_request_id(job.id, number)
    log.warning("price.doubted", client_request_id=name, told=told, known=price.present, held=held)
    error: dict[str, object] = {
        "code": "price_doubted",
        "message": f"The answer told {told:,} credits, and one call costs {price.present:,}: what it was "
        "charged is unknown until the provider's log or ledger shows it.",
    }
    return replace(answer, charge="unknown", credits=None, error=answer.error or error)


async def note_late(
    tx: Transaction, job_id: UUID, number: int, answer: Answer, *, start_id: UUID
) -> Attempt | None:
    """Add what a late answer knew to an attempt whose charge was found out meanwhile.

    Books nothing: the provider's log has said what it cost. None unless it was lost until now.
    """
    found = await tx.scalars(
        update(Attempt)
        .where(
            Attempt.job_id == job_id,
            Attempt.number == number,
            Attempt.start_id == start_id,
            Attempt.charge != "unknown",
            Attempt.outcome == "unknown",
        )
        .values(
            outcome=answer.outcome,
            http_status=answer.http_status,
            inference_id=func.coalesce(Attempt.inference_id, answer.inference_id),
            provider_url=answer.provider_url,
            error=answer.error,
        )
        .returning(Attempt),
    )
    return found.one_or_none()


async def unkept(tx: Transaction, job: Job) -> int | None:
    """Return the first attempt whose image was received and never kept, while its URL lives; else None.

    Of a job in phase `keep`: of those that it is not keeping.
    """
    kept = select(Image.attempt).where(
        Image.job_id == Attempt.job_id, Image.attempt == Attempt.number
    )
    return await tx.scalar(
        select(func.min(Attempt.number))
        .join(Job, Job.id == Attempt.job_id)
        .where(
            Attempt.job_id == job.id,
            Attempt.outcome == "image",
            Attempt.provider_url.is_not(None),
            Job.keep_until > func.now(),
            ~kept.exists(),
            or_(Job.phase == "call", Job.attempt != Attempt.number),
        )
    )


async def of(driver: Reader, job_ids: Sequence[UUID]) -> dict[UUID, list[Attempt]]:
    """Return the attempts of these jobs, each job's in order."""
    found: dict[UUID, list[Attempt]] = {job_id: [] for job_id in job_ids}
    for row in await driver.read(_OF, {"jobs": list(job_ids)}):
        found[row["job_id"]].append(loaded(Attempt, row))
    return found


_OF = prepared(
    select(*attributes(Attempt))
    .where(Attempt.job_id == any_(given("jobs", ARRAY(Uuid()))))
    .order_by(Attempt.job_id, Attempt.number)
)
