"""The doorbell: a message over Redis pub/sub that says "look at Postgres now".

It carries no facts and promises nothing. All who listen also look by the clock, so losing every ring costs
latency and nothing else. Therefore ringing never blocks, never fails, and drops what it cannot deliver.
Channel `darkroom:{topic}`, payload the key.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from models.platform.doorbell.refusals import refusal
from models.platform.doorbell.waiters import Waiter, Waiters
from models.platform.metrics import CONNECTIONS
from models.settings.redis_url import RedisUrl

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_CHANNEL = "darkroom:"
_QUEUE_MAX = 10_000  # rings; the same ring twice takes one place
_BATCH = 500  # rings per round trip
_TIMEOUT = timedelta(seconds=2)  # for Redis to answer anything at all
_PING_EVERY = timedelta(seconds=15)  # of silence on the subscription; twice, and it is lost
_SILENCES = 2
_PAUSE_FIRST, _PAUSE_LAST = timedelta(milliseconds=50), timedelta(seconds=2)
_AGAIN = timedelta(milliseconds=100)  # a task that was told to end is told again
_GOODBYE = timedelta(milliseconds=500)  # for the last rings, when the process ends

_AWAY = (RedisError, OSError)  # what a Redis that is not there raises


class Doorbell:
    """Rings and listens, on one event loop. An async context manager: it leaves no task behind.

    `dropped` counts the rings that were not sent; `connected` tells whether the subscription stands.
    `refusal` says in words why Redis has never taken us: a wrong password, or another server in its place,
    does not mend itself as an absence does. Once Redis has answered, it stays None.
    """

    def __init__(self, url: str, *, ping_every: timedelta = _PING_EVERY) -> None:
        self.dropped = 0
        self.connected = False
        self.refusal: str | None = None
        self._answered = False
        self._place = RedisUrl.parse(url)
        self._redis = _connect(self._place)
        self._ping_every = ping_every
        self._rings: dict[tuple[str, str], None] = {}  # a queue without repeats
        self._rung = asyncio.Event()
        self._closing = False
        self._ringer: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None
        self._topics: tuple[str, ...] = ()
        self._waiters = Waiters()

    async def __aenter__(self) -> Self:
        self._ringer = asyncio.create_task(self._send_rings(), name="doorbell-ring")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing = True
        self._rung.set()
        if self._ringer is not None:
            await asyncio.wait({self._ringer}, timeout=_GOODBYE.total_seconds())
        await _stop(self._ringer)
        await _stop(self._listener)
        self.connected = False
        CONNECTIONS.forget_doorbell(self)
        self.dropped += len(self._rings)
        with suppress(*_AWAY):
            await self._redis.aclose()

    def ring(self, topic: str, key: str = "") -> None:
        """Wake every listener of the topic, in any process. Never waits, never raises."""
        if self._closing or (len(self._rings) >= _QUEUE_MAX and (topic, key) not in self._rings):
            self.dropped += 1
            return
        self._rings[topic, key] = None
        self._rung.set()

    async def listen(self, *topics: str) -> None:
        """Subscribe to the topics, besides those of earlier calls, on one connection.

        Returns at once. Whenever the connection stands (again), all waiters are woken: what was
        rung before that went unheard.
        """
        await _stop(self._listener)
        self._topics = tuple(dict.fromkeys((*self._topics, *topics)))
        self._listener = asyncio.create_task(self._hear_rings(), name="doorbell-listen")
        CONNECTIONS.watch_doorbell(self)

    async def answers(self) -> bool:
        """Return whether Redis answers a PING, within seconds."""
        try:
            async with asyncio.timeout(2 * _TIMEOUT.total_seconds()):
                await self._redis.ping()
        except _AWAY as away:
            await self._note(away)
            return False
        await self._note(None)
        return True

    def waiter(self, topic: str, key: str = "") -> Waiter:
        """Make a waiter for exactly this topic and key; it hears from `with` on."""
        return Waiter(self._waiters, topic, key)

    def wake(self, topic: str, key: str = "") -> None:
        """Wake the waiters of this process, and nobody else."""
        self._waiters.wake(topic, key)

    def waiting(self, topic: str) -> list[str]:
        """Return the keys of the topic that somebody in this process waits for."""
        return self._waiters.keys(topic)

    async def _send_rings(self) -> None:
        pauses = _pauses()
        while self._rings or not self._closing:
            await self._rung.wait()
            self._rung.clear()
            while self._rings:
                if await self._publish():
                    pauses = _pauses()
                else:
                    await asyncio.sleep(next(pauses))

    async def _publish(self) -> bool:
        """Send a batch in one round trip; drop it if Redis does not take it."""
        batch = list(self._rings)[:_BATCH]
        for ring in batch:
            del self._rings[ring]
        sent = False
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for topic, key in batch:
                    pipe.publish(_CHANNEL + topic, key)
                await pipe.execute()
            sent = True
        except (*_AWAY, ValueError):  # ValueError: a key that cannot be encoded
            pass
        finally:
            if not sent:  # also when the bell is closed while it waits for Redis
                self.dropped += len(batch)
        return sent

    async def _hear_rings(self) -> None:
        pauses = _pauses()
        while True:
            try:
                async with self._redis.pubsub() as subscription:
                    await _subscribe(subscription, self._topics)
                    await self._note(None)
                    pauses = _pauses()
                    self.connected = True
                    self._waiters.wake_all()
                    await self._pass_on(subscription)
            except _AWAY as away:
                await self._note(away)
            self.connected = False
            await asyncio.sleep(next(pauses))

    async def _note(self, away: Exception | None) -> None:
        """Remember whether Redis has ever taken us, and why not."""
        self._answered = self._answered or away is None
        why = None if self._answered or away is None else await refusal(self._place, away)
        if why is not None and why != self.refusal:
            log.warning("redis.refused", reason=why)
        self.refusal = None if self._answered else why  # it may have answered meanwhile

    async def _pass_on(self, subscription: PubSub) -> None:
        """Wake who is rung for, until the connection fails or twice says nothing, asked to."""
        silent, patience = 0, self._ping_every.total_seconds()
        while silent < _SILENCES and (connection := subscription.connection) is not None:
            # Straight from the connection: by way of `get_message` a ring takes a sixth more CPU.
            heard = await connection.read_response(timeout=patience, disconnect_on_error=False)
            if heard is None:
                silent += 1
                await subscription.ping()
                continue
            silent = 0
            match heard:
                case [b"message", bytes(channel), bytes(key)]:
                    topic = channel.decode().removeprefix(_CHANNEL)
                    self.wake(topic, key.decode(errors="replace"))


def _connect(place: RedisUrl) -> Redis:
    seconds = _TIMEOUT.total_seconds()
    options: dict[str, Any] = {
        **place.options,
        "protocol": 2,  # spares a handshake; pub/sub needs nothing of 3
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "retry": Retry(NoBackoff(), 0),  # a failed ring is dropped, and listening has its own
    }
    tls: dict[str, Any] = {} if place.ssl is None else {"ssl": True, **place.ssl}
    if place.service is None:
        host, port = place.servers[0]
        return Redis(host=host, port=port, **options, **tls)
    of_sentinels = {**place.sentinel_options, **tls, "socket_timeout": seconds}
    known = Sentinel(place.servers, sentinel_kwargs=of_sentinels, **options, **tls)  # type: ignore[no-untyped-call]  # redis-py's
    primary: Redis = known.master_for(place.service)
    return primary


async def _subscribe(subscription: PubSub, topics: tuple[str, ...]) -> None:
    """Subscribe, and see each topic confirmed; `TimeoutError` when Redis is silent."""
    await subscription.subscribe(*(_CHANNEL + topic for topic in topics))
    async with asyncio.timeout(_TIMEOUT.total_seconds()):
        for _ in topics:
            while ((await subscription.get_message(timeout=None)) or {}).get("type") != "subscribe":
                continue  # a ring on a topic confirmed before: everybody is woken in a moment


def _pauses() -> Iterator[float]:
    """Return the seconds before each next try to reach a Redis that is away."""
    pause = _PAUSE_FIRST
    while True:
        yield pause.total_seconds()
        pause = min(2 * pause, _PAUSE_LAST)


async def _stop(task: "asyncio.Task[None] | None") -> None:
    """Cancel a task until it has ended.

    Once is not enough: redis-py sends within `asyncio.wait_for`, which before Python 3.12 drops a
    cancellation that comes as the sending ends.
    """
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=_AGAIN.total_seconds())
