"""`/healthz`, `/readyz`, `/metrics`: for the platform, without a key."""

import asyncio
import time

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.contract.formats.answers import JsonAnswer
from api.contract.openapi.answers import HEALTHY, METRICS, READY
from api.contract.openapi.refusals import REFUSALS
from api.dependencies.deps import Here
from api.dependencies.state import State
from api.edge.route import Route
from models.errors import Misconfigured, Unavailable
from models.platform.db import migrate, premises

_REST = 10  # times what it took to write the metrics: so long they are believed

router = APIRouter(tags=["health"], responses={422: REFUSALS[422]}, route_class=Route)


@router.get("/healthz", responses=HEALTHY)
async def get_health() -> Response:
    """Answer that this process lives."""
    return JsonAnswer({"status": "ok"})


@router.get("/readyz", responses=READY)
async def get_readiness(here: Here) -> Response:
    """Return whether this process should get requests: its schema is there, and it is not draining.

    A Postgres that goes away does not make it unready: each request then answers 503 by itself, and a
    restart of every pod would help nobody. One that it has never seen does: its settings may be wrong,
    and it must not take the place of a process that works.
    """
    trouble, remark = await _look_together(here)
    if trouble is not None:
        return JsonAnswer({"status": "unavailable", "detail": trouble}, 503)
    return JsonAnswer({"status": "ok"} | ({"detail": remark} if remark else {}))


@router.get("/metrics", response_class=Response, responses=METRICS)
async def get_metrics(here: Here) -> Response:
    """Return this process' metrics in Prometheus' format."""
    return Response(_measured(here), headers={"content-type": CONTENT_TYPE_LATEST})


def _measured(here: State) -> bytes:
    """Write the metrics, in a small part of the time at most: anybody may ask, as often as they like."""
    now = time.monotonic()
    if now >= here.measured_until:
        here.measured = generate_latest()
        here.measured_until = now + _REST * (time.monotonic() - now)
    return here.measured


async def _look_together(here: State) -> tuple[str | None, str | None]:
    """Check once for all who ask meanwhile: anybody may, without a key."""
    if here.looking is None or here.looking.done():
        here.looking = asyncio.create_task(_look(here))
    return await asyncio.shield(here.looking)


async def _look(here: State) -> tuple[str | None, str | None]:
    """Return why a process is not ready, and what else is to be said."""
    if here.waiting.draining:
        return "draining", None
    try:
        async with here.database.transaction() as tx:
            if here.schema_seen.is_set():
                await migrate.demand_schema(tx)
            else:
                await premises.demand(tx, here.vault)
    except Misconfigured as wrong:
        return str(wrong), None
    except Unavailable as away:
        if here.schema_seen.is_set():
            return None, "Postgres does not answer at present"
        return premises.reason(away), None
    here.schema_seen.set()
    return here.doorbell.refusal, None
