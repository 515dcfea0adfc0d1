"""Each role as its pod would run it, with its Secret as variables and as files."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from deploy import simulator
from deploy.simulator import Running
from tests.chart import pods
from tests.chart.pods import Cluster
from tests.fixtures.databases import Databases

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


@pytest.fixture
async def provider() -> AsyncIterator[Running]:
    async with simulator.serve(simulator.Config(pictures="stamped", latency=3)) as running:
        yield running


@pytest.fixture(params=["env", "files"])
def cluster(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    databases: Databases,
    redis_server: str,
    provider: Running,
) -> Iterator[Cluster]:
    with pods.opened(
        Cluster, tmp_path, databases, redis_server, provider.url, request.param
    ) as opened:
        yield opened


async def test_pods_come_up_make_a_picture_and_are_drained(
    cluster: Cluster, provider: Running
) -> None:
    await pods.play(cluster, provider)
