"""How things stand for one project: a sentence, what comes and goes, what waits, money, who is needed.

Every part is bounded by what goes on at present, whatever the history's length. Money is told to whom it
may be told, and wallet and books to the operator's project alone: they are nobody else's.
"""

from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import select

from models import ids
from models.accounts.callers import Caller
from models.coordination import workers
from models.jobs import view
from models.jobs.charges import standing as charges
from models.jobs.queue import reasons
from models.jobs.reading import flow
from models.jobs.reading.flow import Minute
from models.money import budgets, usage, wallet
from models.money.dollars import usd
from models.money.usage import Period
from models.operating import books, project_needs, wording
from models.operating.project_needs import Asked
from models.platform.db import Transaction
from models.platform.jsonable import Json, time
from models.provider import limits
from models.schema import Project
from models.settings import Settings


def of(caller: Caller, zone: str) -> Asked:
    """Return what a caller may know."""
    return Asked(caller.project_id, caller.may("usage:read"), caller.may("webhooks"), zone)


async def read(tx: Transaction, settings: Settings, asked: Asked) -> Json:
    """Look once."""
    now = await usage.now(tx)
    await tx.execute(reasons.PREPARE)
    standing = await reasons.standing(tx, asked.project_id)
    minutes = await flow.flow(tx, asked.project_id, now)
    room = await workers.capacity(tx, seen=settings.worker_seen)
    limit = await limits.read(tx, settings)
    unknown = await charges.unknown_of(tx, asked.project_id, settings.unknown_for)
    shown: Json = {
        "object": "now",
        "at": time(now),
        "flow": [_minute(each) for each in minutes],
        "waiting": _waiting(standing),
        "running": standing.running,
        "provider_limit": {"calls": limit.calls, "in_flight": limit.in_flight},
        "unknown_charges": {
            "calls": unknown.calls,
            "overdue": unknown.overdue,
            "held": _cost(unknown.credits) if asked.money else None,
        },
    }
    shown |= await _money(tx, settings, asked, now)
    needs = await project_needs.read(tx, asked, standing, unknown, shown, fleet=room.fleet.workers)
    return {
        **shown,
        "message": wording.sentence(standing, minutes, needs),
        "attention": [each.show() for each in needs],
    }


async def _money(tx: Transaction, settings: Settings, asked: Asked, now: datetime) -> Json:
    if not asked.money:
        return {"today": None, "budgets": None, "wallet": None, "books": None}
    midnight = now.astimezone(ZoneInfo(asked.zone)).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    report = await usage.report(tx, asked.project_id, Period(midnight, now, asked.zone), ())
    standings = await budgets.standings(tx, asked.project_id)
    name = await tx.scalar(select(Project.name).where(Project.id == asked.project_id))
    own = {name, ids.text(ids.PROJECT, asked.project_id)}
    operates = settings.operator_project in own
    purse = await wallet.read(tx) if operates else None
    return {
        "today": {
            "since": time(midnight),
            "charged": _cost(report.totals.charged),
            "pictures": report.totals.succeeded,
        },
        "budgets": [view.budget(each) for each in standings if each.budget.scope == "project"],
        "wallet": None if purse is None else wallet.show(purse),
        "books": await books.read(tx, settings) if operates else None,
    }


def _minute(minute: Minute) -> Json:
    return {
        "at": time(minute.at),
        "accepted": minute.accepted,
        "started": minute.started,
        "succeeded": minute.succeeded,
        "failed": minute.failed,
        "canceled": minute.canceled,
        "expired": minute.expired,
        "at_least": minute.at_least,
    }


def _waiting(standing: reasons.Standing) -> Json:
    lines = [
        {"reason": each.reason, "jobs": each.jobs, "oldest_seconds": round(each.oldest, 3)}
        for each in standing.lines
    ]
    return {
        "jobs": standing.waiting,
        "at_least": standing.at_least,
        "oldest_seconds": round(standing.oldest, 3),
        "dispatched": standing.dispatched,
        "reasons": lines,
    }


def _cost(credits_: int) -> Json:
    return {"credits": credits_, "usd": usd(credits_)}
