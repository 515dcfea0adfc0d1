"""From a body to a submission: every rule is checked, then inline references are kept."""

import asyncio

from api.schemas import SubmitBody
from api.state import State
from models import addresses, catalog, jobs, remnants
from models.catalog import Checked, Inline
from models.errors import EgressRefused, FieldError, InvalidRequest, Unavailable
from models.jobs import Idempotency, Snapshot, Submission, fingerprint
from models.projects import Caller
from models.references import view_input

_INLINE = 64 * 1024  # characters of references above which checking moves off the loop


async def check(
    here: State, caller: Caller, body: SubmitBody
) -> tuple[Submission, tuple[Inline, ...]]:
    """Judge a body; returns it with the references it brought along, whose bytes are still to be kept.

    Raises `InvalidRequest`, `EgressRefused`, and as `References.judge`.
    """
    _check_webhook(here, body)
    checked = await _check_input(here, body.input)
    kept = {each.index: each.sha256 for each in checked.inline}
    shown = view_input(checked.input, kept)
    estimate = await here.prices.estimate(checked.model, shown)
    _check_cost(body, estimate)
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


async def idempotency(caller: Caller, key: str | None, body: SubmitBody) -> Idempotency | None:
    """Name a request that `check` has judged: route, key, fingerprint. Raises as `demand_key` does."""
    demand_key(caller, key)
    if key is None:
        return None
    dumped = body.model_dump(mode="json", exclude_unset=True)
    if _weight(body.input) > _INLINE:
        return "submit", key, await asyncio.to_thread(fingerprint, dumped)
    return "submit", key, fingerprint(dumped)


def demand_key(caller: Caller, key: str | None) -> None:
    """Raise `InvalidRequest` where the project requires an Idempotency-Key and none came."""
    if key is None and caller.idempotency_required:
        raise InvalidRequest(
            "This project requires an Idempotency-Key: send a fresh one with each new request.",
            errors=(FieldError("header:Idempotency-Key", "missing"),),
        )


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
    (a budget's, our own death) is claimed, and goes with the remnants.
    """
    if not inline:
        return
    async with here.database.transaction() as tx:
        if await jobs.earlier(tx, caller, name) is not None:
            return
        if full:
            raise jobs.queue_full()
        if not await remnants.claim(tx, [(caller.project_id, each.sha256) for each in inline]):
            raise Unavailable("A reference of the input is being deleted; send it again.")
    for each in inline:
        await here.store.put(str(caller.project_id), each.data, each.mime)


async def accept(
    here: State, caller: Caller, asked: Submission, name: Idempotency | None, *, full: bool
) -> tuple[Snapshot, bool]:
    """Make the job: in one round trip where nothing has to be looked at; gives it, and if it was there.

    Raises what `jobs.submit` does.
    """
    if not full:
        made = await jobs.admit(here.database.direct, caller, asked, name)
        if made is not None:
            return made, False
    async with here.database.transaction() as tx:
        job, replayed = await jobs.submit(tx, here.lens, caller, asked, idempotency=name, full=full)
        return await jobs.snapshot(tx, caller.project_id, job.id), replayed


async def _check_input(here: State, raw: object) -> Checked:
    opened = here.settings.egress_allow
    if _weight(raw) > _INLINE:
        return await asyncio.to_thread(catalog.check, raw, opened)
    return catalog.check(raw, opened)


def _weight(raw: object) -> int:
    """Return the characters of an input's references."""
    urls = raw.get("image_urls") if isinstance(raw, dict) else None
    return sum(len(url) for url in urls if isinstance(url, str)) if isinstance(urls, list) else 0


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


def _check_cost(body: SubmitBody, estimate: int) -> None:
    if body.max_cost is not None and body.max_cost < estimate:
        message = f"{body.max_cost} credits do not pay for one attempt, which costs {estimate}"
        raise InvalidRequest(
            f"max_cost is too low: {message}.", errors=(FieldError("/max_cost", message),)
        )
