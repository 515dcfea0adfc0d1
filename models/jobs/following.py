"""Reuse: the cheapest image is the one you have, and the next cheapest is the one being made.

A job that asks for `exact` reuse takes the image of a succeeded job with the same input, follows a job in
flight that will make it (its *leader*), or becomes the leader itself. A partial unique index allows one
leader per project and input. Submission takes the leader FOR SHARE and looks again, the leader's ending
takes its row first and then the followers', so that no follower is stranded. Never across projects.
"""

from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from sqlalchemy import func, select, update

from models import images
from models.db import Transaction
from models.images import Kept
from models.jobs.announcing import announce
from models.jobs.closing import close, release_pending_hold
from models.schema import Image, Job
from models.views import Lens

# The provider refuses the input itself: it would refuse every follower's too.
_REFUSALS = frozenset({"invalid_input", "content_refused", "model_unavailable"})
_NO_ATTEMPT = 0  # an image that no attempt of the job's own has made


@dataclass(frozen=True, slots=True)
class Place:
    """Where a new job stands: in the queue, behind a leader, or done at once with a kept image."""

    columns: dict[str, object] = field(default_factory=lambda: {"waiting_reason": "queue"})
    image: Image | None = None


QUEUE = Place()


async def place(tx: Transaction, project_id: UUID, input_hash: bytes) -> Place:
    """Find the place of a job that asks for `exact` reuse."""
    same = (Job.project_id == project_id) & (Job.input_hash == input_hash)
    # In this order: a leader that ends before it is taken here has left its image for the second look.
    leader = await tx.scalar(
        select(Job.id)
        .where(same, Job.reuse == "exact", Job.leader_id.is_(None), Job.finished_at.is_(None))
        .with_for_update(read=True)
    )
    kept = await tx.scalar(
        select(Image)
        .join(Job, Job.id == Image.job_id)
        .where(
            same,
            Job.status == "succeeded",
            ~Image.spare,
            Image.removed_at.is_(None),
            Image.expires_at > func.now(),
        )
        .order_by(Job.id.desc())
        .limit(1)
        .with_for_update(read=True, of=Image)
    )
    if kept is not None:
        done: dict[str, object] = {
            "status": "succeeded",
            "finished_at": func.now(),
            "waiting_reason": None,
            "reused_from": kept.job_id,
        }
        return Place(done, kept)
    if leader is None:
        return QUEUE
    return Place({"waiting_reason": "following", "run_after": None, "leader_id": leader})


async def reuse(tx: Transaction, lens: Lens, job: Job, image: Image) -> None:
    """Give a job the image that is kept already, and tell that it has succeeded; it costs nothing."""
    await _lend(tx, job.id, image)
    await announce(tx, lens, job, "job.succeeded")


async def after(tx: Transaction, lens: Lens, leader: Job) -> None:
    """See to the followers of a leader that has just ended.

    With an image they all have it; refused, they are refused alike; else the oldest leads the others.
    """
    if leader.reuse != "exact" or leader.leader_id is not None:
        return
    followers = await _followers(tx, leader)
    if not followers:
        return
    image = await tx.scalar(select(Image).where(Image.job_id == leader.id, ~Image.spare))
    if image is not None:
        for follower in followers:
            await _lend(tx, follower.id, image)
            await _close(tx, lens, follower, "succeeded", reused_from=leader.id)
    elif (leader.error or {}).get("code") in _REFUSALS:
        for follower in followers:
            await _close(tx, lens, follower, "failed", error=leader.error)
    else:
        await _succession(tx, followers)


async def _followers(tx: Transaction, leader: Job) -> list[Job]:
    rows = await tx.scalars(
        select(Job)
        .where(Job.leader_id == leader.id, Job.finished_at.is_(None))
        .order_by(Job.id)
        .with_for_update(key_share=True),
        execution_options={"populate_existing": True},
    )
    return list(rows)


async def _succession(tx: Transaction, followers: list[Job]) -> None:
    """Make the oldest follower the leader of the others, and due at once."""
    oldest, *others = followers
    await tx.execute(
        update(Job)
        .where(Job.id == oldest.id)
        .values(
            leader_id=None, waiting_reason="queue", run_after=func.now(), version=Job.version + 1
        )
    )
    if others:
        await tx.execute(
            update(Job).where(Job.id.in_([each.id for each in others])).values(leader_id=oldest.id)
        )
    tx.ring("jobs")
    tx.ring("job", str(oldest.id))


async def _close(
    tx: Transaction,
    lens: Lens,
    follower: Job,
    ending: Literal["succeeded", "failed"],
    **values: object,
) -> None:
    job = await release_pending_hold(tx, follower)
    await close(tx, lens, job, ending, come_from=("queued",), **values)


async def _lend(tx: Transaction, job_id: UUID, image: Image) -> None:
    """Let a job have another's image, for as long as an image of its own would be kept."""
    kept = Kept.by_another(image)
    await images.write(tx, job_id, _NO_ATTEMPT, kept, thumbnail=image.thumbnail)
