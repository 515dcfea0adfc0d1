"""Debian's servers, started as our own are; a test of what is not installed is skipped, and says so."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import httpx
import psycopg
import redis
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from deploy.local import ports
from deploy.local.servers import account, postgres
from deploy.local.servers.server import Server
from tests.conftest import PLAIN
from tests.fixtures import debian
from tests.fixtures.certificates import Authority

BUCKET = "darkroom"
_S3_KEY, _S3_SECRET = "darkroom-tests", "a-secret-of-the-tests"
_REDIS = """\
port 0
tls-port {port}
bind 127.0.0.1
dir {home}
tls-cert-file {certificate}
tls-key-file {certificate}
tls-ca-cert-file {authority}
tls-auth-clients no
requirepass {password}
save ""
appendonly no
"""
_PGBOUNCER = """\
[databases]
* = host=127.0.0.1 port={postgres}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {users}
pool_mode = transaction
default_pool_size = 10
max_client_conn = 200
ignore_startup_parameters = options
"""


@contextmanager
def debian_postgres(folder: Path) -> Iterator[Server]:
    """Run the newest PostgreSQL that Debian's packages have brought, with its defaults: JIT is on."""
    programs = debian.postgres_programs()
    with postgres.serve(folder, durable=False, programs=programs) as server:
        yield server


@contextmanager
def debian_redis(folder: Path) -> Iterator[Server]:
    """Run Debian's Redis, with TLS and a password: `rediss://`, its authority named in the URL."""
    program = debian.program("redis-server", "redis-server")
    folder.mkdir(mode=0o700)
    made = Authority.made(folder)
    made.server(x509.IPAddress(ip_address("127.0.0.1")))
    authority = folder / "authority.pem"
    authority.write_bytes(made.certificate.public_bytes(serialization.Encoding.PEM))
    port, password = ports.pick(), "a-word-of-the-tests"
    configuration = folder / "redis.conf"
    configuration.write_text(
        _REDIS.format(
            port=port, home=folder, certificate=folder / "server.pem",
            authority=authority, password=password,
        )
    )  # fmt: skip
    server = Server(
        name="redis",
        url=f"rediss://:{password}@127.0.0.1:{port}/0?ssl_ca_certs={authority}",
        port=port,
        command=(str(program), str(configuration)),
        home=folder,
        log=folder / "log",
        stop_signal=signal.SIGTERM,
        answers=_redis_answers,
    )
    yield from _running(server)


@contextmanager
def debian_pgbouncer(folder: Path, behind: Server) -> Iterator[Server]:
    """Run Debian's pgbouncer in transaction mode in front of a server."""
    program = debian.program("pgbouncer", "pgbouncer")
    folder.mkdir(mode=0o755)
    login = psycopg.conninfo.conninfo_to_dict(behind.url)
    users, configuration, port = folder / "users", folder / "pgbouncer.ini", ports.pick()
    users.write_text(f'"{login["user"]}" "{login["password"]}"\n')
    configuration.write_text(_PGBOUNCER.format(postgres=behind.port, port=port, users=users))
    under = account.choose()  # like PostgreSQL it does not run as root
    if under.owner is not None:
        for each in (folder, users, configuration):
            os.chown(each, *under.owner)
    server = Server(
        name="pgbouncer",
        url=behind.url.replace(f":{behind.port}/", f":{port}/"),
        port=port,
        command=(str(program), str(configuration)),
        home=folder,
        log=folder / "log",
        stop_signal=signal.SIGTERM,
        answers=_postgres_answers,
        account=under.launch,
    )
    yield from _running(server)


@contextmanager
def s3(folder: Path) -> Iterator[dict[str, str]]:
    """Run an S3 server that checks signatures, with a bucket; returns the environment that reaches it."""
    program = debian.program("weed", "…; it is in requirements.lock", Path(sys.executable).parent)
    folder.mkdir()
    identity = {
        "name": "darkroom",
        "credentials": [{"accessKey": _S3_KEY, "secretKey": _S3_SECRET}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    # What is not chosen is 10,000 above, where outgoing connections have their ports.
    names = [
        f"{name}.port{kind}"
        for name in ("master", "volume", "filer", "s3")
        for kind in ("", ".grpc")
    ]
    chosen = {name: ports.pick() for name in names}
    url = f"http://127.0.0.1:{chosen['s3.port']}"
    server = Server(
        name="s3",
        url=url,
        port=chosen["s3.port"],
        command=(
            str(program), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}",
            "-filer", "-s3", f"-s3.config={folder / 's3.json'}",
            "-s3.port.iceberg=0", "-s3.port.lance=0",
            "-volume.max=0", "-master.volumeSizeLimitMB=64", "-master.telemetry=false",
            *(f"-{name}={port}" for name, port in chosen.items()),
        ),
        home=folder,
        log=folder / "log",
        stop_signal=signal.SIGKILL,
        answers=_s3_answers,
    )  # fmt: skip
    for _ in _running(server):
        yield {
            "DARKROOM_STORAGE_URL": f"s3://{BUCKET}/images",
            "AWS_ENDPOINT_URL": url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": _S3_KEY,
            "AWS_SECRET_ACCESS_KEY": _S3_SECRET,
        }


def _running(server: Server) -> Iterator[Server]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _redis_answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(url, socket_timeout=2) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _postgres_answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _s3_answers(url: str) -> bool:
    """Return whether it knows who may not come in: without a signature it answers 403."""
    try:
        return httpx.get(url, timeout=2, trust_env=False, verify=PLAIN).status_code == 403
    except httpx.HTTPError:
        return False
