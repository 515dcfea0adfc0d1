"""The audit log: chained at the commit, never changed, and whoever changes it all the same is found."""

import asyncio
import re
from collections.abc import Sequence

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from models.audit_log import recording, verifying
from models.audit_log.actors import Actor, acting
from models.audit_log.verifying import End, Verdict
from models.platform.db import Database, Transaction
from tests.fixtures.making import Bench

LINES = 8


async def write(database: Database, number: int, **facts: object) -> None:
    """Log a line in a transaction of its own."""
    async with database.transaction() as tx:
        await recording.record(tx, "gate.probed", f"gate {number}", after={"n": number, **facts})


@pytest.fixture
async def chain(database: Database) -> Database:
    """A log of some lines, which are numbered from 1."""
    with acting(Actor("command", name="ada@night")):
        for number in range(1, LINES + 1):
            await write(database, number, text="ä\n'\"\\ ☃", many=[1, {"b": None, "a": 1.5}])
    return database


async def tamper(database: Database, *statements: str) -> Verdict:
    """Change the log as its owner can, past every trigger; return what verification says."""
    async with database.transaction() as tx:
        await tx.execute(text("SET LOCAL session_replication_role = replica"))
        for statement in statements:
            await tx.execute(text(statement))
    return await verifying.verify(database)


async def test_each_line_is_chained_to_the_one_before(chain: Database) -> None:
    verdict = await verifying.verify(chain)
    assert (verdict.lines, verdict.wrong, verdict.end.seq) == (LINES, [], LINES)
    assert re.fullmatch(r"8:[0-9a-f]{64}", str(verdict.end))
    assert (await verifying.verify(chain, verdict.end)).wrong == []


async def test_a_log_of_nothing_is_whole(database: Database) -> None:
    verdict = await verifying.verify(database)
    assert (verdict.lines, verdict.wrong, verdict.end) == (0, [], End(0, ""))


async def test_lines_of_many_at_once_have_a_place_each(database: Database) -> None:
    await asyncio.gather(*(write(database, number) for number in range(60)))
    verdict = await verifying.verify(database)
    assert (verdict.lines, verdict.wrong) == (60, [])


async def test_several_lines_of_one_transaction_are_chained_in_their_order(
    bench: Bench,
) -> None:
    async def three(tx: Transaction) -> None:
        for number in range(3):
            await recording.record(tx, "gate.probed", str(number))

    await bench.do(three)
    rows = await bench.rows(
        "SELECT subject FROM audit_log WHERE action = 'gate.probed' ORDER BY seq"
    )
    assert [row["subject"] for row in rows] == ["0", "1", "2"]
    assert (await verifying.verify(bench.database)).wrong == []


async def test_a_line_is_there_if_and_only_if_its_change_is(database: Database) -> None:
    async def undone() -> None:
        async with database.transaction() as tx:
            await recording.record(tx, "gate.probed", "never")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await undone()
    await write(database, 1)
    assert (await verifying.verify(database)).lines == 1


async def test_nobody_waits_for_a_transaction_that_is_still_open(database: Database) -> None:
    async with database.transaction() as tx:
        await recording.record(tx, "gate.probed", "slow")
        await asyncio.wait_for(write(database, 1), 5)
    verdict = await verifying.verify(database)
    assert (verdict.lines, verdict.wrong) == (2, [])


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET action = 'key.created' WHERE seq = 3",
        "UPDATE audit_log SET hash = 'x' WHERE seq = 3",
        "DELETE FROM audit_log WHERE seq = 3",
        "TRUNCATE audit_log",
    ],
)
async def test_the_log_is_append_only(chain: Database, statement: str) -> None:
    with pytest.raises(DBAPIError, match="append-only"):
        async with chain.transaction() as tx:
            await tx.execute(text(statement))
    assert (await verifying.verify(chain)).wrong == []


async def wrong(database: Database, *statements: str) -> Sequence[str]:
    return (await tamper(database, *statements)).wrong


@pytest.mark.parametrize(
    "change",
    [
        "action = 'key.created'", "subject = 'x'", "name = 'eve'", "acting = 'darkroom'",
        "at = at + interval '1 microsecond'", "after = '{}'", "before = '{}'", "after = NULL",
        "key_id = gen_random_uuid()", "project_id = gen_random_uuid()", "address = '::1'",
        "request_id = 'r'",
    ],
)  # fmt: skip
async def test_a_changed_line_is_named(chain: Database, change: str) -> None:
    (said,) = await wrong(chain, f"UPDATE audit_log SET {change} WHERE seq = 3")  # noqa: S608 - a test's
    assert re.fullmatch(r"line 3 \(aud_\w+\) was changed, moved or inserted", said)


