"""The servers, each in a folder of its own, and a Darkroom on top of them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from deploy.local.servers.server import Server
from models.platform.db import migrate
from tests.e2e import stage as stages
from tests.e2e.stage import Stage
from tests.fixtures.databases import TEMPLATE
from tests.servers import programs


@pytest.fixture(scope="package")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Debian's PostgreSQL, with a migrated template."""
    with programs.debian_postgres(tmp_path_factory.mktemp("debian")) as server:
        template(server)
        yield server


@pytest.fixture(scope="package")
def redis_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Debian's Redis, with TLS and a password."""
    with programs.debian_redis(tmp_path_factory.mktemp("redis") / "server") as server:
        yield server


@pytest.fixture(scope="package")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A bucket on a server that checks signatures; returns the environment that reaches it."""
    with programs.s3(tmp_path_factory.mktemp("s3") / "server") as environment:
        yield environment


def template(server: Server) -> None:
    """Make the database that those of a stage are copied from."""
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
    migrate.migrate(f"{server.url.rpartition('/')[0]}/{TEMPLATE}")


@contextmanager
def darkroom(
    folder: Path, server: str, redis_url: str, environment: Mapping[str, str]
) -> Iterator[Stage]:
    """Run every role on these servers."""
    with stages.opened(folder, server, redis_url, environment) as stage:
        stage.fill()
        yield stage
