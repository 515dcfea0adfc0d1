"""`python -m models resolve`: an operator says what an attempt cost, and the books follow."""

import asyncio
from datetime import timedelta

import pytest

from models.__main__ import main
from models.settings import Settings
from tests.conftest import SECRET
from tests.fixtures.spending import CHARGED, FREE, HOUR, PRICE, House
from worker.dispatcher.account import reconciling


@pytest.fixture(autouse=True)
def _environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("REDIS_URL", settings.redis_url.get_secret_value())
    monkeypatch.setenv("DARKROOM_SECRET", SECRET)


async def resolve(*arguments: str) -> int:
    """Run the command, as a process of its own would: in a thread with its own event loop."""
    return await asyncio.to_thread(main, ["resolve", *arguments])


async def lost(house: House, script: str = CHARGED, **changes: object) -> tuple[str, str]:
    """Lose the answer of a call; returns the attempt's name, as the job's JSON shows it, and its job's."""
    (job,) = await house.spend(script, **changes)
    name = (await house.bench.attempts(job))[0]["client_request_id"]
    return name, name.partition(":")[0]


async def books(house: House) -> list[tuple[str, int]]:
    rows = await house.bench.rows("SELECT kind, credits FROM ledger ORDER BY id")
    return [(row["kind"], row["credits"]) for row in rows]


HELD = ("hold", PRICE)
FREED = ("release", -PRICE)


async def test_what_was_charged_is_settled_with_what_was_held(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    name, _ = await lost(house)
    assert await resolve(name, "charged") == 0
    assert await books(house) == [HELD, FREED, ("charge", PRICE)]
    assert f"{name} is settled: {PRICE} credits charged" in capsys.readouterr().out
    assert len(await house.events("job.charge_resolved")) == 1


async def test_what_was_charged_is_settled_with_what_the_operator_says(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    name, _ = await lost(house)
    house.by_hand.add(name)
    assert await resolve(name, "charged", "--credits", "55000") == 0
    assert await books(house) == [HELD, FREED, ("charge", 55_000)]
    assert "with 55000 credits charged and 0 held" in capsys.readouterr().out


async def test_what_was_free_is_released(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    name, _ = await lost(house, FREE)
    assert await resolve(name, "free") == 0
    assert await books(house) == [HELD, FREED]
    assert f"{name} is released: not charged; its job is failed" in capsys.readouterr().out
    assert len(await house.events("job.charge_resolved")) == 1


async def test_what_was_called_free_by_mistake_is_settled_when_the_log_shows_it(
    house: House,
) -> None:
    name, _ = await lost(house, CHARGED)
    house.by_hand.add(name)
    assert await resolve(name, "free") == 0
    await reconciling.recheck(house.reader)
    house.by_hand.clear()
    assert await books(house) == [HELD, FREED, ("charge", PRICE)]


async def test_what_was_called_free_by_mistake_can_be_charged_by_hand(house: House) -> None:
    name, _ = await lost(house, CHARGED)
    assert await resolve(name, "free") == 0
    assert await resolve(name, "charged") == 0
    assert await books(house) == [HELD, FREED, ("charge", PRICE)]


@pytest.mark.parametrize(
    ("verdict", "script", "status", "code"),
    [("charged", CHARGED, "failed", "paid_without_image"), ("free", f"{FREE}, ok", "queued", None)],
)
async def test_a_job_that_waits_for_its_charge_is_moved(
    house: House, verdict: str, script: str, status: str, code: str | None
) -> None:
    name, _ = await lost(house, script, on_unknown_charge="wait")
    assert await resolve(name, verdict) == 0
    (job,) = await house.bench.rows("SELECT status, error, run_after FROM jobs")
    assert job["status"] == status
    assert (job["error"] or {}).get("code") == code
    while await house.work():
        pass


@pytest.mark.parametrize("verdict", ["charged", "free"])
async def test_a_settled_attempt_is_refused_in_one_line(
    house: House, capsys: pytest.CaptureFixture[str], verdict: str
) -> None:
    name, _ = await lost(house, "ok")
    before = await books(house)
    assert await resolve(name, verdict) == 2
    assert await books(house) == before
    assert capsys.readouterr().err == (
        f"darkroom: There is nothing to resolve: {name} is settled, with {PRICE} credits.\n"
    )


async def test_an_attempt_that_is_free_already_is_refused(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    name, _ = await lost(house, FREE)
    assert await resolve(name, "free") == 0
    assert await resolve(name, "free") == 2
    assert f"{name} is released already." in capsys.readouterr().err


async def test_an_attempt_that_was_never_charged_is_refused(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    name, _ = await lost(house, "moderation_400")
    assert await resolve(name, "charged") == 2
    assert f"{name} was never charged." in capsys.readouterr().err


async def test_a_call_under_way_is_refused(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    ref = await house.bench.running()
    name = (await house.bench.attempts(ref.job_id))[0]["client_request_id"]
    assert await resolve(name, "free") == 2
    assert "still under way" in capsys.readouterr().err
    assert await house.charge(ref.job_id) == "unknown"


@pytest.mark.parametrize("name", ["job_00000000000000000000000000:1", "nonsense", ""])
async def test_an_attempt_that_is_not_there_is_refused(
    house: House, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    await lost(house)
    assert await resolve(name, "free") == 2
    said = capsys.readouterr().err
    assert said.startswith(f"darkroom: There is no attempt {name!r}")
    assert said.count("\n") == 1


@pytest.mark.parametrize("wrong", [("free", "--credits", "5"), ("charged", "--credits", "-5")])
async def test_credits_that_make_no_sense_are_refused(
    house: House, capsys: pytest.CaptureFixture[str], wrong: tuple[str, ...]
) -> None:
    name, _ = await lost(house)
    assert await resolve(name, *wrong) == 2
    assert "--credits goes with `charged`" in capsys.readouterr().err
    assert await books(house) == [HELD]


async def test_what_is_left_to_the_operator_can_be_resolved(house: House) -> None:
    name, _ = await lost(house)
    await house.age(timedelta(days=100))
    assert await resolve(name, "charged") == 0
    await house.age(HOUR)
    assert await books(house) == [HELD, FREED, ("charge", PRICE)]
