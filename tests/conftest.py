"""What tests stand on: real servers in folders of their own, and a fresh, migrated database each."""

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from deploy import simulator
from deploy.local import postgres, valkey
from deploy.simulator import Running
from models import migrate, projects
from models.db import Database
from models.projects import Caller
from models.settings import Settings
from models.signing import new_secret
from models.states import SCOPES
from models.vault import Vault
from models.views import Lens

SECRET = "tests-only-tests-only-tests-only-0123456789"
TEMPLATE = "darkroom_template"
ROOT = Path(__file__).parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the long versions of some tests be asked for; the defaults are what `make test` runs."""
    group = parser.getgroup("darkroom")
    group.addoption("--walks", type=int, default=200, help="random walks through the books")
    group.addoption("--steps", type=int, default=30, help="arrows of each walk")
    group.addoption("--jobs", type=int, default=60, help="jobs of the credits run")
    group.addoption("--kills", type=int, default=2, help="workers killed in the credits run")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests in one process, and all of `e2e`: they share what is dear to start.

    The longest group begins first, so that the processes end together.
    """
    for item in items:
        file = item.path.relative_to(ROOT / "tests")
        group = "e2e" if file.parts[0] == "e2e" else str(file)
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: "e2e" not in item.path.parts)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run one PostgreSQL for all tests, with a migrated template database; gives its URL."""
    with postgres.serve(tmp_path_factory.mktemp("postgres"), durable=False) as server:
        with psycopg.connect(server.url, autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
        migrate.migrate(make_settings(database_url=_in(server.url, TEMPLATE)))
        yield server.url


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run one Redis-compatible server for all tests; gives its URL."""
    with valkey.serve(tmp_path_factory.mktemp("valkey")) as server:
        yield server.url


@pytest.fixture
def database_url(postgres_server: str) -> Iterator[str]:
    """Make a fresh database from the template, in some 20 ms; gives its URL."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(postgres_server, autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(TEMPLATE)
            )
        )
        yield _in(postgres_server, name)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def settings(database_url: str, redis_server: str, tmp_path: Path) -> Settings:
    """Settings of a process that works in this test's database, Redis and folder."""
    return make_settings(
        database_url=database_url, redis_url=redis_server, storage_url=str(tmp_path / "images")
    )


def make_settings(**values: object) -> Settings:
    """Build settings as the environment would; what is not given is the tests' default."""
    defaults: dict[str, object] = {
        "database_url": "postgresql://nowhere.invalid/darkroom",
        "redis_url": "redis://127.0.0.1:1/0",
        "secret": SECRET,
        "aimlapi_key": "simulator-key",
        "aimlapi_base_url": "http://127.0.0.1:1",
        "egress_allow": "127.0.0.0/8,::1/128",
        "metrics_port": 0,
        "typical_call": 0.0,
        "tick": 0.2,
    }
    return Settings.model_validate(defaults | values)


@pytest.fixture
def rings() -> list[tuple[str, str]]:
    """Collects the doorbells that were rung after commits."""
    return []


@pytest.fixture
async def database(settings: Settings, rings: list[tuple[str, str]]) -> AsyncIterator[Database]:
    """The connections of one process, as many as the races of these tests need."""
    opened = Database(settings, ring=lambda topic, key: rings.append((topic, key)), pool=20)
    yield opened
    await opened.close()


@pytest.fixture
def vault(settings: Settings) -> Vault:
    return Vault.of(settings)


@pytest.fixture
def lens(settings: Settings, vault: Vault) -> Lens:
    return Lens(settings.public_url, vault)


@pytest.fixture
async def caller(database: Database, vault: Vault) -> Caller:
    """A project with a key of every scope."""
    return (await make_project(database, vault, "tests"))[0]


async def make_project(database: Database, vault: Vault, name: str) -> tuple[Caller, str]:
    """Create a project with a key of every scope; gives the caller and the key."""
    key = projects.new_key()
    async with database.transaction() as tx:
        project_id = await projects.create(tx, vault, name, new_secret())
        await projects.create_key(tx, project_id, name, tuple(SCOPES), key)
        made = await projects.caller(tx, key)
    assert made is not None
    return made, key


@pytest.fixture
async def provider() -> AsyncIterator[Running]:
    """The provider's simulator, in this process, answering at once."""
    async with simulator.serve(simulator.Config(pictures="stamped")) as running:
        yield running


def _in(url: str, name: str) -> str:
    return f"{url.rpartition('/')[0]}/{name}"
