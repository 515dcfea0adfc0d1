"""A job's way through a worker: start → call → keep → settle. Reading order is execution order.

No transaction is open while the network is waited for. What the provider answered is a value, and one
`match` says what follows from each.
"""

import random
from datetime import timedelta
from uuid import UUID

import structlog

from models import jobs
from models.errors import Unavailable
from models.ids import JOB, PROJECT, new, text
from models.images.references import ReferenceLost, kept_in, restore_input
from models.images.storage import Missing, StoreUnavailable
from models.jobs import Dispatch, Start, Terms
from models.jobs.attempts import Answer, Ref
from models.platform.db import Transaction
from models.provider import breakers, limits
from worker import confirming, keep
from worker.backoff import delay
from worker.provider.outcomes import Image, Outcome, Parked, Refused, TryLater, Unknown, Unusable
from worker.runtime import metrics, storeroom
from worker.runtime.context import Context, whose
from worker.runtime.persistence import book, persist

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# What is no sign that the provider is in trouble: our store's fault, or its opinion of this one request.
_NO_TROUBLE = frozenset({"storage", "forbidden", "wallet_doubted"})
_KEY_PREFIX = 8  # characters of the provider's key that tell which one made a call


async def run(context: Context, job_id: UUID, fence: int) -> None:
    """Make a dispatched job's paid call and keep its image, if the job is still to be had."""
    structlog.contextvars.bind_contextvars(job_id=text(JOB, job_id))
    if context.draining:
        await _hand_back(context, Dispatch(job_id, fence))
        return
    start = await _start(context, job_id, fence)
    if start is None:
        if not await storeroom.returned(context, Dispatch(job_id, fence)):
            log.info("job.not_mine", fence=fence)
        return
    structlog.contextvars.bind_contextvars(
        project_id=text(PROJECT, start.project_id), attempt=start.ref.number
    )
    whose.set(start.project_id)
    context.running.add(start.ref)
    metrics.IN_FLIGHT.inc()
    try:
        if start.phase == "keep":
            await keep.run(context, start.ref, start.project_id, start.provider_url)
        else:
            await _conclude(context, start, await _call(context, start))
    finally:
        context.running.discard(start.ref)
        metrics.IN_FLIGHT.dec()


async def _start(context: Context, job_id: UUID, fence: int) -> Start | None:
    """Begin the attempt, committed before the socket opens.

    When the answer to that COMMIT is lost, look whether it took effect: the random `start_id` tells
    one's own start from another's.
    """
    settings, start_id = context.settings, new()
    key = settings.aimlapi_key
    terms: Terms = {
        "start_id": start_id,
        "worker": context.worker,
        "key_prefix": key.get_secret_value()[:_KEY_PREFIX] if key else "",
        "lease": settings.lease_run,
        "typical_call": settings.typical_call,
    }
    try:
        plain = await jobs.start_plain(context.database.direct, job_id, fence, **terms)
        if plain is not None:
            return plain
        async with context.database.transaction() as tx:
            return await jobs.start(tx, context.presenter, job_id, fence, **terms)
    except Unavailable:
        return await persist(context, lambda tx: jobs.started(tx, job_id, fence, start_id))


async def _call(context: Context, start: Start) -> Outcome:
    settings = context.settings
    try:
        body = await _with_references(context, start)
    except StoreUnavailable as away:
        await storeroom.doubt(context, str(away))
        return TryLater(reason="storage", message=str(away), counts=False, sent=False)
    except (Missing, ReferenceLost) as lost:
        return Refused(code="invalid_input", message=f"A reference image is gone: {lost}")
    log.info("attempt.sent", client_request_id=start.client_request_id)
    try:
        with metrics.CALL_SECONDS.time():
            outcome = await context.provider.generate(
                body,
                client_request_id=start.client_request_id,
                timeout=settings.attempt_timeout_large if start.large else settings.attempt_timeout,
            )
        outcome = await confirming.confirm(context, outcome)
    except Exception as bug:
        log.exception("answer.unread")
        outcome = Unknown(
            reason="unreadable", message=f"The answer was not read: {type(bug).__name__}."
        )
    metrics.ATTEMPTS.labels(type(outcome).__name__, outcome.charge).inc()
    metrics.CREDITS.inc(outcome.credits or 0 if outcome.charge == "settled" else 0)
    log.info(
        "attempt.answered",
        outcome=type(outcome).__name__,
        http_status=outcome.receipt.http_status,
        charge=outcome.charge,
        credits=outcome.credits,
        reason=getattr(outcome, "reason", None),
    )
    return outcome


async def _with_references(context: Context, start: Start) -> dict[str, object]:
    """Put the bytes of inline references, which lie in the store, back into the body."""
    blobs = {
        each.sha256: await context.store.read(f"{start.project_id}/{each.sha256}")
        for each in kept_in(start.input)
    }
    return restore_input(start.input, blobs)


async def _conclude(context: Context, start: Start, outcome: Outcome) -> None:
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
    """Fail the job: it was paid, and who would call again would pay again. Several in a row are trouble."""
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
    """Say an outcome in the words of the books."""
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


async def _hand_back(context: Context, dispatch: Dispatch) -> None:
    async with context.database.transaction() as tx:
        await jobs.hand_back(tx, [dispatch])
    log.info("job.handed_back", fence=dispatch.fence)
