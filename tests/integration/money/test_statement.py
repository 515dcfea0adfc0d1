"""The account's own ledger has the last word: however a provider lies, our books become equal to it."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from deploy.simulator.world.money import CHARGE, TOPUP, Entry
from models import jobs
from models.money import budgets, hours, statement
from models.money.audit import audit
from models.money.budgets import Rule
from tests.fixtures.lies import is_nameless, lying, settle
from tests.fixtures.making import IMAGE
from tests.fixtures.spending import CHARGED, DAY, FREE, HOUR, PRICE, House
from worker.dispatcher.account import matching, reconciling
from worker.dispatcher.account.matching import Reported

Booked = list[tuple[str, int]]
PAID: Booked = [("hold", PRICE), ("release", -PRICE), ("charge", PRICE)]
SPARED: Booked = [("hold", PRICE), ("release", -PRICE)]


async def booked(house: House, job_id: UUID) -> Booked:
    return [(kind, credits_) for _, kind, credits_ in await house.bench.ledger(job_id)]


def entries(house: House) -> list[Entry]:
    return house.provider.world.wallet.entries


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"darkroom_{name}", labels) or 0.0


LIES: dict[str, tuple[str, Booked]] = {
    "a 500 that is charged": ("500+charged", [*SPARED, ("adjustment", PRICE)]),
    "a 500 that is charged and logged as failed": (
        "500+charged+logged_failed",
        [*SPARED, ("adjustment", PRICE)],
    ),
    "a 400 that is charged": ("moderation_400+charged", [*SPARED, ("adjustment", PRICE)]),
    "an empty answer that is charged": (
        "item_error+charged",
        [*SPARED, ("adjustment", PRICE)],
    ),
    "an image that was never charged": ("ok+free", [*PAID, ("adjustment", -PRICE)]),
    "a charge that comes twice": ("ok+twice", [*PAID, ("adjustment", PRICE)]),
    "a charge that is refunded": ("ok+refunded", [*PAID, ("refund", -PRICE)]),
    "a charge that is adjusted": ("ok+adjusted", [*PAID, ("adjustment", 9_000)]),
    "both": ("ok+adjusted=5+refunded", [*PAID, ("adjustment", 5), ("refund", -PRICE)]),
    "a 500 that is charged and refunded": (
        "500+charged+refunded",
        [*SPARED, ("refund", -PRICE), ("adjustment", PRICE)],
    ),
    "a lost answer that is refunded": (f"{CHARGED}+refunded", [*PAID, ("refund", -PRICE)]),
    "failed, and charged": (f"{CHARGED}+logged_failed", PAID),
    "failed first": (f"{CHARGED}+failed_first", PAID),
    "failed with a cost, and charged": (f"{CHARGED}+failed_with_cost", PAID),
    "failed with a cost, and free": (f"{FREE}+failed_with_cost", SPARED),
    "no client id, and charged": (f"{CHARGED}+no_client_id", PAID),
    "no client id, and free": (f"{FREE}+no_client_id", SPARED),
    "no client id, but an inference": ("524_charged+no_client_id", PAID),
    "an odd row of a call that was charged": (f"{CHARGED}+odd_row", PAID),
    "an odd row of a call that was not": (f"{FREE}+odd_row", SPARED),
    "no row at all of a call that was charged": ("lost+charged", PAID),
    "no row at all of a call that was not": ("lost", SPARED),
}


# What leaves nothing but a charge without a name, or a row without one, is known by its time alone.
APART = ("lost", "lost+charged", f"{FREE}+no_client_id", f"{CHARGED}+no_client_id")


async def test_the_accounts_ledger_has_the_last_word(house: House) -> None:
    """Lies are told at once, but for those of which the time must tell whose they are."""
    scripts = [script for script, _ in LIES.values()]
    together = [each for each in scripts if each not in APART]
    jobs_ = dict(zip(together, await house.spend(*together, max_attempts=1), strict=True))
    for script in APART:
        await house.age(HOUR)
        (jobs_[script],) = await house.spend(script, max_attempts=1)
    await settle(house)
    for lie, (script, expected) in LIES.items():
        assert sorted(await booked(house, jobs_[script])) == sorted(expected), lie
        assert (await house.bench.job(jobs_[script]))["held"] == 0, lie


@pytest.mark.long
@pytest.mark.parametrize("script", APART)
async def test_a_call_that_nobody_named_is_found_among_no_others(house: House, script: str) -> None:
    (job,) = await house.spend(script, max_attempts=1)
    await settle(house)
    (expected,) = [booked_ for each, booked_ in LIES.values() if each == script]
    assert sorted(await booked(house, job)) == sorted(expected)


async def test_two_charges_of_one_inference_are_one_calls(house: House) -> None:
    """Nobody has named it, and two lines beside one call would be a doubt."""
    (job,) = await house.spend("lost+charged+twice", max_attempts=1)
    await settle(house)
    assert sorted(await booked(house, job)) == sorted([*PAID, ("adjustment", PRICE)])


@pytest.mark.parametrize("logged", [False, True])
async def test_what_a_call_under_way_was_charged_is_no_other_calls(
    house: House, *, logged: bool
) -> None:
    """Its worker waits for Postgres, or has died: nothing but the charge, or a row, tells of it yet."""
    (lost,) = await house.spend("lost", max_attempts=1)
    ref = await house.bench.running()
    (name,) = [each["client_request_id"] for each in await house.bench.attempts(ref.job_id)]
    (call,) = house.strangers(1, named=name)
    call.logged, call.lies = logged, {"no_client_id": 0.0}
    await settle(house)
    assert await house.charge(lost) != "settled"
    received = await house.bench.receive(ref, replace(IMAGE, inference_id=call.inference_id))
    assert received is not None
    assert await house.bench.succeed(received[1]) is not None
    await settle(house)
    assert sorted(await booked(house, lost)) == sorted(SPARED)
    assert sorted(await booked(house, ref.job_id)) == sorted(PAID)


async def test_what_an_answer_told_wrongly_becomes_what_was_charged(house: House) -> None:
    told = (0, 1, 50_000, 91_000_000)
    jobs_ = await house.spend(*(f"ok+told={each}" for each in told))
    await settle(house)
    for each, job in zip(told, jobs_, strict=True):
        assert sum(credits_ for _, credits_ in await booked(house, job)) == PRICE, each
        assert (await house.bench.job(job))["charged"] == PRICE, each


@pytest.mark.long
@pytest.mark.parametrize("skew", [-75, 75, -600, 600])
async def test_a_provider_whose_clock_is_wrong_is_understood(house: House, skew: int) -> None:
    house.provider.world.change({"skew": skew})
    jobs_ = await house.spend(CHARGED, FREE, "500+charged", "lost", max_attempts=1)
    await settle(house)
    assert await house.charges(*jobs_) == ["settled", "released", "settled", "released"]


@pytest.mark.parametrize("orders", [1, pytest.param(2, marks=pytest.mark.long)])
async def test_a_provider_that_lies_in_every_way_at_once_is_seen_through(
    house: House, orders: int
) -> None:
    project = house.bench.caller.project_id
    rule = Rule("project", "day", "UTC", 10**9, "hard")
    await house.bench.do(lambda tx: budgets.put(tx, project, rule))
    house.provider.world.change({"skew": -75})
    scripts = [script for script, _ in LIES.values()]
    scripts += [f"ok+told={told}" for told in (0, 1, 50_000)]
    apart = {"lost", f"{FREE}+no_client_id"}  # without a trace
    for mixed in (scripts, scripts[::-2])[:orders]:
        await house.spend(*[each for each in mixed if each not in apart], max_attempts=1)
        await house.age(HOUR)
        await house.spend(*[each for each in mixed if each in apart], max_attempts=1)
        await house.age(HOUR)
    await settle(house, rounds=5)
    await house.compare()  # to the credit
    assert await audit(house.bench.database) == []
    unknown = await house.bench.rows("SELECT id FROM attempts WHERE charge = 'unknown'")
    assert unknown == []
    assert metric("provider_unmatched_charges") == 0


async def test_a_correction_is_told_counted_and_shown_once(house: House) -> None:
    before = metric("charges_corrected_total", by="ledger")
    (job,) = await house.spend("500+charged", max_attempts=1)
    with capture_logs() as logs:
        for _ in range(3):
            await matching.run(house.reader, Reported())
    assert metric("charges_corrected_total", by="ledger") - before == 1
    (said,) = [line for line in logs if line["event"] == "charge.corrected"]
    assert (said["booked"], said["credits"], said["log_level"]) == (0, PRICE, "warning")
    assert await house.bench.events(job) == ["job.failed", "job.charge_resolved"]
    (attempt,) = await house.bench.attempts(job)
    assert (attempt["charge"], attempt["credits"], attempt["adjusted"]) == ("settled", PRICE, PRICE)
    (line,) = await house.bench.rows("SELECT * FROM ledger WHERE kind = 'adjustment'")
    assert line["reference"].startswith("MODEL_USAGE 20")
    assert abs(line["made_at"] - entries(house)[-1].created_at) < timedelta(milliseconds=2)


async def test_several_refunds_of_one_charge_are_booked_once_each(house: House) -> None:
    (job,) = await house.spend("ok")
    wallet, charge = house.provider.world.wallet, entries(house)[-1]
    for amount in (1_000, 2_000, 2_000):
        wallet.correct(TOPUP, "REFUND", amount, charge.model, charge.reference_id)
    moment = datetime.now(UTC).replace(microsecond=0)
    wallet.entries[-2:] = [_at(each, moment) for each in wallet.entries[-2:]]  # twins
    for _ in range(3):
        await matching.run(house.reader, Reported())
    assert sorted(await booked(house, job)) == sorted(
        [*PAID, ("refund", -1_000), ("refund", -2_000), ("refund", -2_000)]
    )
    await house.age(30 * DAY)
    wallet.correct(CHARGE, "ADJUSTMENT", 7, charge.model, charge.reference_id)
    await matching.run(house.reader, Reported())
    assert (await house.bench.job(job))["charged"] == PRICE - 5_000 + 7


async def test_different_refunds_of_one_moment_are_each_booked(house: House) -> None:
    (job,) = await house.spend("ok")
    wallet, charge = house.provider.world.wallet, entries(house)[-1]
    moment = datetime.now(UTC).replace(microsecond=0)
    for shown in ((1_000, 2_000, 1_000), (3_000,)):
        for amount in shown:
            wallet.correct(TOPUP, "REFUND", amount, charge.model, charge.reference_id)
            wallet.entries[-1] = _at(wallet.entries[-1], moment)
        await matching.run(house.reader, Reported())
    ours = [credits_ for kind, credits_ in await booked(house, job) if kind == "refund"]
    assert sorted(ours) == [-3_000, -2_000, -1_000, -1_000]


def _at(entry: Entry, moment: datetime) -> Entry:
    return Entry(
        entry.number, moment, entry.direction, entry.type, entry.credits, entry.model,
        entry.reference_id,
    )  # fmt: skip


async def test_a_refund_of_a_budgets_charge_makes_room_in_the_window_of_its_hold(
    house: House,
) -> None:
    project = house.bench.caller.project_id
    rule = Rule("project", "total", "UTC", PRICE, "hard")
    await house.bench.do(lambda tx: budgets.put(tx, project, rule))
    await house.spend("ok+refunded")
    await matching.run(house.reader, Reported())
    (standing,) = await house.bench.do(lambda tx: budgets.standings(tx, project))
    assert (standing.spent, standing.held, standing.left) == (0, 0, PRICE)


async def test_corrections_of_an_hour_that_is_folded_are_added_to_it(house: House) -> None:
    await house.spend("ok+refunded", "500+charged", max_attempts=1)
    await house.bench.run("UPDATE ledger SET at = at - interval '3 h'")
    await house.age(3 * HOUR)
    while await house.bench.do(lambda tx: hours.fold(tx, timedelta(0))):
        pass
    await matching.run(house.reader, Reported())
    assert await audit(house.bench.database) == []


@pytest.mark.parametrize("charge", [None, PRICE], ids=["free", "paid"])
async def test_a_job_that_waits_for_its_charge_hears_it_from_the_accounts_ledger(
    house: House, charge: int | None
) -> None:
    script = f"{FREE if charge is None else CHARGED}+logged_failed, ok"
    (job,) = await house.spend(script, on_unknown_charge="wait")
    await reconciling.run(house.reader)
    while await house.work():
        pass
    row = await house.bench.job(job)
    assert row["status"] == ("succeeded" if charge is None else "failed")
    assert row["charged"] == PRICE


async def test_a_row_that_failed_with_a_cost_decides_nothing(house: House) -> None:
    house.provider.world.change({"charge_lag": 3600})
    (job,) = await house.spend(f"{CHARGED}+failed_with_cost")
    await reconciling.run(house.reader)
    assert await house.charge(job) == "unknown"
    house.provider.world.change({"charge_lag": 0})
    await settle(house)
    assert await house.charge(job) == "settled"


async def test_a_charge_that_lands_after_the_call_was_believed_free_is_booked(house: House) -> None:
    house.provider.world.change({"charge_lag": 3000})
    (job,) = await house.spend(f"{CHARGED}+logged_failed")
    await reconciling.run(house.reader)
    assert await house.charge(job) == "released"
    await settle(house, rounds=2)
    assert await house.charge(job) == "settled"


async def test_what_nobody_can_tell_apart_is_counted_and_not_guessed(house: House) -> None:
    """Two lost calls and one charge without a name: whose it is, nobody knows."""
    lost, _ = await house.spend("lost", "lost")
    house.strangers(1)
    house.provider.world.calls.all[-1].logged = False
    await settle(house)
    assert await house.charge(lost) == "released"
    assert metric("provider_unmatched_charges") == 1


async def test_a_row_without_a_name_that_may_be_either_keeps_both_unknown(house: House) -> None:
    jobs_ = await house.spend("lost", "lost")
    house.strangers(1)
    await settle(house)
    assert await house.charges(*jobs_) == ["unknown", "unknown"]
    assert metric("charges_contested") == 2


async def test_what_does_not_name_a_call_of_ours_is_counted(house: House) -> None:
    await house.spend("ok")
    house.provider.world.wallet.correct(TOPUP, "REFUND", 500, None, "inf-of-nobody")
    house.provider.world.wallet.correct(CHARGE, "ADJUSTMENT", 500, None, None)
    await house.age(HOUR)
    await matching.run(house.reader, Reported())
    assert metric("provider_unmatched_corrections") == 2
    assert metric("provider_unmatched_charges") == 0


async def test_old_lines_go_and_change_nothing(house: House) -> None:
    await house.spend("ok+adjusted")
    await matching.run(house.reader, Reported())
    await house.bench.run("UPDATE account_lines SET seen_at = seen_at - interval '90 days'")
    assert await house.bench.do(lambda tx: statement.forget(tx, 89 * DAY, 1)) == 1
    assert await house.bench.do(lambda tx: statement.forget(tx, 91 * DAY, 9)) == 0
    assert await house.bench.do(lambda tx: statement.forget(tx, 89 * DAY, 9)) == 1
    await matching.run(house.reader, Reported())  # they are still shown there, and read again


async def test_two_dispatchers_that_find_one_correction_book_it_once(house: House) -> None:
    (job,) = await house.spend("500+charged+refunded", max_attempts=1)
    presenter = house.reader.dispatcher.presenter
    crowd = [await house.dispatcher(f"dispatcher-{n}") for n in range(4)]
    await asyncio.gather(*(matching.run(reader, Reported()) for reader in crowd))
    (attempt,) = await house.bench.attempts(job)
    again = [
        house.bench.do(lambda tx: jobs.correct(tx, presenter, attempt["id"])) for _ in range(3)
    ]
    assert await asyncio.gather(*again) == [None] * 3
    assert len(await booked(house, job)) == 4


async def test_a_dispatcher_that_dies_before_it_books_is_followed(house: House) -> None:
    (job,) = await house.spend("500+charged", max_attempts=1)
    await matching.run(house.reader, Reported())
    before = await booked(house, job)
    # As it stood when the line was attributed, and not booked yet.
    await house.bench.run("DELETE FROM ledger WHERE kind = 'adjustment'")
    await house.bench.run("UPDATE jobs SET charged = 0")
    await house.bench.run(
        "UPDATE attempts SET charge = 'none', credits = NULL, adjusted = 0, charged_at = NULL"
    )
    await house.bench.run("UPDATE account_lines SET booked = false")
    await matching.run(house.reader, Reported())
    assert await booked(house, job) == before


async def test_a_charge_of_ours_stays_while_it_may_be_one_that_names_another(house: House) -> None:
    """The ledger may name calls by ids that their answers did not: then nothing is written off."""
    jobs_ = await house.spend("ok", "ok")
    moved = entries(house)
    moved[1:] = [
        Entry(each.number, each.created_at, each.direction, each.type, each.credits, None, f"x{n}")
        for n, each in enumerate(moved[1:])
    ]
    try:
        await settle(house)
        for job in jobs_:
            assert await booked(house, job) == PAID
    finally:
        calls = house.provider.world.calls.all
        for n, call in enumerate(calls[:2]):
            at = next(place for place, each in enumerate(moved) if each.reference_id == f"x{n}")
            old = moved[at]
            moved[at] = Entry(
                old.number, old.created_at, old.direction, old.type, old.credits, None, call.inference_id
            )  # fmt: skip


@pytest.mark.parametrize("seed", [pytest.param(n, marks=pytest.mark.long) for n in range(1, 9)])
async def test_whatever_a_provider_says_our_books_become_its_own(house: House, seed: int) -> None:
    """Lies are drawn, so are the hours between them, the provider's clock, and when its account is away."""
    draw, reported, scripts = Random(seed), Reported(), dict[UUID, str]()  # noqa: S311 - cases
    duties = (
        partial(reconciling.run, house.reader),
        partial(reconciling.recheck, house.reader),
        partial(matching.run, house.reader, reported),
    )
    house.provider.world.change({"skew": draw.choice((0, -75, 40))})
    for _ in range(4):
        some = [lying(draw) for _ in range(6)]
        alone = [[each] for each in some if is_nameless(each)]
        for together in ([each for each in some if not is_nameless(each)], *alone):
            jobs_ = await house.spend(*together, max_attempts=1)
            scripts |= dict(zip(jobs_, together, strict=True))
            house.provider.world.change({"account_fault": draw.choice(("", "", "500"))})
            await house.age(HOUR / 2)
            for duty in draw.sample(duties, 2):
                await duty()
            await house.age(draw.choice((HOUR / 2, HOUR)))
        house.provider.world.change({"account_fault": ""})
    await settle(house, rounds=5)
    await house.compare()
    assert await audit(house.bench.database) == []
    unknown = [script for job, script in scripts.items() if await house.charge(job) == "unknown"]
    assert unknown == []
