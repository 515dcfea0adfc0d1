"""Redis with a replica and a sentinel that makes the one the other: for failovers."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from deploy.local import folder as folders
from deploy.local import ports, valkey
from deploy.local.server import Server, wait_until

SERVICE = "darkroom"
_SOON = 20.0  # seconds: a sentinel looks once a second
_CONFIGURATION = """\
port {port}
bind 127.0.0.1
dir {home}
sentinel monitor {service} 127.0.0.1 {primary} 1
sentinel auth-pass {service} {password}
sentinel down-after-milliseconds {service} 1000
sentinel failover-timeout {service} 3000
"""


@dataclass(frozen=True)
class Watched:
    """A primary, its replica, and the sentinel that watches over them."""

    primary: Server
    replica: Server
    sentinel: Server
    password: str

    @property
    def url(self) -> str:
        """REDIS_URL of whichever is the primary."""
        return f"redis+sentinel://:{self.password}@127.0.0.1:{self.sentinel.port}/{SERVICE}/0"

    def switch(self) -> None:
        """Make the replica the primary, and wait until the sentinel says so."""
        with redis.Redis(port=self.sentinel.port) as asked:
            asked.execute_command("SENTINEL", "FAILOVER", SERVICE)
        self.until_switched()

    def until_switched(self) -> None:
        """Wait until the sentinel says that the replica is the primary."""
        with redis.Redis(port=self.sentinel.port) as asked:
            assert wait_until(
                lambda: asked.sentinel_get_master_addr_by_name(SERVICE)[1] == self.replica.port,
                _SOON,
            )


@contextmanager
def watching(folder: Path) -> Iterator[Watched]:
    """Run the three of them; the replica has caught up, and the sentinel knows it."""
    with ExitStack() as on:
        primary = on.enter_context(valkey.serve(folder / "primary"))
        password = (folder / "primary" / "password").read_text().strip()
        # A primary that becomes a replica must log in to the other one.
        with redis.Redis.from_url(primary.url) as admin:
            admin.config_set("masterauth", password)
        (folder / "replica").mkdir(mode=0o700)
        folders.keep(folder / "replica" / "password", password)
        follows = f"replicaof 127.0.0.1 {primary.port}\nmasterauth {password}\n"
        replica = on.enter_context(valkey.serve(folder / "replica", extra=follows))
        sentinel = _sentinel(folder / "sentinel", primary.port, password)
        on.callback(sentinel.stop)
        sentinel.start()
        yield Watched(primary, replica, sentinel, password)


def _sentinel(home: Path, primary: int, password: str) -> Server:
    home.mkdir(mode=0o700)
    port = ports.pick()
    configuration = home / "sentinel.conf"  # which it rewrites
    text = _CONFIGURATION.format(
        port=port, home=home, service=SERVICE, primary=primary, password=password
    )
    folders.keep(configuration, text)
    return Server(
        name="sentinel",
        url=f"redis://127.0.0.1:{port}",
        port=port,
        command=(str(valkey.binary()), str(configuration), "--sentinel"),
        home=home,
        log=home / "log",
        stop_signal=signal.SIGTERM,
        answers=_knows_the_replica,
    )


def _knows_the_replica(url: str) -> bool:
    try:
        with redis.Redis.from_url(url, socket_timeout=2) as client:
            known = client.sentinel_slaves(SERVICE)
            return any(not each["is_sdown"] and not each["is_disconnected"] for each in known)
    except redis.RedisError:
        return False
