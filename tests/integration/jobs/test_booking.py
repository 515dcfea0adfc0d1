"""Between a paid answer and its booking nothing escapes: whatever goes wrong there, no call is paid again.

What goes wrong is made in Postgres: triggers that refuse what is to be written, for ever or at first.
"""

import pytest
from structlog.testing import capture_logs

from tests.fixtures.spending import PRICE, House
from worker.dispatcher.account import reconciling

_REFUSE = (
    "CREATE SEQUENCE refused",
    """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN
           IF nextval('refused') <= {times} THEN
               RAISE EXCEPTION 'not now' USING ERRCODE = '{sqlstate}';
           END IF;
           RETURN NEW;
       END $$""",
    """CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW WHEN ({when})
              EXECUTE FUNCTION refuse()""",
)
_CHARGE = ("ledger", "NEW.kind = 'charge'")
_IMAGE = ("attempts", "NEW.outcome = 'image'")
_ANSWER = ("attempts", "NEW.outcome IN ('refused', 'try_later', 'image')")
_EVER = 1_000_000
BUG, OVERFLOW, INTEGRITY = "XX000", "22003", "23503"


async def refuse(
    house: House, what: tuple[str, str], sqlstate: str = INTEGRITY, times: int = _EVER
) -> None:
    """Let Postgres refuse some writes, so many times."""
    table, when = what
    for statement in _REFUSE:
        asked = statement.format(table=table, when=when, sqlstate=sqlstate, times=times)
        await house.bench.run(asked)


async def mend(house: House, what: tuple[str, str]) -> None:
    await house.bench.run(f"DROP TRIGGER refuse ON {what[0]}")


def calls(house: House) -> int:
    """Count the paid calls that the provider saw."""
    return len(house.provider.world.calls.all)


@pytest.mark.parametrize("sqlstate", [BUG, OVERFLOW, INTEGRITY])
async def test_a_booking_that_is_refused_at_first_is_made_at_last(
    house: House, sqlstate: str
) -> None:
    await refuse(house, _CHARGE, sqlstate, times=3)
    (made,) = await house.spend("ok", on_unknown_charge="retry")
    job = await house.bench.job(made)
    assert (job["status"], job["held"], job["charged"]) == ("succeeded", 0, PRICE)
    assert calls(house) == 1


@pytest.mark.parametrize("sqlstate", [BUG, OVERFLOW, INTEGRITY])
async def test_an_image_whose_charge_cannot_be_booked_is_kept_all_the_same(
    house: House, sqlstate: str
) -> None:
    await refuse(house, _CHARGE, sqlstate)
    (made,) = await house.spend("ok", on_unknown_charge="retry")
    job = await house.bench.job(made)
    assert (job["status"], job["held"], job["charged"]) == ("succeeded", PRICE, 0)
    assert await house.charge(made) == "unknown"
    assert calls(house) == 1
    await mend(house, _CHARGE)
    await reconciling.run(house.reader)
    job = await house.bench.job(made)
    assert (job["held"], job["charged"]) == (0, PRICE)


async def test_an_answer_that_cannot_be_written_down_is_not_paid_again(house: House) -> None:
    await refuse(house, _IMAGE)
    with capture_logs() as logs:
        (made,) = await house.spend("ok", on_unknown_charge="retry", max_cost=9 * PRICE)
    job = await house.bench.job(made)
    assert (job["status"], job["waiting_reason"], job["held"]) == (
        "queued",
        "unknown_charge",
        PRICE,
    )
    (attempt,) = await house.bench.attempts(made)
    assert (attempt["outcome"], attempt["charge"]) == ("unknown", "unknown")
    assert attempt["error"]["code"] == "not_booked"
    (told,) = [line for line in logs if line["event"] == "answer.not_booked"]
    assert (told["outcome"], told["credits"], told["http_status"]) == ("image", PRICE, 200)
    assert attempt["inference_id"] is not None
    assert told["inference_id"] == attempt["inference_id"]
    assert calls(house) == 1
    await mend(house, _IMAGE)
    await reconciling.run(house.reader)
    while await house.work():
        pass
    job = await house.bench.job(made)
    assert (job["status"], job["error"]["code"]) == ("failed", "paid_without_image")
    assert (job["held"], job["charged"]) == (0, PRICE)
    assert calls(house) == 1


@pytest.mark.parametrize("script", ["400", "500"])
async def test_a_free_answer_that_cannot_be_written_down_waits_for_the_log(
    house: House, script: str
) -> None:
    script = "moderation_400" if script == "400" else script
    await refuse(house, _ANSWER)
    (made,) = await house.spend(script, on_unknown_charge="retry")
    job = await house.bench.job(made)
    assert (job["status"], job["waiting_reason"]) == ("queued", "unknown_charge")
    assert calls(house) == 1
    await mend(house, _ANSWER)
    await reconciling.run(house.reader)
    assert await house.charge(made) == "released"
