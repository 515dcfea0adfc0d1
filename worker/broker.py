"""Celery's transport over Redis, with one wrong answer put right.

When Redis goes away, kombu 5.7 asks the channels it has just closed for a client once more: to restore
what was not acknowledged, and for acknowledgements that come late. A closed channel answers with an
AttributeError, which Celery does not take for a lost connection: it ends the worker, and with it every
paid call. Here it answers that the connection is lost, so that Celery waits for Redis as it should.
"""

from kombu.transport import redis
from redis.exceptions import ConnectionError as ConnectionLost


class Channel(redis.Channel):
    """A channel that says so when it is asked for a client after its end."""

    def _connparams(self, asynchronous: bool = False) -> object:  # noqa: FBT001, FBT002  # pyrefly: ignore[bad-override]  # kombu's signature
        if self.connection is None or self.connection.client is None:
            raise ConnectionLost("the connection of this channel was closed")
        return super()._connparams(asynchronous=asynchronous)  # type: ignore[no-untyped-call]  # kombu's


class Transport(redis.Transport):
    """kombu's transport, with our channels."""

    Channel = Channel
