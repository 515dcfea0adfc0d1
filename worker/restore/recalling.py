"""Reads the provider's log since the backup, and books the calls of ours that the backup does not know."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select

from models import ids
from models.errors import Misconfigured
from models.jobs.charges import restoring
from models.jobs.charges.restoring import Call
from models.provider import pauses
from worker.dispatcher.account.accounting import (
    APART,
    AccountReader,
    known_keys,
    longest_call,
    reserve_request,
)
from worker.dispatcher.account.walking import LOST, Walk
from worker.provider import AccountUnavailable, LogRow

_PAGE = 100
_BATCH = 1000  # jobs looked up at once
_LOG_LIFE = timedelta(days=90)  # the provider shows 92
_OURS = re.compile(r"(job_[0-9a-z]{26}):([1-9][0-9]{0,5})")

Calls = dict[UUID, list[Call]]


@dataclass(slots=True)
class Recalled:
    """What was found: booked, or not to be booked because the backup does not have the job at all.

    `odd` rows of the log could not be read: a call among them is known to nobody yet.
    """

    since: datetime
    odd: int = 0
    booked: Calls = field(default_factory=dict)
    homeless: Calls = field(default_factory=dict)


async def paused(reader: AccountReader) -> tuple[datetime, datetime]:
    """Return since when everything is paused, and when the log has caught up with it.

    Raises `Misconfigured` when it is not: whatever ran meanwhile would pay again.
    """
    async with reader.dispatcher.database.transaction() as tx:
        standing = await pauses.standing(tx)
    found = [each.paused_at for each in standing if each.scope == "all"]
    if not found:
        raise Misconfigured(
            "Nothing is paused: run `python -m models pause` first, before any role is started."
        )
    settings = reader.dispatcher.settings
    return found[0], found[0] + longest_call(settings) + settings.log_lag


async def recall(reader: AccountReader, since: datetime | None = None) -> Recalled:
    """Book every call of ours that the log shows since then, and the database does not know.

    By default since the last that the database has seen. Raises `Misconfigured`, also while the log may
    still lag, and `AccountUnavailable`; the whole log is read before anything is booked.
    """
    paused_at, complete_at = await paused(reader)
    if since is not None and since > paused_at:
        raise Misconfigured(
            f"--since {since:%Y-%m-%d %H:%M:%S %Z} is after the pause, which began at "
            f"{paused_at:%Y-%m-%d %H:%M:%S %Z}: no call would be found. Say when the backup was "
            "made, or leave it out."
        )
    async with reader.dispatcher.database.transaction() as tx:
        now = (await tx.execute(select(func.now()))).scalar_one()
        seen = since or await restoring.newest(tx, paused_at)
    if now < complete_at:
        raise Misconfigured(
            f"The provider's log may lag until {complete_at:%Y-%m-%d %H:%M:%S %Z}; nothing was booked. "
            "Run this again then."
        )
    found = Recalled(max(seen - APART if seen else now - _LOG_LIFE, now - _LOG_LIFE))
    calls = await _read(reader, found, now)
    for job_id in await _sorted(reader, calls, found):
        async with reader.dispatcher.database.transaction() as tx:
            booked = await restoring.recall(
                tx, reader.dispatcher.presenter, job_id, calls[job_id], paused_at=paused_at
            )
        if booked:
            found.booked[job_id] = booked
    return found


async def _read(reader: AccountReader, recalled: Recalled, until: datetime) -> Calls:
    """Page through the log of each of our keys; should it show a call twice, the charged row counts."""
    found: dict[tuple[UUID, int], Call] = {}
    for prefix, keys in known_keys(reader.dispatcher.settings).items():
        for key in keys:
            offset, more, walk = 0, True, Walk(0)
            while more:
                if not await reserve_request(reader, "reconcile"):
                    raise Misconfigured(
                        "A dispatcher reads the log; stop every role and try again."
                    )
                page = await reader.provider.account.logs(
                    recalled.since, until, _PAGE, offset, key=key
                )
                recalled.odd += len(page.odd)
                for row in page.rows:
                    _take(found, row, prefix)
                offset, more = offset + page.length, page.has_more
                if more and not walk.leads_on((*page.rows, *page.odd), offset):
                    raise AccountUnavailable(LOST)
    by_job: Calls = {}
    for (job_id, _), call in found.items():
        by_job.setdefault(job_id, []).append(call)
    return by_job


def _take(found: dict[tuple[UUID, int], Call], row: LogRow, prefix: str) -> None:
    name = _OURS.fullmatch(row.client_request_id or "")
    job_id = ids.parse(ids.JOB, name[1]) if name else None
    if name is None or job_id is None:
        return
    paid = row.credits if row.status == "succeeded" else None
    number = int(name[2])
    if paid is not None or (job_id, number) not in found:
        found[job_id, number] = Call(number, paid, row.inference_id, row.created, prefix)


async def _sorted(
    reader: AccountReader, calls: Mapping[UUID, list[Call]], found: Recalled
) -> list[UUID]:
    """Return the jobs that the database has, in their order, and set the others aside."""
    wanted, here = sorted(calls), list[UUID]()
    for at in range(0, len(wanted), _BATCH):
        batch = wanted[at : at + _BATCH]
        async with reader.dispatcher.database.transaction() as tx:
            existing = await restoring.existing(tx, batch)
        here += [each for each in batch if each in existing]
        found.homeless |= {each: calls[each] for each in batch if each not in existing}
    return here
