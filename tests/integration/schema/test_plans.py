"""The plans of the statements that run for every job: over indexes, whatever the history's length.

The statements are the ones that run: overheard while the domain's own functions are called.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import Engine, ExecutionContext, event, text

from models import jobs
from models.accounts.callers import Caller
from models.jobs import Candidate, Dispatch, Filter, actions, agenda, erasures
from models.jobs.attempts import Ref
from models.jobs.queue import backlog, demand
from models.jobs.reading import exporting, searching
from models.jobs.view import Presenter
from models.money import audit, bookings, hours, prices, usage
from models.money.bookings import Selection
from models.money.usage import Dimension, Period
from models.operating import now as present
from models.platform.db import Database, Transaction
from models.platform.vault import Vault
from models.webhooks import deliveries, endpoints
from models.webhooks.deliveries import Pace, Tried, TryResult
from models.webhooks.endpoints import Wish
from tests.bench.rows.growing import fill
from tests.conftest import make_project, make_settings
from tests.fixtures import sending
from tests.fixtures.databases import Databases
from tests.fixtures.making import DAY, IMAGE, KEPT, LEASE, NOTHING, asked
from tests.fixtures.plans import DIRECT, Node, Within, nodes, planned, planned_once

_FINISHED = 20_000
# What is not over, in the newest two projects of three: of 1,000 jobs 100 in flight, 50 paid, 50 parked.
_BACKLOG = """
    INSERT INTO jobs (id, project_id, key_id, rank, status, phase, fence, attempt, model, input,
           input_hash, priority, queue_expires_at, max_attempts, max_cost, on_unknown_charge, estimate,
           held, waiting_reason, run_after, lease_until, worker, concurrency_key, webhook_url)
    SELECT gen_random_uuid(), k.project_id, k.id, now() - n * interval '1 s', status,
           CASE n % 20 WHEN 1 THEN 'keep' ELSE 'call' END, 1, CASE status WHEN 'running' THEN 1 ELSE 0 END,
           'bytedance/seedream-5-0-lite-preview', '{"prompt": "a red bicycle"}', sha256(n::text::bytea),
           'standard', now() + n * interval '1 min', 5, 182000, 'retry', 91000, 91000,
           CASE WHEN n % 20 = 2 THEN 'concurrency_key' WHEN status = 'queued' THEN 'queue' END,
           CASE WHEN n % 20 <> 2 THEN now() END,
           CASE WHEN status <> 'queued' THEN now() + interval '30 s' END,
           CASE status WHEN 'running' THEN 'worker-1' END, CASE n % 20 WHEN 2 THEN 'one' END,
           'https://example.com/hooks'
      FROM (SELECT *, row_number() OVER (ORDER BY id DESC) AS nth FROM api_keys) k,
           generate_series(1, 1000) n,
           LATERAL (SELECT CASE n % 20 WHEN 3 THEN 'running' WHEN 4 THEN 'released' ELSE 'queued' END
                    AS status) s
     WHERE k.nth = 1 + n / 20 % 2
"""
_CALLS = """
    INSERT INTO attempts (id, job_id, number, start_id, worker, client_request_id, key_prefix, hold)
    SELECT id, id, 1, id, 'worker-1', id || ':1', 'simulato', held FROM jobs WHERE status = 'running'
"""
_DUE = """
    UPDATE deliveries SET state = CASE WHEN due THEN 'pending' ELSE 'sending' END, finished_at = NULL,
           next_at = CASE WHEN due THEN now() END,
           lease_until = CASE WHEN NOT due THEN now() + interval '30 s' END
      FROM (SELECT id, n % 4 > 0 AS due FROM (
                   SELECT id, row_number() OVER (ORDER BY id DESC) AS n FROM deliveries LIMIT 400) newest
           ) chosen WHERE chosen.id = deliveries.id
