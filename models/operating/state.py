"""How the installation stands, on one page: what stops and bounds calls, what waits, money, processes."""

from dataclasses import asdict

from sqlalchemy import func, select, text

from models import ids
from models.coordination import aside, processes
from models.images import collector
from models.jobs.queue import backlog
from models.jobs.queue.backlog import Backlog
from models.money import statement, wallet
from models.operating import books, stops
from models.platform.db import Transaction
from models.platform.jsonable import Json, time
from models.platform.version import VERSION
from models.provider import breakers, gates, limits
from models.schema import Attempt, Gate
from models.settings import Settings
from models.states import unknown_charge
from models.webhooks import endpoints


async def read(tx: Transaction, settings: Settings) -> Json:
    """Read it once; every part costs by what there is now, not by the history."""
    seen, purse = await backlog.read(tx, seen=settings.worker_seen), await wallet.read(tx)
    return {
        "object": "state",
        "at": time((await tx.execute(select(func.now()))).scalar_one()),
        "version": VERSION,
        "limit": await _limit(tx, settings),
        "queue": await _queue(tx, seen),
        "gates": [_gate(each) for each in await gates.standing(tx)],
        "breakers": await _breakers(tx, settings),
        "pauses": await stops.standing(tx),
        "wallet": None if purse is None else wallet.show(purse),
        "charges": await _charges(tx, settings, seen),
        "provider_log": await _provider_log(tx, settings),
        "books": await books.read(tx, settings),
        "workers": {"count": seen.workers, "generate_slots": seen.generate_slots},
        "processes": [
            {
                "id": each.id,
                "role": each.role,
                "version": each.version,
                "started_at": time(each.started_at),
                "seen_at": time(each.seen_at),
                "missing": not lately,
            }
            for each, lately in await processes.standing(tx)
        ],
        "webhooks": {
            "pending": seen.deliveries_pending,
            "sending": seen.deliveries_sending,
            "overdue_seconds": round(seen.oldest_delivery, 3),
            "endpoints": await endpoints.count(tx),
        },
        "set_aside": await aside.counts(tx),
        "erasure_overdue_seconds": round((await collector.overdue(tx)).total_seconds(), 3),
    }


async def set_aside(tx: Transaction, limit: int) -> list[Json]:
    """Return the rows that a duty failed at and passes by for now, the longest first."""
    return [
        {
            "duty": each.duty,
            "row": str(each.subject),
            "failures": each.failures,
            "since": time(each.since),
            "again_at": time(each.again_at),
            "reason": each.reason,
        }
        for each in await aside.listing(tx, limit)
    ]


async def _limit(tx: Transaction, settings: Settings) -> Json:
    found = await limits.read(tx, settings)
    return {
        "calls": found.calls,
        "in_flight": found.in_flight,
        "slow_start": found.slow_start,
        "refused_at": time(found.refused_at),
        "floor": settings.provider_limit_floor,
        "ceiling": settings.provider_limit,
    }


async def _queue(tx: Transaction, seen: Backlog) -> Json:
    lines = await backlog.waiting(tx)
    return {
        "queued": sum(each.jobs for each in lines),
        "dispatched": seen.released,
        "running": seen.running,
        "oldest_seconds": round(max((each.oldest for each in lines), default=0.0), 3),
        "waiting": [asdict(each) | {"oldest": round(each.oldest, 3)} for each in lines],
    }


def _gate(gate: Gate) -> Json:
    return {
        "reason": gate.reason,
        "project_id": None if gate.project_id is None else ids.text(ids.PROJECT, gate.project_id),
        "detail": gate.detail,
        "state": "closed" if gate.half_open_at is None else "half_open",
        "closed_at": time(gate.closed_at),
        "checked_at": time(gate.checked_at),
        "probe": None if gate.probe_id is None else ids.text(ids.JOB, gate.probe_id),
    }


async def _breakers(tx: Transaction, settings: Settings) -> list[Json]:
    failures = await breakers.counts(tx)
    most = {"errors": settings.breaker_errors, "lost": settings.breaker_lost}
    return [
        {"cause": cause, "failures": failures.get(cause, 0), "closes_at": limit}
        for cause, limit in most.items()
    ]


async def _charges(tx: Transaction, settings: Settings, seen: Backlog) -> Json:
    late = Attempt.sent_at < func.now() - settings.unknown_for
    return {
        "unknown": seen.unknown_charges,
        "credits": seen.unknown_credits,
        "oldest_seconds": round(seen.oldest_unknown, 3),
        "overdue": await tx.scalar(select(func.count()).where(text(unknown_charge()), late)) or 0,
        "expected_seconds": settings.unknown_for.total_seconds(),
    }


async def _provider_log(tx: Transaction, settings: Settings) -> Json:
    read_until = await statement.mark(tx, statement.DUTY)
    return {
        "lag_seconds": settings.log_lag.total_seconds(),
        "statement_read_until": time(read_until),
    }
