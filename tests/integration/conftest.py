"""What most integration tests begin with: a bench of one project, and a house with a worker in it."""

from collections.abc import AsyncIterator

import pytest

from deploy.simulator import Running
from models.accounts.callers import Caller
from models.jobs.view import Presenter
from models.platform.db import Database
from models.platform.vault import Vault
from models.settings import Settings
from tests.conftest import make_project
from tests.fixtures import spending
from tests.fixtures.making import Bench
from tests.fixtures.spending import House


@pytest.fixture
def bench(database: Database, presenter: Presenter, caller: Caller) -> Bench:
    """A database with one project, and the parts that API, dispatcher and worker play in it."""
    return Bench(database, presenter, caller)


@pytest.fixture
async def other(database: Database, presenter: Presenter, vault: Vault) -> Bench:
    """The same database, as another project sees it."""
    return Bench(database, presenter, (await make_project(database, vault, "other"))[0])


@pytest.fixture
async def house(
    settings: Settings, database: Database, caller: Caller, provider: Running
) -> AsyncIterator[House]:
    """A bench beside a worker and a dispatcher that really call the simulated provider."""
    async with spending.opened(settings, database, caller, provider) as opened:
        yield opened
