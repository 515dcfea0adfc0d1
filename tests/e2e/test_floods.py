"""Strangers flood an api as long as is asked for: its memory is bounded, and who has a key is served.

make long, or: pytest --long --flood 300 tests/e2e/test_floods.py -s
"""

import asyncio
import threading
import time
from pathlib import Path

import pytest

from tests.e2e import stage as stages
from tests.e2e.batches.memory import watched
from tests.e2e.stage import Stage
from tests.e2e.storm.attackers import Plan, attacking

_STRANGE = ("garbage_keys", "endless_heads", "half_sent", "announced_bodies")
_RATE = 1_000.0  # requests a second of each: what two cores let them
_MOST = 192  # MiB that a flood may take; one header without an end took 3,400
_PATIENCE = 20.0  # seconds for an answer, on a machine that attackers share


def _look(stage: Stage, at: str, key: str) -> float:
    """Ask as somebody with a key; returns the seconds that the answer took."""
    began = time.monotonic()
    answer = stage.client.get(at, headers={"authorization": f"Bearer {key}"}, timeout=_PATIENCE)
    assert answer.status_code == 200, answer.text
    return time.monotonic() - began


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_flood_of_strangers_takes_bounded_memory_and_keeps_nobody_out(
    tmp_path: Path, postgres_server: str, redis_server: str, request: pytest.FixtureRequest
) -> None:
    seconds = request.config.getoption("--flood")
    redis = f"{redis_server.rpartition('/')[0]}/9"
    with stages.opened(tmp_path, postgres_server, redis) as stage:
        stage.start("api")
        key, _ = asyncio.run(stages.project(stage.settings, "attacker"))
        never, plan = threading.Event(), Plan(_STRANGE, 0, _RATE, nice=0)
        slowest = {"/healthz": 0.0, "/v1/jobs": 0.0, "/v1/models": 0.0}
        with watched(stage.actor("api").pid) as most:
            with attacking(str(stage.client.base_url), key, plan) as (told, _):
                until = time.monotonic() + seconds
                while time.monotonic() < until:
                    # A key that this process has never seen, and one that it has.
                    new, _ = asyncio.run(stages.project(stage.settings, f"p{time.monotonic_ns()}"))
                    for at, with_key in (("/healthz", key), ("/v1/jobs", new), ("/v1/models", key)):
                        slowest[at] = max(slowest[at], _look(stage, at, with_key))
                    never.wait(0.2)
            assert _look(stage, "/v1/jobs", key) < _PATIENCE
    shown = ", ".join(f"{at} {took:.2f} s" for at, took in slowest.items())
    print(f"{seconds:g} s of {dict(told)}: {most.own - most.before} MiB more; slowest {shown}")  # noqa: T201 - to quote
    assert told["401"] > seconds, "or there was no flood"
    assert most.own - most.before < _MOST
