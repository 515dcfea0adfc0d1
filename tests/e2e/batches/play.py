"""Batches from their first byte to the last credit: taken beside a neighbour, canceled, run, compared."""

import asyncio
import csv
import io
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.e2e import stage as stages
from tests.e2e import witnesses
from tests.e2e.batches.memory import Most, watched
from tests.e2e.batches.neighbour import Neighbour, beside, p95
from tests.e2e.stage import Stage, eventually

ROLES = ("simulator", "api", "dispatcher", "worker")
ENVIRONMENT = {"DARKROOM_TICK": "1", "DARKROOM_HEARTBEAT": "3", "DARKROOM_WORKER_SEEN": "10",
               "DARKROOM_LEASE_RUN": "20", "DARKROOM_LEASE_RELEASE": "20"}  # fmt: skip
_CALL, _QUICK = 2.0, 0.2  # seconds of a paid call: while time is measured, and while rows are run
_LOST = {"reset_after_charge": 0.05, "504_uncharged": 0.05}  # of the answers
_IDLE = 60  # POSTs of the neighbour that are measured before
_PATIENCE = 600.0  # seconds until every row has ended, and every charge is known


@dataclass(frozen=True)
class Report:
    """What was seen, in seconds, MiB and credits."""

    rows: int
    accepted: float
    many: int
    accepted_many: float
    idle: list[float]
    besides: list[float]
    memory: Most
    answered: float
    last_began: float
    all_ended: float
    run: int
    run_in: float
    credits_: int
    load: float

    @property
    def ratio(self) -> float:
        """The neighbour's POST beside a batch, as a multiple of what it is without."""
        return p95(self.besides) / p95(self.idle)

    def __str__(self) -> str:
        return (
            f"batches: {self.rows:,} rows of CSV accepted in {self.accepted:.1f} s, {self.many:,} in "
            f"{self.accepted_many:.1f} s; another project's POST p95 {p95(self.idle):.3f} s idle and "
            f"{p95(self.besides):.3f} s beside them ({self.ratio:.1f} x, of {len(self.besides)}); api "
            f"{self.memory.own} MiB at most, {self.memory.before} before, and the child that judges "
            f"{self.memory.child}; canceling {self.many:,} answered in {self.answered:.1f} s, no row began "
            f"later than {self.last_began:.1f} s after the request, all ended in {self.all_ended:.0f} s; "
            f"{self.run:,} rows run in {self.run_in:.0f} s with a tenth of the answers lost: "
            f"{self.credits_:,} credits in results, in our ledger and in the provider's; "
            f"load before {self.load:.1f}"
        )


def play(stage: Stage, rows: int, many: int, run: int) -> Report:
    """Play on a stage whose roles run."""
    load = os.getloadavg()[0]
    key, _ = asyncio.run(stages.project(stage.settings, "neighbour"))
    stage.top_up(1_000_000)
    stage.configure(latency=_CALL)
    api = stage.actor("api").pid
    with beside(str(stage.client.base_url), key) as neighbour:
        idle = neighbour.seen(_IDLE)
        with watched(api) as memory:
            first, accepted, besides = _accepted(stage, neighbour, rows)
            _cancel(stage, first)
            second, accepted_many, more = _accepted(stage, neighbour, many)
        _until_it_runs(stage, second)
        answered, last_began, all_ended = _cancel(stage, second)
    stage.configure(latency=_QUICK, rates=_LOST)
    began = time.monotonic()
    third = _send(stage, run)
    _until_over(stage, third, "completed")
    run_in = time.monotonic() - began
    return Report(
        rows, accepted, many, accepted_many, idle, besides + more, memory,
        answered, last_began, all_ended, run, run_in, _compared(stage, third), load,
    )  # fmt: skip


def csv_of(rows: int) -> bytes:
    """Write a catalogue as a spreadsheet does."""
    told = io.StringIO()
    writer = csv.writer(told)
    writer.writerow(("custom_id", "prompt", "image_size", "seed", "metadata.sku"))
    writer.writerows(
        (f"bike-{n}", f"A bicycle, number {n} of a catalogue, on white, seen from the side", "2K",
         n, f"B-{n}") for n in range(rows)
    )  # fmt: skip
    return told.getvalue().encode()


def _accepted(stage: Stage, neighbour: Neighbour, rows: int) -> tuple[str, float, list[float]]:
    """Send a batch; returns its id, the seconds to its 202, and the neighbour's POSTs meanwhile."""
    neighbour.seen(0)
    began = time.monotonic()
    made = _send(stage, rows)
    took = time.monotonic() - began
    return made, took, neighbour.seen(0)


def _send(stage: Stage, rows: int) -> str:
    answer = stage.client.post(
        "/v1/batches", content=csv_of(rows), headers={"content-type": "text/csv"}, timeout=300
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def _until_it_runs(stage: Stage, batch: str) -> None:
    eventually(lambda: _look(stage, batch)["counts"]["running"] > 0, "rows run")  # type: ignore[index]


def _cancel(stage: Stage, batch: str) -> tuple[float, float, float]:
    """Cancel a batch; returns when it was answered, its last row began, and all had ended: in seconds."""
    asked, began = datetime.now(UTC), time.monotonic()
    answer = stage.client.post(f"/v1/batches/{batch}/cancel")
    assert answer.status_code == 200, answer.text
    answered = time.monotonic() - began
    _until_over(stage, batch, "canceled")
    ended = time.monotonic() - began
    late = stage.rows(
        "SELECT coalesce(max(extract(epoch FROM sent_at - %s)), 0) FROM attempts "
        "JOIN jobs ON jobs.id = job_id WHERE custom_id IS NOT NULL", asked,
    )  # fmt: skip
    return answered, max(float(str(late[0][0])), 0.0), ended


def _until_over(stage: Stage, batch: str, status: str) -> None:
    eventually(lambda: _look(stage, batch)["status"] == status, f"it is {status}", _PATIENCE)


def _look(stage: Stage, batch: str) -> Mapping[str, object]:
    shown: dict[str, object] = stage.client.get(f"/v1/batches/{batch}").json()
    return shown


def _compared(stage: Stage, batch: str) -> int:
    """Demand that results, both ledgers and the audit agree; returns the credits of the batch."""
    eventually(
        lambda: stage.number("SELECT count(*) FROM attempts WHERE charge = 'unknown'") == 0
        and stage.number("SELECT count(*) FROM jobs WHERE finished_at IS NULL") == 0,
        "every charge is known", _PATIENCE,
    )  # fmt: skip
    witnesses.check_calls(stage)
    witnesses.check_money(stage)
    results = stage.client.get(f"/v1/batches/{batch}/results").text.splitlines()
    told = sum(json.loads(each)["credits"] for each in results)
    eventually(lambda: _charged(stage, batch) == told, "the batch has what its rows have")
    return int(told)


def _charged(stage: Stage, batch: str) -> int:
    shown = _look(stage, batch)["credits"]
    assert isinstance(shown, dict)
    return int(shown["charged"])
