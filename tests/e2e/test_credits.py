"""Every credit explained: a third of the answers lost, and workers killed, until the log has told all.

Short in `make test`; the long one is `make credits`, which asks for --jobs 1000 --kills 20.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.local.servers.server import Server
from tests.e2e import stage as stages
from tests.e2e import witnesses
from tests.e2e.stage import ROOT, TERMINAL, Stage, eventually

RATES = {"reset_after_charge": 0.1, "504_charged": 0.1, "504_uncharged": 0.1}
LATENCY = 0.4
LONG = 300.0  # seconds: what a thousand jobs may take to their end


@pytest.fixture
def lossy(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: str, doorbell: Server
) -> Iterator[Stage]:
    """A Darkroom of its own with two workers, before a provider that loses a third of its answers."""
    folder = tmp_path_factory.mktemp("credits")
    with stages.opened(folder, postgres_server, doorbell.url) as stage:
        stage.start("simulator", "api", "dispatcher", "worker", "worker")
        stage.configure(rates=RATES, latency=LATENCY)
        yield stage


@pytest.mark.long
@pytest.mark.timeout(900)
def test_when_the_log_has_caught_up_every_credit_is_explained(
    lossy: Stage, request: pytest.FixtureRequest
) -> None:
    jobs, kills = request.config.getoption("--jobs"), request.config.getoption("--kills")
    stage = lossy
    prompt = {"model": "bytedance/seedream-5-0-lite-preview", "prompt": "a red bicycle"}
    with ThreadPoolExecutor(8) as clients:
        made = [clients.submit(stage.submit, input=prompt) for _ in range(jobs)]
        for nth in range(1, kills + 1):
            _wait_for_calls(stage, jobs * nth // (kills + 1))
            stage.living("worker")[0].kill()
            stage.until_ready(stage.begin("worker"))
        ids = [each.result() for each in made]

    witnesses.check(stage, patience=LONG)  # unknown is 0, and both ledgers agree to the credit

    ended = [stage.job(id_) for id_ in ids]
    assert {job.status for job in ended} <= TERMINAL
    charged = stage.ledger().charged
    usage = stage.client.get("/v1/usage").json()["totals"]
    assert usage["charged"]["credits"] == charged == sum(job.cost.charged for job in ended)
    assert (usage["unknown"]["credits"], usage["held"]["credits"]) == (0, 0)
    lost = sum(job.outcomes.count("unknown") for job in ended)
    assert lost >= jobs * 0.2, "or nothing was tried"
    assert _audit(stage.folder, stage) == ""
    ends = Counter(job.status if job.error is None else job.error.code for job in ended)
    print(  # noqa: T201 - the line to quote
        f"{jobs} jobs, {kills} workers killed, {len(stage.calls())} calls, {lost} answers lost: "
        f"{charged:,} credits in both ledgers, 0 unknown; {dict(ends)}"
    )


def _wait_for_calls(stage: Stage, count: int) -> None:
    eventually(lambda: len(stage.calls()) >= count, f"{count} calls were made", LONG)


def _audit(folder: Path, stage: Stage) -> str:
    """Run the operator's own command; returns what it prints."""
    run = subprocess.run(
        (sys.executable, "-m", "models", "audit"),
        cwd=ROOT,
        env=dict(stage.environment),
        capture_output=True,
        text=True,
        check=False,
    )
    (folder / "audit.log").write_text(run.stdout + run.stderr)
    assert run.returncode == 0, run.stderr
    return run.stdout
