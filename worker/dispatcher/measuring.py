"""Measures what waits, for the metrics of this process. Every dispatcher sees the same database."""

from dataclasses import asdict

from prometheus_client import Gauge

from models import backlog, duties
from worker.dispatcher.desk import Desk

_GAUGES = {
    "queued": Gauge("darkroom_jobs_queued", "Jobs that wait"),
    "oldest_queued": Gauge("darkroom_jobs_oldest_queued_seconds", "Age of the oldest that waits"),
    "released": Gauge("darkroom_jobs_released", "Jobs handed to Celery and not started"),
    "running": Gauge("darkroom_jobs_running", "Jobs in the hands of workers"),
    "unknown_charges": Gauge("darkroom_charges_unknown", "Attempts whose charge is unknown"),
    "unknown_credits": Gauge("darkroom_charges_unknown_credits", "Credits that these hold"),
    "deliveries_pending": Gauge("darkroom_deliveries_pending", "Deliveries that wait"),
    "oldest_delivery": Gauge("darkroom_deliveries_overdue_seconds", "How late the latest one is"),
    "deliveries_sending": Gauge("darkroom_deliveries_sending", "Deliveries in flight"),
    "workers": Gauge("darkroom_workers", "Workers that were seen lately"),
    "generate_slots": Gauge("darkroom_generate_slots", "Paid calls these could have in flight"),
}
_GATE = Gauge("darkroom_gate_closed", "1 while nothing is released for this reason", ["reason"])
_REASONS = ("wallet_empty", "provider_key", "provider_down", "paused", "storage")


async def turn(desk: Desk) -> bool:
    """Look once; always False."""
    async with desk.database.transaction() as tx:
        seen, closed = await backlog.look(tx), await duties.closed_gates(tx)
    for name, value in asdict(seen).items():
        _GAUGES[name].set(value)
    for reason in _REASONS:
        _GATE.labels(reason).set(reason in closed)
    return False
