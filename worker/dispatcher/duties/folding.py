"""Folds the hours that are over, for reports on long times; `measuring` tells how far it is."""

from datetime import timedelta

from models.coordination import duties
from models.money import hours
from worker.dispatcher.duty import Dispatcher

_REST = timedelta(minutes=10)  # what servers of Postgres may differ by, when one takes over


async def run(dispatcher: Dispatcher) -> bool:
    """Fold an hour; True when the next one may be over too."""
    async with dispatcher.database.transaction() as tx:
        if not await duties.claim(tx, hours.DUTY):
            return False
        return await hours.fold(tx, _REST)
