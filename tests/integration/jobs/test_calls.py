"""Which earlier call a repetition joins: the table of rules, by the database's clock."""

from collections.abc import Awaitable, Callable
from typing import Literal
from uuid import UUID

import pytest
from sqlalchemy import text

from models.accounts.callers import Caller
from models.jobs import Submission, batches
from models.jobs.submission import calls
from models.jobs.submission.calls import Claim
from models.jobs.view import Presenter
from models.platform.db import Database

State = Literal["waiting", "dead", "answered", "lost", "failed"]
Begin = Callable[..., Awaitable[Claim]]

PRINT = b"p" * 32
ASKED = Submission("m", {"prompt": "x"}, b"h" * 32, 91_000)


@pytest.fixture
def begin(database: Database, presenter: Presenter, caller: Caller) -> Begin:
    """Make a call that is in a state, since so many seconds, by a request that counted so."""

    async def make(state: State = "waiting", since: int = 1, counted: int = 0) -> Claim:
        async with database.transaction() as tx:
            made, _ = await batches.group(tx, presenter, caller, [ASKED, ASKED])
            claim = await calls.begin(tx, PRINT, counted, [each.id for each in made])
        if state == "answered":
            await calls.answered(database.direct, claim)
        if state in {"lost", "failed"}:
            await calls.lost(database.direct, claim, failed=state == "failed")
        async with database.transaction() as tx:
            for column in ("seen_at", "answered_at", "lost_at", "failed_at"):
                shift = f"UPDATE calls SET {column} = {column} - make_interval(secs => :since)"  # noqa: S608
                await tx.execute(text(f"{shift} WHERE job_id = :id"),
                                 {"since": since, "id": claim.id})  # fmt: skip
        return claim

    return make


async def claim(database: Database, counted: int = 0, of: bytes = PRINT) -> UUID | None:
    """Have a repetition look for a call to join; returns its first job."""
    async with database.transaction() as tx:
        await calls.queue_up(tx, of)
        found = await calls.claim(tx, of, counted)
    return None if found is None else found.id


@pytest.mark.parametrize(
    ("state", "since", "counted", "joins"),
    [
        ("waiting", 1, 0, False),
        ("waiting", 1, 1, True),
        ("dead", 20, 0, True),  # whoever waits is seen every five seconds
        ("dead", 121, 0, False),
        ("answered", 1, 0, False),
        ("answered", 60, 1, True),  # its answer may have been cut off
        ("answered", 901, 1, False),
        ("lost", 119, 0, True),
        ("lost", 121, 0, False),
        ("lost", 121, 1, True),
        ("failed", 119, 0, True),
        ("failed", 121, 0, False),
    ],
)
async def test_a_repetition_joins_by_these_rules(
    database: Database, begin: Begin, state: State, since: int, counted: int, *, joins: bool
) -> None:
    made = await begin(state, since)
    assert await claim(database, counted) == (made.id if joins else None)


async def test_another_body_joins_nothing(database: Database, begin: Begin) -> None:
    await begin("lost")
    assert await claim(database, 1, b"q" * 32) is None


async def test_each_call_is_joined_once_and_again_when_it_is_lost_again(
    database: Database, begin: Begin
) -> None:
    made = {(await begin("lost")).id for _ in range(3)}
    found = [await claim(database, 1) for _ in range(4)]
    assert set(found) == {*made, None}
    assert await claim(database, 0) is None
    assert await claim(database, 2) in made


async def test_what_is_lost_for_sure_comes_first_and_what_was_answered_last(
    database: Database, begin: Begin
) -> None:
    answered, waiting, lost = await begin("answered"), await begin(), await begin("lost")
    found = [await claim(database, 1) for _ in range(3)]
    assert found == [lost.id, waiting.id, answered.id]


async def test_whoever_was_joined_says_nothing_any_more(database: Database, begin: Begin) -> None:
    before = await begin()
    assert await claim(database, 1) == before.id
    await calls.lost(database.direct, before)  # it notices only now that its client has left
    assert await claim(database, 0) is None
    await calls.answered(database.direct, before)
    async with database.transaction() as tx:
        assert await tx.scalar(text("SELECT answered_at FROM calls")) is None


async def test_a_failure_is_told_again_for_two_minutes_from_the_first_on(
    database: Database, begin: Begin
) -> None:
    before = await begin("failed", 90)
    assert await claim(database) == before.id
    await calls.lost(database.direct, Claim(before.jobs, 2), failed=True)
    async with database.transaction() as tx:
        await tx.execute(text("UPDATE calls SET failed_at = failed_at - interval '31 s'"))
    assert await claim(database) is None


async def test_a_call_names_all_of_its_jobs_and_goes_with_the_first(
    database: Database, begin: Begin
) -> None:
    made = await begin("lost")
    async with database.transaction() as tx:
        found = await calls.claim(tx, PRINT, 1)
        assert found == Claim(made.jobs, 2)
        assert await tx.scalar(text("SELECT count(*) FROM ledger")) == len(made.jobs)
    await calls.see(database.direct, [made.id])
