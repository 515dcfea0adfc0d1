"""A short storm: a quiet project is served while a hostile one hangs, pings and piles up.

The long one is `make storm`. Here no time is held to a figure: whoever shares fairly has told the quiet
project of all its jobs while the hostile one still has more to tell than there are places.
"""

from pathlib import Path

import pytest

from tests.e2e import stage as stages
from tests.e2e.storm.attackers import Plan
from tests.e2e.storm.play import ENVIRONMENT, ROLES, play

_JOBS, _CALL, _AMOUNT, _RATE = 4, 0.2, 16, 100.0
_FEW = {"DARKROOM_DELIVER_SLOTS": "8"}  # places: twice as many origins hang


@pytest.mark.long
@pytest.mark.timeout(180)
def test_a_quiet_project_is_served_while_a_hostile_one_still_waits(
    tmp_path: Path, postgres_server: str, redis_server: str
) -> None:
    redis = f"{redis_server.rpartition('/')[0]}/9"
    with stages.opened(tmp_path, postgres_server, redis, {**ENVIRONMENT, **_FEW}) as stage:
        stage.start(*ROLES)
        report = play(stage, Plan(("hanging_origins", "pings"), _AMOUNT, _RATE), _JOBS, _CALL)
    print(report)  # noqa: T201 - the line to quote
    assert report.undelivered > 0, "the quiet project's were told first"
    assert report.told["429"] > 0, "pings have a bound"
