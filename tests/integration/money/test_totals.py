"""Hours without customers: the sums of those with them, whoever wrote those and whenever."""

from datetime import UTC, datetime, timedelta

from models.money import hours
from models.money.hours import COUNTED
from tests.fixtures.making import Bench

FIRST = datetime(2026, 3, 27, 5, tzinfo=UTC)
# As a dispatcher of the version before adds to an hour that was folded: it knows `usage_hours` alone.
_ADD = """
    INSERT INTO usage_hours (project_id, hour, key_id, model, customer, submitted, charged)
    SELECT project_id, CAST(:at AS timestamptz) + n * interval '1 hour', id, :model, :customer, n + 1,
           :charged
      FROM api_keys, generate_series(0, 3) n WHERE project_id IS NOT NULL
    ON CONFLICT (project_id, hour, key_id, model, customer)
    DO UPDATE SET submitted = usage_hours.submitted + excluded.submitted,
                  charged = usage_hours.charged + excluded.charged
"""
_SUMS = ", ".join(f"CAST(sum({each}) AS bigint) AS {each}" for each in COUNTED)
_OF = "project_id, hour, key_id, model"
_ADDED = f"SELECT {_OF}, {_SUMS} FROM usage_hours GROUP BY {_OF} ORDER BY {_OF}"  # noqa: S608 - constants
_KEPT = f"SELECT {_OF}, {', '.join(COUNTED)} FROM usage_totals ORDER BY {_OF}"  # noqa: S608 - constants


async def agree(bench: Bench) -> int:
    """Demand that the totals are the sums; returns how many there are."""
    kept = await bench.rows(_KEPT)
    assert kept == await bench.rows(_ADDED)
    assert await bench.do(lambda tx: hours.off(tx, bench.caller.project_id)) == 0
    return len(kept)


async def test_they_follow_whatever_is_written_into_the_hours(bench: Bench) -> None:
    for customer, model, charged in (
        ("c_1", "m", 7), ("c_2", "m", 5), (None, "m", 3), ("c_1", None, -2), ("c_1", "m", 11),
    ):  # fmt: skip
        await bench.run(_ADD, at=FIRST, model=model, customer=customer, charged=charged)
        assert await agree(bench) in {4, 8}
    many = "INSERT INTO usage_hours (project_id, hour, key_id, model, customer, submitted)"
    whole = "SELECT project_id, :at, id, 'm', 'd_' || n, n FROM api_keys, generate_series(1, 500) n"
    await bench.run(f"{many} {whole} WHERE project_id IS NOT NULL", at=FIRST + timedelta(hours=9))
    assert await agree(bench) == 9
    before = await bench.rows(_KEPT)
    gone = await bench.do(
        lambda tx: hours.forget_customer(
            tx, bench.caller.project_id, "c_1", after=None, until=FIRST + timedelta(days=9)
        )
    )
    assert gone[0] == 8
    assert await bench.rows(_KEPT) == before, "a name was taken away, and nothing else"
    assert await agree(bench) == 9
    await bench.run("UPDATE usage_hours SET model = 'n', submitted = 2 WHERE customer = 'c_2'")
    assert await agree(bench) == 13
    await bench.run("DELETE FROM usage_hours WHERE model IS NULL")
    (left,) = await bench.rows("SELECT sum(charged) AS n FROM usage_totals WHERE model IS NULL")
    assert left["n"] == 0
