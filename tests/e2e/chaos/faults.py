"""Every fault is a generator: it does something, yields how many seconds pass, and undoes it.

The director steps them, in its one thread, so that faults overlap and never race with each other. `TOUCHES`
says what a fault lays its hands on: no two do so to the same at once.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import redis

from deploy.local.servers.server import Server
from tests.e2e.chaos.company import Company
from tests.e2e.chaos.hostile import Hostile, Moody
from tests.e2e.chaos.plan import Plan
from tests.e2e.chaos.proxies import Commits
from tests.e2e.stage import Stage

Fault = Iterator[float]

_COMMITS = 6  # answers that are lost at a time
_MODES = {"read_only": 0o555, "open": 0o755}


@dataclass
class World:
    """All that a fault may lay its hands on, and the count of what was done."""

    stage: Stage
    company: Company
    plan: Plan
    postgres: Server
    redis: Server
    commits: Commits
    hostile: Hostile
    moody: Moody
    random: Random
    counts: Counter[str] = field(default_factory=Counter)
    # When Postgres or Redis was not there: nothing is dispatched then.
    away: list[tuple[str, datetime, datetime]] = field(default_factory=list)

    def was_away(self, who: str, began: datetime) -> None:
        """Note that nobody could reach it until now."""
        self.away.append((who, began, _now()))


def kill_worker(world: World) -> Fault:
    """`kill -9` of one worker."""
    return _kill(world, "worker")


def kill_dispatcher(world: World) -> Fault:
    """`kill -9` of one dispatcher."""
    return _kill(world, "dispatcher")


def kill_api(world: World) -> Fault:
    """`kill -9` of one api."""
    return _kill(world, "api")


def kill_workers(world: World) -> Fault:
    """`kill -9` of every worker at once."""
    return _kill_all(world, "worker")


def kill_dispatchers(world: World) -> Fault:
    """`kill -9` of every dispatcher at once: nobody decides anything until one is back."""
    return _kill_all(world, "dispatcher")


def terminate_worker(world: World) -> Fault:
    """SIGTERM of a worker under load."""
    return _terminate(world, "worker")


def terminate_dispatcher(world: World) -> Fault:
    """SIGTERM of a dispatcher under load."""
    return _terminate(world, "dispatcher")


def terminate_api(world: World) -> Fault:
    """SIGTERM of an api under load."""
    return _terminate(world, "api")


def freeze_worker(world: World) -> Fault:
    """SIGSTOP of a worker for three leases: its late answers settle its attempts and move nothing."""
    while (seat := world.company.pick("worker")) is None:
        yield 0.5
    frozen = world.company.freeze(seat)
    world.counts["freezes"] += 1
    yield 3 * world.plan.lease + 1
    if seat.actor is frozen:
        world.company.thaw(seat)


def freeze_dispatchers(world: World) -> Fault:
    """SIGSTOP of the dispatchers in turn: each wakes up in a world that went on without it."""
    for seat in world.company.all("dispatcher"):
        if seat.actor is None or not seat.alive:
            continue
        frozen = world.company.freeze(seat)
        world.counts["freezes"] += 1
        yield world.plan.lease
        if seat.actor is frozen:
            world.company.thaw(seat)
        yield 1.0


def flush_redis(world: World) -> Fault:
    """`FLUSHALL`: every message is gone."""
    with redis.Redis.from_url(world.redis.url, socket_timeout=5) as client:
        client.flushall()
    world.counts["flushes"] += 1
    yield 0.0


def freeze_redis(world: World) -> Fault:
    """Redis takes connections and answers nothing."""
    began = _now()
    world.redis.pause()
    world.counts["freezes"] += 1
    yield world.plan.frozen
    world.redis.resume()
    world.was_away("redis", began)


def kill_redis(world: World) -> Fault:
    """Redis dies, and what it had written is gone."""
    began = _now()
    world.redis.kill()
    for left in (world.redis.home / "appendonlydir").glob("*"):
        left.unlink()
    yield min(world.plan.frozen, 5.0)
    world.redis.start()
    world.counts["restarts"] += 1
    world.was_away("redis", began)


def restart_postgres(world: World) -> Fault:
    """Postgres is stopped fast and started again; now and then it is killed instead."""
    began = _now()
    if world.random.random() < 0.3:
        world.postgres.kill()
        world.postgres.start()
    else:
        world.postgres.restart()
    world.counts["restarts"] += 1
    world.was_away("postgres", began)
    yield 2.0


def stop_postgres(world: World) -> Fault:
    """Postgres is away for longer than a lease, with calls in flight."""
    began = _now()
    world.postgres.stop()
    yield world.plan.away
    world.postgres.start()
    world.counts["restarts"] += 1
    world.was_away("postgres", began)
    yield 2.0


def lose_commits(world: World) -> Fault:
    """The next answers to COMMIT are lost, of whoever reaches Postgres through the proxy."""
    world.commits.drop(_COMMITS)
    yield 3.0
    world.counts["commits lost"] += world.commits.drop(0)


def shut_store(world: World) -> Fault:
    """The store can be read and not written, and a worker is killed meanwhile."""
    images = Path(world.stage.settings.storage_url)
    _set_mode(images, _MODES["read_only"])
    yield 2.0
    yield from kill_worker(world)
    yield 3.0
    _set_mode(images, _MODES["open"])
    world.counts["stores shut"] += 1


def restart_provider(world: World) -> Fault:
    """The provider is gone with the calls in flight, and back."""
    world.stage.actor("simulator").kill()
    yield 2.0
    again = world.stage.begin("simulator")
    yield 1.0
    world.stage.until_ready(again)
    world.stage.configure(
        rates=world.plan.rates, latency=world.plan.latency, log_requests=1_000_000
    )


FAULTS: dict[str, Callable[[World], Fault]] = {
    each.__name__: each
    for each in (
        kill_worker, kill_dispatcher, kill_api, kill_workers, kill_dispatchers, terminate_worker,
        terminate_dispatcher, terminate_api, freeze_worker, freeze_dispatchers, flush_redis,
        freeze_redis, kill_redis, restart_postgres, stop_postgres, lose_commits, shut_store,
        restart_provider,
    )
}  # fmt: skip

TOUCHES = {
    "flush_redis": "redis", "freeze_redis": "redis", "kill_redis": "redis",
    "restart_postgres": "postgres", "stop_postgres": "postgres",
    "freeze_dispatchers": "dispatchers", "freeze_worker": "frozen worker", "shut_store": "store",
    "lose_commits": "commits", "restart_provider": "provider",
    "kill_workers": "workers", "kill_dispatchers": "dispatchers",
}  # fmt: skip


def _now() -> datetime:
    return datetime.now(UTC)


def _kill(world: World, role: str) -> Fault:
    while (seat := world.company.pick(role)) is None:
        yield 0.5
    world.company.kill(seat)
    world.counts["kills"] += 1


def _kill_all(world: World, role: str) -> Fault:
    for seat in world.company.all(role):
        world.company.kill(seat)
        world.counts["kills"] += 1
    yield 3.0


def _terminate(world: World, role: str) -> Fault:
    while (seat := world.company.grown_up(role)) is None:
        yield 0.5
    world.company.terminate(seat, world.plan.attempt_timeout + 10)
    world.counts["terminated"] += 1


def _set_mode(folder: Path, mode: int) -> None:
    for each in (folder, *(found for found in folder.iterdir() if found.is_dir())):
        each.chmod(mode)
