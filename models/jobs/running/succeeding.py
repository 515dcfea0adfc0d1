"""Jobs of one project that end meanwhile with their images: one transaction, of four round trips.

What is plain, and how it is locked, is told in `receiving`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from uuid import UUID

from sqlalchemy import CTE, BigInteger, Uuid, func, select, true
from sqlalchemy import inspect as mapped

from models.images import records
from models.images.records import KeptImage
from models.jobs import view
from models.jobs.attempts import Ref
from models.jobs.changes import announcing, tallying
from models.jobs.endings.closing import ended_as
from models.jobs.running.receiving import WAITS, owner
from models.jobs.view import Presenter
from models.platform.db.direct import Direct
from models.platform.db.statements import (
    Row,
    Statement,
    as_rows,
    attributes,
    given,
    given_rows,
    loaded,
    prepared,
    taken,
    unindexed,
)
from models.schema import Attempt, BlobMark, Endpoint, Image, Job
from models.states import EventType
from models.webhooks import bodies, endpoints, events
from models.webhooks.events import Event

_EVENT: EventType = "job.succeeded"
# Beside the columns of a job that has ended: its call, and the endpoints that want to be told of it.
_CALL, _TOLD = "call_", "told_"
_OF_ENDPOINT = (Endpoint.id, Endpoint.url, Endpoint.enabled)


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """An attempt whose image is in the store."""

    ref: Ref
    image: KeptImage


async def succeed_several(
    direct: Direct, presenter: Presenter, project_id: UUID, kept: Sequence[Kept]
) -> tuple[dict[Kept, Job], list[str]]:
    """End jobs of a project with their images, their events and the deliveries of these.

    Returns those that have ended, and the destinations in which deliveries are due: nobody has been rung
    for them, they are the caller's to send, or to ring for.
    """
    mine = {(each.ref.job_id, each.ref.fence): each for each in kept if not each.image.reserved}
    rows = as_rows([_row(each) for each in mine.values()])
    ended, told = dict[Kept, Job](), list[Event]()
    async with direct.transaction() as tx:
        found = await tx.run(_SUCCEED, {"project": project_id, "types": [_EVENT], "rows": rows})
        if not found:
            return {}, []
        if found[0]["waits"]:
            tx.ring("jobs")  # a place is free
        now = found[0]["finished_at"]  # as it is of them all
        for name, calls in groupby(found, itemgetter("id", "fence")):
            job, event = _ended(presenter, list(calls), mine[name].image, now)
            ended[mine[name]] = job
            told.append(event)
            tallying.ended(tx, job, now)
            announcing.ring(tx, job)
        await events.write(tx, project_id, _EVENT, told)
    return ended, [line.destination for each in told for line in each.lines if line.enabled]


def _row(kept: Kept) -> dict[str, object]:
    image = kept.image
    told = {"id": kept.ref.job_id, "fence": kept.ref.fence, "retention": image.retention}
    return told | records.columns(image)


def _ended(
    presenter: Presenter, rows: Sequence[Row], kept: KeptImage, now: datetime
) -> tuple[Job, Event]:
    """Return a job that has ended, of which each row has a call, and the event that tells of it."""
    calls = [loaded(Attempt, taken(row, _CALL)) for row in rows]
    row = rows[0]
    wanting = taken(row, _TOLD)
    del row["waits"]
    job = loaded(Job, row)
    of_job = {"job_id": job.id, "attempt": job.attempt, "late": False}
    until = {"expires_at": now + kept.retention}
    image = loaded(Image, of_job | records.columns(kept) | until)
    body = bodies.of_job(_EVENT, view.job(presenter, job, calls, [image], now), now)
    columns = zip(*((each or ()) for each in wanting.values()), strict=True)
    targets = [loaded(Endpoint, dict(zip(wanting, each, strict=True))) for each in columns]
    lines = events.addressed(job, _EVENT, [] if job.custom_id is not None else targets)
    return job, Event(body, lines, job)


def _succeed() -> Statement:
    """Write the statement: each job's end, and its image."""
    mine, types = _mine(), records.kept_types()
    ended = (
        ended_as("succeeded", mine.c.id, Job.fence == mine.c.fence)
        .returning(*attributes(Job), *(mine.c[name] for name in types))
        .cte("ended")
    )
    wanting = (
        select(*(func.array_agg(each).label(f"{_TOLD}{each.key}") for each in _OF_ENDPOINT))
        .where(
            *endpoints.wants(
                given("project", Uuid()), given("types", mapped(Endpoint).columns["events"])
            )
        )
        .subquery("wanting")
    )
    of_job = (each for each in ended.c if each.name not in types)
    of_call = (each.label(f"{_CALL}{each.key}") for each in attributes(Attempt))
    found = (
        select(*of_job, WAITS, wanting, *of_call)
        .select_from(ended.join(wanting, true()).outerjoin(Attempt, Attempt.job_id == ended.c.id))
        .order_by(ended.c.id, Attempt.number)
    )
    return prepared(found.add_cte(records.appended(ended).cte("kept")))


def _mine() -> CTE:
    """Lock the jobs whose worker still has them, and that nothing but their image was missing from."""
    types = records.kept_types()
    project = owner()
    asked = given_rows({"id": Uuid(), "fence": BigInteger(), **types})
    blob = (BlobMark.project_id == Job.project_id) & (BlobMark.sha256 == asked.c.sha256)
    return (
        select(Job.id, Job.fence, *(asked.c[name] for name in types))
        .join(asked, (asked.c.id == Job.id) & (asked.c.fence == Job.fence))
        .join(project, project.c.id == Job.project_id)
        .where(
            unindexed(Job.status) == "running",
            Job.phase == "keep",
            Job.cancel_requested_at.is_(None),
            Job.reuse == "never",
            ~select(BlobMark.sha256).where(blob).exists(),
        )
        .with_for_update(key_share=True, skip_locked=True, of=Job)
        .cte("mine")
    )


_SUCCEED = _succeed()
