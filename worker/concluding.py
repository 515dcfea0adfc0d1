"""What follows from the outcome of a call: one `match`; each case is booked in one transaction."""

import random
from datetime import timedelta

import structlog

from models import jobs
from models.jobs import Start
from models.jobs.attempts import Answer, Ref
from models.platform.db import Transaction
from models.provider import breakers, limits
from worker import keep
from worker.backoff import delay
from worker.provider.outcomes import Image, Outcome, Parked, Refused, TryLater, Unknown, Unusable
from worker.runtime import metrics
from worker.runtime.context import Context
from worker.runtime.persistence import book

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# What is no sign that the provider is in trouble: our store's fault, or its opinion of this one request.
_NO_TROUBLE = frozenset({"storage", "forbidden", "wallet_doubted"})


async def conclude(context: Context, start: Start, outcome: Outcome) -> None:
    """Write down what the answer means, in one transaction; only an image goes on from here."""
    ref, presenter, answer = start.ref, context.presenter, _answer(outcome)
    match outcome:
        case Image():
            await keep.receive_and_keep(context, start, outcome, answer)
        case TryLater():
            wait = delay(
                ref.number,
                base=context.settings.retry_base,
                cap=context.settings.retry_cap,
                retry_after=outcome.retry_after,
                random=random.random,
            )
            await book(
                context, ref, answer, lambda tx: _retry_later(tx, context, ref, answer, wait)
            )
        case Refused():
            details = [{"path": d.path, "message": d.message} for d in outcome.details]
            await book(
                context, ref, answer,
                lambda tx: jobs.refuse(
                    tx, presenter, ref, answer,
                    code=outcome.code, message=outcome.message, details=details or None,
                ),
            )  # fmt: skip
        case Unusable():
            await book(
                context, ref, answer,
                lambda tx: _give_up(tx, context, ref, answer, outcome.message),
            )  # fmt: skip
        case Parked():
            reason, for_all = outcome.reason, outcome.for_all
            await book(
                context, ref, answer,
                lambda tx: jobs.park(tx, presenter, ref, answer, reason, for_all=for_all),
            )  # fmt: skip
        case Unknown():
            await book(context, ref, answer, lambda tx: _lose(tx, context, ref, answer))


async def _retry_later(
    tx: Transaction, context: Context, ref: Ref, answer: Answer, wait: timedelta
) -> None:
    """Try the job again, and learn from why: the limit was reached, or the provider is in trouble."""
    await jobs.retry_later(tx, context.presenter, ref, answer, wait)
    code = (answer.error or {}).get("code")
    if code == "slow_down":
        metrics.SLOW_DOWNS.inc()
        calls = await limits.refused(tx, context.settings, ref.job_id, ref.number)
        log.info("provider.limit_reached", limit=calls)
    elif code not in _NO_TROUBLE:
        await breakers.failed(tx, context.settings, "errors", ref.job_id, ref.number)


async def _give_up(
    tx: Transaction, context: Context, ref: Ref, answer: Answer, message: str
) -> None:
    """Fail the job: it was paid for, and another call would be paid again. Several in a row are trouble."""
    await jobs.refuse(
        tx,
        context.presenter,
        ref,
        answer,
        code="paid_without_image",
        message=message,
        retryable=True,
    )
    await breakers.failed(tx, context.settings, "errors", ref.job_id, ref.number)


async def _lose(tx: Transaction, context: Context, ref: Ref, answer: Answer) -> None:
    await jobs.lose(tx, context.presenter, ref, answer)
    await breakers.failed(tx, context.settings, "lost", ref.job_id, ref.number)


def _answer(outcome: Outcome) -> Answer:
    """Return an outcome in the words of the books."""
    word, code, message, counts = _words(outcome)
    receipt = outcome.receipt
    return Answer(
        outcome=word,
        charge=outcome.charge,
        credits=receipt.credits if outcome.charge == "settled" else None,
        http_status=receipt.http_status,
        inference_id=receipt.inference_id,
        provider_url=outcome.url if isinstance(outcome, Image) else None,
        counts=counts,
        error=None if code is None else {"code": code, "message": message},
        evidence=outcome.evidence,
    )


def _words(outcome: Outcome) -> tuple[str, str | None, str, bool]:
    match outcome:
        case Image():
            return "image", None, "", True
        case TryLater():
            return "try_later", outcome.reason, outcome.message, outcome.counts
        case Refused():
            return "refused", outcome.code, outcome.message, True
        case Unusable():
            return "unusable", "paid_without_image", outcome.message, True
        case Parked():
            return "parked", outcome.reason, outcome.message, False
        case Unknown():
            return "unknown", outcome.reason, outcome.message, True
