"""Deletes rows that say nothing any more: throttles, sessions, rows set aside, workers that are gone."""

from functools import partial

from models.accounts import sessions
from models.coordination import aside, processes, workers
from models.operating import limits
from models.webhooks import destinations
from worker.dispatcher.duty import Dispatcher
from worker.dispatcher.rows import each_alone

_SOME = 5_000  # of one kind, in one turn


async def run(dispatcher: Dispatcher) -> bool:
    """Delete some of each kind; True when there may be more of one."""
    forgotten = await each_alone(
        dispatcher,
        "forget",
        partial(destinations.forget, limit=_SOME),
        partial(sessions.forget, limit=_SOME),
        aside.forget_old,
        workers.forget,
        processes.forget,
        limits.forget,
    )
    return _SOME in forgotten
