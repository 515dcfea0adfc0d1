"""Audits the books from time to time, for a metric that should always say 0."""

import structlog
from prometheus_client import Gauge

from models import audit, duties
from worker.dispatcher.desk import Desk

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_DIFFERENCES = Gauge(
    "darkroom_audit_differences", "Places where ledger, sums, budgets and attempts disagree"
)


async def turn(desk: Desk) -> bool:
    """Audit once; always False. Every dispatcher that may has its own figure: they see the same books."""
    async with desk.database.transaction() as tx:
        if not await duties.claim(tx, "audit"):
            return False
        differences = await audit.audit(tx)
    _DIFFERENCES.set(len(differences))
    for each in differences:
        log.error("audit.difference", about=each.about, difference=each.message)
    return False