async def test_removed_lines_are_named(chain: Database) -> None:
    assert await wrong(chain, "DELETE FROM audit_log WHERE seq = 3") == [
        "line 3 is missing: removed"
    ]
    assert await wrong(chain, "DELETE FROM audit_log WHERE seq IN (5, 6)") == [
        "line 3 is missing: removed",
        "lines 5 to 6 are missing: removed",
    ]


async def test_a_log_that_was_cut_short_is_found(chain: Database) -> None:
    assert await wrong(chain, "DELETE FROM audit_log WHERE seq > 6") == [
        "lines 7 to 8 are missing: removed"
    ]


async def test_who_cuts_the_end_too_is_found_by_an_end_that_was_kept(chain: Database) -> None:
    kept = (await verifying.verify(chain)).end
    shorter = await tamper(
        chain,
        "DELETE FROM audit_log WHERE seq > 6",
        "UPDATE audit_head SET seq = 6, hash = (SELECT hash FROM audit_log WHERE seq = 6)",
    )
    assert shorter.wrong == []
    (said,) = (await verifying.verify(chain, kept)).wrong
    assert said.startswith("line 8 is not as it was told before")


async def test_inserted_lines_are_named(chain: Database) -> None:
    copy = (
        "INSERT INTO audit_log (id, acting, action, subject, seq, hash) SELECT gen_random_uuid(),"
    )
    assert await wrong(chain, f"{copy} 'key', 'key.created', 'k', NULL, NULL") == [
        "1 lines have no place in the chain: inserted past it"
    ]
    said = await wrong(
        chain, f"{copy} 'key', 'key.created', 'k', 9, hash FROM audit_log WHERE seq = 8"
    )
    assert said[1:] == ["1 lines stand behind line 8, the last: inserted"]


async def test_a_line_that_was_put_between_others_is_named(chain: Database) -> None:
    said = await wrong(
        chain,
        "UPDATE audit_log SET seq = seq + 100 WHERE seq > 4",
        "UPDATE audit_log SET seq = seq - 99 WHERE seq > 100",
        "INSERT INTO audit_log (id, acting, action, subject, seq, hash)"
        " SELECT gen_random_uuid(), 'key', 'key.created', 'k', 5, hash FROM audit_log WHERE seq = 4",
    )
    assert "line 5" in said[0]
    assert "1 lines stand behind line 8, the last: inserted" in said


async def test_lines_that_changed_places_are_named(chain: Database) -> None:
    said = await wrong(
        chain,
        "UPDATE audit_log SET seq = 100 WHERE seq = 3",
        "UPDATE audit_log SET seq = 3 WHERE seq = 5",
        "UPDATE audit_log SET seq = 5 WHERE seq = 100",
    )
    assert [each.split(" ", 2)[1] for each in said] == ["3", "4", "5", "6"]


async def test_an_end_that_was_changed_is_found(chain: Database) -> None:
    (said,) = await wrong(chain, "UPDATE audit_head SET hash = 'x'")
    assert said.startswith("the end of the log is written as 8:78")


async def test_of_a_change_only_what_differs_is_logged(bench: Bench) -> None:
    before, after = {"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 4, "d": 5}

    async def change(tx: Transaction) -> None:
        await recording.record(tx, "webhook.changed", "w", before=before, after=after)
        await recording.record(tx, "webhook.changed", "same", before=before, after=before)

    await bench.do(change)
    (row,) = await bench.rows("SELECT subject, before, after FROM audit_log WHERE acting = 'darkroom'"
                              " AND action = 'webhook.changed'")  # fmt: skip
    assert row == {"subject": "w", "before": {"b": 2, "c": 3}, "after": {"b": 4, "d": 5}}


async def test_no_secret_is_logged(bench: Bench) -> None:
    async def change(tx: Transaction) -> None:
        facts = {"said": "it was whsec_c2VjcmV0 and dr_live_abc_def"}
        await recording.record(tx, "gate.probed", "g", after=facts)

    await bench.do(change)
    (row,) = await bench.rows("SELECT after FROM audit_log WHERE subject = 'g'")
    assert row["after"] == {"said": "it was [secret] and [secret]"}
