"""The stages: one on which nobody dies, and one on which anybody may."""

from collections.abc import Iterator

import pytest

from deploy.local import valkey
from deploy.local.server import Server, tail
from tests.e2e import stage as stages
from tests.e2e.stage import Stage

pytest.register_assert_rewrite("tests.e2e.witnesses")

_LINES = 60  # of each role's log, shown with a failure


@pytest.fixture(scope="session")
def stage(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: str, redis_server: str
) -> Iterator[Stage]:
    """A Darkroom that runs all the time; every module of calm plays shares it."""
    folder = tmp_path_factory.mktemp("stage")
    with stages.opened(folder, postgres_server, redis_server) as opened:
        opened.start("simulator", "api", "dispatcher", "worker")
        yield opened


@pytest.fixture(scope="session")
def doorbell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The Redis of the mortal stage alone: it may be killed too."""
    with valkey.serve(tmp_path_factory.mktemp("doorbell")) as server:
        yield server


@pytest.fixture(scope="session")
def mortal(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: str, doorbell: Server
) -> Iterator[Stage]:
    """A Darkroom whose processes are killed and frozen; `fill` brings back what is missing."""
    folder = tmp_path_factory.mktemp("mortal")
    with stages.opened(folder, postgres_server, doorbell.url) as opened:
        yield opened


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show what the roles said, beside what the test says."""
    report = yield
    assert isinstance(report, pytest.TestReport)
    if report.failed and isinstance(item, pytest.Function):
        for value in item.funcargs.values():
            if isinstance(value, Stage):
                report.sections += [
                    (f"{actor.log}", tail(actor.log, _LINES)) for actor in value.actors
                ]
    return report