"""


@dataclass(frozen=True)
class Ground:
    """A database with a history and a backlog, and what the statements ask for."""

    database: Database
    presenter: Presenter
    caller: Caller
    done: UUID
    waiting: UUID
    running: Ref


Act = Callable[[Transaction, Ground], Awaitable[object]]


@pytest.fixture(scope="module")
async def ground(databases: Databases) -> AsyncIterator[Ground]:
    """Three projects with a history; two of them with a backlog."""
    with databases.own() as url:
        settings = make_settings(database_url=url)
        database = Database(settings, ring=lambda _topic, _key: None, pool=1)
        vault = Vault.of(settings)
        for name in ("a", "b", "c"):
            caller, _ = await make_project(database, vault, name)
        done, waiting, running = await asyncio.to_thread(_fill, url, caller)
        presenter = Presenter(settings.public_url, vault)
        yield Ground(database, presenter, caller, done, waiting, Ref(running, 1, 1, running))
        await database.close()


_EXAMPLES = """
    SELECT (SELECT id FROM jobs WHERE project_id = %(project)s AND status = 'succeeded'
             ORDER BY id DESC LIMIT 1),
           (SELECT id FROM jobs WHERE project_id = %(project)s AND status = 'queued' AND phase = 'call'
             LIMIT 1),
           (SELECT id FROM jobs WHERE project_id = %(project)s AND status = 'running' LIMIT 1)
