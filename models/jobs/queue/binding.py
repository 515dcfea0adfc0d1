"""What a waiting job is bound by: one function for each kind of limit, each in words and numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import func, or_, select

from models import ids
from models.jobs import view
from models.jobs.queue import closings
from models.jobs.queue.forecasting import Position
from models.jobs.queue.occupancy import Occupancy
from models.money import budgets
from models.platform import jsonable
from models.platform.db import Transaction
from models.platform.jsonable import Json
from models.provider import pauses
from models.schema import Attempt, Batch, Gate, Job, Project
from models.settings import Settings

_KEEPING = {
    "storage": "our store did not take it: it is tried again",
    "image_download": "is fetched from the provider's URL",
}


@dataclass(frozen=True, slots=True)
class Binding:
    """What binds a job now: a word of `waiting_reason` (or `workers`), a sentence, and its numbers."""

    reason: str
    message: str
    numbers: Json = field(default_factory=dict)

    def show(self) -> Json:
        """Show it as JSON."""
        return {"reason": self.reason, "message": self.message, **self.numbers}


async def own(
    tx: Transaction, settings: Settings, job: Job, project: Project, around: Occupancy
) -> list[Binding]:
    """Return what a job that is not due waits for."""
    until = jsonable.time(job.run_after)
    match job.waiting_reason:
        case "budget" | "batch" as reason:
            return await (_budget if reason == "budget" else _batch)(tx, job)
        case "following" if job.leader_id is not None:
            leader = ids.text(ids.JOB, job.leader_id)
            message = f"It follows {leader}, which makes the same image."
            return [Binding("following", message, {"leader": leader})]
        case "unknown_charge":
            return [await _unknown_charge(tx, settings, job)]
        case "concurrency_key":
            numbers: Json = {"in_flight": around.of_key, "cap": project.key_cap}
            message = (
                f"{around.of_key} of {project.key_cap} jobs with its concurrency_key are in flight."
            )
            return [Binding("concurrency_key", message, numbers)]
        case "storage" | "image_download" as reason:
            message = f"Its image is paid, and {_KEEPING[reason]} at {until}."
            return [Binding(reason, message, {"until": until})]
        case _:
            tries = "1 attempt" if job.attempt == 1 else f"{job.attempt} attempts"
            message = f"It is tried again at {until}, after {tries}."
            return [Binding("backoff", message, {"until": until, "attempts": job.attempt})]


async def paused(tx: Transaction, job: Job) -> list[Binding]:
    """Return which pauses of the operator hold this job; what is paid already is held by `all` alone."""
    what = {"all": "Everything", "model": f"The model {job.model}", "project": "This project"}
    names = {"all": "", "model": job.model, "project": str(job.project_id)}
    standing = [each for each in await pauses.standing(tx) if each.name == names.get(each.scope)]
    return [
        Binding(
            "paused",
            f"{what[each.scope]} is paused by the operator since {jsonable.time(each.paused_at)}.",
            {"scope": each.scope, "since": jsonable.time(each.paused_at)},
        )
        for each in standing
        if each.scope == "all" or job.phase == "call"
    ]


async def gates(tx: Transaction, job: Job) -> list[Binding]:
    """Return which gates are closed, without details, which tell of other projects' calls."""
    if job.phase == "keep":
        return []
    own = or_(Gate.project_id.is_(None), Gate.project_id == job.project_id)
    rows = await tx.scalars(select(Gate).where(own).order_by(Gate.closed_at))
    return [
        Binding(
            each.reason,
            f"{closings.words(each)}; since {jsonable.time(each.closed_at)}.",
            {"since": jsonable.time(each.closed_at), "half_open": each.half_open_at is not None},
        )
        for each in rows
    ]


