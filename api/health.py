"""`/healthz`, `/readyz`, `/metrics`: for the platform, without a key."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.answers import Answer
from api.deps import Here
from api.documentation import HEALTHY, METRICS, READY
from models import migrate
from models.errors import Misconfigured, Unavailable

router = APIRouter(tags=["health"])


@router.get("/healthz", responses=HEALTHY)
async def healthy() -> Response:
    """Tell that this process lives."""
    return Answer({"status": "ok"})


@router.get("/readyz", responses=READY)
async def ready(here: Here) -> Response:
    """Tell whether this process should get requests: its schema is there, and it is not draining.

    A Postgres that is away does not make it unready: each request then answers 503 by itself, and a
    restart of every pod would help nobody.
    """
    if here.waiting.draining:
        return Answer({"status": "unavailable", "detail": "draining"}, 503)
    try:
        async with here.database.transaction() as tx:
            await migrate.demand_schema(tx)
    except Misconfigured as old:
        return Answer({"status": "unavailable", "detail": str(old)}, 503)
    except Unavailable:
        return Answer({"status": "ok", "detail": "Postgres does not answer at present"})
    return Answer({"status": "ok"})


@router.get("/metrics", response_class=Response, responses=METRICS)
async def metrics() -> Response:
    """Give this process' metrics in Prometheus' format."""
    return Response(generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})
