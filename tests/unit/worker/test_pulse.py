"""When a part of a worker is called dead: silent for long, while its other end answers others."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from worker.runtime.pulse import Pulse, Watch

PATIENCE = timedelta(seconds=45)


@dataclass
class World:
    """A clock, and a Redis that answers or not."""

    now: float = 1_000.0
    redis: bool = True

    def clock(self) -> float:
        return self.now

    def watch(self) -> tuple[Pulse, Callable[[], Awaitable[str | None]]]:
        pulse = Pulse(self.clock)
        return pulse, Watch("nothing heard", pulse, self._answers, PATIENCE, self.clock).check

    async def _answers(self) -> bool:
        return self.redis


async def test_what_beats_is_alive() -> None:
    world = World()
    pulse, check = world.watch()
    for _ in range(10):
        world.now += 44
        pulse.beat()
        assert await check() is None


async def test_what_is_silent_though_redis_answers_is_reported_within_a_minute() -> None:
    world = World()
    _, check = world.watch()
    reported = []
    for _ in range(60):
        world.now += 1
        reported.append(await check())
    assert reported[43] is None
    assert reported[44] == "nothing heard for 45 s"
    assert reported[59] == "nothing heard for 60 s"


async def test_a_redis_that_is_away_is_no_reason_and_gives_time_when_it_is_back() -> None:
    world = World()
    pulse, check = world.watch()
    world.redis = False
    for _ in range(20):
        world.now += 30
        assert await check() is None
    world.redis = True
    world.now += 44
    assert await check() is None, "Celery may be about to connect"
    world.now += 1
    assert await check() == "nothing heard for 45 s"
    pulse.beat()
    assert await check() is None
