"""A charge that was unknown becomes known: from the provider's log, or by an operator's hand."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import func, or_, select, text, update

from models import ids
from models.audit_log import recording
from models.coordination import aside
from models.errors import Conflict, NotFound
from models.jobs.attempts import booking
from models.jobs.changes.moving import lock
from models.jobs.running.answering import after_resolved, tell_resolved
from models.jobs.view import Presenter
from models.platform.db import Transaction
from models.platform.db.statements import Reader, prepared
from models.schema import Attempt, Job
from models.states import unknown_charge

_LOG_LIFE = timedelta(days=90)  # the provider shows 92
_SECOND_THOUGHTS = timedelta(days=1)  # how long what was believed free is looked for again


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an attempt cost after all: `credits` as charged, or None for nothing."""

    credits: int | None
    inference_id: str | None = None
    made_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class LeftOver:
    """Unknown charges that only an operator can resolve, counted by what stands in the way."""

    too_old: int
    key_unknown: int


async def unknown_charges(tx: Transaction, *, limit: int) -> list[Attempt]:
    """Return attempts whose charge is unknown, oldest first; those still under way are left out.

    So are those that the provider's log will soon forget (`left_over` counts them).
    """
    rows = await tx.scalars(
        select(Attempt)
        .where(
            text(unknown_charge()),
            Attempt.sent_at > func.now() - _LOG_LIFE,
            ~aside.passed_by("reconcile", Attempt.id),
        )
        .order_by(Attempt.sent_at)
        .limit(limit)
    )
    return list(rows)


async def under_way(
    tx: Transaction, key_prefix: str, since: datetime, until: datetime
) -> list[Attempt]:
    """Return the attempts of a time that were made with a key and are not over: nothing names them yet."""
    open_ = text("charge = 'unknown' AND finished_at IS NULL")
    made = Attempt.sent_at.between(since, until) & (Attempt.key_prefix == key_prefix)
    return list(await tx.scalars(select(Attempt).where(open_, made)))


async def believed_free(tx: Transaction, *, limit: int) -> list[Attempt]:
    """Return attempts of the last day that were released because no log showed them, newest first."""
    since = ids.first_at(datetime.now(UTC) - _SECOND_THOUGHTS)
    rows = await tx.scalars(
        select(Attempt)
        .where(
            Attempt.id >= since,
            Attempt.charge == "released",
            Attempt.absent_at.is_not(None),
            ~aside.passed_by("reconcile", Attempt.id),
        )
        .order_by(Attempt.id.desc())
        .limit(limit)
    )
    return list(rows)


async def left_over(tx: Reader, known_keys: Collection[str]) -> LeftOver:
    """Count the unknown charges that reconciliation cannot reach; keys are named by their prefixes."""
    asked = {"log_life": _LOG_LIFE, "known_keys": list(known_keys)}
    (row,) = await tx.read(_LEFT_OVER, asked)
    return LeftOver(row["too_old"], row["key_unknown"])


async def named(tx: Transaction, client_request_ids: Collection[str]) -> list[Attempt]:
    """Return those of these attempts that are ours; a row of the provider's log names each."""
    ours = Attempt.client_request_id.in_(client_request_ids)
    return list(await tx.scalars(select(Attempt).where(ours)))


def open_charge(attempt: Attempt) -> bool:
    """Return whether a row of the provider's log can still say something new of an attempt."""
    return attempt.charge in {"unknown", "released"} and attempt.finished_at is not None


async def inferences(
    tx: Transaction, names: Collection[str], since: datetime, until: datetime
) -> set[str]:
    """Return those of these inferences that calls of ours name, made in a time."""
    made = Attempt.sent_at.between(since, until) & Attempt.inference_id.in_(names)
    return {each for each in await tx.scalars(select(Attempt.inference_id).where(made)) if each}


async def identify(tx: Transaction, attempt: Attempt, inference_id: str) -> None:
    """Remember which inference an attempt was, if that is news."""
    await tx.execute(
        update(Attempt)
        .where(Attempt.id == attempt.id, Attempt.inference_id.is_(None))
        .values(inference_id=inference_id)
    )


async def note_absent(tx: Transaction, attempts_: Sequence[Attempt]) -> int:
    """Remember that the log did not show these attempts when it first should have; returns of how many."""
    noted = await tx.execute(
        update(Attempt)
        .where(Attempt.id.in_([each.id for each in attempts_]), Attempt.absent_at.is_(None))
        .values(absent_at=func.now())
        .returning(Attempt.id)
    )
    return len(noted.all())


async def resolve(
    tx: Transaction, presenter: Presenter, job_id: UUID, number: int, verdict: Verdict
) -> Job | None:
    """Settle or release an attempt, tell it, and move a job that waited for just this.

    None when it says nothing new.
    """
    job = await lock(tx, job_id)
    attempt = await tx.scalar(
        select(Attempt).where(
            Attempt.job_id == job_id,
            Attempt.number == number,
            # A call that is under way still brings its own answer, and perhaps the image.
            Attempt.finished_at.is_not(None),
            or_(Attempt.charge == "unknown", Attempt.charge == "released"),
        )
    )
    if attempt is None:
        return None
    done = await booking.resolve(
        tx,
        job,
        attempt,
        credits_=verdict.credits,
        inference_id=verdict.inference_id,
        made_at=verdict.made_at,
    )
    if done is None:
        return None
    job = await tell_resolved(tx, presenter, done[1])
    return await after_resolved(tx, presenter, job, paid=verdict.credits is not None)


async def resolve_by_hand(
    tx: Transaction,
    presenter: Presenter,
    client_request_id: str,
    *,
    charged: bool,
    credits_: int | None,
) -> tuple[Attempt, Job]:
    """Settle or release an attempt as an operator says; `credits_` defaults to what is held for it.

    Raises `NotFound`, and `Conflict` when there is nothing to resolve. What was called free is looked
    for in the log for another day: should it show there, it is settled after all.
    """
    attempt = await tx.scalar(select(Attempt).where(Attempt.client_request_id == client_request_id))
    if attempt is None:
        raise NotFound(
            f"There is no attempt {client_request_id!r}; a job's JSON shows the names of its attempts "
            "as client_request_id (job_…:1)."
        )
    was = attempt.charge
    cost = (attempt.hold if credits_ is None else credits_) if charged else None
    job = await resolve(tx, presenter, attempt.job_id, attempt.number, Verdict(cost))
    if job is None:
        raise Conflict(f"There is nothing to resolve: {client_request_id} {_known(attempt)}.")
    if not charged:
        await note_absent(tx, [attempt])
    before = {"charge": was, "credits": None}
    after = {"charge": attempt.charge, "credits": attempt.credits}
    await recording.record(
        tx,
        "charge.resolved",
        client_request_id,
        project_id=job.project_id,
        before=before,
        after=after,
    )
    return attempt, job


def _known(attempt: Attempt) -> str:
    if attempt.finished_at is None:
        return "is still under way, and will bring its own answer"
    if attempt.charge == "settled":
        return f"is settled, with {attempt.credits} credits"
    return "was never charged" if attempt.charge == "none" else "is released already"


_LEFT_OVER = prepared(
    text(f"""
    SELECT count(*) FILTER (WHERE old) AS too_old,
           count(*) FILTER (WHERE NOT old AND key_prefix <> ALL (CAST(:known_keys AS text[])))
               AS key_unknown
      FROM (SELECT key_prefix, sent_at <= now() - :log_life AS old
              FROM attempts WHERE {unknown_charge()}) unknown
""")  # noqa: S608 - a constant of ours
)
