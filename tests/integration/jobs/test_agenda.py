"""What a dispatcher would find to do: the one question a tick names each duty, and no other."""

from collections.abc import Mapping
from datetime import timedelta

import pytest

from models.accounts.callers import Caller
from models.coordination import duties
from models.jobs import Filter, actions, agenda, erasures
from models.jobs.view import Presenter
from models.platform.db import Database
from models.platform.vault import Vault
from tests.fixtures import sending
from tests.fixtures.making import Bench

MINUTE = timedelta(minutes=1)
# What a duty finds, made of one job that waits, or of its delivery; others may find the same row.
_ROWS: Mapping[str, tuple[str, set[str]]] = {
    "a job that waits": ("SELECT 1", {"release"}),
    "one whose key is full": (
        "UPDATE jobs SET run_after = NULL, waiting_reason = 'concurrency_key', concurrency_key = 'k'",
        {"release"},
    ),
    "one that waits for a budget": (
        "UPDATE jobs SET run_after = NULL, waiting_reason = 'budget'",
        set(),
    ),
    "an image that is to be kept": (
        "UPDATE jobs SET phase = 'keep', fence = 1, attempt = 1, run_after = now()",
        {"release"},
    ),
    "one that is to be kept later": (
        "UPDATE jobs SET phase = 'keep', fence = 1, attempt = 1, run_after = now() + interval '1 h'",
        set(),
    ),
    "one that waited too long": ("UPDATE jobs SET queue_expires_at = now()", {"release", "expire"}),
    "one that cannot end in time": (
        "UPDATE jobs SET deadline = now() + interval '10 s'",
        {"release", "expire"},
    ),
    "one that was dispatched": (
        "UPDATE jobs SET status = 'released', fence = 1, lease_until = now() + interval '1 h'",
        set(),
    ),
    "a message that was lost": (
        "UPDATE jobs SET status = 'released', fence = 1, lease_until = now() - interval '1 s'",
        {"reap"},
    ),
}


async def _to_do(bench: Bench) -> set[str]:
    return set(
        await agenda.to_do(bench.database.direct, lease=MINUTE, typical_call=timedelta(seconds=30))
    )


@pytest.fixture
def bench(database: Database, presenter: Presenter, caller: Caller) -> Bench:
    return Bench(database, presenter, caller)


@pytest.fixture
async def marked(bench: Bench) -> Bench:
    """The bench of a dispatcher whose reaper has just marked its tick."""
    assert await _to_do(bench) == {"reap"}, "to mark it"
    assert await bench.do(lambda tx: duties.may_reap(tx, MINUTE))
    assert await _to_do(bench) == set()
    return bench


@pytest.mark.parametrize("what", _ROWS)
async def test_what_a_job_needs_is_on_the_agenda(marked: Bench, what: str) -> None:
    change, wanted = _ROWS[what]
    await marked.submit()
    await marked.run(change)
    assert await _to_do(marked) == wanted


async def test_what_a_delivery_needs_is_on_the_agenda(marked: Bench, vault: Vault) -> None:
    await sending.sending(marked, vault)
    assert await _to_do(marked) == set()
    await marked.run("UPDATE deliveries SET lease_until = now() - interval '1 s'")
    assert await _to_do(marked) == {"reap"}
    assert await sending.reap(marked) == 1
    await marked.run("UPDATE deliveries SET next_at = now() + interval '1 h'")
    assert await _to_do(marked) == set()
    await marked.run("UPDATE deliveries SET next_at = now()")
    assert await _to_do(marked) == {"wake"}


async def test_who_followed_a_job_that_ended_is_on_the_agenda(marked: Bench) -> None:
    leader = await marked.submit(reuse="exact")
    await marked.submit(reuse="exact")
    assert await _to_do(marked) == {"release"}
    await marked.cancel(leader)
    assert await _to_do(marked) == {"follow"}
    await marked.follow_up()
    assert await _to_do(marked) == {"release"}, "the follower leads"


async def test_what_is_asked_of_many_jobs_is_on_the_agenda(marked: Bench, vault: Vault) -> None:
    wish = actions.Wish("cancel", Filter(tag="nobody's"))
    await marked.do(lambda tx: actions.request(tx, marked.caller, wish, matched=None, most=1))
    assert await _to_do(marked) == {"act"}
    await marked.run("UPDATE actions SET status = 'completed', finished_at = now()")
    customer = erasures.Wish(customer="c_1")
    await marked.do(lambda tx: erasures.request(tx, vault, marked.caller, customer, most=1))
    assert await _to_do(marked) == {"erase"}
