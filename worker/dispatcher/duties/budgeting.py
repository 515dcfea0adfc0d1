"""Looks after budgets: readmits jobs that waited for room, and announces when a soft one fills up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import groupby
from operator import attrgetter
from uuid import UUID

import structlog

from models import ids, jobs
from models.coordination import duties
from models.jobs import Waiting, view
from models.money import budgets
from models.platform.db import Transaction
from models.platform.jsonable import Json
from models.settings import Settings
from models.webhooks import destinations, notices
from worker.dispatcher.duty import Dispatcher
from worker.dispatcher.rows import one_by_one, sifted

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_JOBS = 25  # of each project in one turn
_BUDGETS = 1_000  # looked at in one turn, of all projects
_NONE = UUID(int=0)
_NOTICE = timedelta(seconds=1)  # of one project, after one of each of its budgets


@dataclass
class Round:
    """Where the round through all budgets has come to; to lose it is to begin anew."""

    after: UUID = _NONE


async def readmit(dispatcher: Dispatcher) -> bool:
    """Fund the first jobs of each project that has room for them; True when more may find some."""
    waiting = await jobs.waiting_for_budget(dispatcher.database.direct, _JOBS)
    more = False
    for _, of_project in groupby(waiting, key=attrgetter("project_id")):
        more = await _readmit(dispatcher, list(of_project)) == _JOBS or more
    return more


async def tell(dispatcher: Dispatcher, round_: Round) -> bool:
    """Announce budgets that have reached a threshold; True while the round is not through all of them."""
    if not await budgets.any_soft(dispatcher.database.direct):
        return False
    found = await sifted(
        dispatcher,
        "budgets",
        partial(_crossing, dispatcher, round_),
        partial(budgets.following, after=round_.after, look_at=_BUDGETS),
        _try,
    )
    if found is None:
        return True  # without what was set aside
    reached, last = found
    await one_by_one(dispatcher, "budgets", reached, partial(_tell, dispatcher.settings))
    round_.after = last or _NONE
    return last is not None


async def _crossing(dispatcher: Dispatcher, round_: Round) -> tuple[list[UUID], UUID | None]:
    async with dispatcher.database.transaction() as tx:
        if not await duties.claim(tx, "budgets"):
            return [], None
        return await budgets.crossing(tx, round_.after, _BUDGETS)


async def _try(tx: Transaction, budget_id: UUID) -> bool:
    async with tx.undone():
        await budgets.cross(tx, budget_id)
    return True


async def _readmit(dispatcher: Dispatcher, waiting: Sequence[Waiting]) -> int:
    """Fund a project's jobs by rank; who finds no room keeps those behind it for the same budget."""
    full, moved = set[UUID | None](), 0
    for each in waiting:
        if each.budget_id in full:
            continue
        if await one_by_one(
            dispatcher,
            "readmit",
            [each.job_id],
            lambda tx, id_: jobs.readmit(tx, dispatcher.presenter, id_),
        ):
            moved += 1
        else:
            full.add(each.budget_id)
    return moved


async def _tell(settings: Settings, tx: Transaction, budget_id: UUID) -> UUID | None:
    """Tell of a threshold; None while its project, which may move its limits, is told of others."""
    owner = await budgets.owner(tx, budget_id)
    if owner is None:
        return None
    pace = destinations.of_notices(owner)
    if await destinations.admit(tx, pace, _NOTICE, settings.budgets_max) is not None:
        return None
    crossed = await budgets.cross(tx, budget_id)
    if crossed is None:
        return None
    standing, percent = crossed
    log.info("budget.threshold", budget=ids.text(ids.BUDGET, budget_id), percent=percent)
    told: Json = {"percent": percent, "budget": view.budget(standing)}
    await notices.tell(tx, standing.budget.project_id, "budget.threshold", told)
    return budget_id
