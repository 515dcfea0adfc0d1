"""Finds thumbnails that were lost with their worker, and has them drawn."""

from models.coordination import duties
from models.images import kept as images
from worker.dispatcher.desk import Desk
from worker.dispatcher.publishing import publish

_BATCH = 20


async def run(desk: Desk) -> bool:
    """Ask for one batch of thumbnails; never at once again, so that a dead store is not hammered."""
    if desk.patience.left is not None:
        return False
    async with desk.database.transaction() as tx:
        if not await duties.claim(tx, "thumbnails"):
            return False
        lost = await images.without_thumbnail(tx, _BATCH)
    calls: list[tuple[str, list[object]]] = [
        ("thumbnail", [str(job_id), str(project_id), sha256]) for job_id, project_id, sha256 in lost
    ]
    if calls:
        await publish(desk.celery, desk.patience, calls)
    return False