def crowd(job: Job, project: Project, around: Occupancy, place: Position | None) -> list[Binding]:
    """Return which limits are reached, and who goes first, for a job that stands in a line."""
    if place is None or job.status == "released":
        return []
    if job.phase == "keep":
        return _workers(around)
    found = [*_cap(project, around), *_limit(around), *_workers(around)]
    if not found:
        found += _kept(around)
    if found and place.projects > 1:
        message = f"{place.projects} projects wait, and take turns."
        found.append(Binding("fair_share", message, {"projects_waiting": place.projects}))
    if place.ahead:
        count = f"At least {place.ahead:,}" if place.at_least else f"{place.ahead:,}"
        message = f"{count} {'job' if place.ahead == 1 else 'jobs'} of its project go first."
        found.append(Binding("queue", message, {"ahead": place.ahead}))
    return found


def _cap(project: Project, around: Occupancy) -> Sequence[Binding]:
    if project.cap is None or around.of_project < project.cap:
        return []
    message = f"{around.of_project} of {project.cap} jobs of its project are in flight."
    return [Binding("project_cap", message, {"in_flight": around.of_project, "cap": project.cap})]


def _limit(around: Occupancy) -> Sequence[Binding]:
    busy, most = around.limit.in_flight, around.limit.calls
    if busy < most:
        return []
    message = f"{busy} of {most} calls that the provider admits are in flight."
    return [Binding("provider_limit", message, {"in_flight": busy, "limit": most})]


def _workers(around: Occupancy) -> list[Binding]:
    numbers: Json = {"in_flight": around.busy, "slots": around.slots}
    if not around.slots:
        return [Binding("workers", "No worker that takes jobs was seen lately.", numbers)]
    if around.busy < around.slots:
        return []
    message = f"{around.busy} of {around.slots} slots of the workers are taken."
    return [Binding("workers", message, numbers)]


def _kept(around: Occupancy) -> list[Binding]:
    if around.of_project < around.own:
        return []
    message = f"Its project holds {around.of_project} places; the rest are kept for other projects."
    return [Binding("fair_share", message, {"in_flight": around.of_project, "share": around.own})]


async def _budget(tx: Transaction, job: Job) -> list[Binding]:
    full = [each for each in await budgets.hard(tx, job) if each.left < job.estimate]
    return [
        Binding(
            "budget",
            f"The {each.budget.window} budget of its {each.budget.scope} has {each.left:,} of "
            f"{each.budget.limit:,} credits left, and the job needs {job.estimate:,}.",
            {"budget": view.budget(each), "needed": job.estimate},
        )
        for each in full
    ] or [Binding("budget", "A budget had no room for it, and has it now: it goes on at once.")]


async def _batch(tx: Transaction, job: Job) -> list[Binding]:
    batch = await tx.get_one(Batch, job.batch_id)
    shown = view.batch_id(job)
    message = (
        f"Row {job.batch_row} of {shown} waits for its turn in it; the batch is {batch.status}."
    )
    return [Binding("batch", message, {"batch": shown, "row": job.batch_row})]


async def _unknown_charge(tx: Transaction, settings: Settings, job: Job) -> Binding:
    unknown = select(Attempt).where(Attempt.job_id == job.id, Attempt.charge == "unknown")
    found = list(await tx.scalars(unknown.order_by(Attempt.number)))
    numbers = [each.number for each in found]
    if not found:
        message = "Its charges are known by now: it goes on at once."
        return Binding("unknown_charge", message, {"attempts": [], "until": None})
    which = " and ".join(str(number) for number in numbers)
    were = f"attempt {which} was" if len(numbers) == 1 else f"attempts {which} were"
    due, now = (
        max(each.sent_at for each in found) + settings.unknown_for,
        await tx.scalar(select(func.now())),
    )
    until = jsonable.time(due)
    shows = (
        f"shows it, or has not shown it by {until}. While its account is silent, it takes longer."
    )
    if now is not None and due < now:
        shows = f"shows it, as was due by {until}, or an operator tells: its account is silent or unclear."
    message = (
        f"It is not known yet whether {were} charged. The job goes on once the provider's log or ledger "
        f"{shows}"
    )
    return Binding("unknown_charge", message, {"attempts": numbers, "until": until})
