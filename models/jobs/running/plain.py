"""A plain job's image: received in one round trip, and the job ended in four.

Nearly every job is plain: its project has no budget, its call cost what was held, nobody canceled it or
follows it, and its blob has no mark. Each function here does what the one of the same name in `keeping`
does, by statements that are made of the same parts, with all guards in them; or it does nothing and returns
None, and its caller takes the general way, which also finds out why.

In such a statement each step reads the rows that the step before returns. Postgres checks the guards again
for a row that another transaction had locked, so a guard that fails stops all that follows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import (
    CTE,
    BigInteger,
    Boolean,
    Interval,
    Label,
    Text,
    Uuid,
    func,
    literal_column,
    select,
    text,
    true,
)
from sqlalchemy import inspect as mapped

from models import ids
from models.images import records
from models.images.records import KeptImage
from models.jobs import attempts, view
from models.jobs.attempts import Answer, Ref
from models.jobs.changes import announcing, tallying
from models.jobs.endings.closing import ended_as
from models.jobs.queue import sharing
from models.jobs.reading import ATTEMPTS
from models.jobs.running.keeping import to_keep
from models.jobs.view import Presenter
from models.money import ledger
from models.platform.db.direct import Direct, DirectTransaction
from models.platform.db.statements import Statement, attributes, given, loaded, prepared, taken
from models.schema import Attempt, BlobMark, Endpoint, Image, Job, Project
from models.states import EventType
from models.webhooks import bodies, endpoints
from models.webhooks.events import DELIVERIES, EVENT, Line, addressed, listed

_EVENT: EventType = "job.succeeded"
# Beside the columns of the job that has ended: its call, and the endpoints that want to be told of it.
_CALL, _TOLD = "call_", "told_"
_OF_ENDPOINT = (Endpoint.id, Endpoint.url, Endpoint.enabled)


@dataclass(frozen=True, slots=True)
class Succeeded:
    """A job that has ended with its image, and the destinations in which its event is due."""

    job: Job
    told: Sequence[str]


async def receive_plain(
    direct: Direct, ref: Ref, answer: Answer, *, lease: timedelta, ttl: timedelta
) -> bool:
    """Book an image that cost what was held; False when nothing was done."""
    if answer.charge != "settled" or answer.credits is None:
        return False
    row = await direct.write(
        _RECEIVE,
        {
            "job": ref.job_id,
            "fence": ref.fence,
            "number": ref.number,
            "start": ref.start_id,
            "credits": answer.credits,
            "http_status": answer.http_status,
            "inference": answer.inference_id,
            "url": answer.provider_url,
            "lease": lease,
            "ttl": ttl,
        },
    )
    if row is None:
        return False
    direct.ring("job", str(ref.job_id))
    if row["waits"]:
        direct.ring("jobs")  # the provider has a place for the next call
    return True


async def succeed_plain(
    direct: Direct, presenter: Presenter, ref: Ref, kept: KeptImage
) -> Succeeded | None:
    """End a job with its image, the event and its deliveries, in one transaction.

    Nobody has been rung for about the deliveries: they are the caller's to send, or to ring for.
    """
    if kept.reserved:
        return None
    image = records.columns(ref.job_id, ref.number, kept)
    asked = {"fence": ref.fence, "retention": kept.retention, "types": [_EVENT]}
    async with direct.transaction() as tx:
        row = await tx.first(_SUCCEED, image | asked)
        if row is None:
            return None
        waits, call, wanting = row.pop("waits"), taken(row, _CALL), taken(row, _TOLD)
        job = loaded(Job, row)
        made = [call] if job.attempt == 1 else await tx.run(ATTEMPTS, {"job": job.id})
        shown = loaded(Image, image | {"expires_at": row["finished_at"] + kept.retention})
        calls, now = [loaded(Attempt, each) for each in made], row["finished_at"]
        body = bodies.of_job(_EVENT, view.job(presenter, job, calls, [shown], now), now)
        lines = await _announce(tx, job, body, wanting)
        tallying.ended(tx, job, now)
        announcing.ring(tx, job)
        if waits:
            tx.ring("jobs")  # a place is free
    return Succeeded(job, [each.destination for each in lines if each.enabled])


async def _announce(
    tx: DirectTransaction, job: Job, body: bytes, wanting: Mapping[str, Sequence[object] | None]
) -> list[Line]:
    """Write the event and its deliveries; `wanting` are the endpoints that list it, column by column."""
    columns = zip(*((each or ()) for each in wanting.values()), strict=True)
    targets = [loaded(Endpoint, dict(zip(wanting, each, strict=True))) for each in columns]
    lines = addressed(job, _EVENT, [] if job.custom_id is not None else targets)
    event = {
        "event": ids.new(),
        "project": job.project_id,
        "job": job.id,
        "type": _EVENT,
        "sequence": job.version,
        "body": body,
    }
    await tx.run(_TELL, event | listed(lines))
    return lines


# Whether any job waits that a place may help. One that comes in this very moment rings by itself; should it
# find the place still taken, it waits for the dispatcher's next tick.
_WAITS: Label[bool] = literal_column(
    f"({sharing.PAID_WAIT} OR {sharing.CALLS_WAIT})", Boolean()
).label("waits")


def _receive() -> Statement:
    """Write the statement: the call's end, its lines in the ledger, and the job's sums."""
    job, owner = _mine()
    finished = _finished(job, owner)
    told = finished.c
    booked = ledger.appended(
        finished,
        (told.number, "release", -told.hold, None),
        (told.number, "charge", told.hold, told.inference_id),
    )
    kept = to_keep(
        told.id,
        lease=given("lease", Interval()),
        ttl=given("ttl", Interval()),
        held=Job.held - told.hold,
        charged=Job.charged + told.hold,
    )
    return prepared(kept.returning(Job.id, _WAITS).add_cte(booked.cte("booked")))


def _mine() -> tuple[CTE, CTE]:
    """Lock the job, if its worker still has it and nobody follows it, and its project without budgets."""
    job = (
        select(Job.id, Job.project_id, Job.key_id, Job.customer)
        .where(
            Job.id == given("job", Uuid()),
            Job.fence == given("fence", BigInteger()),
            Job.status == "running",
            Job.reuse == "never",
        )
        .with_for_update(key_share=True)
        .cte("job")
    )
    owner = (
        select(Project.id)
        .where(Project.id == job.c.project_id, ~Project.budgeted)
        .with_for_update(read=True, key_share=True, of=Project)
        .cte("owner")
    )
    return job, owner


def _finished(job: CTE, owner: CTE) -> CTE:
    """Write that the call brought an image, and cost what was held for it."""
    credits_ = given("credits", BigInteger())
    closed = attempts.closing(
        job.c.id,
        given("number", BigInteger()),
        job.c.project_id == owner.c.id,
        Attempt.start_id == given("start", Uuid()),
        Attempt.hold == credits_,
        outcome="image",
        charge="settled",
        credits=credits_,
        charged_at=func.now(),
        http_status=given("http_status", BigInteger()),
        inference_id=given("inference", Text()),
        provider_url=given("url", Text()),
    )
    return closed.returning(
        *(job.c.id, job.c.project_id, job.c.key_id, job.c.customer),
        *(Attempt.number, Attempt.hold, Attempt.inference_id),
    ).cte("finished")


_RECEIVE = _receive()


def _succeed() -> Statement:
    """Write the statement: the job's end, and its image."""
    blob = (BlobMark.project_id == Job.project_id) & (BlobMark.sha256 == given("sha256", Text()))
    ended = (
        ended_as(
            "succeeded",
            given("job_id", Uuid()),
            Job.fence == given("fence", BigInteger()),
            Job.status == "running",
            Job.phase == "keep",
            Job.cancel_requested_at.is_(None),
            Job.reuse == "never",
            ~select(BlobMark.sha256).where(blob).exists(),
        )
        .returning(*attributes(Job))
        .cte("ended")
    )
    call = (Attempt.job_id == ended.c.id) & (Attempt.number == ended.c.attempt)
    wanting = (
        select(*(func.array_agg(each).label(f"{_TOLD}{each.key}") for each in _OF_ENDPOINT))
        .where(
            *endpoints.wants(ended.c.project_id, given("types", mapped(Endpoint).columns["events"]))
        )
        .lateral("wanting")
    )
    of_call = (each.label(f"{_CALL}{each.key}") for each in attributes(Attempt))
    found = select(ended, _WAITS, wanting, *of_call)
    found = found.select_from(ended.join(wanting, true()).outerjoin(Attempt, call))
    return prepared(found.add_cte(records.appended(ended).cte("kept")))


_SUCCEED = _succeed()
_TELL = prepared(text(f"WITH event AS ({EVENT}) {DELIVERIES}"))
