"""Sees to the jobs whose leader has ended, some of each project at a time."""

import time
from datetime import timedelta

import structlog

from models import jobs
from worker.dispatcher.duty import Dispatcher
from worker.dispatcher.rows import one_by_one

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_LEADERS, _FOLLOWERS = 5, 20  # of each project, and of each of those leaders, in one turn


async def run(dispatcher: Dispatcher) -> bool | timedelta:
    """End a few followers of every project that has some; returns in how long to go on, or False.

    It rests as long as it has worked: a leader may have thousands of followers.
    """
    began = time.monotonic()
    found = await jobs.waiting(dispatcher.database.direct, _LEADERS, _FOLLOWERS)
    followers = [follower for _, follower in found if follower is not None]
    moved = await one_by_one(
        dispatcher,
        "follow",
        followers,
        lambda tx, id_: jobs.follow_up(tx, dispatcher.presenter, id_),
    )
    leaders = list(dict.fromkeys(leader for leader, _ in found))
    settled = await one_by_one(dispatcher, "follow", leaders, jobs.settle)
    if moved:
        log.info("followers.ended", followers=len(moved), leaders=len(settled))
    return timedelta(seconds=time.monotonic() - began) if moved or settled else False
