"""A plain job's way through a worker, each step in one round trip: start, receive; succeed in six.

Plain is nearly every job: no budget watches its project, nobody wants `job.running`, it cost what was
held, nobody canceled it or waits for its image, its bytes were never here before. Each function here does
what the one of the same name does (`starting`, `keeping`), under the same guards in one statement, or
nothing at all: it returns None, and its caller takes the general way, which also tells why.

In a statement whatever follows from a change reads the rows that the change gives back. So what a guard
refuses, which Postgres asks again of a row that somebody else had locked, stops all of it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Unpack
from uuid import UUID

from sqlalchemy import text

from models import ids
from models.images import kept as images
from models.images.kept import KeptImage
from models.jobs import attempts
from models.jobs import view as views
from models.jobs.attempts import Answer, Ref
from models.jobs.reading import ATTEMPTS
from models.jobs.starting import Start, Terms
from models.jobs.view import Presenter
from models.money import prices
from models.money.prices import PRESENT
from models.platform.direct import Direct, DirectTransaction, loaded, prepared
from models.platform.direct import listed as columns_of
from models.schema import Attempt, Endpoint, Image, Job
from models.states import EventType
from models.webhooks import bodies
from models.webhooks.events import DELIVERIES, addressed, listed


async def start_plain(
    direct: Direct, job_id: UUID, fence: int, **terms: Unpack[Terms]
) -> Start | None:
    """Begin an attempt of a job that has a call to make; committed before this returns."""
    request = attempts.client_request_id(job_id, "")
    asked = {"job": job_id, "fence": fence, "attempt": ids.new(), "request": request}
    row = await direct.write(_START, {**asked, **terms, "listed": prices.listed()})
    if row is None:
        return None
    direct.ring("job", str(job_id))
    return Start(
        ref=Ref(job_id, fence, row["attempt"], terms["start_id"]),
        phase="call",
        project_id=row["project_id"],
        input=row["input"],
        large=row["large"],
        client_request_id=attempts.client_request_id(job_id, row["attempt"]),
        provider_url=None,
    )


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
    direct.ring("jobs")  # the provider has a place for the next call
    return True


async def succeed_plain(
    direct: Direct, presenter: Presenter, ref: Ref, kept: KeptImage
) -> Job | None:
    """End a job with its image, the event and its deliveries, in one transaction."""
    if kept.claimed:
        return None
    image = images.columns(ref.job_id, ref.number, kept)
    async with direct.transaction() as tx:
        row = await tx.first(_SUCCEED, image | {"fence": ref.fence, "retention": kept.retention})
        if row is None:
            return None
        job = loaded(Job, row)
        made = [loaded(Attempt, each) for each in await tx.run(ATTEMPTS, {"job": job.id})]
        expires_at = row["finished_at"] + kept.retention
        shown = loaded(Image, image | {"expires_at": expires_at})
        await _announce(tx, presenter, job, made, shown, row["finished_at"])
        tx.ring("job", str(job.id))
        tx.ring("jobs")  # a place is free
    return job


async def _announce(
    tx: DirectTransaction,
    presenter: Presenter,
    job: Job,
    made: Sequence[Attempt],
    image: Image,
    now: datetime,
) -> None:
    shown = views.job(presenter, job, made, [image], now)
    type_: EventType = "job.succeeded"
    wanting = await tx.run(_WANTING, {"project": job.project_id, "type": type_})
    lines = addressed(job, type_, [loaded(Endpoint, each) for each in wanting])
    event = {
        "event": ids.new(),
        "project": job.project_id,
        "job": job.id,
        "type": type_,
        "sequence": job.version,
        "body": bodies.of_job(type_, shown, now),
    }
    await tx.run(_TELL, event | listed(lines))
    if lines:
        tx.ring("deliveries")


_START = prepared(
    text(f"""
    WITH started AS (
        UPDATE jobs SET status = 'running', version = version + 1, attempt = attempt + 1,
               started_at = coalesce(started_at, now()), lease_until = now() + :lease,
               worker = :worker, waiting_reason = NULL
         WHERE id = :job AND fence = :fence AND status = 'released' AND phase = 'call'
           AND NOT EXISTS (SELECT FROM gates WHERE reason = 'storage')
           AND estimate >= {PRESENT}
           AND queue_expires_at > now() AND (deadline IS NULL OR deadline > now() + :typical_call)
           AND (attempt > 0 OR NOT (
               webhook_url IS NOT NULL AND 'job.running' = ANY (webhook_events) OR EXISTS (
               SELECT FROM endpoints WHERE project_id = jobs.project_id AND deleted_at IS NULL
                  AND events @> ARRAY['job.running'])) IS TRUE)
        RETURNING id, project_id, attempt, input, large, estimate
    ), tried AS (
        INSERT INTO attempts (id, job_id, number, start_id, worker, key_prefix, hold,
                              client_request_id)
        SELECT :attempt, id, attempt, :start_id, :worker, :key_prefix, estimate,
               CAST(:request AS text) || attempt
          FROM started
    )
    SELECT project_id, attempt, input, large FROM started
