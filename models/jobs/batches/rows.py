"""(new) → queued (batch): the one statement that makes rows of a batch, whatever they are made of."""

from uuid import UUID

from sqlalchemy import text

from models.accounts.callers import Caller
from models.jobs.submission.candidates import HANDICAP
from models.money import ledger
from models.platform import tracing
from models.platform.db.statements import Statement, prepared

LEADS: dict[str, object] = {str(priority): lead for priority, lead in HANDICAP.items()}


def owned(caller: Caller, batch_id: UUID) -> dict[str, object]:
    """Return what `inserted` is given beside the rows: whose they are, and what each priority is worth."""
    return {
        "project": caller.project_id,
        "key": caller.key_id,
        "batch": batch_id,
        "traceparent": tracing.carried(),
        **LEADS,
    }


def inserted(rows: str) -> Statement:
    """Write the statement that makes rows, and holds for them; `rows` is a SELECT of what each is to be."""
    return prepared(
        text(f"""
    WITH made AS (
        INSERT INTO jobs (id, project_id, key_id, batch_id, batch_row, custom_id, allotted, held,
               waiting_reason, run_after, rank, model, input, input_hash, estimate, large, priority,
               tags, metadata, customer, concurrency_key, webhook_url, webhook_events, queue_expires_at,
               deadline, max_attempts, max_cost, on_unknown_charge, retried_from, traceparent)
        SELECT id, CAST(:project AS uuid), CAST(:key AS uuid), CAST(:batch AS uuid), r.row, custom_id, held,
               held, 'batch', NULL, now() + CASE priority WHEN 'interactive' THEN :interactive
               WHEN 'standard' THEN :standard ELSE :bulk END, model, input, input_hash, estimate, large,
               priority, tags, metadata, customer, concurrency_key, webhook_url, webhook_events,
               now() + queue_ttl, deadline, max_attempts, max_cost, on_unknown_charge, retried_from,
               CAST(:traceparent AS text)
          FROM ({rows}) r
        RETURNING id, project_id, key_id, customer, held
    )
    {ledger.HELD}
""")  # noqa: S608 - constants of ours
    )
