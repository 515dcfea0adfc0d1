"""Batches while processes die: never over their money, and their results are what was paid.

The time that batches take, and what they cost others, is for `make batches`.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from uuid import UUID

import httpx
import pytest

from models import ids
from tests.e2e import witnesses
from tests.e2e.stage import MODEL, PRICE, Stage, eventually

_RATES = {"reset_after_charge": 0.1, "504_charged": 0.1, "504_uncharged": 0.1}
_ROWS, _STEP = 200, 20  # rows that end between two deaths
_PRICES = (PRICE + 4_000, PRICE - 11_000, PRICE + 8_000, PRICE)
_MORTALS = ("worker", "dispatcher", "worker", "api")
_LONG = 180.0  # seconds until a batch is over, whatever dies
_SPENT = """
    SELECT b.max_cost, (SELECT coalesce(sum(charged + held), 0) FROM jobs WHERE batch_id = b.id),
           (SELECT coalesce(sum(greatest(credits - hold, 0)), 0) FROM attempts
             WHERE job_id IN (SELECT id FROM jobs WHERE batch_id = b.id))
      FROM batches b
"""
_BOOKED = """
    SELECT sum(credits) FROM ledger
     WHERE kind NOT IN ('hold', 'release') AND job_id IN (SELECT id FROM jobs WHERE batch_id IS NOT NULL)
"""


@pytest.fixture
def stage(mortal: Stage) -> Iterator[Stage]:
    """One living process of each role before a provider that is slow enough to die beside."""
    mortal.fill()
    mortal.configure(latency=0.3)
    yield mortal
    mortal.configure(rates={}, price=PRICE, latency=0)
    mortal.fill()


def rows(stage: Stage, count: int, **fields: object) -> list[dict[str, object]]:
    """Write rows whose ends are told to the receiver."""
    return [
        {
            "custom_id": f"row-{n}",
            "input": {"model": MODEL, "prompt": f"bicycle {n}"},
            "webhook": {"url": stage.receiver.url},
            **fields,
        }
        for n in range(count)
    ]


def send(stage: Stage, body: dict[str, object], key: str) -> httpx.Response:
    return stage.client.post("/v1/batches", json=body, headers={"idempotency-key": key})


def see(stage: Stage, batch: str) -> dict[str, object]:
    shown: dict[str, object] = stage.client.get(f"/v1/batches/{batch}").json()
    return shown


def done(stage: Stage, batch: str) -> int:
    progress = see(stage, batch)["progress"]
    assert isinstance(progress, dict)
    return int(progress["done"])


def remember(stage: Stage) -> None:
    """Let the witnesses know of every row."""
    made = stage.rows("SELECT id FROM jobs WHERE batch_id IS NOT NULL")
    stage.accepted = sorted({*stage.accepted, *(ids.text(ids.JOB, UUID(str(i))) for (i,) in made)})


@contextmanager
def never_above_its_cap(stage: Stage) -> Iterator[None]:
    """Look all the time: no batch holds or was charged more than it may cost.

    But for what the provider took beyond the hold of a call that was under way when its price rose.
    """
    over, above = threading.Event(), list[tuple[object, ...]]()

    def look() -> None:
        while not over.wait(0.05):
            above.extend(
                row
                for row in stage.rows(_SPENT)
                if row[0] is not None and int(str(row[1])) > int(str(row[0])) + int(str(row[2]))
            )

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join()
    assert above == [], "(the cap, what was spent or held, what calls took beyond their hold)"


@pytest.mark.long
@pytest.mark.timeout(400)
def test_whoever_dies_a_batch_keeps_to_its_money_and_its_results_are_what_was_paid(
    stage: Stage,
) -> None:
    stage.configure(rates=_RATES)
    cap = _ROWS * PRICE * 3 // 4
    answer = send(stage, {"items": rows(stage, _ROWS), "max_cost": cap}, "night-1")
    assert answer.status_code == 202, answer.text
    batch = str(answer.json()["id"])
    with never_above_its_cap(stage):
        for role, price in zip(cycle(_MORTALS), cycle(_PRICES), strict=False):
            before = done(stage, batch)
            eventually(
                lambda seen=before: (
                    see(stage, batch)["status"] == "paused" or done(stage, batch) >= seen + _STEP  # type: ignore[misc]
                ),
                "it goes on", _LONG,
            )  # fmt: skip
            if see(stage, batch)["status"] == "paused":
                break
            stage.configure(price=price)
            stage.actor(role).kill()
            stage.fill()
        shown = see(stage, batch)
        assert shown["paused_for"] == "max_cost"
        more = {"max_cost": _ROWS * PRICE * 3}
        assert stage.client.patch(f"/v1/batches/{batch}", json=more).status_code == 200
        assert stage.client.post(f"/v1/batches/{batch}/resume").status_code == 200
        for role in _MORTALS:
            stage.actor(role).kill()
            stage.fill()
        eventually(lambda: see(stage, batch)["status"] == "completed", "it ends", _LONG)
    remember(stage)
    witnesses.check(stage, patience=_LONG)
    results = [json.loads(each) for each in results_of(stage, batch)]
    assert [each["row"] for each in results] == list(range(1, _ROWS + 1))
    told = sum(each["credits"] for each in results)
    eventually(lambda: money(stage, batch) == (0, told, 0), "the batch has counted it")
    assert stage.number(_BOOKED) == told
    assert stage.client.get(f"/v1/batches/{batch}").json()["counts"]["succeeded"] == sum(
        each["status"] == "succeeded" for each in results
    )


def results_of(stage: Stage, batch: str) -> list[str]:
    return stage.client.get(f"/v1/batches/{batch}/results").text.splitlines()


def money(stage: Stage, batch: str) -> tuple[int, int, int]:
    shown = see(stage, batch)["credits"]
    assert isinstance(shown, dict)
    return shown["held"], shown["charged"], shown["unknown"]