"""


def _fill(url: str, caller: Caller) -> tuple[UUID, ...]:
    """Fill the database; returns a job that is done, one that waits and one that runs."""
    fill(url, _FINISHED)
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in (_BACKLOG, _CALLS, _DUE, "ANALYZE"):
            connection.execute(statement.encode())
        found = connection.execute(_EXAMPLES, {"project": caller.project_id}).fetchone()
    assert found is not None
    return tuple(found)


async def _start(tx: Transaction, on: Ground) -> None:
    job_id = on.running.job_id
    await tx.execute(text("UPDATE jobs SET status = 'released' WHERE id = :id"), {"id": job_id})
    assert await jobs.start(
        tx, on.presenter, job_id, 1, start_id=uuid4(), worker="worker-2", key_prefix="simulato",
        lease=LEASE, typical_call=NOTHING,
    ) is not None  # fmt: skip


async def _start_plain(tx: Transaction, on: Ground) -> None:
    released = text("UPDATE jobs SET status = 'released' WHERE id = :id")
    await tx.execute(released, {"id": on.running.job_id})
    await jobs.start_plain(
        Within(tx), [(on.running.job_id, 1)], start_id=uuid4(), worker="worker-2",
        key_prefix="simulato", lease=LEASE, typical_call=NOTHING,
    )  # fmt: skip


async def _finish_plain(tx: Transaction, on: Ground) -> None:
    direct, project_id = Within(tx), on.caller.project_id
    received, kept = jobs.Received(on.running, IMAGE), jobs.Kept(on.running, KEPT)
    assert (await jobs.receive_several(direct, project_id, [received], lease=LEASE, ttl=DAY))[
        received
    ]
    ended, _ = await jobs.succeed_several(direct, on.presenter, project_id, [kept])
    assert kept in ended


async def _deliver_plain(tx: Transaction, on: Ground) -> None:
    direct = Within(tx)
    sent = "SELECT id, tries FROM deliveries WHERE state = 'sending' LIMIT 1"
    delivery, number = (await tx.execute(text(sent))).one()
    assert await deliveries.take_plain(direct, on.presenter.vault, [(delivery, number)], LEASE)
    tried = TryResult("delivered", "delivered", 200, NOTHING)
    delivered = Tried(delivery, number, datetime.now(UTC), tried)
    assert (await deliveries.record_plain(direct, sending.PATIENCE, [delivered])).done == [True]


async def _wake_here(tx: Transaction, on: Ground) -> None:
    due = "SELECT project_id, lane FROM deliveries WHERE state = 'pending' LIMIT 1"
    project_id, destination = (await tx.execute(text(due))).one()
    wanted = {(project_id, destination): 1}
    await deliveries.wake_here(
        Within(tx), on.presenter.vault, wanted, free=100, lease=LEASE, cap=8, rate=100
    )


async def _finish(tx: Transaction, on: Ground) -> None:
    received = await jobs.receive(tx, on.presenter, on.running, IMAGE, lease=LEASE, ttl=DAY)
    assert received is not None
    assert await jobs.succeed(tx, on.presenter, received[1], KEPT) is not None


async def _reap(tx: Transaction, on: Ground) -> None:
    overdue = "UPDATE jobs SET lease_until = now() - interval '1 s' WHERE id = :id"
    await tx.execute(text(overdue), {"id": on.running.job_id})
    assert await jobs.reap(tx, on.presenter, on.running.job_id) == "lost"


async def _expire(tx: Transaction, on: Ground) -> None:
    overdue = "UPDATE jobs SET queue_expires_at = now() - interval '1 s' WHERE id = :id"
    await tx.execute(text(overdue), {"id": on.waiting})
    assert await jobs.expire(tx, on.presenter, on.waiting, NOTHING) is not None


async def _usage(tx: Transaction, on: Ground) -> None:
    now = await usage.now(tx)
    await usage.report(tx, on.caller.project_id, Period(now - timedelta(days=1), now), ["day"])


async def _ping(tx: Transaction, on: Ground) -> None:
    wish = Wish("https://example.com/hooks", ("job.succeeded",))
    project_id = on.caller.project_id
    made, _ = await endpoints.register(tx, on.presenter.vault, project_id, wish)
    await deliveries.ping(tx, project_id, made.id, Pace(at_once=5, per_minute=60))


async def _export(tx: Transaction, on: Ground) -> None:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Transaction]:
        yield tx

    await anext(exporting.parts(opened, on.caller.project_id, Filter(tag="nobody's")))


async def _look_ahead(tx: Transaction, on: Ground) -> None:
    wish = actions.Wish("retry", Filter(tag="nobody's"))
    asked, _ = await actions.request(tx, on.caller, wish, matched=None, most=1)
    assert await actions.look(tx, asked.id) is not None


async def _erase(tx: Transaction, on: Ground) -> None:
    wish = erasures.Wish(customer="c_7")
    asked, _ = await erasures.request(tx, on.presenter.vault, on.caller, wish, most=1)
    found = await erasures.advance(tx, asked.id)
    assert found
    await erasures.forget_job(tx, on.presenter, asked.id, found[0])
    for phase in ("ledger", "usage", "traces"):
        moved = "UPDATE erasures SET phase = :phase"
        await tx.execute(text(moved), {"phase": phase})
        await erasures.advance(tx, asked.id)


_A_DAY = Selection(datetime.now(UTC) - 20 * DAY, datetime.now(UTC) - 19 * DAY)
_LONG_AGO = Filter(created_before=datetime.now(UTC) - 20 * DAY)

# Each: what is done, and the indexes that its statements must go by.
_ACTS: dict[str, tuple[Act, set[str]]] = {
    "admit": (
        lambda tx, on: jobs.admit_several(
            Within(tx),
            [Candidate.of(on.caller, asked(), ("submit", f"new {n}", b"")) for n in range(9)],
            budgeted=False,
        ),
        set(),
    ),
    "submit": (
        lambda tx, on: jobs.submit(tx, on.presenter, on.caller, asked(reuse="exact")),
        {"uq_jobs_one_leader", "ix_jobs_reusable"},
    ),
    "earlier": (
        lambda tx, on: jobs.earlier(tx, on.caller, ("submit", "new", b"")),
        {"uq_jobs_project_id_idempotency_route_idempotency_key"},
    ),
    "queued": (
        lambda tx, on: jobs.queued(tx, on.caller.project_id, 100_000),
        set(),  # any of the backlog's
    ),
    "snapshot": (
        lambda tx, on: jobs.read(tx, on.caller.project_id, on.done),
        {"uq_attempts_job_id_number", "pk_images"},
    ),
    "look": (
        lambda tx, on: jobs.read(Within(tx), on.caller.project_id, on.done),
        {"uq_attempts_job_id_number", "pk_images"},
    ),
    "listing": (
        lambda tx, on: jobs.listing(tx, on.caller.project_id, Filter(), 20),
        {"ix_jobs_newest"},
    ),
    "next page": (
        lambda tx, on: jobs.listing(tx, on.caller.project_id, Filter(before=on.done), 20),
        {"ix_jobs_newest", "uq_attempts_job_id_number", "pk_images"},
    ),
    "listing by status": (
        lambda tx, on: jobs.listing(tx, on.caller.project_id, Filter(statuses=("running",)), 20),
        {"ix_jobs_lease_until"},
    ),
    "listing by statuses": (
        lambda tx, on: jobs.listing(
            tx, on.caller.project_id, Filter(statuses=("queued", "running")), 20
        ),
        set(),  # any of the backlog's
    ),
    "listing what waits for a reason": (
        lambda tx, on: jobs.listing(tx, on.caller.project_id, Filter(waiting_reason="queue"), 20),
        set(),
    ),
    "search for what nobody has": (
        lambda tx, on: searching.page(tx, on.caller.project_id, Filter(search="nobody's"), 20),
        {"ix_jobs_newest"},
    ),
    "listing by a charge that no call has": (
        lambda tx, on: searching.page(
            tx, on.caller.project_id, Filter(charge_state="released"), 20
        ),
        {"ix_jobs_newest", "uq_attempts_job_id_number"},
    ),
    "listing by a tag that nobody has": (
        lambda tx, on: searching.page(tx, on.caller.project_id, Filter(tag="nobody's"), 20),
        {"ix_jobs_newest"},
    ),
    "listing by customer": (
        lambda tx, on: jobs.listing(tx, on.caller.project_id, Filter(customer="c_7"), 20),
        {"ix_jobs_customer"},
    ),
    "listing by order": (
        lambda tx, on: jobs.listing(
            tx, on.caller.project_id, Filter(metadata={"order": "A-17"}), 20
        ),
        {"ix_jobs_metadata"},
    ),
    "listing by key": (
        lambda tx, on: jobs.listing(
            tx, on.caller.project_id, Filter(idempotency_key="order-17"), 20
        ),
        {"uq_jobs_project_id_idempotency_route_idempotency_key"},
    ),
    "listing what is erased": (
        lambda tx, on: jobs.listing(tx, on.caller.project_id, Filter(erased=True), 20),
        {"ix_jobs_erased"},
    ),
    "look of an action": (_look_ahead, {"ix_jobs_newest", "ix_jobs_retried_from"}),
    "running actions": (lambda tx, _: actions.running(tx), set()),
    "jobs to be forgotten": (_erase, {"ix_jobs_customer", "ix_ledger_project_id"}),
    "due erasures": (lambda tx, _: erasures.due(tx), set()),
    "part of a file": (_export, {"ix_jobs_newest"}),
    "listing by time": (
        lambda tx, on: jobs.listing(tx, on.caller.project_id, _LONG_AGO, 20),
        {"ix_jobs_newest"},
    ),
    "finished": (
        lambda tx, on: jobs.finished(tx, [on.done, on.waiting, on.running.job_id]),
        {"pk_jobs"},
    ),
    "dispatch": (
        lambda tx, _: jobs.dispatch(tx, 200, lease=LEASE, typical_call=NOTHING),
        {"ix_jobs_ready", "ix_jobs_paid", "ix_jobs_key_waiting", "ix_jobs_lease_until", "pk_jobs"},
    ),
    "hand back": (
        lambda tx, on: jobs.hand_back(tx, [Dispatch(on.waiting, 1)]),
        {"pk_jobs"},
    ),
    "start": (_start, {"pk_jobs"}),
    "start plain": (_start_plain, {"pk_jobs"}),
    "finish plain": (_finish_plain, {"pk_jobs", "uq_attempts_job_id_number"}),
    "deliver plain": (_deliver_plain, {"pk_deliveries", "pk_events"}),
    "audit of jobs": (
        lambda tx, on: audit.of_jobs(tx, [on.done, on.waiting]),
        {"pk_jobs", "uq_attempts_job_id_number", "uq_ledger_job_id_attempt_kind_reference"},
    ),
    "finish": (_finish, {"pk_jobs", "uq_attempts_job_id_number"}),
    "cancel": (
        lambda tx, on: jobs.cancel(tx, on.presenter, on.caller.project_id, on.waiting),
        {"pk_jobs"},
    ),
    "renew": (lambda tx, on: jobs.renew(tx, [on.running], LEASE), {"pk_jobs"}),
    "to do": (
        lambda tx, _: agenda.to_do(tx, lease=LEASE, typical_call=NOTHING),
        {"ix_jobs_lease_until", "ix_jobs_queue_expires_at", "ix_deliveries_next_at"},
    ),
    "overdue": (lambda tx, _: jobs.overdue(tx, 100), {"ix_jobs_lease_until"}),
    "reap": (_reap, {"pk_jobs", "uq_attempts_job_id_number"}),
    "expire": (_expire, {"pk_jobs"}),
    "late": (
        lambda tx, _: jobs.late(tx, 100, NOTHING),
        {"ix_jobs_queue_expires_at", "ix_jobs_deadline"},
    ),
    "look ahead": (
        lambda tx, _: jobs.look(tx, make_settings()),
        {"ix_jobs_waits", "ix_jobs_lease_until"},
    ),
    "room for deliveries": (
        lambda tx, _: deliveries.capacity(tx, seen=LEASE),
        {"ix_deliveries_next_at", "ix_deliveries_lease"},
    ),
    "wake": (
        lambda tx, _: deliveries.wake(tx, 200, LEASE, cap=64, rate=100),
        {"ix_deliveries_waiting", "ix_deliveries_lease", "pk_deliveries"},
    ),
    "wake here": (_wake_here, {"ix_deliveries_waiting", "ix_deliveries_lease", "pk_deliveries"}),
    "ping": (_ping, {"ix_deliveries_waiting", "ix_deliveries_lease"}),
    "reap deliveries": (
        lambda tx, _: deliveries.reap(tx, 100),
        {"ix_deliveries_lease", "pk_deliveries"},
    ),
    "unknown charges": (lambda tx, _: jobs.unknown_charges(tx, limit=50), {"ix_attempts_unknown"}),
    "backlog": (
        lambda tx, _: backlog.read(tx, seen=LEASE),
        {"ix_attempts_unknown", "ix_deliveries_lease"},
    ),
    "waiting": (lambda tx, _: backlog.waiting(tx), set()),  # any of the backlog's
    "demand": (
        lambda tx, _: demand.wanted(tx, limit=40, tries_cap=8),
        {"ix_jobs_ready", "ix_jobs_lease_until"},
    ),
    "drifts": (lambda tx, _: prices.drifts(tx), {"pk_attempts", "pk_jobs"}),
    "now": (
        lambda tx, on: present.read(tx, make_settings(), present.of(on.caller, "UTC")),
        {"ix_jobs_finished_at", "ix_attempts_unknown"},  # and those made by either index with `id`
    ),
    "ledger": (
        lambda tx, on: bookings.lines(tx, on.caller.project_id, Selection(), 100),
        {"ix_ledger_project_id"},
    ),
    "ledger of a time": (
        lambda tx, on: bookings.lines(tx, on.caller.project_id, _A_DAY, 100),
        {"ix_ledger_project_id", "ix_ledger_by_time", "ix_ledger_made_at"},
    ),
    "booked lately": (
        lambda tx, _: audit.booked_lately(tx, timedelta(minutes=10)),
        {"ix_ledger_by_time"},
    ),
}


@pytest.mark.parametrize("name", _ACTS)
async def test_what_runs_for_every_job_goes_by_indexes(ground: Ground, name: str) -> None:
    act, indexes = _ACTS[name]
    found = await _plans(ground, act)
    assert [each for each in found if each.reads_history] == []
    assert indexes - {each.index for each in found} == set()


async def test_a_dispatch_never_reads_a_whole_backlog_to_sort_it(ground: Ground) -> None:
    """Beside a history that looks cheap: what waits is so little that the statistics know none of it."""
    found = await _plans(ground, _ACTS["dispatch"][0])
    sorted_first = {"ix_jobs_queue_expires_at", "ix_jobs_backlog"}
    assert sorted_first & {each.index for each in found} == set()


_TIMES = ("id", "finished_at", "sent_at", "at")  # of jobs twice, of attempts, of the ledger


async def test_a_report_of_a_day_goes_by_indexes(ground: Ground) -> None:
    found = await _plans(ground, _usage)
    assert [each for each in found if each.reads_history] == []
    bounded = " ".join(each.condition for each in found)
    assert [each for each in _TIMES if not re.search(rf"\b{each}\)? >= ", bounded)] == []


_THREE_YEARS = (
    """INSERT INTO usage_hours (project_id, hour, key_id)
       SELECT project_id, date_trunc('hour', now(), 'UTC') - n * interval '1 hour', id
         FROM api_keys, generate_series(1, 3 * 8760) n""",
    "ANALYZE usage_hours, usage_totals",
)


@pytest.mark.parametrize(
    ("by", "table"),
    [
        (["day", "customer"], "usage_hours"),
        (["day", "model"], "usage_totals"),
        ([], "usage_totals"),
    ],
)
async def test_a_report_of_a_month_reads_its_hours_and_not_its_jobs(
    ground: Ground, by: list[Dimension], table: str
) -> None:
    async def ask(tx: Transaction, on: Ground) -> None:
        for statement in _THREE_YEARS:
            await tx.execute(text(statement))
        now = await usage.now(tx)
        month = Period(now - 30 * DAY, now, "Europe/Berlin")
        await usage.report(tx, on.caller.project_id, month, by)

    found = await _plans(ground, ask)
    assert [each for each in found if each.reads_history] == []
    (read,) = [each for each in found if each.index.startswith("uq_usage")]
    assert read.index.startswith(f"uq_{table}")
    assert "hour >= " in read.condition
    assert "hour < " in read.condition
    # Each time that is counted ends where it says: what came after it is not read, whatever its beginning.
    since = [each.condition for each in found if each.index == "ix_ledger_by_time"]
    open_ended = [each for each in since if "at < " not in each]
    assert len(open_ended) < len(since)
    begun = [re.findall(r"\bat >= '([^']+)'", each) for each in open_ended]
    assert min(datetime.fromisoformat(each) for (each,) in begun) > datetime.now(UTC) - DAY


async def test_an_hour_is_folded_by_indexes(ground: Ground) -> None:
    async def fold(tx: Transaction, _: Ground) -> None:
        begun = "UPDATE duties SET done_at = done_at - CAST(:ago AS interval) WHERE name = 'fold'"
        await tx.execute(text(begun), {"ago": 10 * DAY})
        assert await hours.fold(tx, NOTHING)

    found = await _plans(ground, fold)
    assert [each for each in found if each.reads_history] == []
    bounded = " ".join(each.condition for each in found)
    assert [each for each in _TIMES if not re.search(rf"\b{each}\)? >= ", bounded)] == []


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("submit", "ix_jobs_reusable"),
        ("listing", "ix_jobs_newest"),
        ("listing by status", "ix_jobs_lease_until"),
        ("listing by customer", "ix_jobs_customer"),
        ("listing what is erased", "ix_jobs_erased"),
        ("overdue", "ix_jobs_lease_until"),
        ("late", "ix_jobs_queue_expires_at"),
        ("unknown charges", "ix_attempts_unknown"),
        ("reap deliveries", "ix_deliveries_lease"),
        ("ledger", "ix_ledger_project_id, ix_ledger_by_time"),
    ],
)
async def test_without_its_index_it_would_read_the_history(
    ground: Ground, name: str, index: str
) -> None:
    found = await _plans(ground, _ACTS[name][0], without=index)
    assert [each for each in found if each.reads_history] != []


async def test_the_history_is_one_that_darkroom_might_have_written(databases: Databases) -> None:
    with databases.own() as url:
        settings = make_settings(database_url=url)
        database = Database(settings, ring=lambda _topic, _key: None, pool=1)
        caller, _ = await make_project(database, Vault.of(settings), "a")
        before = _shape(url)
        await asyncio.to_thread(fill, url, 500)
        assert await audit.audit(database) == []
        async with database.transaction() as tx:
            now = await usage.now(tx)
            month = Period(now - 30 * DAY, now)
            folded = await usage.report(tx, caller.project_id, month, ["day", "model", "key"])
            await tx.execute(text("DELETE FROM duties WHERE name = 'fold'"))
            counted = await usage.report(tx, caller.project_id, month, ["day", "model", "key"])
            assert folded == counted
        await database.close()
        assert _shape(url) == before
        with psycopg.connect(url) as connection:
            for table, name, rule in connection.execute(_FOREIGN).fetchall():
                again = f"ALTER TABLE {table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} {rule}"
                connection.execute(again.encode())  # fails where a row names what is not there


# The filling asks no foreign key, and makes indexes anew.
_FOREIGN = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
     WHERE contype = 'f' AND connamespace = 'public'::regnamespace
"""


