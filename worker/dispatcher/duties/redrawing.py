"""Finds thumbnails that were lost with their worker, and has them drawn."""

from models.coordination import duties
from models.images import records
from worker.dispatcher.duty import Dispatcher
from worker.dispatcher.publishing import publish

_BATCH = 20


async def run(dispatcher: Dispatcher) -> bool:
    """Ask for one batch of thumbnails; never at once again, so that a dead store is not hammered."""
    if dispatcher.patience.left is not None:
        return False
    async with dispatcher.database.transaction() as tx:
        if not await duties.claim(tx, "thumbnails"):
            return False
        lost = await records.without_thumbnail(tx, _BATCH)
    calls: list[tuple[str, list[object]]] = [
        ("thumbnail", [str(job_id), str(project_id), sha256]) for job_id, project_id, sha256 in lost
    ]
    if calls:
        await publish(dispatcher.celery, dispatcher.patience, calls)
    return False
