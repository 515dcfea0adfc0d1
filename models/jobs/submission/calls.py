"""Synchronous calls: a client's own retry joins the call that it repeats, and pays for nothing.

The SDKs of OpenAI's shape send a request again when its answer was lost, without a key; some count
(`x-stainless-retry-count`), some do not. So the jobs of each call stand beside a hash of what was asked,
and a request takes the place of an earlier one of the same hash:

- one that counts takes any that was made with a lower count: first those that are known to be lost, then
  those that nobody has answered yet, and at last those whose answer was sent, for it may have been cut off
  behind our back;
- one that does not count takes one that was lost in the last two minutes.

Each is taken once (`turn`), by one guarded UPDATE: ten clients that ask for ten images get ten. Whoever
waits is seen every few seconds; a call whose process died is as good as lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Uuid,
    any_,
    case,
    func,
    insert,
    null,
    or_,
    select,
    update,
)

from models.platform.db import Transaction
from models.platform.db.direct import Direct
from models.platform.db.statements import given, prepared
from models.schema import Call

SEEN = timedelta(seconds=5)  # between two signs that a client still waits
_DEAD = 3 * SEEN  # who was not seen for so long will answer nobody
_REPEATED = timedelta(seconds=120)  # after which the same body is another image, unless it counts
_COUNTED = timedelta(minutes=15)  # clients of this kind give up after ten minutes


@dataclass(frozen=True, slots=True)
class Claim:
    """A call that a request is to answer: its jobs, and whose turn it is."""

    jobs: tuple[UUID, ...]
    turn: int

    @property
    def id(self) -> UUID:
        """The call's id, which is its first job's."""
        return self.jobs[0]


async def queue_up(tx: Transaction, fingerprint: bytes) -> None:
    """Wait until no other request of this hash is being accepted: what it makes can then be seen."""
    place = int.from_bytes(fingerprint[:8], signed=True)
    await tx.execute(select(func.pg_advisory_xact_lock(place)))


async def claim(tx: Transaction, fingerprint: bytes, retry_count: int) -> Claim | None:
    """Take an earlier call's place; None when there is none to join. Called after `queue_up`."""
    dead = Call.answered_at.is_(None) & (Call.seen_at < func.now() - _DEAD)
    lost_at = func.coalesce(Call.failed_at, Call.lost_at, case((dead, Call.seen_at)))
    lost = or_(Call.lost_at.is_not(None), dead)
    repeated = lost & (lost_at > func.now() - _REPEATED)
    counted = (Call.retry_count < retry_count) & (Call.seen_at > func.now() - _COUNTED)
    found = (
        select(Call.job_id)
        .where(Call.fingerprint == fingerprint, or_(repeated, counted) if retry_count else repeated)
        .order_by(
            lost.desc(),
            Call.answered_at.is_not(None),
            Call.retry_count != retry_count - 1,
            Call.seen_at,
        )
        .limit(1)
        .with_for_update()
    )
    row = (
        await tx.execute(
            update(Call)
            .where(Call.job_id == found.scalar_subquery())
            .values(
                turn=Call.turn + 1,
                retry_count=retry_count,
                seen_at=func.now(),
                answered_at=None,
                lost_at=None,
            )
            .returning(Call.job_id, Call.others, Call.turn)
        )
    ).one_or_none()
    return None if row is None else Claim((row.job_id, *row.others), row.turn)


async def begin(
    tx: Transaction, fingerprint: bytes, retry_count: int, jobs: Sequence[UUID]
) -> Claim:
    """Note a call with the jobs that it has just made."""
    first, *others = jobs
    row = {
        "job_id": first,
        "others": others,
        "fingerprint": fingerprint,
        "retry_count": retry_count,
    }
    await tx.execute(insert(Call).values(row))
    return Claim(tuple(jobs), 1)


async def see(direct: Direct, ids: Sequence[UUID]) -> None:
    """Say of these calls that somebody waits for their answer."""
    await direct.write(_SEE, {"ids": list(ids)})


async def answered(direct: Direct, claim: Claim) -> None:
    """Say that all of an answer was sent, unless another request has taken the call over."""
    await direct.write(_ANSWERED, {"id": claim.id, "turn": claim.turn})


async def lost(direct: Direct, claim: Claim, *, failed: bool = False) -> None:
    """Say that a call's answer was lost, or was one that clients repeat.

    With `failed` its jobs have ended without an image, which no repetition changes: it is joined for two
    minutes from the first such answer on, and then the same body is a new job. Nothing is said where
    another request has taken the call over.
    """
    await direct.write(_LOST, {"id": claim.id, "turn": claim.turn, "failed": failed})


_MINE = (
    Call.job_id == given("id", Uuid()),
    Call.turn == given("turn", BigInteger()),
)
_SEE = prepared(
    update(Call)
    .where(Call.job_id == any_(given("ids", ARRAY(Uuid()))), Call.answered_at.is_(None))
    .values(seen_at=func.now())
)
_ANSWERED = prepared(
    update(Call).where(*_MINE).values(answered_at=func.now(), lost_at=null(), seen_at=func.now())
)
_LOST = prepared(
    update(Call)
    .where(*_MINE)
    .values(
        answered_at=null(),
        lost_at=func.now(),
        seen_at=func.now(),
        failed_at=case(
            (given("failed", Boolean()), func.coalesce(Call.failed_at, func.now())),
            else_=Call.failed_at,
        ),
    )
)
