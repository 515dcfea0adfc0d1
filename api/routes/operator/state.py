"""`/v1/operator/…`: how everything stands, pauses, probes, unknown charges."""

from typing import Annotated

from fastapi import Path, Query, Response
from fastapi.responses import PlainTextResponse

from api.contract.formats import cursors
from api.contract.formats.answers import JsonAnswer
from api.contract.openapi import operators as described
from api.contract.requests.operators import (
    ChargesQuery,
    HistoryQuery,
    PauseBody,
    ProbeBody,
    ResolveBody,
)
from api.dependencies.deps import AnyJobId, Here, LivingTx, Reading
from api.routes.operator import plane
from models import jobs
from models.jobs import attempts
from models.jobs.attempts import evidence
from models.money import usage
from models.operating import attention, charges, limits, state, stops
from models.platform.jsonable import time

router = plane.router()

Number = Annotated[int, Path(alias="n", ge=0, le=1 << 31, description="the attempt's number")]
_ROWS = 1_000
_EVERYTHING = PauseBody()


@router.get("/state", responses=described.STATE)
async def get_state(tx: Reading, here: Here) -> Response:
    """Show the whole state: limit, queue, gates, wallet, charges, processes, and what needs a person."""
    found = await state.read(tx, here.settings)
    needs = attention.needs(found)
    return JsonAnswer(found | {"attention": needs}, headers={"cache-control": "no-store"})


@router.get("/limit", responses=described.HISTORY)
async def get_limit_history(
    query: Annotated[HistoryQuery, Query()],
    tx: Reading,
) -> Response:
    """Show the provider's limit over time, and how much of it was used: a sample for each minute."""
    found = await limits.over(tx, *query.period(await usage.now(tx)))
    data = [
        {"at": time(each.at), "calls": each.calls, "in_flight": each.in_flight} for each in found
    ]
    return JsonAnswer({"object": "list", "data": data})


@router.get("/set-aside", responses=described.SET_ASIDE)
async def list_set_aside(tx: Reading) -> Response:
    """List the rows that a duty failed at, and passes by for now, with Postgres' reason."""
    return JsonAnswer({"object": "list", "data": await state.set_aside(tx, _ROWS)})


@router.post("/pause", responses=described.PAUSES)
async def pause(tx: LivingTx, body: PauseBody = _EVERYTHING) -> Response:
    """Begin no more calls: of all, of a model, or of a project. Calls under way end; webhooks go on."""
    await stops.pause(tx, body.scope, body.model or body.project_id)
    return JsonAnswer({"object": "list", "data": await stops.standing(tx)})


@router.post("/resume", responses=described.PAUSES)
async def resume(tx: LivingTx, body: PauseBody = _EVERYTHING) -> Response:
    """End a pause; the jobs that it held go on in their order."""
    await stops.resume(tx, body.scope, body.model or body.project_id)
    return JsonAnswer({"object": "list", "data": await stops.standing(tx)})


@router.post("/gates/probe", responses=described.PROBED)
async def probe_gate(body: ProbeBody, tx: LivingTx) -> Response:
    """Send one job through a closed gate now; if its call is refused, the gate closes again."""
    opened = await stops.probe(tx, body.reason)
    return JsonAnswer({"object": "probe", "reason": body.reason, "gates": opened})


@router.get("/charges", responses=described.CHARGES)
async def list_unknown_charges(
    query: Annotated[ChargesQuery, Query()],
    tx: Reading,
) -> Response:
    """List the calls whose charge is not known yet, newest first."""
    before = None if query.cursor is None else cursors.read(query.cursor)
    found, last = await charges.page(tx, before, query.limit)
    cursor = None if last is None else cursors.write(last)
    page = {"object": "list", "data": found, "has_more": last is not None}
    return JsonAnswer(page | {"next_cursor": cursor})


@router.post("/charges/{id}/{n}/resolve", responses=described.RESOLVED)
async def resolve_charge(
    job_id: AnyJobId,
    number: Number,
    body: ResolveBody,
    tx: LivingTx,
    here: Here,
) -> Response:
    """Settle an unknown charge by hand. One called free is looked for in the log for another day."""
    name, charged = attempts.client_request_id(job_id, number), body.verdict == "charged"
    attempt, job = await jobs.resolve_by_hand(
        tx, here.presenter, name, charged=charged, credits_=body.credits
    )
    return JsonAnswer(charges.show_resolved(attempt, job))


@router.get(
    "/charges/{id}/{n}/evidence",
    responses=described.EVIDENCE,
    response_class=PlainTextResponse,
)
async def get_evidence(
    job_id: AnyJobId,
    number: Number,
    tx: Reading,
) -> Response:
    """Show the beginning of a paid answer in which no image was found."""
    found, _ = await evidence.read(tx, attempts.client_request_id(job_id, number))
    return PlainTextResponse(found.body.decode(errors="backslashreplace"))
