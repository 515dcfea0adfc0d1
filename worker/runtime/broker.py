"""Celery's transport over Redis, with two wrong answers put right.

When Redis goes away, kombu 5.7 asks the channels it has just closed for a client once more: to restore
what was not acknowledged, and for acknowledgements that come late. A closed channel answers with an
AttributeError, which Celery does not take for a lost connection: it ends the worker, and with it every
paid call. Here it answers that the connection is lost, so that Celery waits for Redis as it should.

A primary that became a replica refuses to write, which kombu takes for a fault of the channel, and Celery
for the end of the worker. Here it is a lost connection too: the next one leads to the new primary, by the
name of the service or by sentinels. So is whatever else Redis refuses for now alone: it is out of memory,
or cannot save, or lacks replicas.

A worker asks for no message of a queue for which it has no place: others have, or the message waits until
one is free. As it says nothing to a question that Redis is still at, a full worker asks again and again.

And it tells that the consumer lives. `pulse` beats whenever Redis has answered the consumer's BRPOP, with a
message or with none, which is once a second; and while the pool is full, when nothing is asked for.
"""

from collections.abc import Callable
from typing import Any

from kombu.transport import redis
from kombu.utils.scheduling import round_robin_cycle
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import MasterDownError, OutOfMemoryError, ReadOnlyError, ResponseError

from worker.runtime.pulse import Pulse

pulse = Pulse()

_SOON = 0.02  # seconds until a worker that is full asks again
_NOTHING = "nothing"  # a queue to which nobody writes
_FOR_NOW = ("MISCONF ", "NOREPLICAS ", "UNBLOCKED ")  # refusals that redis-py has no class of


class RefusedForNow(ResponseError):
    """Redis takes no writes until its disk or its replicas are back, or it has just become a replica."""


class Appetite:
    """Of which queues messages are wanted; of all, until it is told."""

    def __init__(self) -> None:
        self.takes: Callable[[str], bool] = lambda _queue: True


appetite = Appetite()


class Cycle(round_robin_cycle):
    """kombu's turns of queues, without those of which nothing is wanted now."""

    def consume(self, n: int) -> list[str]:
        """Return the queues to ask for, the next one first."""
        found: list[str] = super().consume(n)  # type: ignore[no-untyped-call]  # kombu's
        return [queue for queue in found if appetite.takes(queue)] or [_NOTHING]


class Channel(redis.Channel):
    """A channel that says so when it is asked for a client after its end, and asks for what is wanted."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]  # kombu's
        self._queue_cycle = Cycle()  # type: ignore[no-untyped-call]  # kombu's

    def _brpop_start(self, timeout: float | None = None) -> None:  # pyrefly: ignore[bad-override]  # kombu's
        """Ask for messages; soon again where some are not wanted, for that may change."""
        if not all(appetite.takes(queue) for queue in self.active_queues):
            timeout = _SOON
        super()._brpop_start(timeout)  # type: ignore[no-untyped-call]  # kombu's

    def _connparams(self, asynchronous: bool = False) -> object:  # noqa: FBT001, FBT002  # pyrefly: ignore[bad-override]  # kombu's signature
        if self.connection is None or self.connection.client is None:
            raise ConnectionLost("the connection of this channel was closed")
        params: dict[str, Any] = super()._connparams(asynchronous=asynchronous)  # type: ignore[no-untyped-call]  # kombu's
        return params | {"connection_class": _telling(params["connection_class"])}

    def _brpop_read(self, **options: object) -> object:  # pyrefly: ignore[bad-override]  # kombu's
        """Read what Redis answers; only a connection that broke is no answer."""
        answered = True
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]  # kombu's
        except self.connection_errors:
            answered = False
            raise
        finally:
            if answered:
                pulse.beat()


class Poller(redis.MultiChannelPoller):
    """kombu's poller, which says that it turns also while the pool is full."""

    def on_poll_start(self) -> None:
        """Ask for messages where there is room for them."""
        super().on_poll_start()  # type: ignore[no-untyped-call]  # kombu's
        if any(each.active_queues and not each.qos.can_consume() for each in self._channels):
            pulse.beat()


def _telling(connection: type[Any]) -> type[Any]:
    """Return a class of connections that tell a refusal for now from a command that is wrong."""

    class Telling(connection):  # type: ignore[misc]  # whichever kombu has made
        def read_response(self, *args: object, **kwargs: object) -> object:
            try:
                return super().read_response(*args, **kwargs)
            except ResponseError as refused:
                if str(refused).startswith(_FOR_NOW):
                    raise RefusedForNow(*refused.args) from refused
                raise

    return Telling


class SentinelChannel(Channel, redis.SentinelChannel):
    """The channel of whichever server sentinels say is the primary."""


class Transport(redis.Transport):
    """kombu's transport, with our channels and our poller."""

    Channel = Channel
    connection_errors = (
        *redis.Transport.connection_errors,
        *(ReadOnlyError, MasterDownError, OutOfMemoryError, RefusedForNow),
    )

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]  # kombu's
        self.cycle = Poller()  # type: ignore[assignment, no-untyped-call]  # kombu's


class SentinelTransport(Transport):
    """The same, by sentinels."""

    Channel = SentinelChannel
