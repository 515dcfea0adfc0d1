"""From a finished job and a body of changes to a new job: judged as if it had been submitted whole."""

from dataclasses import replace
from uuid import UUID

from api.contract.requests.jobs import JobWebhook, RetryBody, SubmitBody
from api.dependencies.state import State
from api.submitting import naming, submission
from models import jobs
from models.accounts.callers import Caller
from models.images.references import urls_of
from models.jobs import Idempotency, Snapshot, Submission
from models.platform import tracing


@tracing.traced("accept")
async def take(
    here: State, caller: Caller, job_id: UUID, body: RetryBody, key: str | None
) -> tuple[Snapshot, bool]:
    """Create a job from a finished one and its changes; returns it, and if an earlier request made it.

    Raises what `submission.take` does for the job as it would then be, `NotFound`, `NotFinished`,
    `Erased`, and `Conflict` where the old `max_cost` pays for no call any more.
    """
    found, replayed = await _take(here, caller, job_id, body, key)
    here.log_accepted(found.job, replayed=replayed)
    return found, replayed


async def _take(
    here: State, caller: Caller, job_id: UUID, body: RetryBody, key: str | None
) -> tuple[Snapshot, bool]:
    naming.demand_key(caller, key)
    name = await _name(job_id, body, key)
    async with here.turns.open(caller.project_id) as tx:
        before = await jobs.earlier(tx, caller, name)
        if before is not None:
            return await jobs.read(tx, caller.project_id, before.id), True
        old = await jobs.again(tx, caller, job_id)
    changed = _changed(old, body)
    asked, inline = await submission.check(here, caller, changed, carried=urls_of(old.input))
    if asked.model == old.model:  # `check` goes by a price that may be some seconds old
        asked = replace(asked, estimate=old.estimate)
    await submission.demand_now(
        here, caller, asked, max_cost_given="max_cost" in body.model_fields_set
    )
    full = await here.queues.full(caller.project_id)
    await submission.keep(here, caller, inline, name, full=full)
    async with here.turns.open(caller.project_id) as tx:
        job, replayed = await jobs.retry(
            tx, here.presenter, caller, job_id, idempotency=name, full=full,
            asked=replace(asked, retried_from=job_id),
        )  # fmt: skip
        return await jobs.read(tx, caller.project_id, job.id), replayed


async def _name(job_id: UUID, body: RetryBody, key: str | None) -> Idempotency | None:
    changes = await naming.digest(body) if body.model_fields_set else b""
    return jobs.retry_name(job_id, key, changes)


def _changed(old: Submission, body: RetryBody) -> SubmitBody:
    """Write the submission that the old job's would be with these changes."""
    given = {name: getattr(body, name) for name in body.model_fields_set}
    raw = {**old.input, **given.pop("input", {})}
    given["input"] = {name: value for name, value in raw.items() if value is not None}
    return _as_submitted(old).model_copy(update=given)


def _as_submitted(old: Submission) -> SubmitBody:
    """Write a job as the body that it came from. It was judged then: only what changes is judged anew."""
    return SubmitBody.model_construct(
        input=old.input,
        webhook=None
        if old.webhook_url is None
        else JobWebhook.model_construct(
            url=old.webhook_url,
            events=None if old.webhook_events is None else [*old.webhook_events],  # type: ignore[list-item]  # words of a row
        ),
        metadata=old.metadata or {},
        tags=list(old.tags),
        customer=old.customer,
        priority=old.priority,
        queue_ttl=round(old.queue_ttl.total_seconds()),
        max_attempts=old.max_attempts,
        max_cost=old.max_cost,
        on_unknown_charge=old.on_unknown_charge,
        concurrency_key=old.concurrency_key,
    )
