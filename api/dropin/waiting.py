"""Waiting for the jobs of a call, on the doorbell that long polls use."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from fastapi import Request

from api.dependencies.state import State
from models.jobs import Snapshot


async def one(
    request: Request, here: State, project_id: UUID, job_id: UUID, patience: timedelta
) -> Snapshot:
    """Return a job when it has ended, or as it is when the patience ends or its client goes away."""
    return await here.waiting.terminal(request, project_id, job_id, patience)


async def every(
    request: Request, here: State, project_id: UUID, jobs: Sequence[UUID], patience: timedelta
) -> list[Snapshot]:
    """Return all jobs of a call when they have ended, or as they are then: one after the other."""
    clock = asyncio.get_running_loop().time
    until = clock() + patience.total_seconds()
    found: list[Snapshot] = []
    for job_id in jobs:
        left = timedelta(seconds=max(until - clock(), 0))
        if found and not found[-1].over:
            left = timedelta()  # the time is over, or nobody waits any more
        found.append(await one(request, here, project_id, job_id, left))
    return found