def _shape(url: str) -> list[tuple[str, ...]]:
    """Return every index, and what keeps a table's rows through a crash."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' UNION ALL"
            " SELECT relname || relpersistence::text FROM pg_class WHERE relkind = 'r' ORDER BY 1"
        ).fetchall()


async def _plans(ground: Ground, act: Act, *, without: str | None = None) -> list[Node]:
    """Return every node of the plans of what an act executes; what it does is rolled back."""
    found: list[Node] = []
    with suppress(_TakenBack):
        async with ground.database.transaction() as tx:
            if without is not None:
                await tx.execute(text(f"DROP INDEX {without}"))
            with _overheard() as heard:
                await act(tx, ground)
            for statement, parameters, direct in heard:
                plan = planned_once if direct else planned
                found += nodes(await plan(tx, statement.encode(), parameters))
            raise _TakenBack
    assert found
    return found


@contextmanager
def _overheard() -> Iterator[list[tuple[str, Mapping[str, object], bool]]]:
    """Collect what is executed: each statement, its parameters or the first row of them, and for whom.

    True where `Direct` would execute it.
    """
    heard: list[tuple[str, Mapping[str, object], bool]] = []

    def hear(
        _connection: object,
        _cursor: object,
        statement: str,
        parameters: Mapping[str, object] | list[Mapping[str, object]],
        context: ExecutionContext,
        *_: object,
    ) -> None:
        first = parameters[0] if isinstance(parameters, list) else parameters
        if not statement.startswith(("SAVEPOINT", "RELEASE", "ANALYZE")):
            heard.append((statement, first, DIRECT in context.execution_options))

    event.listen(Engine, "before_cursor_execute", hear)
    try:
        yield heard
    finally:
        event.remove(Engine, "before_cursor_execute", hear)


class _TakenBack(Exception):
    """Roll back what was only done to be overheard."""
