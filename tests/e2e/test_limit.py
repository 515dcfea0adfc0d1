"""The provider's limit is found, used and followed, by real processes and the simulator's own log.

By hand, for it takes minutes: `make limit`. What `make test` sees of it is
`integration/provider/test_limits.py`.
"""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from deploy.local.servers.server import Server
from tests.e2e import stage as stages
from tests.e2e.shapes import Call
from tests.e2e.stage import MODEL, Stage, eventually

HIDDEN, LOWER = 40, 10  # calls in flight that the provider admits: at first, and then
LATENCY = 20.0  # seconds of a call: long beside what a busy machine needs around it, as in real use
FOUND = timedelta(minutes=2)  # by then
WATCHED = timedelta(minutes=1)  # so long afterwards
FOLLOWED = timedelta(seconds=30)
JOBS = 700  # more than can be called in all that time: there is always one that waits

# As in real use: the limit is looked for from four on, and no lease runs out on a machine under load.
_REAL = {
    "DARKROOM_PROVIDER_LIMIT_FLOOR": "4",
    "DARKROOM_PROVIDER_LIMIT": "256",
    "DARKROOM_GENERATE_SLOTS": "300",
    "DARKROOM_ATTEMPT_TIMEOUT": "60",
    "DARKROOM_ATTEMPT_TIMEOUT_LARGE": "60",
    "DARKROOM_LEASE_RELEASE": "30",
    "DARKROOM_LEASE_RUN": "60",
    "DARKROOM_WORKER_SEEN": "20",
    "DARKROOM_RETRY_BASE": "1",
    "DARKROOM_RETRY_CAP": "60",
}


@pytest.fixture
def busy(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A Darkroom of its own with a long backlog, before a provider that says nothing of its limit."""
    if not request.config.getoption("--long"):
        pytest.skip("it takes five minutes: make limit")
    tmp_path_factory: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
    postgres_server: str = request.getfixturevalue("postgres_server")
    doorbell: Server = request.getfixturevalue("doorbell")
    folder = tmp_path_factory.mktemp("limit")
    with stages.opened(folder, postgres_server, doorbell.url, _REAL) as stage:
        stage.start("simulator", "api")
        stage.configure(latency=LATENCY, limit=HIDDEN)
        plain = {"model": MODEL, "prompt": "a red bicycle"}
        with ThreadPoolExecutor(8) as clients:
            list(clients.map(lambda _: stage.submit(input=plain, webhook=None), range(JOBS)))
        stage.start("worker", "dispatcher")
        yield stage


@pytest.mark.timeout(600)
def test_the_hidden_limit_is_found_used_and_followed(busy: Stage) -> None:
    begun = datetime.now(UTC)
    _wait_until(begun + FOUND + WATCHED)
    until = datetime.now(UTC)
    found = _Watch(busy.calls(), until - WATCHED, until)
    busy.configure(limit=LOWER)
    eventually(lambda: _limit(busy) <= LOWER, f"{LOWER} at most", FOLLOWED.total_seconds())
    followed = datetime.now(UTC)
    _wait_until(followed + WATCHED)
    lower = _Watch(busy.calls(), followed, datetime.now(UTC))
    print(  # noqa: T201 - the lines to quote
        f"\nhidden limit {HIDDEN}, after {FOUND.seconds} s: {found}"
        f"\nit drops to {LOWER}: followed in {(followed - until).total_seconds():.0f} s; then {lower}"
    )
    assert found.refused < 0.02
    assert found.used >= 0.9 * HIDDEN


class _Watch:
    """What the provider saw in a while: the share of calls it refused, and how many it had in flight."""

    def __init__(self, calls: Sequence[Call], since: datetime, until: datetime) -> None:
        asked = [call for call in calls if since <= call.received_at < until]
        self.calls = len(asked)
        self.refused = sum(call.status == 429 for call in asked) / max(len(asked), 1)
        self.used = sum(
            (min(call.answered_at or until, until) - max(call.received_at, since)).total_seconds()
            for call in calls
            if call.status != 429
            and call.received_at < until
            and (call.answered_at or until) > since
        ) / (until - since).total_seconds()  # fmt: skip

    def __str__(self) -> str:
        return f"{self.calls} calls, {self.refused:.1%} refused with 429, {self.used:.1f} in flight"


def _limit(stage: Stage) -> int:
    return stage.number("SELECT calls FROM limits")


def _wait_until(moment: datetime) -> None:
    threading.Event().wait(max(0.0, (moment - datetime.now(UTC)).total_seconds()))
