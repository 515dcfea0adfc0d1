"""Sees to batches: counts rows that have ended, brings others into the queue, pauses and ends them."""

from models.jobs import batches
from worker.dispatcher.duty import Dispatcher
from worker.dispatcher.rows import one_by_one

_BATCHES = 50  # in one turn


async def run(dispatcher: Dispatcher) -> bool:
    """Take a turn with every batch of which something is to be done; True when there is more of any."""
    found = await batches.due(dispatcher.database.direct, _BATCHES)
    went_on = await one_by_one(
        dispatcher, "batches", found, lambda tx, id_: batches.advance(tx, dispatcher.presenter, id_)
    )
    return any(went_on)
