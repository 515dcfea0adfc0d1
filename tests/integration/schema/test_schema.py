"""What must hold, the schema holds: each forbidden row is refused, by the constraint's name."""

# ruff: noqa: S608 - every statement here is this file's own

import psycopg
import pytest
from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text
from sqlalchemy.exc import IntegrityError

from models.accounts.callers import Caller
from models.jobs.view import Presenter
from models.platform.db import Base, Database, Transaction
from models.platform.vault import Vault
from models.webhooks import endpoints
from tests.fixtures.making import Bench

# What a copy of a job's row needs beside another id: nothing that is unique may be copied.
_COPY_JOB = """
    INSERT INTO jobs (id, project_id, key_id, rank, model, input, input_hash, priority,
        queue_expires_at, max_attempts, max_cost, on_unknown_charge, estimate, reuse,
        idempotency_route, idempotency_key, fingerprint)
    SELECT gen_random_uuid(), project_id, key_id, rank, model, input, input_hash, priority,
        queue_expires_at, max_attempts, max_cost, on_unknown_charge, estimate, reuse,
        idempotency_route, idempotency_key, fingerprint FROM jobs WHERE status = 'queued'
"""
_BUDGET = """
    INSERT INTO budgets (id, project_id, scope, key_id, customer, "window", timezone, "limit", mode)
    SELECT gen_random_uuid(), id, 'project', NULL, NULL, 'day', 'UTC', 1, 'hard' FROM projects
"""
_EVIDENCE = """
    INSERT INTO evidence (attempt_id, length, body) SELECT id, 3, 'odd' FROM attempts
"""
_USED = """
    INSERT INTO usage_hours (project_id, hour, key_id)
    SELECT project_id, date_trunc('hour', now()), id FROM api_keys
"""
_TOTAL = """
    INSERT INTO usage_totals (project_id, hour, key_id)
    SELECT project_id, date_trunc('hour', now()), id FROM api_keys
"""
_ACTION = """
    INSERT INTO actions (id, project_id, key_id, kind, filter, idempotency_hash)
    SELECT gen_random_uuid(), project_id, id, 'cancel', '{}', 'k' FROM api_keys
"""
_BATCH = """
    INSERT INTO batches (id, project_id, key_id, kind, total)
    SELECT gen_random_uuid(), project_id, id, 'batch', 1 FROM api_keys
"""
_ROW = "UPDATE jobs SET batch_id = (SELECT id FROM batches), batch_row = 1, allotted = 0"
_NAMED = "UPDATE batches SET idempotency_route = 'r', idempotency_key = 'k', fingerprint = '1'"
_FILE = """
    INSERT INTO files (id, project_id, sha256, bytes, width, height, content_type, expires_at)
    SELECT gen_random_uuid(), id, 'a', 1, 1, 1, 'image/png', now() FROM projects
"""
_FETCH = """
    INSERT INTO fetches (id, project_id, url, problem)
    SELECT gen_random_uuid(), id, 'https://example.com/a.png', 'gone' FROM projects
"""
_ERASURE = """
    INSERT INTO erasures (id, project_id, key_id, subject, about, digest, jobs_digest, idempotency_hash)
    SELECT gen_random_uuid(), project_id, id, 'customer', '{"customer": "c"}', 'd', '', 'k' FROM api_keys
"""
_LINE = """
    INSERT INTO account_lines (at, kind, credits, nth) VALUES ('2026-01-01Z', 'REFUND', -1, 1)
"""
_LOGGED = """
    INSERT INTO audit_log (id, acting, seq, hash, action, subject)
    VALUES (gen_random_uuid(), {}, {}, 'key.created', 'key')
"""
_QUEUED, _SUCCEEDED = "WHERE status = 'queued'", "WHERE status = 'succeeded'"

