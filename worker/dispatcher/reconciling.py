"""Finds out what lost calls cost, from the provider's log of requests.

One page settles many attempts: whatever rows it shows are matched against every attempt of ours whose
charge is open. The log lags, so "not there" is believed only twice: when an attempt is absent at the
lag and again at four times the lag, with newer rows present. Offset paging over a list that grows at
its head shows a row twice rather than never.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from pydantic import SecretStr

from models import jobs
from models.jobs import Verdict
from models.schema import Attempt
from models.settings import Settings
from worker.dispatcher.accounting import Books, reserve_request
from worker.provider import AccountUnavailable, LogRow

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_BATCH = 1_000
_BEFORE = timedelta(seconds=60)  # the provider's clock and ours
_AFTER = timedelta(seconds=360)  # the longest call, and a minute
_PAGE = 100
_FAILURES = 3  # unanswered pages after which a turn gives up: the provider is away


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the log in which attempts made with one key must be, if they are anywhere."""

    key: SecretStr
    start: datetime
    end: datetime
    attempts: tuple[Attempt, ...]


async def turn(books: Books) -> bool:
    """Read the log around every open charge once; always False: what is not there yet takes time."""
    settings = books.desk.settings
    async with books.desk.database.transaction() as tx:
        open_ = await jobs.unknown_charges(tx, limit=_BATCH)
    found = list(windows(settings, open_))
    # The minute's requests may not reach for all: in another order each time, none waits for ever.
    random.shuffle(found)
    failures = 0
    for window in found:
        try:
            rows = await _read(books, window)
        except AccountUnavailable as failed:
            log.warning("reconcile.later", reason=str(failed), attempts=len(window.attempts))
            failures += 1
            if failures == _FAILURES:
                break
            continue
        if rows is None:
            break
        await _judge_absent(books, window, rows)
    return False


def windows(settings: Settings, attempts: Sequence[Attempt]) -> Iterator[Window]:
    """Group attempts by the key they used and by time, so that few pages cover many."""
    by_key: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        by_key.setdefault(attempt.key_prefix, []).append(attempt)
    for prefix, made in by_key.items():
        key = _key(settings, prefix)
        if key is None:
            log.warning("reconcile.key_unknown", key_prefix=prefix, attempts=len(made))
            continue
        group: list[Attempt] = []
        for attempt in sorted(made, key=lambda each: each.sent_at):
            if group and attempt.sent_at - group[-1].sent_at > _BEFORE + _AFTER:
                yield _window(key, group)
                group = []
            group.append(attempt)
        yield _window(key, group)


async def _read(books: Books, window: Window) -> list[LogRow] | None:
    """Page through a window, settling as we go; None when the minute's requests are spent."""
    rows: list[LogRow] = []
    while True:
        if not await reserve_request(books, "reconcile"):
            return None
        page = await books.provider.account.logs(
            window.start, window.end, _PAGE, len(rows), key=window.key
        )
        rows += page.rows
        await _settle(books, page.rows)
        if not page.has_more or not page.rows:
            return rows


async def _settle(books: Books, rows: Sequence[LogRow]) -> None:
    said = {row.client_request_id: row for row in rows if row.client_request_id}
    async with books.desk.database.transaction() as tx:
        found = await jobs.open_charges(tx, list(said))
    for attempt in found:
        row = said[attempt.client_request_id]
        verdict = Verdict(
            credits=row.credits if row.status == "succeeded" else None,
            inference_id=row.inference_id,
            made_at=row.created,
        )
        await _resolve(books, attempt, verdict)


async def _judge_absent(books: Books, window: Window, rows: Sequence[LogRow]) -> None:
    """Believe "not there" at the lag and again at four times the lag, if newer rows are there."""
    lag, now = books.desk.settings.log_lag, datetime.now(UTC)
    seen = {row.client_request_id for row in rows}
    newest = max((row.created for row in rows), default=None)
    for attempt in window.attempts:
        age = now - attempt.sent_at
        newer_rows = newest is not None and newest > attempt.sent_at
        if attempt.client_request_id in seen or age < lag or not newer_rows:
            continue
        if attempt.absent_at is None:
            async with books.desk.database.transaction() as tx:
                await jobs.note_absent(tx, attempt)
        elif age >= 4 * lag and now - attempt.absent_at >= lag:
            await _resolve(books, attempt, Verdict(credits=None))


async def _resolve(books: Books, attempt: Attempt, verdict: Verdict) -> None:
    async with books.desk.database.transaction() as tx:
        job = await jobs.resolve(tx, books.desk.lens, attempt.job_id, attempt.number, verdict)
    if job is not None:
        log.info(
            "charge.resolved",
            client_request_id=attempt.client_request_id,
            charge="released" if verdict.credits is None else "settled",
            credits=verdict.credits,
        )


def _window(key: SecretStr, group: Sequence[Attempt]) -> Window:
    return Window(key, group[0].sent_at - _BEFORE, group[-1].sent_at + _AFTER, tuple(group))


def _key(settings: Settings, prefix: str) -> SecretStr | None:
    current = settings.aimlapi_key
    known = [current] if current else []
    known += [SecretStr(each) for each in settings.aimlapi_keys_old]
    return next((key for key in known if key.get_secret_value().startswith(prefix)), None)
