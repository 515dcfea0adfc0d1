"""The stages: one on which nobody dies, and one on which anybody may."""

from collections.abc import Collection, Iterator

import pytest

from deploy.local.servers import valkey
from deploy.local.servers.server import Server, tail
from tests.e2e import stage as stages
from tests.e2e.stage import Stage

pytest.register_assert_rewrite("tests.e2e.witnesses")

_LINES = 60  # of each role's log, shown with a failure
_open: list[Stage] = []  # calm stages on which somebody may still play


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Play on one stage after the other: a Darkroom without work still takes an eighth of a core."""
    items.sort(key=lambda item: [each in _fixtures(item) for each in ("mortal", "calm")])


# Of the package and not of the session: other tests follow in this process.


@pytest.fixture(scope="package")
def calm(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: str, redis_server: str
) -> Iterator[Stage]:
    """The stage of the calm plays, empty until a module of them begins."""
    folder = tmp_path_factory.mktemp("stage")
    with stages.opened(folder, postgres_server, redis_server) as opened:
        _open.append(opened)
        yield opened
        _open.remove(opened)


@pytest.fixture(scope="module")
def stage(calm: Stage) -> Stage:
    """A Darkroom that runs all the time; every module of calm plays shares it."""
    calm.fill()
    return calm


@pytest.fixture(scope="package")
def doorbell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The Redis of the mortal stage alone: it may be killed too."""
    with valkey.serve(tmp_path_factory.mktemp("doorbell")) as server:
        yield server


@pytest.fixture(scope="package")
def mortal(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: str, doorbell: Server
) -> Iterator[Stage]:
    """A Darkroom whose processes are killed and frozen; `fill` brings back what is missing."""
    for other in _open:
        other.leave()
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


def _fixtures(item: pytest.Item) -> Collection[str]:
    return item.fixturenames if isinstance(item, pytest.Function) else ()
