"""The invariants of a stage: Darkroom's database against witnesses it cannot talk to.

The simulator saw every call and moved the money, the receiver saw every webhook, the store has the
bytes. `check` first waits for what may take its time (reconciliation, deliveries), then compares.
"""

import asyncio
import json
from collections import Counter
from uuid import UUID

from models import audit, ids
from models.db import Database
from models.settings import Settings
from models.storage import Store
from tests.e2e.stage import PATIENCE, Stage, eventually

_OPEN = """
    SELECT (SELECT count(*) FROM jobs WHERE finished_at IS NULL)
         + (SELECT count(*) FROM attempts WHERE charge = 'unknown')
         + (SELECT count(*) FROM deliveries WHERE state IN ('pending', 'sending'))
"""

# Celery prints this past every logger, when it is told to stop.
_CELERY_SAYS = {"worker: Warm shutdown (MainProcess)"}


def check(stage: Stage, *, patience: float = PATIENCE, complaints: tuple[str, ...] = ()) -> None:
    """Compare everything; `complaints` are the events that a role may log as errors."""
    eventually(lambda: stage.number(_OPEN) == 0, _rest(stage), patience)
    _check_jobs(stage)
    _check_calls(stage)
    _check_money(stage)
    _check_events(stage)
    _check_images(stage)
    _check_logs(stage, complaints)


def _check_jobs(stage: Stage) -> None:
    """Every job that was answered with 202 is there, and has ended."""
    ended = stage.rows("SELECT id FROM jobs WHERE finished_at IS NOT NULL")
    assert {ids.text(ids.JOB, UUID(str(id_))) for (id_,) in ended} == set(stage.accepted)
    assert stage.number("SELECT count(*) FROM jobs") == len(stage.accepted)


def _check_calls(stage: Stage) -> None:
    """No attempt was called twice, and each call belongs to an attempt, at the price it knows."""
    calls = stage.calls()
    twice = [id_ for id_, n in Counter(call.client_request_id for call in calls).items() if n > 1]
    assert not twice, f"paid twice: {twice}"
    books = {
        str(id_): int(str(credits_))
        for id_, credits_ in stage.rows(
            "SELECT client_request_id, coalesce(credits, 0) FROM attempts"
        )
    }
    charged = {call.client_request_id: call.charged for call in calls}
    strangers = charged.keys() - books.keys()
    assert not strangers, f"calls of no attempt: {strangers}"
    wrong = {id_: (books[id_], charged.get(id_, 0)) for id_ in books
             if books[id_] != charged.get(id_, 0)}  # fmt: skip
    assert not wrong, f"(ours, the provider's): {wrong}"


def _check_money(stage: Stage) -> None:
    """The sums agree with the simulator's ledger, and our books with themselves."""
    theirs = stage.ledger()
    ours = stage.number("SELECT coalesce(sum(credits), 0) FROM ledger WHERE kind = 'charge'")
    assert ours == theirs.charged
    assert theirs.held == 0
    assert stage.number("SELECT coalesce(sum(held), 0) FROM jobs") == 0
    assert stage.number("SELECT coalesce(sum(charged), 0) FROM jobs") == theirs.charged
    assert asyncio.run(_audit(stage.settings)) == []


def _check_events(stage: Stage) -> None:
    """One terminal event per job, and every delivery was delivered to whom it was for."""
    uneven = stage.rows(
        "SELECT jobs.id, count(events.id) FROM jobs LEFT JOIN events ON events.job_id = jobs.id "
        "AND events.type = 'job.' || jobs.status GROUP BY jobs.id HAVING count(events.id) <> 1"
    )
    assert uneven == []
    states = stage.rows("SELECT DISTINCT state FROM deliveries")
    assert states in ([], [("delivered",)])
    events = stage.number("SELECT count(DISTINCT event_id) FROM deliveries")
    assert len({each.id for each in stage.receiver.received}) == events
    assert stage.receiver.refused == []
    heard = {each.event.data.id for each in stage.receiver.received
             if each.event.type == f"job.{each.event.data.status}"}  # fmt: skip
    assert heard >= set(stage.accepted), "a job ended, and its webhook never came"


def _check_images(stage: Stage) -> None:
    """A job that succeeded has its bytes in the store, and they hash to their name."""
    without = stage.rows(
        "SELECT id FROM jobs WHERE status = 'succeeded' AND NOT EXISTS "
        "(SELECT FROM images WHERE job_id = jobs.id AND NOT spare)"
    )
    assert without == []
    keys = [
        f"{project}/{sha256}"
        for project, sha256 in stage.rows(
            "SELECT jobs.project_id, sha256 FROM images JOIN jobs ON jobs.id = images.job_id"
        )
    ]
    assert asyncio.run(_lost(stage.settings, keys)) == []


def _check_logs(stage: Stage, allowed: tuple[str, ...]) -> None:
    """No role has complained, since the last check, of something that it did not expect."""
    found = [
        line
        for actor in stage.actors
        if actor.name != "simulator"
        for line in actor.news()
        if line and line not in _CELERY_SAYS and _complains(line)
    ]
    assert [line for line in found if not any(word in line for word in allowed)] == []


def _complains(line: str) -> bool:
    """Tell whether a line is an error, or no log line at all."""
    try:
        fields = json.loads(line)
    except ValueError:
        return True
    return fields["level"] in {"error", "critical"} or "exception" in fields


def _rest(stage: Stage) -> str:
    left = stage.rows("SELECT id, status, waiting_reason FROM jobs WHERE finished_at IS NULL")
    return f"every job ended, every charge known, every webhook delivered; not ended: {left}"


async def _audit(settings: Settings) -> list[audit.Difference]:
    database = Database(settings, ring=lambda _topic, _key: None, pool=1)
    try:
        async with database.transaction() as tx:
            return await audit.audit(tx)
    finally:
        await database.close()


async def _lost(settings: Settings, keys: list[str]) -> list[str]:
    store = Store(settings.storage_url)
    return [key for key in keys if not await store.verify(key)]
