"""released → running: the one place where an attempt begins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypedDict, Unpack
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    ColumnElement,
    Interval,
    Text,
    TextClause,
    Uuid,
    case,
    column,
    func,
    null,
    or_,
    select,
    text,
    tuple_,
)

from models import ids
from models.jobs import attempts
from models.jobs.attempts import Ref
from models.jobs.changes.announcing import announce
from models.jobs.changes.moving import changing, lock
from models.jobs.running.affording import afford
from models.jobs.view import Presenter
from models.money import prices
from models.platform.db import Transaction
from models.platform.db.direct import Direct
from models.platform.db.statements import Statement, given, prepared, unindexed
from models.provider import gates
from models.schema import Attempt, Job
from models.webhooks import endpoints, events

Dispatched = tuple[UUID, int]  # a job, and the fence of its dispatch


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
    traceparent: str | None = None


class Terms(TypedDict):
    """Under what an attempt begins: by whom, with which key of the provider's, for how long."""

    start_id: UUID
    worker: str
    key_prefix: str
    lease: timedelta
    typical_call: timedelta


async def start_plain(
    direct: Direct, dispatched: Sequence[Dispatched], **terms: Unpack[Terms]
) -> list[Start]:
    """Begin an attempt of each of these jobs that has a call to make, all in one round trip.

    Left out, and untouched, are those whose price has risen or of which somebody wants `job.running`, those
    that somebody else has locked just now, and what `start` would not begin either.
    """
    values = _values(dispatched, terms) | {"listed": prices.listed()}
    rows = await direct.write_all(_START_PLAIN, values)
    for row in rows:
        direct.ring("job", str(row["id"]))
    return [_begun(row, terms["start_id"]) for row in rows]


async def start(
    tx: Transaction, presenter: Presenter, job_id: UUID, fence: int, **terms: Unpack[Terms]
) -> Start | None:
    """Begin an attempt; None when somebody else has the job, or it may not start (any more).

    Of sixteen workers with the same message one gets a `Start`. In phase `keep` no attempt begins: the
    image is paid, and only its bytes are missing. Nor does a call while our store takes no images, or one
    that the job's hold does not pay for at the price of now (`afford`).
    """
    if not await _affordable(tx, presenter, job_id, fence):
        return None
    row = await tx.first(_START, _values([(job_id, fence)], terms))
    if row is None:
        return None
    if row["phase"] == "call" and row["attempt"] == 1:
        await _announce_running(tx, presenter, await lock(tx, job_id))
    tx.ring("job", str(job_id))
    return _begun(row, terms["start_id"])


async def started(tx: Transaction, dispatched: Sequence[Dispatched], start_id: UUID) -> list[Start]:
    """Return which of these jobs this very start has begun, after the answer to its COMMIT was lost."""
    mine = (Attempt.job_id == Job.id) & (Attempt.number == Job.attempt)
    rows = await tx.execute(
        select(*(getattr(Job, name) for name in _TOLD), Attempt.provider_url)
        .join(Attempt, mine)
        .where(
            tuple_(Job.id, Job.fence).in_(dispatched),
            Job.status == "running",
            Attempt.start_id == start_id,
        )
    )
    return [_begun(row, start_id) for row in rows.mappings()]


async def _affordable(tx: Transaction, presenter: Presenter, job_id: UUID, fence: int) -> bool:
    """Return whether what is held for a call pays for it now; True for a job that somebody else has."""
    job = await lock(tx, job_id)
    if job.fence != fence or job.status != "released" or job.phase != "call":
        return True
    return await afford(tx, presenter, job) is not None


async def _announce_running(tx: Transaction, presenter: Presenter, job: Job) -> None:
    quiet = job.custom_id is not None  # as `announce` has it
    targets = [] if quiet else await endpoints.wanting(tx, job.project_id, "job.running")
    if targets or events.wanted_by_job(job, "job.running"):
        await announce(tx, presenter, job, "job.running")