# Constraint → statements that prepare the ground, and last the one that must be refused.
FORBIDDEN: dict[str, tuple[str, ...]] = {
    "ck_installation_one": ("INSERT INTO installation (id, vault_key) VALUES (2, 'name')",),
    # One of a few words.
    "ck_jobs_status": ("UPDATE jobs SET status = 'lost'",),
    "ck_jobs_phase": ("UPDATE jobs SET phase = 'pay'",),
    "ck_jobs_priority": ("UPDATE jobs SET priority = 'urgent'",),
    "ck_jobs_on_unknown_charge": ("UPDATE jobs SET on_unknown_charge = 'hope'",),
    "ck_jobs_waiting_reason": ("UPDATE jobs SET waiting_reason = 'mood'",),
    "ck_jobs_cancel_outcome": (
        "UPDATE jobs SET cancel_requested_at = now(), cancel_outcome = 'maybe'",
    ),
    "ck_jobs_reuse": ("UPDATE jobs SET reuse = 'always'",),
    "ck_actions_kind": (_ACTION, "UPDATE actions SET kind = 'praise'"),
    "ck_actions_status": (_ACTION, "UPDATE actions SET status = 'lost', finished_at = now()"),
    "ck_actions_running_has_no_end": (_ACTION, "UPDATE actions SET finished_at = now()"),
    "ck_actions_stop_has_reason": (
        _ACTION,
        "UPDATE actions SET status = 'stopped', finished_at = now()",
    ),
    "uq_actions_project_id_idempotency_hash": (_ACTION, _ACTION),
    "ck_batches_kind": (_BATCH, "UPDATE batches SET kind = 'heap'"),
    "ck_batches_status": (_BATCH, "UPDATE batches SET status = 'lost'"),
    "ck_batches_paused_for": (
        _BATCH,
        "UPDATE batches SET status = 'paused', paused_for = 'mood'",
    ),
    "ck_batches_paused_has_cause": (_BATCH, "UPDATE batches SET status = 'paused'"),
    "ck_batches_over_has_end": (_BATCH, "UPDATE batches SET finished_at = now()"),
    "ck_batches_counts": (_BATCH, "UPDATE batches SET failed = 2"),
    "ck_batches_idempotency": (_BATCH, "UPDATE batches SET idempotency_key = 'k'"),
    "uq_batches_project_id_idempotency_route_idempotency_key": (_BATCH, _BATCH, _NAMED),
    "ck_jobs_batch": ("UPDATE jobs SET batch_row = 1",),
    "ck_jobs_custom_id_has_batch": ("UPDATE jobs SET custom_id = 'a'",),
    "uq_jobs_batch_row": (_BATCH, _ROW),
    "uq_jobs_custom_id": (
        _BATCH,
        """UPDATE jobs SET batch_id = (SELECT id FROM batches), allotted = 0, custom_id = 'a',
           batch_row = CASE status WHEN 'queued' THEN 1 ELSE 2 END""",
    ),
    "ck_erasures_subject": (_ERASURE, "UPDATE erasures SET subject = 'everybody'"),
    "ck_erasures_phase": (_ERASURE, "UPDATE erasures SET phase = 'later'"),
    "ck_erasures_completed_has_end": (_ERASURE, "UPDATE erasures SET finished_at = now()"),
    "ck_erasures_forgotten_with_its_rows": (_ERASURE, "UPDATE erasures SET phase = 'images'"),
    "uq_files_project_id_sha256_customer": (_FILE, _FILE),
    "ck_fetches_ends_once": (_FETCH,),
    "uq_erasures_project_id_idempotency_hash": (_ERASURE, _ERASURE),
    "ck_pauses_scope": ("INSERT INTO pauses (scope, name) VALUES ('key', 'k')",),
    "ck_breakers_cause": ("INSERT INTO breakers (cause, failures) VALUES ('mood', 1)",),
    "ck_attempts_charge": ("UPDATE attempts SET charge = 'free', credits = NULL",),
    "ck_deliveries_state": ("UPDATE deliveries SET state = 'lost', next_at = NULL",),
    "ck_images_thumbnail": ("UPDATE images SET thumbnail = 'ugly'",),
    "ck_ledger_kind": ("UPDATE ledger SET kind = 'gift'",),
    "ck_wallet_state": ("INSERT INTO wallet (id, credits, state) VALUES (1, 0, 'stolen')",),
    "ck_sessions_kind": (
        """INSERT INTO sessions (id, key_id, kind, token_hash, expires_at)
           SELECT gen_random_uuid(), id, 'passport', 't', now() FROM api_keys LIMIT 1""",
    ),
    "uq_sessions_token_hash": (
        """INSERT INTO sessions (id, key_id, kind, token_hash, expires_at)
           SELECT gen_random_uuid(), api_keys.id, 'link', 't', now()
             FROM api_keys, (VALUES (1), (2)) AS twice""",
    ),
    "ck_budgets_scope": (_BUDGET, "UPDATE budgets SET scope = 'world'"),
    "ck_budgets_window": (_BUDGET, "UPDATE budgets SET \"window\" = 'year'"),
    "ck_budgets_mode": (_BUDGET, "UPDATE budgets SET mode = 'kind'"),
    # A state, and what it needs.
    "ck_calls_answered_or_lost": (
        """INSERT INTO calls (job_id, fingerprint, answered_at, lost_at)
           SELECT id, 'f', now(), now() FROM jobs LIMIT 1""",
    ),
    "ck_jobs_terminal_has_end": (f"UPDATE jobs SET finished_at = now() {_QUEUED}",),
    "ck_jobs_lease_has_owner": (f"UPDATE jobs SET lease_until = now() {_QUEUED}",),
    "ck_jobs_failed_has_error": ("UPDATE jobs SET error = '{}'",),
    "ck_jobs_waits_for_something": (
        f"UPDATE jobs SET run_after = NULL, waiting_reason = NULL {_QUEUED}",
    ),
    "ck_jobs_cancel_has_outcome": ("UPDATE jobs SET cancel_outcome = 'pending'",),
    "ck_jobs_cancel_is_answered": (
        f"UPDATE jobs SET cancel_requested_at = now(), cancel_outcome = 'pending' {_SUCCEEDED}",
    ),
    "ck_jobs_idempotency": ("UPDATE jobs SET idempotency_key = 'k', fingerprint = '1'",),
    "ck_jobs_held": ("UPDATE jobs SET held = -1",),
    "ck_jobs_followers_reuse": (f"UPDATE jobs SET leader_id = id {_QUEUED}",),
    "ck_attempts_settled_has_credits": ("UPDATE attempts SET credits = NULL",),
    "ck_attempts_finished_has_outcome": ("UPDATE attempts SET outcome = NULL",),
    "ck_attempts_under_way_is_unknown": ("UPDATE attempts SET finished_at = NULL, outcome = NULL",),
    "ck_deliveries_lease_has_owner": ("UPDATE deliveries SET lease_until = now()",),
    "ck_deliveries_pending_has_time": ("UPDATE deliveries SET next_at = NULL",),
    "ck_project_breakers_cause": (
        """INSERT INTO project_breakers (project_id, cause, failures, share)
           SELECT id, 'mood', 1, 1 FROM projects""",
    ),
    "ck_project_breakers_failures": (
        """INSERT INTO project_breakers (project_id, cause, failures, share)
           SELECT id, 'lost', 1, 2 FROM projects""",
    ),
    "uq_gates_reason_project_id": (
        "INSERT INTO gates (reason) VALUES ('storage')",
        "INSERT INTO gates (reason) VALUES ('storage')",
    ),
    "ck_gates_probe_is_half_open": (
        "INSERT INTO gates (reason, probe_id) VALUES ('wallet_empty', gen_random_uuid())",
    ),
    "ck_wallet_one_row": ("INSERT INTO wallet (id, credits, state) VALUES (2, 0, 'ok')",),
    "ck_limits_one_row": ("INSERT INTO limits (id, calls) VALUES (2, 1)",),
    "ck_limits_calls": ("INSERT INTO limits (id, calls) VALUES (1, 0)",),
    "ck_breakers_failures": ("INSERT INTO breakers (cause, failures) VALUES ('lost', 0)",),
    "ck_pauses_all_has_no_name": ("INSERT INTO pauses (scope, name) VALUES ('all', 'k')",),
    "ck_projects_cap": ("UPDATE projects SET cap = 0",),
    "ck_projects_key_cap": ("UPDATE projects SET key_cap = 0",),
    "ck_jobs_erased_is_finished": (f"UPDATE jobs SET erased_at = now() {_QUEUED}",),
    "ck_jobs_followed_is_finished": (f"UPDATE jobs SET followed = true {_QUEUED}",),
    "ck_set_aside_failures": (
        """INSERT INTO set_aside (duty, subject, reason, failures, again_at)
        VALUES ('reap', gen_random_uuid(), 'why', 0, now())""",
    ),
    "ck_endpoints_rate_limit": ("UPDATE endpoints SET rate_limit = 0",),
    "ck_budgets_limit": (_BUDGET, 'UPDATE budgets SET "limit" = -1'),
    "ck_budgets_key_scope_has_key": (_BUDGET, "UPDATE budgets SET scope = 'key'"),
    "ck_budgets_customer_scope_has_one": (_BUDGET, "UPDATE budgets SET scope = 'customer'"),
    # One of a kind.
    "uq_projects_name": (
        """INSERT INTO projects (id, name, webhook_secret)
        SELECT gen_random_uuid(), name, webhook_secret FROM projects""",
    ),
    "uq_api_keys_public_id": (
        """INSERT INTO api_keys (id, project_id, name, public_id, secret_hash, scopes)
        SELECT gen_random_uuid(), project_id, name, public_id, secret_hash, scopes FROM api_keys""",
    ),
    "uq_jobs_project_id_idempotency_route_idempotency_key": (
        f"UPDATE jobs SET idempotency_route = 'r', idempotency_key = 'k', fingerprint = '1' {_QUEUED}",
        _COPY_JOB,
    ),
    "ck_audit_log_acting": (_LOGGED.format("'ghost'", "NULL, NULL"),),
    "ck_audit_log_sealed": (_LOGGED.format("'key'", "1, NULL"),),
    "uq_audit_log_seq": (
        _LOGGED.format("'key'", "7, 'x'"),
        _LOGGED.format("'key'", "7, 'x'"),
    ),
    "ck_audit_head_one_row": ("INSERT INTO audit_head (id, seq, hash) VALUES (2, 0, '')",),
    "ck_api_keys_operators_has_none": ("UPDATE api_keys SET scopes = '{operator}'",),
    "ck_api_keys_operators_is_one": (
        "UPDATE api_keys SET project_id = NULL, scopes = '{operator,admin}'",
    ),
    "ck_projects_emptied_is_deleted": ("UPDATE projects SET emptied_at = now()",),
    "ck_evidence_bound": (
        _EVIDENCE,
        "UPDATE evidence SET body = repeat('x', 65537)::bytea, length = 65537",
    ),
    "ck_evidence_length": (_EVIDENCE, "UPDATE evidence SET length = 2"),
    "uq_jobs_one_leader": (f"UPDATE jobs SET reuse = 'exact' {_QUEUED}", _COPY_JOB),
    "uq_attempts_job_id_number": (
        """INSERT INTO attempts (id, job_id, number, start_id, worker, client_request_id, key_prefix,
        hold) SELECT gen_random_uuid(), job_id, number, start_id, worker, 'another', 'k', 1
        FROM attempts""",
    ),
    "uq_attempts_client_request_id": (
        """INSERT INTO attempts (id, job_id, number, start_id, worker, client_request_id, key_prefix,
        hold) SELECT gen_random_uuid(), job_id, 2, start_id, worker, client_request_id, 'k', 1
        FROM attempts""",
    ),
    "uq_images_one_result": (
        """INSERT INTO images (job_id, attempt, spare, sha256, bytes, width, height, content_type,
        expires_at) SELECT job_id, 2, false, sha256, bytes, width, height, content_type,
        expires_at FROM images""",
    ),
    "uq_events_job_id_sequence": (
        """INSERT INTO events (id, project_id, job_id, type, sequence, body)
        SELECT gen_random_uuid(), project_id, job_id, 'job.running', sequence, body FROM events""",
    ),
    "uq_events_one_terminal": (
        """INSERT INTO events (id, project_id, job_id, type, sequence, body)
        SELECT gen_random_uuid(), project_id, job_id, 'job.failed', 99, body FROM events""",
    ),
    "uq_ledger_job_id_attempt_kind_reference": (
        """INSERT INTO ledger (project_id, key_id, job_id, attempt, kind, credits)
        SELECT project_id, key_id, job_id, attempt, kind, 1 FROM ledger""",
    ),
    "uq_budgets_project_id_scope_key_id_customer_window": (_BUDGET, _BUDGET),
    "ck_usage_hours_hour": (_USED, "UPDATE usage_hours SET hour = hour + interval '1 minute'"),
    "uq_usage_hours_project_id_hour_key_id_model_customer": (_USED, _USED),
    "uq_usage_totals_project_id_hour_key_id_model": (_TOTAL, _TOTAL),
    "ck_account_lines_kind": (_LINE, "UPDATE account_lines SET kind = 'GIFT'"),
    "uq_account_lines_reference_at_kind_credits_nth": (_LINE, _LINE),
}


