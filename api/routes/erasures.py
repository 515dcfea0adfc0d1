"""`/v1/erasures`: a customer, or jobs, are forgotten everywhere; and the proof of it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from api.contract.formats import cursors
from api.contract.formats.answers import JsonAnswer
from api.contract.openapi.answers import ERASURE, ERASURE_ASKED, ERASURES
from api.contract.openapi.parameters import KEYED
from api.contract.openapi.refusals import REFUSALS
from api.contract.requests.erasures import ErasureBody, ErasureQuery
from api.dependencies.bodies import JsonRoute
from api.dependencies.deps import Admin, ErasureId, Here, Reader, Reading, idempotency_key
from api.submitting import sweeping
from models import ids
from models.jobs import erasures
from models.platform.jsonable import Json, time
from models.schema import Erasure

router = APIRouter(
    prefix="/v1/erasures", tags=["erasures"], responses=REFUSALS, route_class=JsonRoute
)

_REMOVED = (
    "images", "references", "attempts", "events", "deliveries", "calls", "idempotency_keys",
    "ledger_lines", "usage_hours", "budgets", "notices", "actions", "batches", "files",
)  # fmt: skip


@router.post("", status_code=202, responses=ERASURE_ASKED, openapi_extra=KEYED)
async def request_erasure(
    request: Request, caller: Admin, body: ErasureBody, here: Here
) -> Response:
    """Forget a customer, or jobs, for good: cancel what waits, wait for what is paid, erase, and prove it.

    What is accepted after this request is left alone.
    """
    erasure, replayed = await sweeping.erase(here, caller, body, idempotency_key(request))
    headers = {"location": here.located(f"{router.prefix}/{ids.text(ids.ERASURE, erasure.id)}")}
    headers |= {"idempotent-replayed": "true"} if replayed else {}
    return JsonAnswer(_shown(erasure), 202, headers)


@router.get("", responses=ERASURES)
async def list_erasures(
    caller: Reader, query: Annotated[ErasureQuery, Query()], tx: Reading, here: Here
) -> Response:
    """List erasures, newest first; those of a customer are found by its name, which none of them has."""
    of = sweeping.digests(here, caller, query.customer)
    before, limit = query.before, query.limit
    found, more = await erasures.listing(tx, caller.project_id, of, before, limit)
    cursor = cursors.write(found[-1].id) if more else None
    page: Json = {"object": "list", "data": [_shown(each) for each in found], "has_more": more}
    return JsonAnswer(page | {"next_cursor": cursor})


@router.get("/{id}", responses=ERASURE)
async def get_erasure(caller: Reader, erasure_id: ErasureId, tx: Reading) -> Response:
    """Show how far an erasure has come; when it is completed, this is the proof."""
    found = await erasures.find(tx, caller.project_id, erasure_id)
    return JsonAnswer(_shown(found, await erasures.waiting(tx, found)))


def _shown(erasure: Erasure, waiting: int = 0) -> Json:
    counts = erasure.counts
    return {
        "id": ids.text(ids.ERASURE, erasure.id),
        "object": "erasure",
        "subject": erasure.subject,
        "about": _about(erasure),
        "digest": erasure.digest,
        "status": "running" if erasure.finished_at is None else "completed",
        "phase": erasure.phase,
        "jobs": {
            "erased": counts.get("jobs", 0),
            "canceled": counts.get("canceled", 0),
            "waiting": waiting,
            "sha256": erasure.jobs_digest.hex(),
        },
        "removed": {name: counts.get(name, 0) for name in _REMOVED},
        "created_at": time(erasure.created_at),
        "rows_erased_at": time(erasure.rows_at),
        "completed_at": time(erasure.finished_at),
    }


def _about(erasure: Erasure) -> Json | None:
    match erasure.about:
        case {"job_ids": [*found]}:
            return {"job_ids": [ids.text(ids.JOB, UUID(str(each))) for each in found]}
        case about:
            return about