def _values(dispatched: Sequence[Dispatched], terms: Terms) -> dict[str, object]:
    jobs = [job_id for job_id, _ in dispatched]
    return {
        "jobs": jobs,
        "fences": [fence for _, fence in dispatched],
        "attempt_ids": [ids.new() for _ in jobs],
        "requests": [attempts.client_request_id(job_id, "") for job_id in jobs],
        **terms,
    }


def _begun(row: Mapping[Any, Any], start_id: UUID) -> Start:
    keeps = row["phase"] == "keep"
    return Start(
        ref=Ref(row["id"], row["fence"], row["attempt"], start_id),
        phase="keep" if keeps else "call",
        project_id=row["project_id"],
        input=row["input"],
        large=row["large"],
        client_request_id=attempts.client_request_id(row["id"], row["attempt"]),
        provider_url=row["provider_url"] if keeps else None,
        traceparent=row["traceparent"],
    )


_TOLD = ("id", "fence", "project_id", "phase", "attempt", "input", "large", "traceparent")


def _free() -> CTE:
    """Write which of the jobs asked for are still to be had, each with the ids of its attempt and request.

    What somebody else has locked is left out: no job of a bundle waits for another's.
    """
    asked = func.unnest(
        given("jobs", ARRAY(Uuid())),
        given("fences", ARRAY(BigInteger())),
        given("attempt_ids", ARRAY(Uuid())),
        given("requests", ARRAY(Text())),
    ).table_valued(
        column("job_id", Uuid()), column("fence", BigInteger()),
        column("attempt_id", Uuid()), column("request", Text()),
    ).render_derived("asked")  # fmt: skip
    return (
        select(Job.id, asked.c.attempt_id, asked.c.request)
        .join(asked, (asked.c.job_id == Job.id) & (asked.c.fence == Job.fence))
        .where(unindexed(Job.status) == "released")
        .with_for_update(key_share=True, skip_locked=True, of=Job)
        .cte("free")
    )


def _start(*only_if: ColumnElement[bool] | TextClause) -> Statement:
    """Write the statement: the jobs run, and the row of its call is there for each that has one to make."""
    free, calls = _free(), Job.phase == "call"
    in_time = or_(
        Job.deadline.is_(None), Job.deadline > func.now() + given("typical_call", Interval())
    )
    begun = (
        changing(
            free.c.id,
            unindexed(Job.status) == "released",
            or_(~calls, (Job.queue_expires_at > func.now()) & in_time & ~gates.shut("storage")),
            *only_if,
            status="running",
            attempt=Job.attempt + case((calls, 1), else_=0),
            started_at=func.coalesce(Job.started_at, func.now()),
            lease_until=func.now() + given("lease", Interval()),
            worker=given("worker", Text()),
            waiting_reason=null(),
        )
        .returning(
            Job.estimate,
            free.c.attempt_id,
            free.c.request,
            *(getattr(Job, name) for name in _TOLD),
        )
        .cte("begun")
    )
    image = select(Attempt.provider_url).where(
        begun.c.phase == "keep", Attempt.job_id == begun.c.id, Attempt.number == begun.c.attempt
    )
    told = select(*(begun.c[name] for name in _TOLD), image.scalar_subquery().label("provider_url"))
    return prepared(told.add_cte(attempts.beginning(begun).cte("tried")))


# Nobody wants to be told that it runs, for the first time.
_UNTOLD = text("""
    (jobs.attempt > 0 OR NOT (
        webhook_url IS NOT NULL AND 'job.running' = ANY (webhook_events)
        OR custom_id IS NULL AND EXISTS (
        SELECT FROM endpoints WHERE project_id = jobs.project_id AND deleted_at IS NULL
           AND events @> ARRAY['job.running'])) IS TRUE)
""")
_PAID_FOR = text(f"jobs.estimate >= {prices.PRESENT}")

_START = _start()
_START_PLAIN = _start(Job.phase == "call", _PAID_FOR, _UNTOLD)
