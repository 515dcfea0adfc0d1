"""A job's way through a worker: start → call → conclude (→ keep). Reading order is execution order.

Jobs are started by the bundle, and from there on each goes its own way.

No transaction is open while the network is waited for. What the provider answered is a value, and one
`match` says what follows from each (`concluding`).
"""

from collections.abc import Sequence
from uuid import UUID

import structlog

from models import jobs
from models.errors import Unavailable
from models.ids import JOB, PROJECT, new, text
from models.images.references import ReferenceLost
from models.images.store_errors import Missing, StoreUnavailable
from models.jobs import Dispatch, Dispatched, Start, Terms
from models.platform import tracing
from models.platform.db.failures import said
from worker import confirming, keep, referring
from worker.concluding import conclude
from worker.provider.outcomes import Image, Outcome, Refused, TryLater, Unknown
from worker.runtime import metrics, storeroom
from worker.runtime.context import Context, whose
from worker.runtime.persistence import persist

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_KEY_PREFIX = 8  # characters of the provider's key that tell which one made a call


async def start(context: Context, dispatched: Sequence[Dispatched]) -> None:
    """Begin a bundle of dispatched jobs, those that are still to be had; they go on without the caller.

    What begins in the plain way has begun when this returns, in one statement; each of the others is
    begun by itself. A draining worker hands all of them back.
    """
    if context.draining:
        await _hand_back(context, dispatched)
        return
    terms, begun = _terms(context), list[Start]()
    try:
        begun = await jobs.start_plain(context.database.direct, dispatched, **terms)
    except Unavailable:
        context.flight.begin("generate", _find_out(context, dispatched, terms["start_id"]))
        return
    except Exception as failed:  # noqa: BLE001 - it may be one of them that is at fault
        log.warning("bundle.failed", task="generate", reason=said(failed))
    for each in begun:
        context.flight.begin("generate", _run(context, each))
    plain = {(each.ref.job_id, each.ref.fence) for each in begun}
    for job_id, fence in dispatched:
        if (job_id, fence) not in plain:
            context.flight.begin("generate", _run_alone(context, job_id, fence))


async def _run_alone(context: Context, job_id: UUID, fence: int) -> None:
    """Begin a job that is not plain, if it is still to be had, and see it through."""
    structlog.contextvars.bind_contextvars(job_id=text(JOB, job_id))
    terms = _terms(context)
    try:
        async with context.database.transaction() as tx:
            begun = await jobs.start(tx, context.presenter, job_id, fence, **terms)
    except Unavailable:
        await _find_out(context, [(job_id, fence)], terms["start_id"])
        return
    if begun is not None:
        await _run(context, begun)
    elif not await storeroom.returned(context, Dispatch(job_id, fence)):
        log.info("job.not_started", fence=fence)


async def _find_out(context: Context, dispatched: Sequence[Dispatched], start_id: UUID) -> None:
    """Go on with what this start has begun, whose answer to COMMIT was lost.

    The random `start_id` tells one's own start from another's. What has not begun waits for its lease.
    """
    for begun in await persist(context, lambda tx: jobs.started(tx, dispatched, start_id)):
        context.flight.begin("generate", _run(context, begun))


def _terms(context: Context) -> Terms:
    settings = context.settings
    key = settings.aimlapi_key
    return {
        "start_id": new(),
        "worker": context.worker,
        "key_prefix": key.get_secret_value()[:_KEY_PREFIX] if key else "",
        "lease": settings.lease_run,
        "typical_call": settings.typical_call,
    }


async def _run(context: Context, start: Start) -> None:
    """Make the call of a job that has begun, and keep its image."""
    structlog.contextvars.bind_contextvars(
        job_id=text(JOB, start.ref.job_id),
        project_id=text(PROJECT, start.project_id),
        attempt=start.ref.number,
    )
    whose.set(start.project_id)
    context.running.add(start.ref)
    try:
        with tracing.apart("attempt", start.traceparent):
            tracing.note(job_id=text(JOB, start.ref.job_id), attempt=start.ref.number)
            if start.phase == "keep":
                await keep.run(context, start.ref, start.project_id, start.provider_url)
            else:
                await conclude(context, start, await _call(context, start))
    finally:
        context.running.discard(start.ref)
        context.strays.discard(start.ref)


async def _call(context: Context, start: Start) -> Outcome:
    try:
        body = await referring.body(context, start)
    except StoreUnavailable as away:
        await storeroom.doubt(context, str(away))
        return TryLater(reason="storage", message=str(away), counts=False, sent=False)
    except (Missing, ReferenceLost) as lost:
        return Refused(code="invalid_input", message=f"A reference image is gone: {lost}")
    log.info("attempt.sent", client_request_id=start.client_request_id)
    with tracing.within("provider call") as step:
        outcome = await _answered(context, start, body)
        told = {"outcome": type(outcome).__name__, "reason": getattr(outcome, "reason", None)}
        step.note(http_status=outcome.receipt.http_status, charge=outcome.charge, **told)
        if not isinstance(outcome, Image):
            step.fail(type(outcome).__name__)
    metrics.ATTEMPTS.labels(type(outcome).__name__, outcome.charge).inc()
    metrics.CREDITS.inc(outcome.credits or 0 if outcome.charge == "settled" else 0)
    log.info(
        "attempt.answered",
        http_status=outcome.receipt.http_status,
        charge=outcome.charge,
        credits=outcome.credits,
        **told,
    )
    return outcome


async def _answered(context: Context, start: Start, body: dict[str, object]) -> Outcome:
    """Send the request, and read what came back; what cannot be read is not known."""
    settings = context.settings
    try:
        with metrics.CALL_SECONDS.time():
            outcome = await context.provider.generate(
                body,
                client_request_id=start.client_request_id,
                timeout=settings.attempt_timeout_large if start.large else settings.attempt_timeout,
            )
        return await confirming.confirm(context, outcome)
    except Exception as bug:
        log.exception("answer.unreadable")
        return Unknown(
            reason="unreadable", message=f"The answer was not read: {type(bug).__name__}."
        )


async def _hand_back(context: Context, dispatched: Sequence[Dispatched]) -> None:
    async with context.database.transaction() as tx:
        await jobs.hand_back(tx, [Dispatch(*each) for each in dispatched])
    for job_id, fence in dispatched:
        log.info("job.handed_back", job_id=text(JOB, job_id), fence=fence)
