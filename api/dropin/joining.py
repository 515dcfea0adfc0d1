"""From what a call asks for to the jobs that it waits for: those of an earlier request, or new ones."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from uuid import UUID

from fastapi import Request
from starlette.requests import ClientDisconnect

from api.dependencies.deps import idempotency_key
from api.dependencies.state import State
from api.dropin import reading
from api.dropin.reading import Asked
from api.submitting import naming, submission
from models import ids, jobs
from models.accounts.callers import Caller
from models.errors import InvalidRequest
from models.jobs import Idempotency, Submission, batches
from models.jobs.submission import calls
from models.jobs.submission.calls import Claim
from models.platform import tracing
from models.platform.db import Transaction
from models.schema import Job

_LARGE = 64 * 1024  # bytes of a body above which hashing moves off the loop


@dataclass(frozen=True, slots=True)
class Taken:
    """The jobs of a call, and the claim by which a later request may take them over.

    `before` says that an earlier request had made them.
    """

    project_id: UUID
    jobs: tuple[UUID, ...]
    claim: Claim | None = None
    before: bool = False

    def location(self, here: State) -> str:
        """Return where the first of them is, below the path that a proxy has stripped."""
        return here.located(f"/v1/jobs/{ids.text(ids.JOB, self.jobs[0])}")

    @property
    def named(self) -> str:
        """Their ids, as a header has them."""
        return ", ".join(ids.text(ids.JOB, each) for each in self.jobs)


@tracing.traced("accept")
async def take(request: Request, here: State, caller: Caller, asked: Asked, body: bytes) -> Taken:
    """Join an earlier request's jobs, or make new ones; `body` is a hash of what was asked, and how.

    Raises what a submission does, pointing into this body, and `ClientDisconnect` where the client left
    before there was a job.
    """
    key = idempotency_key(request)
    naming.demand_key(caller, key)
    asking = caller.root_id or caller.key_id  # a key that was rotated meanwhile asks again
    print_ = sha256(caller.project_id.bytes + asking.bytes + body).digest()
    counted = _retry_count(request)
    if key is None:
        async with here.turns.open(caller.project_id) as tx:
            claim = await _join(tx, print_, counted)
        if claim is not None:
            return _joined(caller, claim)
    name: Idempotency | None = None if key is None else ("images", key, body)
    try:
        checked, inline = await submission.check(here, caller, asked.body)
        if await _earlier(here, caller, name) is None:
            await submission.demand_now(here, caller, checked)
    except InvalidRequest as refused:
        raise reading.renamed(refused, asked.names) from None
    full = await here.queues.full(caller.project_id)
    await submission.keep(here, caller, inline, name, full=full)
    if await request.is_disconnected():
        raise ClientDisconnect  # nobody waits, and nothing was promised
    async with here.turns.open(caller.project_id) as tx:
        claim = None if key is not None else await _join(tx, print_, counted)
        if claim is not None:
            return _joined(caller, claim)
        several = batches.spread(checked, asked.count) if asked.count > 1 else [checked]
        made = await _make(tx, here, caller, several, name, full=full)
        return await _note(tx, here, caller, *made, None if name else (print_, counted))


async def _make(
    tx: Transaction,
    here: State,
    caller: Caller,
    asked: list[Submission],
    name: Idempotency | None,
    *,
    full: bool,
) -> tuple[list[Job], bool]:
    """Make the job of a call, or its group; or return those that a request of this name made before."""
    if len(asked) > 1:
        group = batches.group(tx, here.presenter, caller, asked, idempotency=name, full=full)
        return await group
    (only,) = asked
    job, before = await jobs.submit(tx, here.presenter, caller, only, idempotency=name, full=full)
    return [job], before


async def _note(
    tx: Transaction,
    here: State,
    caller: Caller,
    made: list[Job],
    before: bool,  # noqa: FBT001 - as `_make` gives it
    call: tuple[bytes, int] | None,
) -> Taken:
    """Note a call without a key beside its jobs, so that its repetition joins."""
    taken = Taken(caller.project_id, tuple(job.id for job in made), before=before)
    _accepted(here, made, before=before)
    return taken if call is None else replace(taken, claim=await calls.begin(tx, *call, taken.jobs))


async def _join(tx: Transaction, print_: bytes, counted: int) -> Claim | None:
    await calls.queue_up(tx, print_)
    return await calls.claim(tx, print_, counted)


def _joined(caller: Caller, claim: Claim) -> Taken:
    return Taken(caller.project_id, claim.jobs, claim, before=True)


async def _earlier(here: State, caller: Caller, name: Idempotency | None) -> Job | None:
    """Return the first job of an earlier request with this key: prices and time have gone on since."""
    if name is None:
        return None
    async with here.turns.open(caller.project_id) as tx:
        return await jobs.earlier(tx, caller, name)


def _accepted(here: State, made: list[Job], *, before: bool) -> None:
    for job in made:
        if not before and job.status == "queued":
            here.queues.accepted(job.project_id)
        here.log_accepted(job, replayed=before)


def _retry_count(request: Request) -> int:
    """Return which repetition of a request this is, as OpenAI's SDKs count them; 0 from other clients."""
    given = request.headers.get("x-stainless-retry-count", "")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 4 else 0  # noqa: PLR2004


async def fingerprint(route: str, raw: Mapping[str, object]) -> bytes:
    """Return a hash of a body and its route; of a large one, taken off the loop."""
    shown = {"route": route, "input": dict(raw)}
    urls = raw.get("image_urls")
    weight = sum(len(url) for url in urls if isinstance(url, str)) if isinstance(urls, list) else 0
    if weight > _LARGE:
        return await asyncio.to_thread(jobs.fingerprint, shown)
    return jobs.fingerprint(shown)
