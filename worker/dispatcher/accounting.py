"""What the duties that ask the provider's account share: its keys, and a share of its patience.

The provider answers 200 requests in 60 s, for the account. They are counted in Postgres, over all
processes, in windows of a minute of our own; two of these may fall into one of the provider's, so each
has room for less than half. What is urgent may use more of it than what can wait.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import structlog
from pydantic import SecretStr

from models import duties, jobs
from models.jobs import Verdict
from models.schema import Attempt
from models.settings import Settings
from worker.dispatcher.desk import Desk, go_on
from worker.provider import Provider

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

Duty = Literal["wallet", "prices", "reconcile", "unmatched"]

_LEASE = timedelta(seconds=60)  # longer than any answer is waited for
_SHARE: dict[Duty, int] = {"wallet": 90, "prices": 90, "reconcile": 80, "unmatched": 40}
_PAUSE = 1.0  # seconds between two looks for room in the minute
_PREFIX = 8  # characters of the key that an attempt remembers
_BEFORE = timedelta(seconds=60)  # the provider's clock and ours
_AFTER = timedelta(seconds=60)  # the same, and a charge lands after the answer


@dataclass(frozen=True, slots=True)
class Books:
    """A dispatcher's desk, with the provider's account on it."""

    desk: Desk
    provider: Provider


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time around attempts: what the provider knows of them must lie in it."""

    start: datetime
    end: datetime
    attempts: tuple[Attempt, ...]


async def reserve_request(books: Books, duty: Duty) -> bool:
    """Take a duty's lease and count one request, when the minute has room; False when another has it."""
    while True:
        go_on()
        async with books.desk.database.transaction() as tx:
            if not await duties.lease(tx, duty, books.desk.name, _LEASE):
                return False
            if await duties.spend_request(tx, _SHARE[duty]):
                return True
        await asyncio.sleep(_PAUSE)


def known_keys(settings: Settings) -> dict[str, tuple[SecretStr, ...]]:
    """Give the provider keys we can still ask with, by the prefix that attempts remember.

    Several keys may begin alike: then each of them may have made the call.
    """
    current = settings.aimlapi_key
    keys = ([current] if current else []) + [SecretStr(old) for old in settings.aimlapi_keys_old]
    found: dict[str, tuple[SecretStr, ...]] = {}
    for key in keys:
        prefix = key.get_secret_value()[:_PREFIX]
        if key not in found.get(prefix, ()):
            found[prefix] = (*found.get(prefix, ()), key)
    return found


def longest_call(settings: Settings) -> timedelta:
    """Give how long a call may go on at the provider after it was sent."""
    return max(settings.attempt_timeout, settings.attempt_timeout_large)


def spans(attempts: Sequence[Attempt], settings: Settings) -> Iterator[Span]:
    """Group attempts whose stretches of time would overlap, so that few pages cover many."""
    after = longest_call(settings) + _AFTER
    group: list[Attempt] = []
    for attempt in sorted(attempts, key=lambda each: each.sent_at):
        if group and attempt.sent_at - group[-1].sent_at > _BEFORE + after:
            yield _span(group, after)
            group = []
        group.append(attempt)
    if group:
        yield _span(group, after)


async def resolve(books: Books, attempt: Attempt, verdict: Verdict) -> None:
    """Write down what an attempt cost, and say so."""
    async with books.desk.database.transaction() as tx:
        job = await jobs.resolve(tx, books.desk.lens, attempt.job_id, attempt.number, verdict)
    if job is not None:
        log.info(
            "charge.resolved",
            client_request_id=attempt.client_request_id,
            charge="released" if verdict.credits is None else "settled",
            credits=verdict.credits,
        )


def _span(group: Sequence[Attempt], after: timedelta) -> Span:
    return Span(group[0].sent_at - _BEFORE, group[-1].sent_at + after, tuple(group))
