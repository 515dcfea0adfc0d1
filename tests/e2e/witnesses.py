"""The invariants of a stage: Darkroom's database against witnesses it cannot talk to.

The simulator saw every call and moved the money, the receiver saw every webhook, the store has the
bytes. `check` first waits for what may take its time (reconciliation, deliveries), then compares.
"""

import asyncio
import json
from collections import Counter
from uuid import UUID

from models import ids
from models.images.storage import Store
from models.money import audit
from models.platform.db import Database
from models.settings import Settings
from tests.e2e.stage import PATIENCE, Stage, eventually

_OPEN = """
    SELECT (SELECT count(*) FROM jobs WHERE finished_at IS NULL)
         + (SELECT count(*) FROM attempts WHERE charge = 'unknown')
         + (SELECT count(*) FROM deliveries WHERE state IN ('pending', 'sending'))
"""

# What is searched for by a job or a project.
_OF_A_JOB = {"attempt.sent", "attempt.answered", "image.kept", "webhook.delivered", "job.accepted"}


def check(stage: Stage, *, patience: float = PATIENCE, complaints: tuple[str, ...] = ()) -> None:
    """Compare everything; `complaints` are the events that a role may log as errors."""
    eventually(lambda: stage.number(_OPEN) == 0, _rest(stage), patience)
    check_jobs(stage)
    check_calls(stage)
    check_money(stage)
    check_events(stage)
    check_images(stage)
    _check_logs(stage, complaints)


def check_jobs(stage: Stage) -> None:
    """Every job that was answered with 202 is there, and has ended."""
    found, accepted = set(ended(stage)), set(stage.accepted)
    assert found == accepted, f"never ended: {accepted - found}; of nobody: {found - accepted}"
    count = stage.number("SELECT count(*) FROM jobs")
    assert count == len(accepted), f"{count} jobs, and {len(accepted)} were accepted"


def check_calls(stage: Stage) -> None:
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


def check_money(stage: Stage) -> None:
    """The sums agree with the simulator's ledger, and our books with themselves."""
    theirs = stage.ledger()
    ours = stage.number(
        "SELECT coalesce(sum(credits), 0) FROM ledger WHERE kind NOT IN ('hold', 'release')"
    )
    assert ours == theirs.charged, f"{ours} in our ledger, {theirs.charged} in the provider's"
    assert theirs.held == 0, f"the provider still holds {theirs.held}"
    held = stage.number("SELECT coalesce(sum(held), 0) FROM jobs")
    assert held == 0, f"jobs still hold {held}"
    charged = stage.number("SELECT coalesce(sum(charged), 0) FROM jobs")
    assert charged == theirs.charged, f"jobs were charged {charged}, and it was {theirs.charged}"
    found = asyncio.run(_audit(stage.settings))
    assert found == [], f"the audit found {found}"


def check_events(stage: Stage) -> None:
    """One terminal event per job, and every delivery was delivered to whom it was for."""
    uneven = stage.rows(
        "SELECT jobs.id, count(events.id) FROM jobs LEFT JOIN events ON events.job_id = jobs.id "
        "AND events.type = 'job.' || jobs.status GROUP BY jobs.id HAVING count(events.id) <> 1"
    )
    assert uneven == [], f"jobs without just one terminal event: {uneven}"
    states = stage.rows("SELECT state, count(*) FROM deliveries GROUP BY state")
    assert {state for state, _ in states} <= {"delivered"}, f"deliveries: {states}"
    wanted = {event_id(id_) for (id_,) in stage.rows("SELECT DISTINCT event_id FROM deliveries")}
    received = {each.id for each in stage.receiver.received}
    assert received == wanted, f"never came: {wanted - received}; came: {received - wanted}"
    assert stage.receiver.refused == [], f"refused: {stage.receiver.refused}"
    heard = {each.event.data.id for each in stage.receiver.received
             if each.event.type == f"job.{each.event.data.status}"}  # fmt: skip
    assert heard >= set(stage.accepted), "a job ended, and its webhook never came"


def check_images(stage: Stage) -> None:
    """A job that succeeded has its bytes in the store, and they hash to their name."""
    without = stage.rows(
        "SELECT id FROM jobs WHERE status = 'succeeded' AND NOT EXISTS "
        "(SELECT FROM images WHERE job_id = jobs.id AND NOT spare)"
    )
    assert without == [], f"succeeded without an image: {without}"
    keys = [
        f"{project}/{sha256}"
        for project, sha256 in stage.rows(
            "SELECT jobs.project_id, sha256 FROM images JOIN jobs ON jobs.id = images.job_id"
        )
    ]
    gone = asyncio.run(_lost(stage.settings, keys))
    assert gone == [], f"bytes that are gone, or are others: {gone}"


def ended(stage: Stage) -> dict[str, str]:
    """Return every job that has ended, and how."""
    rows = stage.rows("SELECT id, status FROM jobs WHERE finished_at IS NOT NULL")
    return {ids.text(ids.JOB, UUID(str(id_))): str(status) for id_, status in rows}


def event_id(id_: object) -> str:
    """Name an event as its webhooks do."""
    return ids.text(ids.EVENT, UUID(str(id_)))


def _check_logs(stage: Stage, allowed: tuple[str, ...]) -> None:
    """No role has complained, since the last check, of something that it did not expect."""
    found = [
        line
        for actor in stage.actors
        if actor.name != "simulator"
        for line in actor.news()
        if line and _complains(line)
    ]
    assert [line for line in found if not any(word in line for word in allowed)] == []


def _complains(line: str) -> bool:
    """Return whether a line is an error, or no log line at all."""
    try:
        fields = json.loads(line, parse_constant=_not_json)
    except ValueError:
        return True
    if fields["event"] in _OF_A_JOB and not fields.keys() >= {"job_id", "project_id"}:
        return True
    return fields["level"] in {"error", "critical"} or "exception" in fields


def _not_json(word: str) -> object:
    raise ValueError(f"{word} is Python's, and no JSON (RFC 8259)")


def _rest(stage: Stage) -> str:
    left = stage.rows("SELECT id, status, waiting_reason FROM jobs WHERE finished_at IS NULL")
    return f"every job ended, every charge known, every webhook delivered; not ended: {left}"


async def _audit(settings: Settings) -> list[audit.Difference]:
    database = Database(settings, ring=lambda _topic, _key: None, pool=1)
    try:
        return await audit.audit(database)
    finally:
        await database.close()


async def _lost(settings: Settings, keys: list[str]) -> list[str]:
    store = Store(settings.storage_url)
    return [key for key in keys if not await store.verify(key)]
