"""From a body to a submission: every rule is checked, then inline references are kept."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, replace

from api.contract.requests.jobs import SubmitBody
from api.dependencies.state import State
from api.submitting import naming, own_images
from models import jobs
from models.accounts.callers import Caller
from models.errors import EgressRefused, FieldError, InvalidRequest, Unavailable
from models.images import collector
from models.images.references import urls_of, view_input
from models.jobs import Idempotency, Snapshot, Submission
from models.money import usage
from models.platform import addresses, tracing
from models.platform.jsonable import time
from models.provider import catalog
from models.provider.catalog import Checked, Inline


@dataclass(frozen=True, slots=True)
class Ready:
    """A submission that was judged, and whose references are kept: jobs can be made of it.

    `before` is the job that an earlier request of its name made, where only time would refuse it now.
    """

    asked: Submission
    name: Idempotency | None
    full: bool = False
    before: Snapshot | None = None


@tracing.traced("accept")
async def take(
    here: State, caller: Caller, body: SubmitBody, key: str | None
) -> tuple[Snapshot, bool]:
    """Judge a body and make its job; return it, and whether an earlier request had made it.

    Raises `InvalidRequest`, `EgressRefused`, `KeyReuse`, `QueueFull`, `BudgetExceeded`, `Unavailable`.
    """
    ready = await prepare(here, caller, body, key)
    found, replayed = ready.before, True
    if found is None:
        found, replayed = await accept(here, caller, ready.asked, ready.name, full=ready.full)
    here.log_accepted(found.job, replayed=replayed)
    return found, replayed


async def prepare(here: State, caller: Caller, body: SubmitBody, key: str | None) -> Ready:
    """Judge a body, and keep what it brought along. Raises what `take` does, but for `BudgetExceeded`."""
    asked, inline = await check(here, caller, body)
    name = await naming.of(caller, key, body)
    try:
        await demand_now(here, caller, asked)
    except InvalidRequest:
        # Prices and time have gone on since the first request of this key, whose job is there.
        before = await _earlier(here, caller, name)
        if before is None:
            raise
        return Ready(asked, name, before=before)
    full = await here.queues.full(caller.project_id)
    await keep(here, caller, inline, name, full=full)
    return Ready(asked, name, full)


async def check(
    here: State, caller: Caller, body: SubmitBody, carried: Collection[str] = ()
) -> tuple[Submission, tuple[Inline, ...]]:
    """Judge a body; returns it with the references it brought along, whose bytes are still to be kept.

    `carried` are references that were judged and kept with an earlier job. Raises `InvalidRequest`,
    `EgressRefused`, and as `References.judge`. What time changes is for `demand_now`.
    """
    _check_webhook(here, body)
    checked, shown = await _check_input(here, caller, body.input, carried)
    estimate = await here.prices.estimate(checked.model, shown)
    await here.references.judge(caller.project_id, checked.inline)  # last: it costs the most
    webhook = body.webhook
    submission = Submission(
        model=checked.model.id,
        input=shown,
        input_hash=catalog.fingerprint(checked.model, shown),
        estimate=estimate,
        large=checked.large,
        priority=body.priority,
        tags=tuple(body.tags),
        metadata=body.metadata,
        customer=body.customer,
        concurrency_key=body.concurrency_key,
        webhook_url=webhook.url if webhook else None,
        webhook_events=tuple(webhook.events) if webhook and webhook.events else None,
        queue_ttl=body.queue_expiry,
        deadline=body.deadline,
        max_attempts=body.max_attempts,
        max_cost=body.max_cost,
        on_unknown_charge=body.on_unknown_charge,
        reuse=body.reuse,
    )
    return submission, checked.inline


async def demand_now(
    here: State, caller: Caller, asked: Submission, *, max_cost_given: bool = True
) -> None:
    """Raise `InvalidRequest` where time has run out, or one call costs more than a job may.

    The database's clock decides, as it does when the job waits. A `max_cost` that its caller did not give
    now is not judged here.
    """
    if asked.deadline is not None:
        async with here.turns.open(caller.project_id) as tx:
            now = await usage.now(tx)
        if asked.deadline <= now:
            raise _wrong("deadline", f"it is not after {time(now)}; give a later one, or none")
    if max_cost_given and asked.max_cost is not None and asked.max_cost < asked.estimate:
        costs = f"one attempt, which costs {asked.estimate}"
        raise _wrong("max_cost", f"{asked.max_cost} credits do not pay for {costs}")


async def keep(
    here: State,
    caller: Caller,
    inline: tuple[Inline, ...],
    name: Idempotency | None,
    *,
    full: bool = False,
) -> None:
    """Store what a body brought along, before the job refers to it; nothing for a key that came before.

    Raises `KeyReuse` and `QueueFull`, for a refusal must leave nothing behind. What a later one leaves
    (a budget's, our own death) is reserved, and is collected later.
    """
    if not inline:
        return
    async with here.turns.open(caller.project_id) as tx:
        if await jobs.earlier(tx, caller, name) is not None:
            return
        if full:
            raise jobs.queue_full()
        if not await collector.reserve(tx, [(caller.project_id, each.sha256) for each in inline]):
            raise Unavailable("A reference of the input is being deleted; send it again.")
    for each in inline:
        await here.store.put(str(caller.project_id), each.data, each.mime)


async def accept(
    here: State, caller: Caller, asked: Submission, name: Idempotency | None, *, full: bool
) -> tuple[Snapshot, bool]:
    """Create the job, in one round trip where nothing has to be looked at; returns it, and if it was there.

    Raises what `jobs.submit` does.
    """
    if not full:
        made = await here.admissions.admit(caller, asked, name)
        if made is not None:
            return made, False
    async with here.turns.open(caller.project_id) as tx:
        job, replayed = await jobs.submit(
            tx, here.presenter, caller, asked, idempotency=name, full=full
        )
        return await jobs.read(tx, caller.project_id, job.id), replayed


async def _earlier(here: State, caller: Caller, name: Idempotency | None) -> Snapshot | None:
    async with here.turns.open(caller.project_id) as tx:
        job = await jobs.earlier(tx, caller, name)
        return None if job is None else await jobs.read(tx, caller.project_id, job.id)


async def _check_input(
    here: State, caller: Caller, raw: object, carried: Collection[str]
) -> tuple[Checked, dict[str, object]]:
    """Judge an input; return it as it came, and as it is stored and shown.

    References that are `carried` stay as they are stored; beside new ones they cannot be told apart from
    what only looks like them, and are refused.
    """
    urls = raw.get("image_urls") if isinstance(raw, dict) else None
    if isinstance(raw, dict) and _are_all_among(urls, carried):
        rest = {name: value for name, value in raw.items() if name != "image_urls"}
        checked = await _judge(here, rest)
        whole = {**checked.input, "image_urls": urls}
        large = catalog.is_large(checked.model, whole)
        return replace(checked, input=whole, large=large), whole
    own = await own_images.find(here, caller, raw)
    checked = await _judge(here, raw, own)
    if own:
        urls = [str(own.get(place, url)) for place, url in enumerate(urls_of(checked.input))]
        checked = replace(checked, input={**checked.input, "image_urls": urls})
    kept = {each.index: each.sha256 for each in checked.inline}
    return checked, view_input(checked.input, kept)


def _are_all_among(urls: object, carried: Collection[str]) -> bool:
    if not isinstance(urls, list) or not 1 <= len(urls) <= len(carried):
        return False
    return all(url in carried for url in urls)


async def _judge(here: State, raw: object, known: Collection[int] = ()) -> Checked:
    opened = here.settings.egress_allow
    if naming.is_heavy(raw):
        return await asyncio.to_thread(catalog.check, raw, opened, known)
    return catalog.check(raw, opened, known)


def _check_webhook(here: State, body: SubmitBody) -> None:
    if body.webhook is None:
        return
    check_url(here, body.webhook.url, "/webhook/url")


def check_url(here: State, url: str, pointer: str) -> None:
    """Refuse a URL that may not be reached, naming its field. No DNS: names are judged at each try."""
    settings = here.settings
    try:
        addresses.check_url(url, exceptions=settings.egress_allow, ports=settings.egress_ports)
    except EgressRefused as refused:
        raise EgressRefused(refused.detail, errors=(FieldError(pointer, refused.detail),)) from None


def _wrong(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(
        f"The job cannot be made so: {field}: {message}.",
        errors=(FieldError(f"/{field}", message),),
    )
