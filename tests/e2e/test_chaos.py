"""Everything at once, for half a minute: kills, a flush, a restart of Postgres, and the books afterwards.

The long one is `make chaos JOBS=2000 KILLS=60 SEED=3`. Both print their seed; `--seed` plays another.
"""

from pathlib import Path

import pytest

from tests.e2e.chaos.plan import Plan
from tests.e2e.chaos.play import play

SHORT = Plan(
    jobs=20, kills=3, apis=1, dispatchers=2, workers=2, clients=8, latency=0.4, lease=3,
    flushes=1, restarts=1, keep=120, pause=0.3, patience=90, takeover=60,
    faults=("freeze_worker", "lose_commits", "shut_store", "terminate_worker"),
)  # fmt: skip


@pytest.mark.long
@pytest.mark.timeout(300)
def test_whatever_happens_nothing_is_lost_and_nothing_is_paid_twice(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    plan = SHORT.with_seed(request.config.getoption("--seed"))
    report = play(plan, tmp_path, print)
    print(report)  # noqa: T201 - the line to quote
    assert report.violations == []
    assert report.jobs == plan.jobs
    assert report.done["kills"] >= plan.kills, "or nothing was tried"
