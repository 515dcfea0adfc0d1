"""What every role exports: its build, its connections to Postgres, and whether it hears Redis.

Read when Prometheus asks, from what is open in this process; nothing is counted twice and nothing is kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakSet

from prometheus_client import REGISTRY, Gauge, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from models.platform.version import VERSION

# A second series for each that counts, with the moment of its birth: nothing here asks for it.
disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client leaves it untyped

_BUILD = Gauge("darkroom_build_info", "Always 1; the labels say what runs", ["version", "role"])


def identify(role: str) -> None:
    """Write into the metrics which role this process has, and which version."""
    _BUILD.labels(VERSION, role).set(1)


@dataclass(frozen=True, slots=True)
class PoolState:
    """The connections of one pool: at most, open, in use; and how many wait for one."""

    most: int
    open: int
    used: int
    waiting: int


class Pooled(Protocol):
    """What has pools of connections to Postgres."""

    def pools(self) -> dict[str, PoolState]:
        """Return the state of each pool by its name."""
        ...


class Connected(Protocol):
    """What has a subscription to Redis."""

    connected: bool
    dropped: int


class Connections(Collector):
    """Tells of every pool and doorbell that is open; they are held weakly."""

    def __init__(self) -> None:
        self._pooled: WeakSet[Pooled] = WeakSet()
        self._connected: WeakSet[Connected] = WeakSet()

    def watch_pools(self, pooled: Pooled) -> None:
        """Tell of these pools from now on."""
        self._pooled.add(pooled)

    def watch_doorbell(self, doorbell: Connected) -> None:
        """Tell of this doorbell from now on."""
        self._connected.add(doorbell)

    def forget_doorbell(self, doorbell: Connected) -> None:
        """Tell no more of a doorbell that was closed: it is not away."""
        self._connected.discard(doorbell)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Look at everything."""
        yield from self._pools()
        if self._connected:
            heard = all(each.connected for each in self._connected)
            yield GaugeMetricFamily(
                "darkroom_redis_connected", "1 while the subscription to Redis stands", value=heard
            )

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Name nothing beforehand: what is not open has no series."""
        return iter(())

    def _pools(self) -> Iterator[GaugeMetricFamily]:
        states: dict[str, PoolState] = {}
        for pooled in list(self._pooled):
            for name, state in pooled.pools().items():
                had = states.get(name, PoolState(0, 0, 0, 0))
                states[name] = PoolState(
                    had.most + state.most,
                    had.open + state.open,
                    had.used + state.used,
                    had.waiting + state.waiting,
                )
        for field, metric, said in _POOLS:
            family = GaugeMetricFamily(metric, said, labels=["pool"])
            for name, state in states.items():
                family.add_metric([name], getattr(state, field))
            yield family


_POOLS = (
    ("most", "darkroom_database_connections_max", "Connections to Postgres that there may be"),
    ("open", "darkroom_database_connections", "Connections to Postgres that are open"),
    ("used", "darkroom_database_connections_used", "Connections to Postgres that are in use"),
    ("waiting", "darkroom_database_waiting", "Tasks that wait for a connection to Postgres"),
)

CONNECTIONS = Connections()
REGISTRY.register(CONNECTIONS)
