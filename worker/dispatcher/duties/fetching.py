"""Hands fetches of pictures for files to workers."""

from models.coordination import duties
from models.images import fetches
from worker.dispatcher.duty import Dispatcher
from worker.dispatcher.publishing import publish


async def run(dispatcher: Dispatcher) -> bool:
    """Hand out one batch; what Redis does not take comes again when its lease ends."""
    if dispatcher.patience.left is not None:
        return False
    if not await fetches.any_due(dispatcher.database.direct):
        return False
    async with dispatcher.database.transaction() as tx:
        if not await duties.claim(tx, "fetch"):
            return False
        found = await fetches.due(tx)
    calls: list[tuple[str, list[object]]] = [("fetch", [str(each)]) for each in found]
    if calls:
        await publish(dispatcher.celery, dispatcher.patience, calls)
    return False
