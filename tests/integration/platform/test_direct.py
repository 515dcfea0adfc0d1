"""The driver's own connections: few are used over and over, and what they are given has one type."""

import asyncio

import pytest

from models.platform.db import Database

PID = b"SELECT pg_backend_pid() AS pid, pg_sleep(%(seconds)s) IS NULL AS slept"
OWN = b"SELECT count(*) AS n FROM pg_prepared_statements WHERE statement LIKE 'SELECT pg_backend_pid%%'"


async def test_the_connection_that_came_back_last_is_lent_next(database: Database) -> None:
    at_once = [database.direct.read(PID, {"seconds": 0.05}) for _ in range(3)]
    used = {rows[0]["pid"] for rows in await asyncio.gather(*at_once)}
    assert len(used) > 1
    one_by_one = {(await database.direct.read(PID, {"seconds": 0}))[0]["pid"] for _ in range(9)}
    assert len(one_by_one) == 1
    assert one_by_one <= used


async def test_a_statement_is_prepared_at_its_first_use(database: Database) -> None:
    await database.direct.read(PID, {"seconds": 0})
    assert await database.direct.read(OWN, {}) == [{"n": 1}]


async def test_a_new_connection_that_nobody_waits_for_any_more_is_lent_last(
    database: Database,
) -> None:
    direct = database.direct
    for _ in range(20):  # until the first connection is back before the second one is there
        await direct.close()
        (first,) = await direct.read(PID, {"seconds": 0})
        both = await asyncio.gather(*(direct.read(PID, {"seconds": 0}) for _ in range(2)))
        if {rows[0]["pid"] for rows in both} == {first["pid"]}:
            break
    async with asyncio.timeout(10):
        while (state := direct.pool()).open < 2 or state.used:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)
    assert (await direct.read(PID, {"seconds": 0}))[0]["pid"] == first["pid"]


_BOTH_WAYS = b"SELECT pg_typeof(%(number)s)::text AS type, pg_typeof(%(list)s)::text AS of_list"


@pytest.mark.parametrize("number", [0, 3, -3, 40_000, 2**31, -(2**31), 2**63 - 1, -(2**63)])
async def test_every_whole_number_is_a_bigint(database: Database, number: int) -> None:
    told = {"number": number, "list": [number]}
    async with database.transaction() as tx:
        for writer in (database.direct, tx):
            (row,) = await writer.read(_BOTH_WAYS, told)
            assert (row["type"], row["of_list"]) == ("bigint", "bigint[]")
            (row,) = await writer.read(b"SELECT %(number)s AS same", {"number": number})
            assert row["same"] == number


async def test_what_no_bigint_holds_is_a_number_all_the_same(database: Database) -> None:
    (row,) = await database.direct.read(b"SELECT %(number)s > 1 AS more", {"number": 2**70})
    assert row["more"]
