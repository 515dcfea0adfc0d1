"""Dispatchers that die while something is done to many jobs: each is done once, and the books balance."""

from collections.abc import Iterator
from uuid import UUID

import pytest

from models import ids
from tests.e2e import witnesses
from tests.e2e.stage import Stage, eventually

_JOBS = 60


@pytest.fixture
def stage(mortal: Stage) -> Iterator[Stage]:
    """One living process of each role, and nothing that runs; afterwards the books must balance."""
    mortal.fill()
    mortal.execute("INSERT INTO pauses (scope) VALUES ('all')")
    yield mortal
    mortal.execute("DELETE FROM pauses")
    made = mortal.rows("SELECT id FROM jobs WHERE retried_from IS NOT NULL")
    mortal.accepted += [ids.text(ids.JOB, UUID(str(each))) for (each,) in made]
    mortal.fill()
    witnesses.check(mortal)


def ask(stage: Stage, action: str, status: str) -> str:
    body = {"action": action, "filter": {"status": [status]}}
    answer = stage.client.post("/v1/jobs/actions", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def see(stage: Stage, action: str) -> dict[str, object]:
    shown: dict[str, object] = stage.client.get(f"/v1/jobs/actions/{action}").json()
    return shown


def die_during(stage: Stage, action: str) -> dict[str, object]:
    """Kill the dispatcher each time it has come a little further; returns the action when it is over."""
    deaths = 0
    while True:
        before = int(str(see(stage, action)["done"]))
        eventually(
            lambda seen=before: (
                see(stage, action)["finished_at"] is not None  # type: ignore[misc]
                or int(str(see(stage, action)["done"])) > seen
            ),
            "it goes on",
        )
        if see(stage, action)["finished_at"] is not None:
            assert deaths > 0, "nobody died in the middle of it"
            return see(stage, action)
        if deaths < 2:
            stage.actor("dispatcher").kill()
            deaths += 1
            stage.fill()


@pytest.mark.long
@pytest.mark.timeout(140)
def test_dispatchers_that_are_killed_do_each_job_once(stage: Stage) -> None:
    for _ in range(_JOBS):
        stage.submit()
    canceled = die_during(stage, ask(stage, "cancel", "queued"))
    assert (canceled["status"], canceled["done"], canceled["failed"]) == ("completed", _JOBS, 0)
    told = "SELECT count(*), count(DISTINCT job_id) FROM events WHERE type = 'job.canceled'"
    assert stage.rows(told) == [(_JOBS, _JOBS)]
    retried = die_during(stage, ask(stage, "retry", "canceled"))
    assert (retried["status"], retried["done"], retried["failed"]) == ("completed", _JOBS, 0)
    made = "SELECT count(*), count(DISTINCT retried_from) FROM jobs WHERE retried_from IS NOT NULL"
    assert stage.rows(made) == [(_JOBS, _JOBS)]
    over = ask(stage, "cancel", "queued")
    eventually(lambda: see(stage, over)["finished_at"] is not None, "nothing is left that waits")
