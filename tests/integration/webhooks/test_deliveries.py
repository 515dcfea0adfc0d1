"""Deliveries: which arise, who may send them, and what each try leaves."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

import pytest

from models.accounts.callers import Caller
from models.errors import Conflict, NotFound
from models.jobs.view import Presenter
from models.platform.db import Database
from models.platform.vault import Vault
from models.webhooks import deliveries, endpoints
from models.webhooks.deliveries import TryResult
from models.webhooks.deliveries.disabling import IN_A_ROW
from tests.conftest import make_project
from tests.fixtures.making import Bench
from tests.fixtures.sending import (
    BUSY,
    DELIVERED,
    GONE,
    LATER,
    URL,
    change,
    endpoint,
    finished,
    one_more,
    reap,
    record,
    redeliver,
    replay,
    sending,
    states,
    take,
    taken,
    wake,
)


@pytest.fixture(params=[True, False], ids=["plain", "general"])
def bench(
    database: Database, presenter: Presenter, caller: Caller, request: pytest.FixtureRequest
) -> Bench:
    """A worker goes the plain way first; what follows must not tell which one it was."""
    return Bench(database, presenter, caller, plain=request.param)


# Which arise.


async def test_an_end_is_told_to_the_jobs_own_url_and_to_every_endpoint_that_lists_it(
    bench: Bench, vault: Vault
) -> None:
    wants = await endpoint(bench, vault)
    await endpoint(bench, vault, "job.running", url=URL + "/running")
    disabled = await endpoint(bench, vault, url=URL + "/off")
    await bench.do(lambda tx: endpoints.disable(tx, disabled.id, "410 Gone"))
    deleted = await endpoint(bench, vault, url=URL + "/gone")
    await bench.do(lambda tx: endpoints.remove(tx, bench.caller.project_id, deleted.id))
    stranger = (await make_project(bench.database, vault, "other"))[0]
    await endpoint(Bench(bench.database, bench.presenter, stranger), vault)

    job_id = await finished(bench, webhook_url="https://job.example/hook")

    rows = await bench.rows(
        "SELECT endpoint_id, url, state, next_at IS NULL AS idle FROM deliveries"
    )
    assert {(row["endpoint_id"], row["url"], row["state"], row["idle"]) for row in rows} == {
        (wants.id, URL, "pending", False),
        (disabled.id, URL + "/off", "held", True),
        (None, "https://job.example/hook", "pending", False),
    }
    assert await bench.events(job_id) == ["job.canceled"]


async def test_a_jobs_own_url_gets_the_events_it_asked_for(bench: Bench) -> None:
    wanted = ("job.running", "job.charge_resolved")
    ref = await bench.running(webhook_url=URL, webhook_events=wanted, on_unknown_charge="fail")
    await bench.lose(ref)
    await bench.resolve(ref.job_id)

    rows = await bench.rows(
        "SELECT e.type FROM deliveries d JOIN events e ON e.id = d.event_id ORDER BY e.sequence"
    )
    assert [row["type"] for row in rows] == ["job.running", "job.charge_resolved"]
    assert await bench.events(ref.job_id) == ["job.running", "job.failed", "job.charge_resolved"]


async def test_what_is_sent_is_the_job_as_it_then_was_and_its_sequence_is_its_version(
    bench: Bench, vault: Vault
) -> None:
    await sending(bench, vault)
    (row,) = await bench.rows(
        "SELECT e.body, e.sequence, j.version FROM events e JOIN jobs j ON true"
    )
    body = json.loads(row["body"])
    assert (body["type"], body["data"]["status"]) == ("job.canceled", "canceled")
    assert body["data"]["sequence"] == row["sequence"] == row["version"]


# Who may send them.


async def test_a_delivery_is_woken_once_and_taken_once(bench: Bench, vault: Vault) -> None:
    made = await endpoint(bench, vault)
    await finished(bench)

    rounds = await asyncio.gather(*(wake(bench) for _ in range(8)))
    (woken,) = [each for found in rounds for each in found]
    parcels = await asyncio.gather(*(take(bench, vault, woken) for _ in range(8)))

    (parcel,) = [each for each in parcels if each is not None]
    assert (parcel.number, parcel.url, parcel.endpoint_id) == (1, made.url, made.id)
    assert [secret.partition("_")[0] for secret in parcel.secrets] == ["whsec", "whsk"]
    assert await wake(bench) == []


async def test_only_the_number_of_this_try_takes_and_records(bench: Bench, vault: Vault) -> None:
    _, (delivery_id, number) = await sending(bench, vault)
    for stale in (number - 1, number + 1):
        assert await take(bench, vault, (delivery_id, stale)) is None
        assert not await record(bench, (delivery_id, stale), DELIVERED)
    assert await states(bench) == [("sending", 1)]
    assert await record(bench, (delivery_id, number), DELIVERED)
    assert not await record(bench, (delivery_id, number), LATER)
    assert await states(bench) == [("delivered", 1)]


async def test_one_lane_has_at_most_eight_tries_in_flight(bench: Bench, vault: Vault) -> None:
    await endpoint(bench, vault)
    for _ in range(12):
        await finished(bench)

    first = await wake(bench)
    assert (len(first), len(await wake(bench))) == (8, 0)
    for woken in first[:3]:
        await take(bench, vault, woken)
        await record(bench, woken, DELIVERED)
    assert len(await wake(bench)) == 3


async def test_destinations_are_endpoints_and_a_projects_origins(bench: Bench) -> None:
    for path in ("one.example/a", "One.Example:443/b"):
        await finished(bench, webhook_url=f"https://{path}")
    await finished(bench, webhook_url="https://one.example:8443/a")
    rows = await bench.rows("SELECT lane FROM deliveries")
    project = bench.caller.project_id
    assert Counter(row["lane"] for row in rows) == {
        f"{project}:https://one.example:443": 2, f"{project}:https://one.example:8443": 1,
    }  # fmt: skip


@pytest.mark.parametrize("slots", [1, 4])
async def test_a_backlog_of_one_endpoint_never_hides_what_is_due_elsewhere(
    bench: Bench, slots: int
) -> None:
    """The endpoint with the backlog hangs: its cap is in flight, and hundreds are due before."""
    await finished(bench, webhook_url="https://hangs.example/hook")
    await bench.run(
        "INSERT INTO deliveries (id, project_id, event_id, job_id, url, lane, next_at)"
        " SELECT gen_random_uuid(), project_id, event_id, job_id, url, lane,"
        " now() - interval '1 h' FROM deliveries, generate_series(1, 300)"
    )
    assert len(await wake(bench)) == 8
    await finished(bench, webhook_url="https://well.example/hook")

    woken = await wake(bench, slots)

    rows = await bench.rows("SELECT url FROM deliveries WHERE id = :id", id=woken[0][0])
    assert [row["url"] for row in rows] == ["https://well.example/hook"]
    assert len(woken) == 1


async def test_the_oldest_of_all_destinations_come_first(bench: Bench) -> None:
    for n, host in enumerate(("c", "a", "b")):
        job_id = await finished(bench, webhook_url=f"https://{host}.example/")
        await bench.run(
            f"UPDATE deliveries SET next_at = now() - interval '{9 - n} s' WHERE job_id = :id",  # noqa: S608 - ours
            id=job_id,
        )
    woken = [await wake(bench, 1) for _ in range(4)]
    rows = {row["id"]: row["url"] for row in await bench.rows("SELECT id, url FROM deliveries")}
    assert [rows[each[0][0]][8:9] for each in woken[:3]] == ["c", "a", "b"]
    assert woken[3] == []


async def test_nothing_is_woken_without_a_slot_or_before_its_time(
    bench: Bench, vault: Vault
) -> None:
    _, woken = await sending(bench, vault)
    await record(bench, woken, LATER)
    assert await wake(bench) == []
    await bench.run("UPDATE deliveries SET next_at = now()")
    assert await wake(bench, 0) == []
    assert [number for _, number in await wake(bench)] == [2]


# What a try leaves.


async def test_every_try_is_in_the_log_with_what_it_met(bench: Bench, vault: Vault) -> None:
    made, woken = await sending(bench, vault)
    await record(bench, woken, LATER)
    await bench.run("UPDATE deliveries SET next_at = now()")
    (again,) = await wake(bench)
    await take(bench, vault, again)
    await record(bench, again, DELIVERED)

    (logged,), more = await bench.do(lambda tx: deliveries.log(tx, endpoint_id=made.id))
    assert not more
    assert logged.type == "job.canceled"
    assert logged.delivery.finished_at is not None
    assert [(each.number, each.http_status, each.latency_ms) for each in logged.tries] == [
        (1, 500, 1000), (2, 200, 12),
    ]  # fmt: skip


async def test_of_two_tries_with_one_number_the_one_that_decides_is_in_the_log(
    bench: Bench, vault: Vault
) -> None:
    _, woken = await sending(bench, vault)
    await bench.run(  # a crash of Postgres takes back that it was handed out, while it is on its way
        "UPDATE deliveries SET state = 'pending', tries = 0, taken_at = NULL, lease_until = NULL,"
        " next_at = now()"
    )
    assert await record(bench, woken, LATER) is None
    assert await taken(bench, vault) == woken
    assert await record(bench, woken, DELIVERED) == "delivered"
    assert await record(bench, woken, LATER) is None
    assert await states(bench) == [("delivered", 1)]
    (line,) = await bench.rows("SELECT number, http_status, result FROM delivery_tries")
    assert line == {"number": 1, "http_status": 200, "result": "delivered"}


async def test_a_try_that_nobody_took_is_not_counted_and_one_that_was_taken_is(
    bench: Bench, vault: Vault
) -> None:
    await endpoint(bench, vault)
    await finished(bench)

    await wake(bench)
    assert await reap(bench) == 1
    assert await states(bench) == [("pending", 0)]

    (woken,) = await wake(bench)
    await take(bench, vault, woken)
    assert await reap(bench) == 1
    assert await states(bench) == [("pending", 1)]
    # The late worker's record is kept in the log, and moves nothing.
    assert not await record(bench, woken, DELIVERED)
    assert await states(bench) == [("pending", 1)]
    assert [number for _, number in await wake(bench)] == [2]


async def test_what_could_not_be_published_is_handed_back_uncounted(
    bench: Bench, vault: Vault
) -> None:
    await endpoint(bench, vault)
    for _ in range(3):
        await finished(bench)
    woken = await wake(bench)
    await take(bench, vault, woken[0])

    await bench.do(lambda tx: deliveries.hand_back(tx, woken))

    found = {
        each[0]: state for each, state in zip(woken, await _states_of(bench, woken), strict=True)
    }
    assert found[woken[0][0]] == ("sending", 1)
    assert [found[each[0]] for each in woken[1:]] == [("pending", 0)] * 2
    assert len(await wake(bench)) == 2


async def _states_of(bench: Bench, woken: Sequence[tuple[UUID, int]]) -> list[tuple[str, int]]:
    rows = await bench.rows("SELECT id, state, tries FROM deliveries")
    by_id = {row["id"]: (row["state"], row["tries"]) for row in rows}
    return [by_id[each[0]] for each in woken]


# Endpoints that are disabled or deleted meanwhile.


async def test_deleting_an_endpoint_aborts_what_is_pending_and_keeps_the_log(
    bench: Bench, vault: Vault
) -> None:
    made, woken = await sending(bench, vault)
    await finished(bench)
    await bench.do(lambda tx: endpoints.remove(tx, bench.caller.project_id, made.id))

    assert await states(bench) == [("sending", 1), ("aborted", 0)]
    # What is on its way may fail now: nobody is there to try again for.
    await record(bench, woken, LATER)
    assert await states(bench) == [("aborted", 1), ("aborted", 0)]
    rows = await bench.rows("SELECT 1 FROM deliveries WHERE finished_at IS NULL")
    assert rows == []
    log, _ = await bench.do(lambda tx: deliveries.log(tx, endpoint_id=made.id))
    assert len(log) == 2
    with pytest.raises(NotFound):
        await bench.do(lambda tx: endpoints.remove(tx, bench.caller.project_id, made.id))


@pytest.mark.parametrize(("end", "state"), [("disable", "held"), ("remove", "aborted")])
async def test_nothing_is_sent_to_an_endpoint_that_went_while_it_was_woken(
    bench: Bench, vault: Vault, end: str, state: str
) -> None:
    made = await endpoint(bench, vault)
    await finished(bench)
    (woken,) = await wake(bench)
    if end == "disable":
        await bench.do(lambda tx: endpoints.disable(tx, made.id, "410 Gone"))
    else:
        await bench.do(lambda tx: endpoints.remove(tx, bench.caller.project_id, made.id))

    assert await take(bench, vault, woken) is None
    assert await states(bench) == [(state, 0)]


async def test_an_endpoint_that_fails_ten_times_in_a_row_is_tried_once_a_second(
    bench: Bench, vault: Vault
) -> None:
    await endpoint(bench, vault)
    for _ in range(IN_A_ROW - 1):
        await record(bench, await one_more(bench, vault), LATER)
    assert await bench.rows("SELECT lane FROM lanes WHERE slow") == []
    await record(bench, await one_more(bench, vault), LATER)
    # By the clock of the transaction that wrote both.
    (lane,) = await bench.rows(
        "SELECT slow, paused_until - max(next_at) AS early FROM lanes, deliveries GROUP BY 1, paused_until"
    )
    assert lane == {"slow": True, "early": timedelta(seconds=1) - (LATER.next_in or timedelta())}

    await finished(bench)
    await finished(bench)
    await bench.run("UPDATE lanes SET paused_until = now() - interval '1 s'")
    (one,) = await wake(bench)
    assert await take(bench, vault, one)
    await record(bench, one, DELIVERED)
    await finished(bench)
    assert len(await wake(bench)) == 2, "one success, and it is as fast as before"


async def test_a_jobs_own_url_that_fails_often_slows_nobody_of_its_origin(
    bench: Bench, vault: Vault
) -> None:
    for _ in range(IN_A_ROW + 1):
        await finished(bench, webhook_url=URL)
        await record(bench, await taken(bench, vault), LATER)
    assert await bench.rows("SELECT lane FROM lanes WHERE slow") == []


async def test_a_410_disables_the_endpoint_and_holds_what_is_bound_for_it(
    bench: Bench, vault: Vault
) -> None:
    made, woken = await sending(bench, vault)
    await finished(bench)

    assert await record(bench, woken, GONE) == "held"

    found = await bench.do(lambda tx: endpoints.find(tx, bench.caller.project_id, made.id))
    assert (found.enabled, found.disabled_reason) == (False, "410 Gone")
    assert found.disabled_at is not None
    assert await states(bench) == [("held", 1), ("held", 0)]
    assert await wake(bench) == []


async def test_a_try_that_failed_on_a_disabled_endpoint_is_held(bench: Bench, vault: Vault) -> None:
    made, woken = await sending(bench, vault)
    await bench.do(lambda tx: endpoints.disable(tx, made.id, "no success for 5 days"))
    await record(bench, woken, LATER)
    assert await states(bench) == [("held", 1)]


async def test_a_410_of_a_jobs_own_url_ends_that_jobs_deliveries_and_no_others(
    bench: Bench, vault: Vault
) -> None:
    events = ("job.running", "job.failed")
    ref = await bench.running(webhook_url=URL, webhook_events=events)
    await bench.refuse(ref)
    other = await finished(bench, webhook_url=URL)
    (woken,) = await wake(bench, 1)
    await take(bench, vault, woken)

    await record(
        bench, woken, TryResult("aborted", "410 Gone", 410, timedelta(0), endpoint="disable")
    )

    rows = await bench.rows("SELECT job_id, state FROM deliveries")
    assert Counter((row["job_id"], row["state"]) for row in rows) == {
        (ref.job_id, "aborted"): 2, (other, "pending"): 1,
    }  # fmt: skip


async def test_whoever_changes_endpoints_and_deliveries_at_once_deadlocks_nobody(
    bench: Bench, vault: Vault
) -> None:
    made = [await endpoint(bench, vault, url=f"{URL}/{n}") for n in range(3)]
    await endpoint(bench, vault, "webhook.disabled", url=URL + "/witness")
    for _ in range(6):
        await finished(bench)
    woken = await wake(bench)
    assert len(woken) == 18
    ends = (GONE, LATER, BUSY, DELIVERED)

    await asyncio.gather(
        *(record(bench, each, ends[n % 4]) for n, each in enumerate(woken)),
        *(change(bench, each, enabled=False) for each in made[1:]),
        *(change(bench, each, enabled=True, url=URL + "/moved") for each in made[1:]),
        # Whether there is something to replay, or it is refused, is a matter of who comes first.
        *(_perhaps(replay(bench, each, "held", "delivered", limit=5)) for each in made),
        *(_perhaps(redeliver(bench, each[0])) for each in woken[:6]),
        bench.do(lambda tx: endpoints.remove(tx, bench.caller.project_id, made[0].id)),
        *(wake(bench) for _ in range(4)),
        *(finished(bench) for _ in range(4)),
    )

    await bench.run("UPDATE deliveries SET next_at = now() WHERE state = 'pending'")
    await bench.run("DELETE FROM lanes")
    await wake(bench, cap=100)
    rows = await bench.rows("SELECT id, tries FROM deliveries WHERE endpoint_id = :id"
                            " AND state = 'sending'", id=made[0].id)  # fmt: skip
    parcels = [await take(bench, vault, (row["id"], row["tries"])) for row in rows]
    assert parcels == [None] * len(rows), "nothing goes to the one that was deleted"
    rows = await bench.rows("SELECT state FROM deliveries WHERE endpoint_id = :id", id=made[0].id)
    assert {row["state"] for row in rows} <= {"aborted", "delivered", "held"}


async def _perhaps(asked: Awaitable[object]) -> None:
    with suppress(Conflict, NotFound):
        await asked


async def test_the_end_of_a_job_is_told_to_however_many_endpoints(
    bench: Bench, vault: Vault
) -> None:
    await endpoint(bench, vault)
    await bench.run(
        "INSERT INTO endpoints (id, project_id, url, events, secret)"
        " SELECT gen_random_uuid(), project_id, url, events, secret FROM endpoints,"
        " generate_series(2, 8200)"
    )
    ref = await bench.running()
    received = await bench.receive(ref)
    assert received is not None
    assert await bench.succeed(received[1]) is not None
    await finished(bench)
    (told,) = await bench.rows("SELECT count(*) AS n FROM deliveries WHERE state = 'pending'")
    assert told["n"] == 2 * 8_200
