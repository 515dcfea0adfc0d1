"""Reuse: a job takes the image of an identical one, or follows an identical one that is under way.

A job that asks for `exact` reuse takes the image of a succeeded job with the same input, follows a job in
flight that will make it (its *leader*), or becomes the leader itself. A partial unique index allows one
leader per project and input. Never across projects.

A submission locks the leader FOR SHARE and looks again, and the leader's ending locks its row: so the
ending sees every follower, and no job follows afterwards. The ending only marks the leader (`followed`),
however many followers there are. A duty ends them, each in a transaction of its own and some of each
project at a time (`waiting`, `follow_up`), until none is left (`settle`): the mark survives the death of a
dispatcher.
"""

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    LargeBinary,
    Uuid,
    cast,
    exists,
    func,
    select,
    text,
    update,
)
from sqlalchemy.orm import aliased

from models.images import records
from models.images.records import KeptImage
from models.jobs.changes.announcing import announce
from models.jobs.changes.moving import change, lock
from models.jobs.endings.closing import close, release_pending_hold
from models.jobs.view import Presenter
from models.platform.db import Transaction
from models.platform.db.statements import (
    Reader,
    Writer,
    attributes,
    given,
    loaded,
    prepared,
)
from models.schema import Image, Job

# The provider refuses the input itself: it would refuse every follower's too.
_REFUSALS = frozenset({"invalid_input", "content_refused", "model_unavailable"})
_Follower = aliased(Job)
_NO_ATTEMPT = 0  # an image that no attempt of the job's own has made


@dataclass(frozen=True, slots=True)
class Place:
    """Where a new job stands: in the queue, behind a leader, or done at once with a kept image."""

    leader_id: UUID | None = None
    image: Image | None = None


QUEUE = Place()


async def place(tx: Writer, project_id: UUID, input_hash: bytes) -> Place:
    """Find the place of a job that asks for `exact` reuse."""
    same = {"project": project_id, "hash": input_hash}
    # In this order: a leader that ends before it is taken here has left its image for the second look.
    leader = await tx.first(_LEADER, same)
    kept = await tx.first(_LATEST, same)
    if kept is not None:
        return Place(image=loaded(Image, kept))
    return QUEUE if leader is None else Place(leader["id"])


async def reuse(tx: Writer, presenter: Presenter, job: Job, image: Image) -> None:
    """Return a job the image that is kept already, and tell that it has succeeded; it costs nothing."""
    await _lend(tx, job.id, image)
    await announce(tx, presenter, job, "job.succeeded")


async def leave(tx: Transaction, leader: Job) -> None:
    """Mark a leader that has just ended (its row is taken) if jobs follow it, so that they are seen to."""
    if leader.reuse != "exact" or leader.leader_id is not None:
        return
    followers = exists(select(_Follower.id).where(*_follows(leader.id)))
    marked = update(Job).where(Job.id == leader.id, followers).values(followed=True)
    if (await tx.execute(marked.returning(Job.id))).one_or_none() is not None:
        tx.ring("followers")


async def waiting(tx: Reader, leaders: int, followers: int) -> list[tuple[UUID, UUID | None]]:
    """Return leaders that have ended with jobs that still follow them, the oldest of each project first.

    At most so many of each; a leader that nobody follows any more comes with None.
    """
    rows = await tx.read(LED, {"leaders": leaders, "followers": followers})
    return [(row["leader"], row["follower"]) for row in rows]


async def follow_up(tx: Transaction, presenter: Presenter, follower_id: UUID) -> UUID | None:
    """End or requeue one job whose leader has ended; return None when nothing is left to be done.

    With the leader's image it has that too; refused, it is refused alike; else it finds another place: a
    later leader, an image that is kept, or the lead.
    """
    job = await lock(tx, follower_id)
    leader = None if job.leader_id is None else await tx.get(Job, job.leader_id)
    if leader is None or leader.finished_at is None or job.finished_at is not None:
        return None
    image = await tx.scalar(
        select(Image)
        .where(Image.job_id == leader.id, ~Image.late, *_kept())
        .with_for_update(read=True)
    )
    if image is not None:
        await _lend(tx, job.id, image)
        await _close(tx, presenter, job, "succeeded", reused_from=leader.id)
    elif (leader.error or {}).get("code") in _REFUSALS:
        await _close(tx, presenter, job, "failed", error=leader.error)
    else:
        await _move(tx, presenter, job)
    return job.id


