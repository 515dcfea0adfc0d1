"""Batches while processes die: taken once, never over their money, and their results are what was paid.

The time that batches take, and what they cost others, is for `make batches`.
"""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
WHO = "c_9-anna"


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


@pytest.mark.long
@pytest.mark.timeout(200)
def test_an_api_that_dies_while_it_takes_a_batch_has_taken_all_of_it_or_nothing(
    stage: Stage,
) -> None:
    stage.execute("INSERT INTO pauses (scope) VALUES ('all')")
    body: dict[str, object] = {"items": rows(stage, 3_000)}
    with ThreadPoolExecutor(1) as client:
        for nth, delay in enumerate((0.3, 0.8, 1.3, 1.8)):
            sent = client.submit(send, stage, body, f"catalogue-{nth}")
            threading.Event().wait(delay)
            stage.actor("api").kill()
            stage.fill()
            sent.exception()  # its connection broke, or it was just in time
            again = send(stage, body, f"catalogue-{nth}")
            assert again.status_code == 202, again.text
            batch = str(again.json()["id"])
            assert stage.number("SELECT count(*) FROM batches WHERE status = 'running'") == 1
            assert stage.number("SELECT count(*) FROM jobs WHERE finished_at IS NULL") == 3_000
            held = stage.number("SELECT sum(held) FROM jobs")
            assert (held, money(stage, batch)[0]) == (3_000 * PRICE, 3_000 * PRICE)
            stage.execute("UPDATE jobs SET webhook_url = NULL WHERE finished_at IS NULL")
            assert stage.client.post(f"/v1/batches/{batch}/cancel").status_code == 200
            stage.actor("dispatcher").kill()
            stage.fill()
            eventually(lambda of=batch: see(stage, of)["status"] == "canceled", "it ends", _LONG)  # type: ignore[misc]
    stage.execute("DELETE FROM pauses")
    assert stage.number("SELECT sum(held) FROM jobs") == 0
    witnesses.check_money(stage)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_whoever_dies_a_customer_is_forgotten_wholly(stage: Stage) -> None:
    named = {"for": WHO}
    answer = send(
        stage,
        {"items": rows(stage, 60, customer=WHO, metadata=named), "metadata": named,
         "webhook": {"url": f"{stage.receiver.url}?of={WHO}"}},
        WHO,
    )  # fmt: skip
    assert answer.status_code == 202, answer.text
    batch = str(answer.json()["id"])
    single = stage.submit(customer=WHO, key=WHO, metadata=named)
    eventually(lambda: done(stage, batch) >= 10, "some of its rows have ended", _LONG)
    asked = stage.client.post("/v1/erasures", json={"customer": WHO})
    assert asked.status_code == 202, asked.text
    erasure = str(asked.json()["id"])
    for role in ("dispatcher", "worker", "dispatcher", "api", "dispatcher", "worker"):
        before = erased(stage)
        eventually(
            lambda seen=before: erased(stage) > seen or phase(stage, erasure) != "jobs",  # type: ignore[misc]
            "it goes on", _LONG,
        )  # fmt: skip
        stage.actor(role).kill()
        stage.fill()
    eventually(lambda: phase(stage, erasure) in {"images", "completed"}, "no row is left", _LONG)
    assert tables_with(stage, WHO) == []
    stage.execute("UPDATE remnants SET since = since - interval '10 minutes'")
    stage.execute("UPDATE erasures SET next_at = now() WHERE finished_at IS NULL")
    eventually(lambda: phase(stage, erasure) == "completed", "no byte is left", _LONG)
    assert erased(stage) == 61
    proof = stage.client.get(f"/v1/erasures/{erasure}").json()
    assert (proof["jobs"]["erased"], proof["about"]) == (61, None)
    assert stage.job(single).result is None
    eventually(
        lambda: stage.number("SELECT sum(held) FROM jobs") == 0, "no charge is unknown", _LONG
    )
    witnesses.check_calls(stage)
    witnesses.check_money(stage)


def erased(stage: Stage) -> int:
    return stage.number("SELECT count(*) FROM jobs WHERE erased_at IS NOT NULL")


def phase(stage: Stage, erasure: str) -> str:
    return str(stage.client.get(f"/v1/erasures/{erasure}").json()["phase"])


def tables_with(stage: Stage, word: str) -> list[str]:
    """Return the tables that have a word in any row, also in bytes."""
    tables = stage.rows(
        "SELECT table_name FROM information_schema.tables "
        "WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
    )
    found = f"%{word}%", f"%{word.encode().hex()}%"
    return [
        str(name)
        for (name,) in tables
        if stage.number(
            f'SELECT count(*) FROM "{name}" t WHERE t::text LIKE %s OR t::text LIKE %s',  # noqa: S608 - a test's
            *found,
        )
    ]
