"""What a worker writes down: repeated while Postgres is away, and given up when it is at fault itself."""

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from models.platform.db import Transaction
from models.platform.db.absences import Busy
from tests.fixtures.spending import House
from worker.runtime.persistence import persist


def given_up() -> float:
    return REGISTRY.get_sample_value("darkroom_writes_given_up_total") or 0


async def test_a_statement_at_fault_is_given_up_after_a_few_tries_and_told(house: House) -> None:
    tries, before = 0, given_up()

    async def write(tx: Transaction) -> None:
        nonlocal tries
        tries += 1
        await tx.execute(text("SELECT 1 / 0"))

    with pytest.raises(DBAPIError):
        await persist(house.context, write)
    assert (tries, given_up() - before) == (3, 1)


async def test_a_statement_with_more_parameters_than_there_may_be_is_no_absence(
    house: House,
) -> None:
    many = {f"p{n}": n for n in range(66_000)}
    statement = text("SELECT " + " + ".join(f":{name}" for name in many))
    with pytest.raises(DBAPIError):
        await persist(house.context, lambda tx: tx.execute(statement, many), faults=1)


async def test_what_others_keep_from_ending_is_given_up_in_the_end(house: House) -> None:
    tries = 0

    async def write(tx: Transaction) -> None:
        nonlocal tries
        tries += 1
        await tx.execute(text("SET LOCAL statement_timeout = 20"))
        await tx.execute(text("SELECT pg_sleep(5)"))

    with pytest.raises(Busy):
        await persist(house.context, write, busy=2)
    assert tries == 2


async def test_a_race_that_was_lost_once_is_not_lost_for_good(house: House) -> None:
    tries = 0

    async def write(tx: Transaction) -> str:
        nonlocal tries
        tries += 1
        await tx.execute(text(f"SELECT 1 / {tries - 1}"))
        return "written"

    assert await persist(house.context, write) == "written"
    assert tries == 2