async def settle(tx: Transaction, leader_id: UUID) -> UUID | None:
    """Clear the mark of a leader that nobody follows any more; return None when somebody does."""
    followers = exists(select(_Follower.id).where(*_follows(leader_id)))
    settled = update(Job).where(Job.id == leader_id, Job.followed, ~followers)
    return await tx.scalar(settled.values(followed=False).returning(Job.id))


async def _move(tx: Transaction, presenter: Presenter, job: Job) -> None:
    """Return a follower another place; it leads as long as nobody else does."""
    found = await place(tx, job.project_id, job.input_hash)
    if found.image is not None:
        await _lend(tx, job.id, found.image)
        await _close(tx, presenter, job, "succeeded", reused_from=found.image.job_id)
        return
    if found.leader_id is not None:
        follows = update(Job).where(Job.id == job.id)
        await tx.execute(follows.values(leader_id=found.leader_id))
        return
    await tx.execute(change(job.id, leader_id=None, waiting_reason="queue", run_after=func.now()))
    tx.ring("jobs")
    tx.ring("job", str(job.id))


async def _close(
    tx: Transaction,
    presenter: Presenter,
    follower: Job,
    ending: Literal["succeeded", "failed"],
    **values: object,
) -> None:
    job = await release_pending_hold(tx, follower)
    await close(tx, presenter, job, ending, come_from=("queued",), **values)


async def _lend(tx: Writer, job_id: UUID, image: Image) -> None:
    """Let a job have the image of another one, for as long as an image of its own would be kept."""
    kept = KeptImage.by_another(image)
    await records.write(tx, job_id, _NO_ATTEMPT, kept, thumbnail=image.thumbnail)


def _follows(leader_id: UUID) -> tuple[ColumnElement[bool], ...]:
    return _Follower.leader_id == leader_id, _Follower.finished_at.is_(None)


def _kept() -> tuple[ColumnElement[bool], ...]:
    return Image.removed_at.is_(None), Image.expires_at > func.now()


_SAME = (Job.project_id == given("project", Uuid())) & (
    Job.input_hash == cast(given("hash", LargeBinary()), LargeBinary())
)
_LEADER = prepared(
    select(Job.id)
    .where(_SAME, Job.reuse == "exact", Job.leader_id.is_(None), Job.finished_at.is_(None))
    .with_for_update(read=True)
)
_LATEST = prepared(
    select(*attributes(Image))
    .join(Job, Job.id == Image.job_id)
    .where(_SAME, Job.status == "succeeded", ~Image.late, *_kept())
    .order_by(Job.id.desc())
    .limit(1)
    .with_for_update(read=True, of=Image)
)

LED = prepared(
    text("""
    WITH RECURSIVE owners AS (
        (SELECT project_id FROM jobs WHERE followed ORDER BY project_id LIMIT 1)
        UNION ALL
        SELECT following.* FROM owners CROSS JOIN LATERAL (
               SELECT project_id FROM jobs WHERE followed AND project_id > owners.project_id
                ORDER BY project_id LIMIT 1) following
    )
    SELECT leaders.id AS leader, followers.id AS follower
      FROM owners CROSS JOIN LATERAL (
           SELECT id FROM jobs WHERE followed AND project_id = owners.project_id
            ORDER BY id LIMIT :leaders) leaders
           LEFT JOIN LATERAL (
           SELECT id FROM jobs
            WHERE leader_id = leaders.id AND finished_at IS NULL
              AND NOT EXISTS (SELECT FROM set_aside
                               WHERE duty = 'follow' AND subject = jobs.id AND again_at > now())
            ORDER BY id LIMIT :followers) followers ON true
     ORDER BY leaders.id, followers.id
""")
)
