"""What images come to: those of one project that come meanwhile are booked, and end their jobs, together.

Only what is plain; everything else goes the general way, one by one.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID

import structlog

from models import jobs
from models.coordination.workers import BUNDLE
from models.jobs import Kept, KeptImage, Received
from models.jobs.attempts import Answer, Ref
from models.platform.db.direct import StatementError
from models.platform.db.failures import said
from models.platform.together import Lines
from models.schema import Job
from worker import deliver
from worker.runtime.context import Context

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


async def receive(context: Context, project_id: UUID, ref: Ref, answer: Answer) -> bool:
    """Book a plain image; False when nothing was done. Raises `Unavailable`."""
    received = Received(ref, answer)
    if not received.plain:
        return False
    lines = context.received = context.received or Lines(partial(_receive, context), most=BUNDLE)
    return bool(await lines.find(project_id, received))


async def succeed(context: Context, project_id: UUID, ref: Ref, image: KeptImage) -> Job | None:
    """End a plain job with its image; None when nothing was done. Raises `Unavailable`."""
    lines = context.succeeded = context.succeeded or Lines(partial(_succeed, context), most=BUNDLE)
    return await lines.find(project_id, Kept(ref, image))


async def _receive(
    context: Context, project_id: UUID, images: Sequence[Received]
) -> dict[Received, bool]:
    direct, settings = context.database.direct, context.settings
    terms = {"lease": settings.lease_run, "ttl": settings.keep_ttl}
    async with _turn(context, project_id, "receive"):
        return await jobs.receive_several(direct, project_id, images, **terms)
    return {}


async def _succeed(context: Context, project_id: UUID, kept: Sequence[Kept]) -> dict[Kept, Job]:
    direct, presenter = context.database.direct, context.presenter
    async with _turn(context, project_id, "succeed"):
        ended, told = await jobs.succeed_several(direct, presenter, project_id, kept)
        if told:
            places = [(project_id, each) for each in told]
            context.flight.begin("deliver", deliver.at_once(context, places))
        return ended
    return {}


@asynccontextmanager
async def _turn(context: Context, project_id: UUID, task: str) -> AsyncIterator[None]:
    """Hold a turn on the database; what Postgres refuses is told once, and each job is looked at alone."""
    async with context.turns.take(project_id, patience=None):
        try:
            yield
        except StatementError as failed:
            log.warning("bundle.failed", task=task, reason=said(failed))
