"""Audits what was booked lately, for a metric that should always say 0; operators audit all books."""

from datetime import timedelta

import structlog
from prometheus_client import Gauge

from models.coordination import duties
from models.money import audit
from worker.dispatcher.duty import Dispatcher

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_DIFFERENCES = Gauge(
    "darkroom_audit_differences",
    "Jobs booked for within the last half hour whose ledger, sums and attempts disagree",
)
_LATELY = timedelta(minutes=30)  # a few turns, so that none is missed while a dispatcher starts


async def run(dispatcher: Dispatcher) -> bool:
    """Audit once; always False. Every dispatcher has its own figure: they see the same books."""
    differences = await audit.audit_lately(dispatcher.database, _LATELY)
    _DIFFERENCES.set(len(differences))
    async with dispatcher.database.transaction() as tx:
        await duties.note(tx, duties.BOOKS, len(differences))
    for each in differences:
        log.error("audit.difference", about=each.about, difference=each.message)
    return False
