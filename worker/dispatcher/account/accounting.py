"""What the duties that ask the provider's account share: its keys, and a share of its patience.

The provider answers 200 requests in 60 s, for the account. They are counted in Postgres, over all
processes, in windows of a minute of our own; two of these may fall into one of the provider's, so each
has room for less than half. What is urgent may use more of it than what can wait.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import structlog
from prometheus_client import Counter
from pydantic import SecretStr

from models import jobs
from models.coordination import duties
from models.jobs import Correction, Verdict
from models.money import statement
from models.platform.db import Transaction
from models.schema import Attempt, Job
from models.settings import Settings
from worker.dispatcher.duty import Dispatcher
from worker.dispatcher.rows import one_by_one
from worker.dispatcher.watchdog import go_on
from worker.provider import Provider, Quote

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

Duty = Literal["wallet", "prices", "reconcile", "statement"]

_LEASE = timedelta(seconds=60)  # longer than any answer is waited for
_SHARE: dict[Duty, int] = {"wallet": 90, "prices": 90, "reconcile": 80, "statement": 60}
_PAUSE = 1.0  # seconds between two looks for room in the minute
_PREFIX = 8  # characters of the key that an attempt remembers
# How far the provider's clock may be from ours before its rows have shown by how much; and in its ledger,
# where rows are read on end and a wide margin costs nothing.
MARGIN, APART = timedelta(minutes=2), timedelta(minutes=15)
_FOREIGN = 10_000
_ABSURD = timedelta(hours=6)

_CORRECTED = Counter(
    "darkroom_charges_corrected",
    "Charges that were booked otherwise than the provider's own books have them",
    ["by"],
)
_CORRECTED_CREDITS = Counter(
    "darkroom_charges_corrected_credits",
    "What corrected charges differed by, up and down alike",
    ["by"],
)


@dataclass(slots=True)
class Skew:
    """How far the times in the provider's log are from ours, as its rows have shown: from, and to."""

    lo: timedelta = timedelta(0)
    hi: timedelta = timedelta(0)

    def learn(self, sent_at: datetime, created: datetime) -> None:
        """Learn from a row that names a call of ours."""
        offset = created - sent_at
        if abs(offset) < _ABSURD:
            self.lo, self.hi = min(self.lo, offset), max(self.hi, offset)


@dataclass(slots=True)
class Quoted:
    """What the pricing route told last, by model, and the ETag of that answer."""

    quotes: dict[str, Quote] = field(default_factory=dict)
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class AccountReader:
    """The resources of a dispatcher, the provider's account, and what was learned of its clock."""

    dispatcher: Dispatcher
    provider: Provider
    skew: Skew = field(default_factory=Skew)
    quoted: Quoted = field(default_factory=Quoted)
    # Inferences that the log ascribes to others.
    foreign: dict[str, None] = field(default_factory=dict)

    def note_foreign(self, inference_id: str) -> None:
        """Remember the inference of a call that the log names as somebody else's; the last ten thousand."""
        self.foreign[inference_id] = None
        if len(self.foreign) > _FOREIGN:
            del self.foreign[next(iter(self.foreign))]


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time around attempts: what the provider knows of them must lie in it."""

    start: datetime
    end: datetime
    attempts: tuple[Attempt, ...]


async def reserve_request(reader: AccountReader, duty: Duty) -> bool:
    """Take a duty's lease and count one request, when the minute has room; return False otherwise."""
    while True:
        go_on()
        async with reader.dispatcher.database.transaction() as tx:
            if not await duties.lease(tx, duty, reader.dispatcher.name, _LEASE):
                return False
            if await duties.spend_request(tx, _SHARE[duty]):
                return True
        await asyncio.sleep(_PAUSE)


def known_keys(settings: Settings) -> dict[str, tuple[SecretStr, ...]]:
    """Return the provider keys we can still ask with, by the prefix that attempts remember.

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
    """Return how long a call may go on at the provider after it was sent."""
    return max(settings.attempt_timeout, settings.attempt_timeout_large)


def spans(attempts: Sequence[Attempt], reader: AccountReader) -> Iterator[Span]:
    """Group attempts whose stretches of time would overlap, so that few pages cover many.

    A stretch is that of the provider's clock, as far as it is known.
    """
    before = MARGIN - reader.skew.lo
    after = longest_call(reader.dispatcher.settings) + MARGIN + reader.skew.hi
    group: list[Attempt] = []
    for attempt in sorted(attempts, key=lambda each: each.sent_at):
        if group and attempt.sent_at - group[-1].sent_at > before + after:
            yield _span(group, before, after)
            group = []
        group.append(attempt)
    if group:
        yield _span(group, before, after)


async def resolve(reader: AccountReader, attempt: Attempt, verdict: Verdict) -> None:
    """Write down what an attempt cost, and say so: what the account's ledger is known to say goes first.

    An attempt that this cannot be written of is set aside.
    """
    presenter, name = reader.dispatcher.presenter, verdict.inference_id

    async def arrow(tx: Transaction, attempt_id: UUID) -> tuple[Correction | None, Job | None]:
        made = None
        if name is not None and await statement.claim(tx, attempt, name):
            made = await jobs.correct(tx, presenter, attempt_id)
        return made, await jobs.resolve(tx, presenter, attempt.job_id, attempt.number, verdict)

    for made, job in await one_by_one(reader.dispatcher, "reconcile", [attempt.id], arrow):
        corrected(made, by="ledger")
        if job is not None:
            log.info(
                "charge.resolved",
                client_request_id=attempt.client_request_id,
                charge="released" if verdict.credits is None else "settled",
                credits=verdict.credits,
            )


async def identify(reader: AccountReader, attempt: Attempt, inference_id: str) -> None:
    """Remember which inference a call was, which decides nothing; what names it there is booked next."""

    async def arrow(tx: Transaction, _attempt_id: UUID) -> bool:
        await jobs.identify(tx, attempt, inference_id)
        return await statement.claim(tx, attempt, inference_id)

    if attempt.inference_id is None and attempt.finished_at is not None:
        await one_by_one(reader.dispatcher, "reconcile", [attempt.id], arrow)


def corrected(made: Correction | None, *, by: str) -> None:
    """Count and log a correction; what was unknown until then is resolved by it, and no correction."""
    if made is None:
        return
    if made.charge in {"unknown", "released"}:
        log.info(
            "charge.resolved",
            client_request_id=made.client_request_id,
            charge="settled",
            credits=made.after,
        )
        return
    _CORRECTED.labels(by).inc()
    _CORRECTED_CREDITS.labels(by).inc(abs(made.after - made.before))
    log.warning(
        "charge.corrected",
        client_request_id=made.client_request_id,
        booked=made.before,
        credits=made.after,
        by=by,
    )


def _span(group: Sequence[Attempt], before: timedelta, after: timedelta) -> Span:
    return Span(group[0].sent_at - before, group[-1].sent_at + after, tuple(group))
