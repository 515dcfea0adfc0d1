"""From a request with a batch to the batch: read, judged whole, made in one transaction; or its quote."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO
from uuid import UUID

from fastapi import Request

from api.batching import handover
from api.batching.judging import judge
from api.batching.spooling import Spooled, kind_of, spool
from api.batching.tables import of_size
from api.batching.terms import Report, Terms
from api.contract.requests.batches import BatchQuery, BatchRetry
from api.dependencies.state import State
from api.submitting import naming
from models import jobs
from models.accounts.callers import Caller
from models.errors import FieldError, InvalidRequest, Unavailable
from models.jobs import batches
from models.jobs.batches import Name, Order, Standing
from models.money import usage
from models.platform import tracing
from models.provider import catalog
from models.webhooks import deliveries

_ROOT = Path(__file__).resolve().parents[2]
_CHILD = "api.batching.child"
# Bytes of a body up to which a child would take longer to start than all its rows.
_SMALL = 32 * 1024
_SLICE = 500  # rows of one statement
_ENVIRONMENT = {  # no secret; looking for plugins would take it a tenth longer to start
    "PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, sys.path)]),
    "PYDANTIC_DISABLE_PLUGINS": "__all__",
}
_JUDGED = 120.0  # seconds that a child has for 64 MiB


@dataclass(frozen=True, slots=True)
class Taken:
    """A batch that was taken, or only judged: then it has no standing."""

    report: Report
    standing: Standing | None = None
    replayed: bool = False


@tracing.traced("accept")
async def take(
    request: Request, here: State, caller: Caller, query: BatchQuery, key: str | None
) -> Taken:
    """Take a batch. Raises `InvalidRequest` with the first bad rows, and what a submission does."""
    naming.demand_key(caller, key)
    kind = kind_of(request)
    async with spool(request) as body:
        name = _name(request, body, key)
        before, now = await _earlier(here, caller, name)
        if before is not None:
            return Taken(Report(), before, replayed=True)
        terms = Terms(
            kind=kind,
            defaults=_defaults(query, csv=kind == "csv"),
            prices=await here.prices.learned(),
            opened=here.settings.egress_allow,
            ports=here.settings.egress_ports,
            now=now,
            max_cost=query.max_cost,
            stop_after=query.stop_on_failures,
        )
        async with here.intakes.turn(caller.project_id):
            with TemporaryFile() as rows:
                report = await _judge(body, terms, rows)
                _demand_good(report, query)
                if query.dry_run:
                    return Taken(report)
                return await _accept(here, caller, query, report, rows, name)


@tracing.traced("accept")
async def retake(
    here: State, caller: Caller, batch_id: UUID, body: BatchRetry, key: str | None
) -> Taken:
    """Create a batch of the rows that brought no image. Raises what `batches.repeat` does."""
    naming.demand_key(caller, key)
    async with here.intakes.turn(caller.project_id), here.intakes.open() as tx:
        made, replayed = await batches.repeat(
            tx, caller, batch_id, body.only, max_cost=body.max_cost, key=key,
            most=here.settings.batches_max,
        )  # fmt: skip
        standing = await batches.read(tx, caller.project_id, made)
        if not replayed:
            # Its rows are in this count by now.
            waiting = await jobs.queued(tx, caller.project_id, here.settings.queued_max + 1)
            if waiting > here.settings.queued_max:
                raise jobs.queue_full()
    here.log_batch(standing.batch, replayed=replayed)
    return Taken(Report(), standing, replayed=replayed)


async def _accept(
    here: State,
    caller: Caller,
    query: BatchQuery,
    report: Report,
    rows: IO[bytes],
    name: Name | None,
) -> Taken:
    order = _order(query, report)
    async with here.turns.open(caller.project_id) as tx:
        waiting = await jobs.queued(tx, caller.project_id, here.settings.queued_max)
        crowded = await deliveries.crowded(tx, caller.project_id, here.settings.deliveries_max)
        if crowded or waiting + order.total > here.settings.queued_max:
            raise jobs.queue_full()
        await batches.demand_room(tx, caller.project_id, here.settings.batches_max)
        await batches.foresee(tx, caller, order.held)
    rows.seek(0)
    async with here.intakes.open() as tx:
        made, replayed = await batches.accept(tx, caller, order, _slices(rows), idempotency=name)
        standing = await batches.read(tx, caller.project_id, made)
    here.log_batch(standing.batch, replayed=replayed)
    return Taken(report, standing, replayed=replayed)


async def _judge(body: Spooled, terms: Terms, rows: IO[bytes]) -> Report:
    """Judge the rows: here, if they are few, and else in a child that holds up nobody."""
    if body.size > _SMALL:
        return await _judge_in_child(body, terms, rows)
    report = Report()
    for so_far in judge(body.file, terms, rows):
        report = so_far
        await asyncio.sleep(0)  # who else has a request goes on between two rows
    return report


async def _judge_in_child(body: Spooled, terms: Terms, rows: IO[bytes]) -> Report:
    given = (body.file.fileno(), rows.fileno())
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-s", "-m", _CHILD, *map(str, given)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=_ENVIRONMENT,
        cwd="/",
        pass_fds=given,
        start_new_session=True,  # a Ctrl-C in the terminal is for the server, which finishes
    )
    try:
        async with asyncio.timeout(_JUDGED):
            told, _ = await child.communicate(handover.write_terms(terms))
    except TimeoutError:
        raise Unavailable(
            "The rows could not be judged in time; send the batch in parts."
        ) from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        raise Unavailable("The rows could not be judged just now; send the batch again.")
    return handover.read(told)


async def _slices(rows: IO[bytes]) -> AsyncIterator[str]:
    while lines := await asyncio.to_thread(lambda: list(islice(rows, _SLICE))):
        yield f"[{b','.join(lines).decode()}]"


def _demand_good(report: Report, query: BatchQuery) -> None:
    """Raise `InvalidRequest` where a row is bad and none may be, or none is left, or no money for one."""
    if report.bad and (query.invalid != "skip" or not report.total):
        count = "1 row cannot" if report.bad == 1 else f"{report.bad:,} rows cannot"
        good = "1 row that is" if report.total == 1 else f"{report.total:,} rows that are"
        skip = f", or send `invalid=skip` to take the {good} good" if report.total else ""
        raise InvalidRequest(
            f"{count} be used; nothing was created. Correct what is wrong{skip}.",
            errors=tuple(report.errors),
            invalid=report.bad,
            valid=report.total,
        )
    if not any(report.held.values()):
        most = query.max_cost or report.head.max_cost
        message = f"{most} credits do not pay for one row"
        place = "query:max_cost" if query.max_cost else "/max_cost"
        raise InvalidRequest(
            f"The batch could not begin: {message}.", errors=(FieldError(place, message),)
        )


def _order(query: BatchQuery, report: Report) -> Order:
    head = report.head
    stop_on = head.stop_on.failures if head.stop_on else None
    webhook = head.webhook
    return Order(
        total=report.total,
        held=report.held,
        skipped=report.bad,
        max_cost=query.max_cost if query.max_cost is not None else head.max_cost,
        stop_after=query.stop_on_failures or stop_on,
        metadata=head.metadata,
        webhook_url=webhook.url if webhook else None,
        webhook_events=tuple(webhook.events) if webhook and webhook.events else None,
    )


def _defaults(query: BatchQuery, *, csv: bool) -> dict[str, object]:
    """Return what rows have in common; those of CSV, whose columns name no model, have the first one."""
    model = query.model or (catalog.models()[0].id if csv else None)
    size = None if query.image_size is None else of_size(query.image_size)
    input_ = {"model": model, "image_size": size}
    common = {
        "input": {name: value for name, value in input_.items() if value is not None},
        "customer": query.customer,
        "priority": query.priority,
        "queue_ttl": query.queue_ttl,
    }
    return {name: value for name, value in common.items() if value not in (None, {})}


def _name(request: Request, body: Spooled, key: str | None) -> Name | None:
    """Return the name of a request: what its query says, and the bytes of its body."""
    if key is None:
        return None
    said = repr(sorted(request.query_params.multi_items())).encode()
    return "batch", key, sha256(said + body.sha256).digest()


async def _earlier(
    here: State, caller: Caller, name: Name | None
) -> tuple[Standing | None, datetime]:
    """Return the batch that this request has made before, if any; and what time it is."""
    async with here.turns.open(caller.project_id) as tx:
        found = await batches.earlier(tx, caller, name)
        standing = None if found is None else await batches.read(tx, caller.project_id, found)
        return standing, await usage.now(tx)
