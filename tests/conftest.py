"""What tests stand on: real servers in folders of their own, and a fresh, migrated database each."""

import ssl
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql

from deploy import simulator
from deploy.local.servers import postgres, valkey
from deploy.simulator import Running
from models.accounts import api_keys, callers, projects
from models.accounts.callers import Caller
from models.jobs.view import Presenter
from models.platform.db import Database, migrate
from models.platform.memory import collect_less
from models.platform.vault import Vault
from models.settings import Settings
from models.states import SCOPES
from models.webhooks.signing import new_secret
from tests.fixtures import debian
from tests.fixtures.databases import TEMPLATE, Databases
from tests.fixtures.decoders import DECODERS
from tests.fixtures.promises import PROMISES

# A browser's driver is no part of the project's environment: `make page-test` has one of its own.
collect_ignore = [] if find_spec("playwright") else ["page"]
SECRET = "tests-only-tests-only-tests-only-0123456789"
ROOT = Path(__file__).parents[1]
# For clients that never speak TLS: a client of its own would read 150 certificates for 20 ms.
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

# Every connection would compute 4,096 hashes for its password, on both sides; statistics that come at
# any moment would change plans between two runs.
_CHEAP: tuple[LiteralString, ...] = (
    "ALTER SYSTEM SET autovacuum = off",
    "SELECT pg_reload_conf()",
    # It is new in 16.
    "SELECT set_config(name, '1', false) FROM pg_settings WHERE name = 'scram_iterations'",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the long versions of some tests be asked for; the defaults are what `make test` runs."""
    group = parser.getgroup("darkroom")
    group.addoption("--walks", type=int, default=20, help="random walks through the books")
    group.addoption("--steps", type=int, default=30, help="arrows of each walk")
    group.addoption("--jobs", type=int, default=60, help="jobs of the credits run")
    group.addoption("--long", action="store_true", help="tests that take long: make long")
    group.addoption("--kills", type=int, default=2, help="workers killed in the credits run")
    group.addoption(
        "--debian", action="store_true", help="PostgreSQL is the one of Debian's package"
    )
    group.addoption("--flood", type=float, default=30, help="seconds that strangers flood an api")
    group.addoption("--seed", type=int, default=7, help="what the chaos run is drawn from")
    group.addoption("--webhook-jobs", type=int, default=30, help="jobs of the webhooks run")
    group.addoption("--endpoints", type=int, default=12, help="endpoints that are told of them")
    group.addoption("--examples", type=int, default=1, help="requests drawn of each operation")
    group.addoption("--from", default="", help="the version that a rolling restart begins with")
    group.addoption("--pace", type=float, default=20, help="jobs submitted a second")
    group.addoption(
        "--events", type=int, default=60, help="events while secrets rotate, workers die"
    )
    group.addoption(
        "--deaths", type=int, default=3, help="workers killed with webhooks on their way"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that the processes end together.

    A file's tests stay in one process (`--dist=loadfile`): they share what is dear to start. What takes
    long by itself, most of it in waiting, is left to `make long`.
    """
    if not config.getoption("--long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="it takes long: make long"))
    items.sort(key=lambda item: not {"e2e", "servers"} & set(item.path.parts))


def pytest_collection_finish() -> None:
    """Let Python look for garbage as seldom as in our roles: four thousand tests are many objects."""
    collect_less()


def pytest_sessionfinish() -> None:
    """End what no fixture holds."""
    DECODERS.close()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_server(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[str]:
    """Run one PostgreSQL for all tests, with a migrated template database; returns its URL."""
    programs = debian.postgres_programs() if pytestconfig.getoption("debian") else None
    folder = tmp_path_factory.mktemp("postgres")
    with postgres.serve(folder, durable=False, programs=programs) as server:
        with psycopg.connect(server.url, autocommit=True) as admin:
            for statement in _CHEAP:
                admin.execute(statement)
            admin.execute(sql.SQL("ALTER ROLE postgres PASSWORD {}").format(admin.info.password))
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
        migrate.migrate(f"{server.url.rpartition('/')[0]}/{TEMPLATE}")
        yield server.url


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run one Redis-compatible server for all tests; returns its URL."""
    with valkey.serve(tmp_path_factory.mktemp("valkey")) as server:
        yield server.url


@pytest.fixture(scope="session")
def databases(postgres_server: str) -> Iterator[Databases]:
    """The databases of this process's PostgreSQL."""
    made = Databases(postgres_server)
    yield made
    made.close()


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """A database as it comes from the migrations, this test's alone; returns its URL."""
    with databases.lend() as url:
        yield url


@pytest.fixture(scope="session")
def usual(databases: Databases, redis_server: str) -> Settings:
    """Settings as they are for most tests, read once: it takes 8 ms."""
    return make_settings(database_url=databases.kept, redis_url=redis_server)


@pytest.fixture
def settings(usual: Settings, database_url: str, tmp_path: Path) -> Settings:
    """Settings of a process that works in this test's database, Redis and folder."""
    assert usual.database_url.get_secret_value() == database_url
    return usual.model_copy(update={"storage_url": str(tmp_path / "images")})


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
        # Tests script what goes wrong, by the dozen: the limit and the breakers are for their own tests.
        "provider_limit_floor": 64,
        "breaker_errors": 1_000,
        "breaker_lost": 1_000,
    }
    return Settings.model_validate(defaults | values)


@pytest.fixture(scope="session")
def belfry() -> list[tuple[str, str]]:
    """Where the doorbells ring, of whichever test runs."""
    return []


@pytest.fixture
def rings(belfry: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Collects the doorbells that were rung after commits."""
    belfry.clear()
    return belfry


@pytest.fixture(scope="session")
def engine(usual: Settings, belfry: list[tuple[str, str]]) -> Database:
    """One for all tests, without its connections: what it has compiled once stays compiled."""
    return Database(usual, ring=lambda topic, key: belfry.append((topic, key)), pool=20)


@pytest.fixture
async def database(
    engine: Database, database_url: str, rings: list[tuple[str, str]]
) -> AsyncIterator[Database]:
    """The connections of one process, as many as the races of these tests need."""
    assert database_url
    assert rings == []
    yield engine
    await PROMISES.keep_events(engine)
    await engine.close()


@pytest.fixture
def vault(settings: Settings) -> Vault:
    return Vault.of(settings)


@pytest.fixture
def presenter(settings: Settings, vault: Vault) -> Presenter:
    return Presenter(settings.public_url, vault)


@pytest.fixture
async def caller(database: Database, vault: Vault) -> Caller:
    """A project with a key of every scope."""
    return (await make_project(database, vault, "tests"))[0]


async def make_project(database: Database, vault: Vault, name: str) -> tuple[Caller, str]:
    """Create a project with a key of every scope; returns the caller and the key."""
    key = api_keys.new_key()
    async with database.transaction() as tx:
        project_id = await projects.create(tx, vault, name, new_secret())
        await api_keys.create_key(tx, project_id, name, tuple(SCOPES), key)
        made = await callers.caller(tx, key)
    assert made is not None
    return made, key


@pytest.fixture
async def provider() -> AsyncIterator[Running]:
    """The provider's simulator, in this process, answering at once."""
    async with simulator.serve(simulator.Config(pictures="stamped")) as running:
        yield running
