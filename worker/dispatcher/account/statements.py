"""Reads the account's own ledger at the provider, and books what it says.

Each line is kept once (`models/money/statement.py`), finds its attempt by the inference it names,
and our books follow it (`jobs.correct`). Cursor paging: what comes meanwhile is read the next time.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

import structlog
from prometheus_client import Counter as Metric
from sqlalchemy.exc import DBAPIError

from models import jobs
from models.money import statement
from models.money.statement import Line
from models.platform.db import Transaction
from models.platform.db.failures import said
from models.schema import Attempt
from models.states import MovementKind
from worker.dispatcher.account.accounting import (
    APART,
    AccountReader,
    Duty,
    corrected,
    longest_call,
    reserve_request,
    spans,
)
from worker.dispatcher.account.walking import LOST, Walk
from worker.dispatcher.rows import one_by_one
from worker.provider import AccountUnavailable, TransactionRow

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_BATCH = 500  # attempts that are corrected between two looks
_UNWRITTEN = Metric(
    "darkroom_statement_lines_unwritten",
    "Lines of the account's ledger that were read and could not be written down",
)
_KINDS: dict[str, MovementKind] = {
    "MODEL_USAGE": "MODEL_USAGE", "REFUND": "REFUND", "ADJUSTMENT": "ADJUSTMENT",
}  # fmt: skip


async def around(reader: AccountReader, attempts: Sequence[Attempt]) -> bool:
    """Read and book what the account's ledger shows of these attempts; False when it could not be."""
    for span in spans(attempts, reader):
        if await read(reader, "reconcile", span.start, span.end) is None:
            return False
    return True


async def read(
    reader: AccountReader, duty: Duty, since: datetime, until: datetime
) -> datetime | None:
    """Read the account's ledger of a time, and book it; returns the time of its newest line.

    None when it could not be done. The time it was asked from, when it shows nothing. Where the pages lead
    nowhere, what they showed is booked all the same; the last one may be another again, and has no twins.
    """
    cursor: str | None = None
    newest, twins, walk = since, _Twins(), Walk(cursor)
    while since < until:
        if not await reserve_request(reader, duty):
            return None
        try:
            page = await reader.provider.account.transactions(since, until, cursor, kind=None)
        except AccountUnavailable as failed:
            log.warning("matching.postponed", duty=duty, reason=str(failed))
            return None
        cursor = page.next_cursor
        lost = cursor is not None and not walk.leads_on(page.rows, cursor)
        await _take(reader, list((_Twins() if lost else twins).lines(page.rows)))
        newest = max([newest, *(row.created_at for row in page.rows if row.created_at < until)])
        if lost:
            log.warning("matching.postponed", duty=duty, reason=LOST)
            await book(reader)
            return None
        if cursor is None:
            break
    await book(reader)
    return newest


async def _take(reader: AccountReader, lines: Sequence[Line]) -> None:
    """Write lines that were read, and find their attempts; one that cannot be written stops none."""
    try:
        async with reader.dispatcher.database.transaction() as tx:
            await attribute(reader, tx, await statement.take(tx, lines))
    except DBAPIError as failed:
        if len(lines) == 1:
            _UNWRITTEN.inc()
            log.error("statement.line_not_written", line=lines[0].name, reason=said(failed))  # noqa: TRY400 - said
            return
        for each in lines:
            await _take(reader, [each])


async def book(reader: AccountReader) -> None:
    """Bring our books in line with lines that were attributed and are not booked yet."""
    while True:
        async with reader.dispatcher.database.transaction() as tx:
            waiting = await statement.unbooked(tx, limit=_BATCH)
        if not waiting or not await _correct(reader, waiting):
            return


async def attribute(reader: AccountReader, tx: Transaction, lines: Sequence[int]) -> None:
    """Find the attempts of lines by the inferences that these name."""
    longest = longest_call(reader.dispatcher.settings)
    await statement.attribute(tx, lines, longest=longest, apart=APART)


async def _correct(reader: AccountReader, waiting: Sequence[UUID]) -> bool:
    """Correct these attempts; False when none of them could be: they are left for the next turn."""
    done = 0

    async def one(tx: Transaction, attempt_id: UUID) -> jobs.Correction | None:
        nonlocal done
        made = await jobs.correct(tx, reader.dispatcher.presenter, attempt_id)
        done += 1
        return made

    for each in await one_by_one(reader.dispatcher, "correct", waiting, one):
        corrected(each, by="ledger")
    return done > 0


class _Twins:
    """Numbers rows that say the same: they lie side by side, for rows come in the order of time."""

    def __init__(self) -> None:
        self._at: datetime | None = None
        self._seen: Counter[tuple[object, ...]] = Counter()

    def lines(self, rows: Sequence[TransactionRow]) -> Iterator[Line]:
        for row in rows:
            kind = _KINDS.get(row.kind)
            if kind is None:
                continue
            if row.created_at != self._at:
                self._at, self._seen = row.created_at, Counter()
            signed = row.credits if row.direction == "CHARGE" else -row.credits
            told = (kind, signed, row.reference_id)
            self._seen[told] += 1
            yield Line(row.created_at, kind, signed, row.reference_id, self._seen[told])
