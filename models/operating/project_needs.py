"""What a project's people are to see to, the most urgent first: each with the place that says more.

Only what does not mend itself. What stops calls for everybody is told without details, which may be of
other projects' calls.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select

from models import ids
from models.jobs import batches
from models.jobs.charges.standing import Unknown
from models.jobs.queue import closings
from models.jobs.queue.reasons import Standing
from models.money import budgets
from models.platform.db import Transaction
from models.platform.jsonable import Json, time
from models.provider import pauses
from models.schema import Batch, Endpoint, Gate, Project
from models.webhooks.endpoints import BY_ITS_PROJECT

_SOON = timedelta(hours=6)  # a wallet that ends by then is told of
_LISTED = 10  # of each kind


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose things are asked for, what they may know, and where their day begins."""

    project_id: UUID
    money: bool
    webhooks: bool
    zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Need:
    """One thing to see to; `see` is the API's path that says more. `stops`: no call begins meanwhile."""

    code: str
    message: str
    see: str | None = None
    stops: bool = False

    def show(self) -> Json:
        """Return it as it is shown."""
        return {"code": self.code, "message": self.message, "see": self.see}


async def read(
    tx: Transaction,
    asked: Asked,
    standing: Standing,
    unknown: Unknown,
    shown: dict[str, Any],
    *,
    fleet: int,
) -> list[Need]:
    """Return what is to be seen to; `shown` has the wallet, and `fleet` is the number of workers."""
    found = [*await _stops(tx, asked.project_id)]
    if not fleet and standing.waiting:
        found.append(
            Need("no_worker", "Jobs wait, and no worker is there to take them.", stops=True)
        )
    if asked.money:
        found += [
            *_of_wallet(shown["wallet"], datetime.fromisoformat(shown["at"])),
            *await _full_budgets(tx, asked.project_id),
        ]
    if unknown.overdue:
        told = "1 lost call is" if unknown.overdue == 1 else f"{unknown.overdue:,} lost calls are"
        message = f"What {told} charged is unknown for longer than the provider's log takes."
        found.append(Need("charges_unknown", message, "/v1/jobs?charge_state=unknown"))
    found += [*await _paused_batches(tx, asked.project_id)]
    if asked.webhooks:
        found += [*await _failing_endpoints(tx, asked.project_id)]
    return found


async def _stops(tx: Transaction, project_id: UUID) -> list[Need]:
    project = await tx.get_one(Project, project_id)
    if project.suspended_at is not None:
        why = f": {project.suspended_reason}" if project.suspended_reason else "."
        return [Need("suspended", f"An operator has suspended this project{why}", stops=True)]
    names = {"all": "Everything", "project": "This project", "model": "The model"}
    found = [
        Need(
            "paused",
            f"{names[each.scope]}{f' {each.name}' if each.scope == 'model' else ''} is paused by an "
            f"operator since {time(each.paused_at)}.",
            stops=each.scope != "model",
        )
        for each in await pauses.standing(tx)
        if each.scope != "project" or each.name == str(project_id)
    ]
    own = or_(Gate.project_id.is_(None), Gate.project_id == project_id)
    closed = await tx.scalars(select(Gate).where(own).order_by(Gate.closed_at))
    return found + [
        Need(f"gate_{each.reason}", f"{closings.words(each)}.", stops=True) for each in closed
    ]


def _of_wallet(purse: dict[str, Any] | None, now: datetime) -> Iterator[Need]:
    if purse is None or purse["ends_at"] is None:
        return
    if datetime.fromisoformat(purse["ends_at"]) < now + _SOON:
        told = f"At the last hour's rate the wallet is empty at {purse['ends_at']}: pay in."
        yield Need("wallet_runs_out", told)


async def _full_budgets(tx: Transaction, project_id: UUID) -> list[Need]:
    full = [each for each in await budgets.standings(tx, project_id) if not each.left]
    whose = {"project": "the project", "key": "a key", "customer": "a customer"}
    return [
        Need(
            "budget_full",
            f"The {each.budget.window} budget of {each.budget.customer or whose[each.budget.scope]} is "
            f"used up{': jobs are refused' if each.budget.mode == 'hard' else ''}.",
            "/v1/budgets",
        )
        for each in full[:_LISTED]
    ]


async def _paused_batches(tx: Transaction, project_id: UUID) -> list[Need]:
    causes = {
        "max_cost": "what is left costs more than its max_cost",
        "failures": "so many rows failed",
    }
    held = select(Batch).where(
        Batch.project_id == project_id,
        Batch.finished_at.is_(None),  # by the words of the index
        Batch.status == "paused",
        Batch.paused_for.in_(causes),
    )
    found = await tx.scalars(held.order_by(Batch.id.desc()).limit(_LISTED))
    return [
        Need(
            "batch_paused",
            f"A batch of {each.total:,} rows is paused: {causes[each.paused_for or '']}.",
            f"/v1/batches/{batches.written(each)}",
        )
        for each in found
    ]


async def _failing_endpoints(tx: Transaction, project_id: UUID) -> list[Need]:
    failed = Endpoint.disabled_reason.is_distinct_from(BY_ITS_PROJECT)
    bad = or_(~Endpoint.enabled & failed, Endpoint.enabled & Endpoint.failing_since.is_not(None))
    mine = (Endpoint.project_id == project_id) & Endpoint.deleted_at.is_(None)
    found = await tx.scalars(select(Endpoint).where(mine, bad).order_by(Endpoint.id).limit(_LISTED))
    return [
        Need(
            "endpoint_failing" if each.enabled else "endpoint_disabled",
            f"{each.url} takes no webhook since {time(each.failing_since)}."
            if each.enabled
            else f"{each.url} was disabled: {each.disabled_reason}.",
            f"/v1/webhooks/{ids.text(ids.ENDPOINT, each.id)}",
        )
        for each in found
    ]
