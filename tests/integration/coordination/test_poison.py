"""No duty stops at one row: with a poisoned one in its way each moves the others, and that one later.

Postgres itself refuses every change of the poisoned row (`tests/fixtures/poison.py`). What moves rows one
by one is tried in `test_set_aside.py`; here is what moves many in one statement, or asks the provider.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from deploy.simulator import Running
from deploy.simulator.world.money import CHARGE
from models.accounts.callers import Caller
from models.coordination import workers
from models.images import records
from models.images.storage import Store
from models.money import budgets
from models.money.budgets import Rule
from models.platform.db import Database
from models.platform.vault import Vault
from models.settings import Settings
from tests.conftest import make_project
from tests.fixtures import spending
from tests.fixtures.making import Bench
from tests.fixtures.poison import heal, poison, put_by
from tests.fixtures.sending import endpoint, finished
from tests.fixtures.spending import CHARGED, HOUR, House
from worker.dispatcher.account import matching, reconciling
from worker.dispatcher.account.matching import Reported
from worker.dispatcher.duties import (
    budgeting,
    dispatching,
    measuring,
    parking,
    retaining,
    waking,
)


@pytest.fixture
async def house(
    settings: Settings, database: Database, caller: Caller, provider: Running
) -> AsyncIterator[House]:
    ours = {"worker_seen": 3600.0}
    async with spending.opened(settings, database, caller, provider, **ours) as opened:
        yield opened


async def statuses(house: House, *jobs_: UUID) -> list[str]:
    return [str((await house.bench.job(each))["status"]) for each in jobs_]


async def made_here(house: House) -> None:
    """Compare no call that was made by the bench, which the provider knows nothing of."""
    rows = await house.bench.rows("SELECT client_request_id FROM attempts")
    house.by_hand |= {row["client_request_id"] for row in rows}


async def test_a_job_that_cannot_be_dispatched_stops_no_other(house: House) -> None:
    first, second, third = [await house.submit() for _ in range(3)]
    await poison(house.bench, "jobs", first)
    while await dispatching.run(house.reader.dispatcher, dispatching.Last()):
        pass
    assert await statuses(house, first, second, third) == ["queued", "released", "released"]
    assert await put_by(house.bench) == {first: "release"}
    await heal(house.bench, "jobs")
    await dispatching.run(house.reader.dispatcher, dispatching.Last())
    assert await statuses(house, first) == ["released"]


async def test_a_paid_job_that_cannot_be_dispatched_stops_no_other(house: House) -> None:
    paid = [await house.bench.running() for _ in range(2)]
    for ref in paid:
        taken = await house.bench.receive(ref)
        assert taken is not None
        await house.bench.keep_later(taken[1])
    await made_here(house)
    waiting = await house.submit()
    await house.bench.run("UPDATE jobs SET run_after = now()")
    await poison(house.bench, "jobs", paid[0].job_id)
    while await dispatching.run(house.reader.dispatcher, dispatching.Last()):
        pass
    jobs_ = (paid[0].job_id, paid[1].job_id, waiting)
    assert await statuses(house, *jobs_) == ["queued", "released", "released"]


async def test_a_batch_that_fails_for_no_row_of_its_own_is_told_as_a_bug(house: House) -> None:
    job = await house.submit()
    await poison(house.bench, "turns", house.bench.caller.project_id, "INSERT", column="project_id")
    with pytest.raises(Exception, match="this row is poison"):
        await dispatching.run(house.reader.dispatcher, dispatching.Last())
    assert await put_by(house.bench) == {}
    assert await statuses(house, job) == ["queued"]


async def test_a_delivery_that_cannot_be_woken_stops_no_other(house: House, vault: Vault) -> None:
    await endpoint(house.bench, vault)
    for _ in range(3):
        await finished(house.bench)
    await made_here(house)
    await house.bench.do(
        lambda tx: workers.report(tx, "w", generate_slots=9, deliver_slots=9, draining=False)
    )
    rows = await house.bench.rows("SELECT id FROM deliveries ORDER BY id")
    await poison(house.bench, "deliveries", rows[0]["id"])
    while await waking.run(house.reader.dispatcher, waking.Cursor()) is True:
        pass
    rows = await house.bench.rows("SELECT state FROM deliveries ORDER BY id")
    assert [row["state"] for row in rows] == ["pending", "sending", "sending"]
    assert list((await put_by(house.bench)).values()) == ["wake"]


@pytest.mark.parametrize("lost", [CHARGED, "reset_before_charge"])
async def test_a_charge_that_cannot_be_resolved_keeps_no_other_unknown(
    house: House, lost: str
) -> None:
    jobs_ = await house.spend(*[lost] * 5)
    (attempt,) = await house.bench.attempts(jobs_[0])
    await poison(house.bench, "attempts", attempt["id"])
    await reconciling.run(house.reader)
    known = "settled" if lost == CHARGED else "released"
    assert await house.charges(*jobs_) == ["unknown", *[known] * 4]
    assert await put_by(house.bench) == {attempt["id"]: "reconcile"}
    await heal(house.bench, "attempts")
    await reconciling.run(house.reader)
    assert await house.charges(jobs_[0]) == [known]
    assert await put_by(house.bench) == {}


async def test_an_absence_that_cannot_be_noted_or_believed_is_its_own_calls_alone(
    house: House,
) -> None:
    jobs_ = await house.spend(*["lost"] * 3)
    (attempt,) = await house.bench.attempts(jobs_[0])
    only_if = "NEW.absent_at IS NOT NULL"
    await poison(house.bench, "attempts", attempt["id"], "UPDATE", only_if=only_if)
    for _ in range(3):
        await house.age(HOUR)
        await house.spend("ok")
        await reconciling.run(house.reader)
    assert await house.charges(*jobs_) == ["unknown", "released", "released"]


async def test_a_charge_that_cannot_be_taken_back_is_tried_again_and_stops_no_other(
    house: House,
) -> None:
    jobs_ = await house.spend(*["ok+free"] * 3)
    (attempt,) = await house.bench.attempts(jobs_[0])
    only_if = "NEW.kind = 'adjustment'"
    await poison(house.bench, "ledger", jobs_[0], "INSERT", column="job_id", only_if=only_if)

    async def look() -> list[int]:
        await house.age(2 * HOUR)
        await house.spend("ok")
        await matching.run(house.reader, Reported())
        return [(await house.bench.attempts(each))[0]["credits"] for each in jobs_]

    await look()
    assert await look() == [spending.PRICE, 0, 0]
    assert await put_by(house.bench) == {attempt["id"]: "correct"}
    await heal(house.bench, "ledger")
    assert await look() == [0, 0, 0]


async def test_a_line_that_cannot_be_written_hides_none_of_its_page(house: House) -> None:
    jobs_ = await house.spend(*["500+charged"] * 3, max_attempts=1)
    wallet = house.provider.world.wallet
    odd = next(each for each in wallet.entries if each.direction == CHARGE)
    at = wallet.entries.index(odd)
    wallet.entries[at] = replace(odd, reference_id="poison")
    await poison(house.bench, "account_lines", "poison", "INSERT", column="reference")
    await house.age(HOUR)
    await matching.run(house.reader, Reported())
    assert sorted(await house.charges(*jobs_)) == ["none", "settled", "settled"]
    assert REGISTRY.get_sample_value("darkroom_statement_lines_unwritten_total")


async def test_a_budget_that_cannot_be_looked_at_silences_no_other(house: House) -> None:
    (job,) = await house.spend("ok", customer="a")
    assert await statuses(house, job) == ["succeeded"]
    of = {"window": "total", "timezone": "UTC", "limit": 1, "mode": "soft"}
    caller = house.bench.caller
    for customer in ("a", None):
        scope = "project" if customer is None else "customer"
        rule = Rule(scope=scope, customer=customer, **of)  # type: ignore[arg-type] # literals
        made = await house.bench.do(partial(budgets.put, project_id=caller.project_id, rule=rule))
        if customer is not None:
            odd = made.budget.id
    await house.bench.run(
        "UPDATE budgets SET \"window\" = 'day', timezone = 'Nowhere/Land' WHERE id = :id", id=odd
    )
    round_ = budgeting.Round()
    while await budgeting.tell(house.reader.dispatcher, round_):
        pass
    told = await house.bench.rows("SELECT told FROM budget_windows ORDER BY told")
    assert [row["told"] for row in told] == [0, 100]
    assert await put_by(house.bench) == {odd: "budgets"}
    await house.bench.run("UPDATE budgets SET timezone = 'UTC', \"window\" = 'total'")


async def test_a_gate_that_cannot_be_moved_keeps_no_other_closed(
    house: House, vault: Vault
) -> None:
    other, _ = await make_project(house.bench.database, vault, "other")
    for project in (house.bench.caller.project_id, other.project_id):
        await house.bench.run(
            "INSERT INTO gates (reason, project_id, closed_at, checked_at)"
            " VALUES ('provider_down', :project, now() - interval '1 h', now() - interval '1 h')",
            project=project,
        )
    await poison(house.bench, "gates", other.project_id, column="project_id")
    (job,) = await house.spend("ok")
    assert await statuses(house, job) == ["queued"]
    await parking.run(house.reader)
    await house.work()
    assert await statuses(house, job) == ["succeeded"]
    await parking.run(house.reader)
    shut = await house.bench.rows("SELECT project_id FROM gates")
    assert [row["project_id"] for row in shut] == [other.project_id]


async def test_a_blob_that_cannot_be_deleted_keeps_no_other(
    house: House, settings: Settings
) -> None:
    project, store = house.bench.caller.project_id, Store(settings.storage_url)
    folder = Path(settings.storage_url) / str(project)
    for n in range(5):
        blob = folder / f"{n:064x}"
        blob.parent.mkdir(parents=True, exist_ok=True)
        if n == 2:
            (blob / "is a folder").mkdir(parents=True)
        else:
            blob.write_bytes(b"bytes")
        await house.bench.run(
            "INSERT INTO remnants (project_id, sha256, since)"
            " VALUES (:project, :sha256, now() - interval '1 h')",
            project=project, sha256=f"{n:064x}",
        )  # fmt: skip
    await retaining.run(house.reader.dispatcher, store)
    assert [each.name[-1] for each in folder.iterdir()] == ["2"]


async def test_what_cannot_be_measured_hides_no_other_figure(house: House, vault: Vault) -> None:
    await endpoint(house.bench, vault)
    failed = ("darkroom_duty_failures_total", {"duty": "measure", "cause": "bug"})
    before = REGISTRY.get_sample_value(*failed) or 0
    await house.bench.run("ALTER TABLE breakers RENAME COLUMN failures TO times")
    await measuring.run(house.reader.dispatcher)
    await house.bench.run("ALTER TABLE breakers RENAME COLUMN times TO failures")
    assert REGISTRY.get_sample_value(*failed) == before + 1
    assert REGISTRY.get_sample_value("darkroom_endpoints", {"state": "working"}) == 1


async def test_lost_thumbnails_of_one_project_keep_no_others_from_being_drawn(
    house: House, vault: Vault
) -> None:
    (other, _) = await make_project(house.bench.database, vault, "other")
    theirs = Bench(house.bench.database, house.bench.presenter, other)
    many = [await finished(house.bench) for _ in range(15)]
    one = await finished(theirs)
    await house.bench.run(
        "INSERT INTO images (job_id, attempt, spare, sha256, bytes, width, height, content_type,"
        " kept_at, expires_at) SELECT id, 1, false, 'hash', 1, 1, 1, 'image/jpeg', now() - "
        " CASE WHEN id = :one THEN interval '65 s' ELSE interval '1 h' END, now() + interval '1 h'"
        " FROM jobs",
        one=one,
    )
    lost = await house.bench.do(lambda tx: records.without_thumbnail(tx, 10))
    assert one in [job_id for job_id, _, _ in lost]
    assert len(lost) == 10
    assert len(many) > 10
