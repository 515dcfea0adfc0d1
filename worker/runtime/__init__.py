"""What the work of one worker process stands on: Celery, the event loop, heartbeat, health, metrics.

Promises: leases are renewed while work is under way, and a paid answer is written down however long
Postgres is away. Knows no step of a job.
"""

__all__ = [
    "app",
    "broker",
    "context",
    "flight",
    "health",
    "heart",
    "loop",
    "metrics",
    "persistence",
    "pulse",
    "storeroom",
    "vitals",
]