""")  # noqa: S608 - a constant of the code
)

_RECEIVE = prepared(
    text("""
    WITH job AS (
        SELECT id, project_id, key_id, customer FROM jobs
         WHERE id = :job AND fence = :fence AND status = 'running' AND reuse = 'never'
           FOR NO KEY UPDATE
    ), owner AS (
        SELECT projects.id FROM projects JOIN job ON projects.id = job.project_id
         WHERE NOT budgeted FOR KEY SHARE OF projects
    ), finished AS (
        UPDATE attempts SET finished_at = now(), outcome = 'image', charge = 'settled',
               credits = :credits, charged_at = now(), http_status = :http_status,
               inference_id = :inference, provider_url = :url
          FROM job, owner
         WHERE job_id = :job AND number = :number AND start_id = :start AND hold = :credits
           AND charge = 'unknown' AND (outcome IS NULL OR outcome = 'unknown')
        RETURNING job.id, job.project_id, job.key_id, job.customer, number, hold, inference_id
    ), booked AS (
        INSERT INTO ledger (project_id, key_id, customer, job_id, attempt, kind, credits, inference_id)
        SELECT project_id, key_id, customer, id, number, 'release', -hold, NULL FROM finished
         UNION ALL
        SELECT project_id, key_id, customer, id, number, 'charge', hold, inference_id FROM finished
    )
    UPDATE jobs SET phase = 'keep', version = version + 1, held = held - hold, charged = charged + hold,
           keep_until = now() + :ttl, lease_until = now() + :lease
      FROM finished WHERE jobs.id = finished.id
    RETURNING jobs.id
""")
)

_SUCCEED = prepared(
    text(f"""
    WITH ended AS (
        UPDATE jobs SET status = 'succeeded', version = version + 1, finished_at = now(),
               lease_until = NULL, waiting_reason = NULL
         WHERE id = :job_id AND fence = :fence AND status = 'running' AND phase = 'keep'
           AND cancel_requested_at IS NULL AND reuse = 'never'
           AND NOT EXISTS (SELECT FROM remnants
                            WHERE project_id = jobs.project_id AND sha256 = :sha256)
        RETURNING jobs.*
    ), kept AS (
        INSERT INTO images (job_id, attempt, spare, sha256, bytes, width, height, content_type,
                            provider_url, expires_at)
        SELECT id, :attempt, :spare, :sha256, :bytes, :width, :height, :content_type,
               :provider_url, now() + :retention
          FROM ended
    )
    SELECT {columns_of(Job, of="ended")} FROM ended
""")  # noqa: S608 - the schema's own names
)

_WANTING = prepared(
    text("""
    SELECT id, url, enabled FROM endpoints
     WHERE project_id = :project AND deleted_at IS NULL AND events @> ARRAY[CAST(:type AS text)]
""")
)

_TELL = prepared(
    text(f"""
    WITH event AS (
        INSERT INTO events (id, project_id, job_id, type, sequence, body)
        VALUES (:event, :project, :job, :type, :sequence, :body)
    )
    {DELIVERIES}
""")  # noqa: S608 - ours
)
