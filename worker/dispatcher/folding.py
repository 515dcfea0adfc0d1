"""Folds the hours that are over, for reports on long times; a metric tells how far it is."""

from datetime import timedelta

from prometheus_client import Gauge

from models import duties, hours
from worker.dispatcher.desk import Desk

_AGE = Gauge("darkroom_usage_folded_age_seconds", "How long ago the last folded hour ended")
_REST = timedelta(minutes=10)  # what servers of Postgres may differ by, when one takes over


async def turn(desk: Desk) -> bool:
    """Fold an hour; True when the next one may be over too."""
    async with desk.database.transaction() as tx:
        if not await duties.claim(tx, "fold"):
            return False
        more = await hours.fold(tx, _REST)
        age = await hours.age(tx)
    if age is not None:
        _AGE.set(age.total_seconds())
    return more