@pytest.fixture
async def bench(database: Database, presenter: Presenter, caller: Caller, vault: Vault) -> Bench:
    """A succeeded job with an image and a delivery, and a queued one."""
    bench = Bench(database, presenter, caller)
    await bench.do(
        lambda tx: endpoints.register(
            tx, vault, caller.project_id, endpoints.Wish("https://r.example/")
        )
    )
    ref = await bench.running()
    await bench.receive(ref)
    await bench.succeed(ref)
    await bench.submit()
    return bench


async def test_each_forbidden_row_is_refused_by_name(bench: Bench) -> None:
    assert {name: await _refused(bench, *FORBIDDEN[name]) for name in FORBIDDEN} == {
        name: name for name in FORBIDDEN
    }


async def _refused(bench: Bench, *statements: str) -> str | None:
    """Run statements in one transaction; returns the constraint that refuses the last of them."""

    async def write(tx: Transaction) -> None:
        for statement in statements:
            await tx.execute(text(statement))

    with pytest.raises(IntegrityError) as refused:
        await bench.do(write)
    assert isinstance(refused.value.orig, psycopg.IntegrityError)
    return refused.value.orig.diag.constraint_name


async def test_no_constraint_is_without_its_forbidden_row(bench: Bench) -> None:
    in_code = {
        str(each.name)
        for table in Base.metadata.tables.values()
        for each in (*table.constraints, *table.indexes)
        if isinstance(each, CheckConstraint | UniqueConstraint)
        or (isinstance(each, Index) and each.unique)
    }
    rows = await bench.rows(
        "SELECT conname AS name FROM pg_constraint"
        " WHERE contype IN ('c', 'u') AND connamespace = 'public'::regnamespace"
        " UNION SELECT indexname FROM pg_indexes"
        " WHERE schemaname = 'public' AND indexdef LIKE 'CREATE UNIQUE%WHERE%'"
    )
    assert {row["name"] for row in rows} == set(FORBIDDEN) == in_code


async def test_what_belongs_to_a_job_goes_with_it_and_its_ledger_stays(bench: Bench) -> None:
    await bench.run("DELETE FROM jobs")
    for table in ("attempts", "images", "events", "deliveries"):
        assert await bench.rows(f"SELECT 1 FROM {table}") == []
    assert len(await bench.rows("SELECT 1 FROM ledger")) == 4
